//! Connections to upstreams: made, kept, used again, never shared between two TLS identities.
//!
//! The key of a kept connection holds everything that its handshake proved or showed. A service that begins to verify
//! its upstream never gets a connection that was made without.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use foldhash::fast::RandomState;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::downstream::ChannelBody;
use crate::timer::Timer;

/// How many idle connections one key keeps.
const KEPT: usize = 512;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How many requests one connection serves.
const REQUESTS: u32 = 10_000;

/// A byte stream to an upstream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream to an upstream, in the clear or inside TLS.
pub enum Io {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        ctx: &mut task::Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(ctx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(ctx, out),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        ctx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(ctx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(ctx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(ctx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(ctx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(ctx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(ctx),
        }
    }
}

/// How TLS to an upstream is done.
#[derive(Clone)]
pub struct TlsPlan {
    /// The configuration.
    pub config: Arc<rustls::ClientConfig>,
    /// What tells this configuration from others.
    pub fingerprint: [u8; 32],
    /// The name that is asked for and checked.
    pub name: Arc<str>,
}

/// Where a connection goes and who it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    address: SocketAddr,
    tls: Option<([u8; 32], Arc<str>)>,
}

impl Key {
    /// The key of an address with or without TLS.
    pub fn new(address: SocketAddr, tls: Option<&TlsPlan>) -> Self {
        Self { address, tls: tls.map(|plan| (plan.fingerprint, Arc::clone(&plan.name))) }
    }
}

/// An HTTP/1 connection.
pub struct Connection {
    /// The stream.
    pub io: Io,
    /// What was read ahead.
    pub buffer: BytesMut,
    /// Measures its silences.
    pub timer: Timer,
    /// Whether it has served a request before.
    pub reused: bool,
    requests: u32,
    since: Instant,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable.
    #[error("failed to connect")]
    Refused(#[source] io::Error),
    /// Not in time.
    #[error("failed to connect in time")]
    Timeout,
    /// The handshake failed.
    #[error("failed to agree on TLS")]
    Tls(#[source] io::Error),
}

/// Opens a stream.
pub async fn connect(
    address: SocketAddr,
    tls: Option<&TlsPlan>,
    patience: Duration,
) -> Result<Io, ConnectError> {
    let tcp = match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            return Err(ConnectError::Timeout);
        }
        Ok(Err(error)) => return Err(ConnectError::Refused(error)),
        Err(_) => return Err(ConnectError::Timeout),
    };
    // Small writes matter more than full packets; a socket that refuses the option works all the same.
    let _ = tcp.set_nodelay(true);
    let Some(plan) = tls else { return Ok(Io::Plain(tcp)) };
    let name = ServerName::try_from(plan.name.to_string())
        .unwrap_or_else(|_| ServerName::from(address.ip()));
    let connector = TlsConnector::from(Arc::clone(&plan.config));
    match timeout(patience, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(Io::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(ConnectError::Tls(error)),
        Err(_) => Err(ConnectError::Timeout),
    }
}

/// The sender of an HTTP/2 connection.
pub type Http2 = SendRequest<ChannelBody>;

/// All kept connections.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<Key, Vec<Connection>, RandomState>>,
    http2: Mutex<HashMap<Key, Http2>>,
}

impl Pool {
    /// A connection for HTTP/1: a kept one that still lives, or a new one.
    pub async fn http1(
        &self,
        address: SocketAddr,
        tls: Option<&TlsPlan>,
        patience: Duration,
    ) -> Result<Connection, ConnectError> {
        let key = Key::new(address, tls);
        while let Some(mut kept) = self.take(&key) {
            if kept.since.elapsed() < IDLE && is_quiet(&mut kept.io).await {
                kept.reused = true;
                return Ok(kept);
            }
        }
        let io = connect(address, tls, patience).await?;
        Ok(Connection {
            io,
            buffer: BytesMut::new(),
            timer: Timer::default(),
            reused: false,
            requests: 0,
            since: Instant::now(),
        })
    }

    fn take(&self, key: &Key) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key)?.pop()
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn keep(&self, key: Key, mut connection: Connection) {
        connection.requests += 1;
        if connection.requests >= REQUESTS || !connection.buffer.is_empty() {
            return;
        }
        connection.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry(key).or_default();
        if kept.len() < KEPT {
            kept.push(connection);
        }
    }

    /// Lets connections go that were idle too long.
    pub fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, kept| {
            kept.retain(|connection| connection.since.elapsed() < IDLE);
            !kept.is_empty()
        });
    }

    /// A sender for HTTP/2; one connection carries all requests of a key.
    pub async fn http2(
        &self,
        address: SocketAddr,
        tls: Option<&TlsPlan>,
        patience: Duration,
    ) -> Result<Http2, ConnectError> {
        let key = Key::new(address, tls);
        let kept = self.http2.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(mut kept) = kept
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let io = connect(address, tls, patience).await?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .adaptive_window(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| ConnectError::Refused(io::Error::other(error)))?;
        tokio::spawn(async move {
            // Its requests report the failure; the connection itself has nobody to tell.
            let _ = connection.await;
        });
        self.http2.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sender.clone());
        Ok(sender)
    }
}

/// Whether an idle stream is still open and has said nothing unasked.
async fn is_quiet(io: &mut Io) -> bool {
    let mut byte = [0];
    match io {
        Io::Plain(stream) => {
            let said = stream.try_read(&mut byte);
            said.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        }
        // Biased: a byte or an end that is there already must win over the pause that is always ready.
        Io::Tls(stream) => tokio::select! {
            biased;
            _ = stream.read(&mut byte) => false,
            () = std::future::ready(()) => true,
        },
    }
}
