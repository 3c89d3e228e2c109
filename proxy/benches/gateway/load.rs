//! The load: requests at a fixed rate whatever the answers take, handshakes one after another, and the
//! upstream that answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wire::{Connection, find};

const CONNECTIONS: u32 = 32;

/// What is offered to a gateway.
#[derive(Clone, Copy)]
pub(crate) struct Offer<'a> {
    /// Requests a second.
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

/// What came back.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) sent: u32,
    /// Not answered, or answered with another status than 200.
    pub(crate) failed: u32,
    latencies: Vec<Duration>,
}

impl Served {
    /// The 99th percentile, from the moment at which a request was due.
    pub(crate) fn p99(&self) -> Duration {
        self.latencies.get(self.latencies.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// Offers requests at their times over kept-alive connections.
pub(crate) async fn offer(offer: &Offer<'_>) -> Result<Served> {
    let headers: String =
        offer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request: Arc<[u8]> =
        format!("GET {} HTTP/1.1\r\nhost: bench.example\r\n{headers}\r\n", offer.path)
            .into_bytes()
            .into();
    let each = offer.rate * offer.seconds / CONNECTIONS;
    let pace = Duration::from_secs_f64(f64::from(CONNECTIONS) / f64::from(offer.rate));
    let start = Instant::now() + Duration::from_millis(20);
    let mut connections = JoinSet::new();
    for index in 0..CONNECTIONS {
        let first = start + pace.mul_f64(f64::from(index) / f64::from(CONNECTIONS));
        connections.spawn(one_connection(offer.port, request.clone(), first, pace, each));
    }
    let mut served = Served::default();
    for part in connections.join_all().await {
        served.sent += part.sent;
        served.failed += part.failed;
        served.latencies.extend(part.latencies);
    }
    served.latencies.sort_unstable();
    Ok(served)
}

async fn one_connection(
    port: u16,
    request: Arc<[u8]>,
    first: Instant,
    pace: Duration,
    count: u32,
) -> Served {
    let mut served = Served::default();
    let mut connection = None;
    for index in 0..count {
        let due = first + pace * index;
        tokio::time::sleep_until(due).await;
        served.sent += 1;
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(port).await,
        };
        let answer = match open {
            Ok(mut open) => open.exchange(&request).await.map(|status| (status, open)),
            Err(error) => Err(error),
        };
        match answer {
            Ok((200, open)) => connection = Some(open),
            Ok(_) | Err(_) => served.failed += 1,
        }
        served.latencies.push(due.elapsed());
    }
    served
}

/// Starts an upstream that answers every request with the same few bytes; returns its port.
pub(crate) async fn upstream() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(port)
}

async fn answer(mut stream: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nhello, world";
    let mut buffer = Vec::with_capacity(4096);
    let _ = stream.set_nodelay(true);
    while matches!(stream.read_buf(&mut buffer).await, Ok(read) if read > 0) {
        while let Some(end) = find(&buffer, b"\r\n\r\n") {
            buffer.drain(..end + 4);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

/// Makes `count` full handshakes, one after another, without resumption.
pub(crate) async fn handshakes(port: u16, count: u32) -> Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for _ in 0..count {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("bench.example")?;
        let mut session = connector.connect(name, stream).await?;
        let _ = session.shutdown().await;
    }
    Ok(())
}

/// Accepts any server: the cost of a handshake is measured here, not its worth.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
