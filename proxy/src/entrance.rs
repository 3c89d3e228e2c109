//! Entrances: ports that the control plane hands out, one for each port of a Gateway.
//!
//! A Gateway's Service leads each of its ports to an entrance of its own, so that a route's condition on the
//! destination port tells Gateways apart. What is spoken on an entrance is for the configuration and the client to say:
//! a stream that some route takes by port is carried as it is; a TLS hello goes to the stream routes of its name first
//! and ends here for HTTP otherwise; anything else is HTTP. Where listeners end TLS nothing is taken in clear text, and
//! where they ask clients for certificates, none comes in without.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use proxy_core::entrances::Clients;
use runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::app::Gateway;
use crate::http1::io::PATIENCE;
use crate::{listen, serve, stream, tls};

/// The first byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 0x16;

/// Serves an entrance until shutdown, then until its connections are done.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, shutdown: Shutdown) {
    let tracker = TaskTracker::new();
    let entries = Arc::new(Entries {
        plain: entry(None),
        tls: entry(Some(gateway.server_config(true))),
        guarded: Mutex::default(),
    });
    listen::accept(listener, shutdown.clone(), |stream, peer| {
        let (gateway, entries, shutdown) =
            (Arc::clone(&gateway), Arc::clone(&entries), shutdown.clone());
        tracker.spawn(async move {
            if let Err(error) = connection(&gateway, &entries, (stream, peer), shutdown).await {
                tracing::debug!(client = %peer, %error, "connection ended");
            }
        });
        std::future::ready(())
    })
    .await;
    tracker.close();
    tracker.wait().await;
}

fn entry(tls: Option<Arc<rustls::ServerConfig>>) -> Arc<serve::Entry> {
    Arc::new(serve::Entry { tls, http2: true, proxy_protocol: false, verifies: false })
}

/// How connections begin.
struct Entries {
    plain: Arc<serve::Entry>,
    tls: Arc<serve::Entry>,
    /// Under TLS for clients that are asked for certificates.
    guarded: Mutex<Option<(Clients, Arc<serve::Entry>)>>,
}

impl Entries {
    /// The beginning for clients that are asked so; nothing when no authority can be used.
    fn guarded_by(&self, gateway: &Arc<Gateway>, wanted: &Clients) -> Option<Arc<serve::Entry>> {
        let mut guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, entry)) = &*guarded
            && known == wanted
        {
            return Some(Arc::clone(entry));
        }
        let clients = match tls::clients(wanted) {
            Ok(clients) => clients,
            Err(error) => {
                tracing::warn!(%error, "no authority of client certificates can be used");
                return None;
            }
        };
        let tls = Some(gateway.server_config_for(true, clients));
        let verifies = !wanted.optional;
        let entry = Arc::new(serve::Entry { tls, http2: true, proxy_protocol: false, verifies });
        *guarded = Some((wanted.clone(), Arc::clone(&entry)));
        Some(entry)
    }
}

async fn connection(
    gateway: &Arc<Gateway>,
    entries: &Entries,
    (stream, peer): (TcpStream, SocketAddr),
    shutdown: Shutdown,
) -> io::Result<()> {
    let Some(stream) = stream::by_port(gateway, (stream, peer)).await? else { return Ok(()) };
    let mut first = [0];
    let heard = timeout(PATIENCE, stream.peek(&mut first)).await;
    if heard.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
        return Ok(());
    }
    let port = stream.local_addr()?.port();
    let said = gateway.state.current().table.entrances.get(&port).cloned().unwrap_or_default();
    if said.closed {
        return Ok(());
    }
    if first[0] != HANDSHAKE {
        let entry = if said.hostnames.is_empty() { &entries.plain } else { &entries.tls };
        serve::connection(Arc::clone(gateway), Arc::clone(entry), (stream, peer), shutdown).await;
        return Ok(());
    }
    let Some(config) = &entries.tls.tls else { return Ok(()) };
    let Some((stream, ahead)) = stream::by_name(gateway, config, (stream, peer)).await? else {
        return Ok(());
    };
    let entry = match &said.clients {
        None => Some(Arc::clone(&entries.tls)),
        Some(wanted) => entries.guarded_by(gateway, wanted),
    };
    if let Some(entry) = entry {
        serve::resume(Arc::clone(gateway), entry, (stream, peer), ahead, shutdown).await;
    }
    Ok(())
}
