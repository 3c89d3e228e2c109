//! Entrances: ports that the control plane hands out, one for each port of a Gateway.
//!
//! A Gateway's Service leads each of its ports to an entrance of its own, so that a route's condition on the
//! destination port tells Gateways apart. What is spoken on an entrance is for the configuration and the client to say:
//! a stream that some route takes by port is carried as it is; a TLS hello goes to the stream routes of its name first
//! and ends here for HTTP otherwise; anything else is HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::app::Gateway;
use crate::http1::io::PATIENCE;
use crate::{listen, serve, stream};

/// The first byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 0x16;

/// Serves an entrance until shutdown, then until its connections are done.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, shutdown: Shutdown) {
    let tracker = TaskTracker::new();
    let entry = |tls| Arc::new(serve::Entry { tls, http2: true, proxy_protocol: false });
    let entries = (entry(None), entry(Some(gateway.server_config(true))));
    listen::accept(listener, shutdown.clone(), |stream, peer| {
        let (gateway, entries, shutdown) =
            (Arc::clone(&gateway), entries.clone(), shutdown.clone());
        tracker.spawn(async move {
            if let Err(error) = connection(&gateway, entries, (stream, peer), shutdown).await {
                tracing::debug!(client = %peer, %error, "connection ended");
            }
        });
        std::future::ready(())
    })
    .await;
    tracker.close();
    tracker.wait().await;
}

/// How connections in clear text and under TLS begin.
type Entries = (Arc<serve::Entry>, Arc<serve::Entry>);

async fn connection(
    gateway: &Arc<Gateway>,
    (plain, tls): Entries,
    (stream, peer): (TcpStream, SocketAddr),
    shutdown: Shutdown,
) -> io::Result<()> {
    let Some(stream) = stream::by_port(gateway, (stream, peer)).await? else { return Ok(()) };
    let mut first = [0];
    let heard = timeout(PATIENCE, stream.peek(&mut first)).await;
    if heard.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
        return Ok(());
    }
    if first[0] != HANDSHAKE {
        serve::connection(Arc::clone(gateway), plain, (stream, peer), shutdown).await;
        return Ok(());
    }
    let Some(config) = &tls.tls else { return Ok(()) };
    if let Some((stream, ahead)) = stream::by_name(gateway, config, (stream, peer)).await? {
        serve::resume(Arc::clone(gateway), tls, (stream, peer), ahead, shutdown).await;
    }
    Ok(())
}
