//! Places that records go to: files, sockets, the system log. Each has a queue and one task that empties it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proxy_core::plugin::{HttpTarget, Queue, Sink, Target};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};
use tokio_rustls::TlsConnector;

use super::http_sink;
use super::queue::{Exit, bounded};

/// Where the system log listens.
const SYSLOG: &str = "/dev/log";

/// Records that wait for a file or a socket.
const LIMITS: Queue = Queue {
    max_batch_size: 1_000,
    max_coalescing_delay: Duration::ZERO,
    max_entries: 10_000,
    max_bytes: Some(64 << 20),
    max_retry_time: Duration::ZERO,
    initial_retry_delay: Duration::ZERO,
    max_retry_delay: Duration::ZERO,
    concurrency: Some(1),
};

/// Opens a place. Nothing is connected before the first record.
pub(super) fn open(target: &Target, tls: &Arc<ClientConfig>) -> Arc<dyn Sink> {
    match target {
        Target::Http(endpoint) => {
            let (entrance, exit) = bounded(&endpoint.queue);
            detach(http_sink::run(HttpTarget::clone(endpoint), exit, Arc::clone(tls)));
            Arc::new(entrance)
        }
        Target::File { path, reopen } => {
            let (entrance, exit) = bounded(&LIMITS);
            detach(write_file(path.clone(), *reopen, exit));
            Arc::new(entrance)
        }
        Target::Tcp { host, port, timeout, tls: server_name } => {
            let (entrance, exit) = bounded(&LIMITS);
            let tls = server_name.clone().map(|name| {
                let name = if name.is_empty() { host.clone() } else { name };
                (name, Arc::clone(tls))
            });
            detach(write_tcp((host.clone(), *port), *timeout, tls, exit));
            Arc::new(entrance)
        }
        Target::Udp { host, port } => {
            let (entrance, exit) = bounded(&LIMITS);
            detach(send_datagrams((host.clone(), *port), exit));
            Arc::new(entrance)
        }
        Target::Syslog => {
            let (entrance, exit) = bounded(&LIMITS);
            detach(send_syslog(exit));
            Arc::new(entrance)
        }
    }
}

/// Runs on its own. These tasks end by themselves, when their queue is closed and empty or their work is done, and one
/// that fails harms no request: so they are not among the named tasks whose end ends the process.
pub(super) fn detach(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}

async fn batch(exit: &Exit) -> Option<Vec<Bytes>> {
    exit.batch(LIMITS.max_batch_size, LIMITS.max_coalescing_delay).await
}

async fn write_file(path: String, reopen: bool, exit: Exit) {
    let mut file: Option<File> = None;
    while let Some(records) = batch(&exit).await {
        if reopen || file.is_none() {
            match OpenOptions::new().create(true).append(true).open(&path).await {
                Ok(opened) => file = Some(opened),
                Err(error) => {
                    tracing::warn!(path, %error, "failed to open a log file");
                    continue;
                }
            }
        }
        if let Some(open) = &mut file
            && let Err(error) = write_all(open, &records).await
        {
            tracing::warn!(path, %error, "failed to write a log file");
            file = None;
        }
    }
}

async fn write_all(
    to: &mut (impl AsyncWrite + Unpin + ?Sized),
    records: &[Bytes],
) -> std::io::Result<()> {
    to.write_all(&records.concat()).await?;
    to.flush().await
}

type Stream = Box<dyn AsyncWrite + Send + Unpin>;

async fn write_tcp(
    address: (String, u16),
    limit: Duration,
    tls: Option<(String, Arc<ClientConfig>)>,
    exit: Exit,
) {
    let mut stream: Option<Stream> = None;
    while let Some(records) = batch(&exit).await {
        // A kept connection may have gone away unnoticed: one more try on a new one.
        for _ in 0..2 {
            let attempt = async {
                if stream.is_none() {
                    stream = Some(connect(&address, tls.as_ref()).await?);
                }
                match &mut stream {
                    Some(open) => write_all(open, &records).await,
                    None => Ok(()),
                }
            };
            let outcome =
                tokio::time::timeout(limit, attempt).await.unwrap_or_else(|late| Err(late.into()));
            match outcome {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(host = %address.0, port = address.1, %error, "failed to send log records");
                    stream = None;
                }
            }
        }
    }
}

async fn connect(
    address: &(String, u16),
    tls: Option<&(String, Arc<ClientConfig>)>,
) -> std::io::Result<Stream> {
    let stream = TcpStream::connect((address.0.as_str(), address.1)).await?;
    match tls {
        None => Ok(Box::new(stream)),
        Some((name, config)) => {
            let name = ServerName::try_from(name.clone()).map_err(std::io::Error::other)?;
            Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
        }
    }
}

async fn send_datagrams(address: (String, u16), exit: Exit) {
    while let Some(records) = batch(&exit).await {
        let sent = async {
            let to = tokio::net::lookup_host((address.0.as_str(), address.1)).await?.next();
            let to = to.ok_or_else(|| std::io::Error::other("no address"))?;
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).await?;
            for record in &records {
                socket.send_to(record, to).await?;
            }
            std::io::Result::Ok(())
        };
        if let Err(error) = sent.await {
            tracing::warn!(host = %address.0, port = address.1, %error, "failed to send datagrams");
        }
    }
}

async fn send_syslog(exit: Exit) {
    while let Some(records) = batch(&exit).await {
        let sent = async {
            let socket = UnixDatagram::unbound()?;
            socket.connect(SYSLOG)?;
            for record in &records {
                socket.send(record).await?;
            }
            std::io::Result::Ok(())
        };
        if let Err(error) = sent.await {
            tracing::debug!(%error, "failed to reach the system log");
        }
    }
}
