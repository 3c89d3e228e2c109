//! Streams: TCP, TLS that ends here, TLS that goes through, and datagrams, each by its routes.
//!
//! A listener with `ssl` looks at the client's hello before anything else: a route for `tls_passthrough` gets the bytes
//! as they came, any other route the plain text. A stream that no route takes is closed without a word.

mod session;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use proxy_core::health::Report;
use proxy_core::route::{Lookup, Protocol};
use proxy_core::table::{Route, Service};
use runtime::Shutdown;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::app::Gateway;
use crate::forward::choose::Chooser;
use crate::http1::io::PATIENCE;
use crate::proxy_protocol;
use crate::rewind::Rewind;
use crate::settings::Listen;
use crate::state::Generation;
use crate::upstream::{self, ConnectError, Stream};

use session::Session;

pub use udp::serve as serve_udp;

/// The largest hello that is waited for.
const HELLO: usize = 16 * 1024;

/// Who is at the other end.
#[derive(Clone, Copy)]
struct Ends {
    client: SocketAddr,
    local: SocketAddr,
}

/// Serves a stream listener until shutdown, then until its streams are done.
pub async fn serve(
    gateway: Arc<Gateway>,
    listen: Listen,
    listener: TcpListener,
    shutdown: Shutdown,
) {
    let tracker = TaskTracker::new();
    let tls = listen.tls.then(|| gateway.server_config(false));
    crate::listen::accept(listener, shutdown, |stream, peer| {
        let (gateway, tls) = (Arc::clone(&gateway), tls.clone());
        let with_header = listen.proxy_protocol;
        tracker.spawn(async move {
            let served = connection(&gateway, tls, (stream, peer), with_header).await;
            if let Err(error) = served {
                tracing::debug!(client = %peer, %error, "stream ended");
            }
        });
        std::future::ready(())
    })
    .await;
    tracker.close();
    tracker.wait().await;
}

async fn connection(
    gateway: &Arc<Gateway>,
    tls: Option<Arc<rustls::ServerConfig>>,
    (mut stream, peer): (TcpStream, SocketAddr),
    with_header: bool,
) -> io::Result<()> {
    let mut ends = Ends { client: peer, local: stream.local_addr()? };
    let mut ahead = BytesMut::new();
    if with_header {
        let header = timeout(PATIENCE, proxy_protocol::read(&mut stream, &mut ahead)).await;
        ends.client = header.map_err(|_| io::ErrorKind::TimedOut)??.unwrap_or(peer);
    }
    let Some(config) = tls else {
        let generation = gateway.state.current();
        let Some(route) = find(&generation, Protocol::Tcp, None, ends) else { return Ok(()) };
        return carry(
            gateway,
            &generation,
            &route,
            Rewind::new(ahead, stream),
            (Protocol::Tcp, ends),
        )
        .await;
    };
    named(gateway, &config, (stream, ends), ahead).await.map(drop)
}

/// Carries a connection whose port a route takes, whatever is spoken on it; gives any other back.
pub async fn by_port(
    gateway: &Arc<Gateway>,
    (stream, client): (TcpStream, SocketAddr),
) -> io::Result<Option<TcpStream>> {
    let ends = Ends { client, local: stream.local_addr()? };
    let generation = gateway.state.current();
    let Some(route) = find(&generation, Protocol::Tcp, None, ends) else { return Ok(Some(stream)) };
    carry(gateway, &generation, &route, stream, (Protocol::Tcp, ends)).await.map(|()| None)
}

/// Carries a TLS connection whose name a route takes; gives any other back, with what was read of it.
pub async fn by_name(
    gateway: &Arc<Gateway>,
    config: &Arc<rustls::ServerConfig>,
    (stream, client): (TcpStream, SocketAddr),
) -> io::Result<Option<(TcpStream, BytesMut)>> {
    let ends = Ends { client, local: stream.local_addr()? };
    named(gateway, config, (stream, ends), BytesMut::new()).await
}

async fn named(
    gateway: &Arc<Gateway>,
    config: &Arc<rustls::ServerConfig>,
    (mut stream, ends): (TcpStream, Ends),
    mut ahead: BytesMut,
) -> io::Result<Option<(TcpStream, BytesMut)>> {
    let sni = timeout(PATIENCE, hello(&mut stream, &mut ahead))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let generation = gateway.state.current();
    let Some(route) = find(&generation, Protocol::Tls, sni.as_deref(), ends) else {
        return Ok(Some((stream, ahead)));
    };
    let stream = Rewind::new(ahead, stream);
    if route.protocols.has(Protocol::TlsPassthrough) {
        return carry(gateway, &generation, &route, stream, (Protocol::TlsPassthrough, ends))
            .await
            .map(|()| None);
    }
    let accepting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
    let stream = timeout(PATIENCE, accepting).await.map_err(|_| io::ErrorKind::TimedOut)??;
    carry(gateway, &generation, &route, stream, (Protocol::Tls, ends)).await.map(|()| None)
}

