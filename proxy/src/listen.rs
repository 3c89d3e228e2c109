//! Listening sockets, and the connections that come in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use runtime::Shutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::task::TaskTracker;

use crate::app::Gateway;
use crate::serve;
use crate::settings::Listen;

/// Opens a listening socket.
pub fn bind(listen: &Listen) -> io::Result<TcpListener> {
    let socket = if listen.address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    if listen.reuseport {
        socket.set_reuseport(true)?;
    }
    socket.bind(listen.address)?;
    socket.listen(listen.backlog)
}

/// Accepts until shutdown, then what waits in the backlog, handing every connection to `serve`.
pub async fn accept<F, S>(listener: TcpListener, shutdown: Shutdown, mut serve: S)
where
    S: FnMut(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()>,
{
    loop {
        // Biased: a stop wins over a connection that waits at the same moment.
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => match listener.accept().now_or_never() {
                Some(accepted) => accepted,
                None => return,
            },
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // A socket that refuses the option works all the same.
                let _ = stream.set_nodelay(true);
                serve(stream, peer).await;
            }
            Err(error) => {
                // Out of descriptors, most likely: give connections a moment to end.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves a proxy listener until shutdown, then until its connections are done.
pub async fn proxy(
    gateway: Arc<Gateway>,
    listen: Listen,
    listener: TcpListener,
    shutdown: Shutdown,
) {
    let tracker = TaskTracker::new();
    let tls = listen.tls.then(|| gateway.server_config(listen.http2));
    let settings = Arc::new(serve::Entry {
        tls,
        http2: listen.http2,
        proxy_protocol: listen.proxy_protocol,
        verifies: false,
    });
    accept(listener, shutdown.clone(), |stream, peer| {
        let (gateway, settings) = (Arc::clone(&gateway), Arc::clone(&settings));
        let task = serve::connection(gateway, settings, (stream, peer), shutdown.clone());
        tracker.spawn(task);
        std::future::ready(())
    })
    .await;
    tracker.close();
    tracker.wait().await;
}
