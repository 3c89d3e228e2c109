//! Opening a connection: TCP, TLS with the peer's identity, HTTP, each with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use operator_core::fleet::event::{IdentityMode, PeerIdentity, Trouble, TroubleKind};
use runtime::tls::{Anyone, judged_by};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Connection, Security, Target, trouble, unproved};
use crate::trust::{ClientIdentity, Expected, inspect, peer_verifier};

pub(super) async fn open(target: &Target) -> Result<Connection, Trouble> {
    let stream = tcp(target).await?;
    match &target.security {
        Security::Unverified => match handshake(stream, anyone()?, target).await {
            Ok(stream) => http(stream, target, unproved()).await,
            // Not a TLS port: then plain HTTP it is, since nothing is to be proved.
            Err(trouble) if trouble.kind == TroubleKind::Handshake => {
                http(tcp(target).await?, target, unproved()).await
            }
            Err(trouble) => Err(trouble),
        },
        Security::Mutual { identity, expected } => {
            let config = client_config(identity, expected)?;
            let stream = handshake(stream, config, target).await?;
            let peer = proved(&stream, expected);
            http(stream, target, peer).await
        }
    }
}

async fn tcp(target: &Target) -> Result<TcpStream, Trouble> {
    let stream =
        within(target.deadlines.connect, "the connection", TcpStream::connect(target.address))
            .await?;
    // Small questions, small answers: nothing to gain from waiting for more bytes.
    stream.set_nodelay(true).map_err(|error| trouble::of(&error))?;
    Ok(stream)
}

fn client_config(
    identity: &ClientIdentity,
    expected: &Expected,
) -> Result<Arc<ClientConfig>, Trouble> {
    let verifier = peer_verifier(identity.server_roots(), expected.clone());
    let config = identity.tls.client(verifier).map_err(|error| trouble::of(&error))?;
    Ok(Arc::new(config))
}

/// A client that takes whoever answers, and shows nothing: for a fleet whose ProxyFleet says in plain
/// words that it wants that.
fn anyone() -> Result<Arc<ClientConfig>, Trouble> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| trouble::of(&error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(judged_by(Anyone));
    Ok(Arc::new(builder.with_no_client_auth()))
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    target: &Target,
) -> Result<TlsStream<TcpStream>, Trouble> {
    // The verifier compares identities of its own; the name only fills the SNI, and an address has none.
    let name = ServerName::IpAddress(target.address.ip().into());
    let handshake = TlsConnector::from(config).connect(name, stream);
    within(target.deadlines.handshake, "the TLS handshake", handshake).await
}

/// What the verified certificate says.
fn proved(stream: &TlsStream<TcpStream>, expected: &Expected) -> PeerIdentity {
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = leaf.and_then(|leaf| inspect::certificate(leaf).ok()).unwrap_or_default();
    let mode = match expected {
        Expected::Pod { .. } => IdentityMode::PodBound,
        Expected::Shared { .. } => IdentityMode::Shared,
    };
    PeerIdentity {
        mode,
        subject: certificate.name,
        serial: certificate.serial,
        not_after: certificate.not_after,
    }
}

async fn http<S>(stream: S, target: &Target, identity: PeerIdentity) -> Result<Connection, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| trouble::of(&error))?;
    let mut mover = JoinSet::new();
    mover.spawn(async move {
        // Whoever waits for an answer learns of the error; an idle connection may end at any time.
        let _ = connection.await;
    });
    Ok(Connection {
        sender,
        _mover: mover,
        host: target.address.to_string(),
        data: target.data,
        identity,
        deadlines: target.deadlines,
        node: None,
    })
}

async fn within<T, E>(
    span: Duration,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble>
where
    E: std::error::Error + 'static,
{
    match timeout(span, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(trouble::of(&error)),
        Err(_) => {
            let message = format!("{what} took longer than {} ms", span.as_millis());
            Err(Trouble { kind: TroubleKind::Timeout, message })
        }
    }
}