/// Reads until the client's hello is whole; the name that it asks for.
async fn hello(stream: &mut TcpStream, ahead: &mut BytesMut) -> io::Result<Option<String>> {
    loop {
        let mut acceptor = rustls::server::Acceptor::default();
        if !ahead.is_empty() {
            acceptor.read_tls(&mut &ahead[..])?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    return Ok(accepted.client_hello().server_name().map(str::to_owned));
                }
                Ok(None) => {}
                Err((error, _)) => return Err(io::Error::other(error)),
            }
        }
        if ahead.len() > HELLO || stream.read_buf(ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn find(
    generation: &Generation,
    protocol: Protocol,
    sni: Option<&str>,
    ends: Ends,
) -> Option<Arc<Route>> {
    let headers = HeaderMap::new();
    let lookup = Lookup {
        protocol,
        method: "",
        host_header: "",
        host: "",
        host_port: None,
        path: "",
        query: "",
        headers: &headers,
        sni,
        source: (ends.client.ip(), ends.client.port()),
        destination: (ends.local.ip(), ends.local.port()),
    };
    let route = generation.table.find_stream(&lookup)?;
    let takes = match protocol {
        Protocol::Tls => {
            route.protocols.has(Protocol::Tls) || route.protocols.has(Protocol::TlsPassthrough)
        }
        other => route.protocols.has(other),
    };
    takes.then(|| Arc::clone(route))
}

/// Connects to a peer of the route's service and carries bytes both ways.
async fn carry<S>(
    gateway: &Arc<Gateway>,
    generation: &Generation,
    route: &Route,
    client: S,
    (protocol, ends): (Protocol, Ends),
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let Some(service) = &route.service else { return Ok(()) };
    let Some(mut session) = Session::begin(route, protocol, ends).await else { return Ok(()) };
    let mut chooser = Chooser::for_stream(gateway, generation, service, ends.client.ip());
    let mut left = service.retries;
    let upstream = loop {
        let chosen = chooser.next().await.map_err(|_| io::ErrorKind::HostUnreachable)?;
        match dial(generation, service, &chosen.host, chosen.address).await {
            Ok(stream) => {
                session.tries(chosen.address, false);
                break stream;
            }
            Err(error) => {
                session.tries(chosen.address, true);
                let timed_out = matches!(error, ConnectError::Timeout);
                chooser
                    .report(&chosen, if timed_out { Report::Timeout } else { Report::TcpFailure });
                if left == 0 {
                    session.end((0, 0));
                    return Err(io::Error::other(error));
                }
                left -= 1;
                chooser.avoid(&chosen);
            }
        }
    };
    let said = Said::default();
    let pumped = pump(client, upstream, service.read_timeout, &said).await;
    session.end((said.up.into_inner(), said.down.into_inner()));
    pumped
}

/// Bytes carried so far.
#[derive(Default)]
struct Said {
    up: AtomicU64,
    down: AtomicU64,
}

async fn dial(
    generation: &Generation,
    service: &Service,
    host: &str,
    address: SocketAddr,
) -> Result<Box<dyn Stream>, ConnectError> {
    let plan = match service.protocol {
        Protocol::Tls | Protocol::Https | Protocol::Grpcs | Protocol::Wss => {
            let upstream = generation.live.get(&service.host).map(|live| &live.upstream);
            let shown = upstream.and_then(|upstream| upstream.certificate.clone());
            let plan = generation.tls.client(&service.tls, shown, host);
            Some(plan.ok_or_else(|| ConnectError::Tls(io::ErrorKind::InvalidInput.into()))?)
        }
        Protocol::Http
        | Protocol::Grpc
        | Protocol::Tcp
        | Protocol::TlsPassthrough
        | Protocol::Udp
        | Protocol::Ws => None,
    };
    let io = upstream::connect(address, plan.as_ref(), service.connect_timeout).await?;
    Ok(Box::new(io))
}

/// Carries bytes until both sides have ended, or neither has said anything for so long.
async fn pump<A, B>(client: A, upstream: B, silence: Duration, said: &Said) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let (heard, _) = tokio::sync::watch::channel(());
    let up = copy(&mut from_client, &mut to_upstream, &heard, &said.up);
    let down = copy(&mut from_upstream, &mut to_client, &heard, &said.down);
    let mut listener = heard.subscribe();
    let quiet = async { while let Ok(Ok(())) = timeout(silence, listener.changed()).await {} };
    // Biased: bytes that are here win over the end of patience.
    tokio::select! {
        biased;
        done = async { tokio::try_join!(up, down) } => done.map(|_| ()),
        () = quiet => Ok(()),
    }
}

async fn copy<R, W>(
    from: &mut R,
    to: &mut W,
    heard: &tokio::sync::watch::Sender<()>,
    said: &AtomicU64,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        buffer.reserve(8 * 1024);
        if from.read_buf(&mut buffer).await? == 0 {
            return to.shutdown().await;
        }
        heard.send_replace(());
        said.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        to.write_all(&buffer.split()).await?;
        to.flush().await?;
    }
}
