//! Serves enrollment over TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use operator_core::trust::Validity;
use runtime::tls::Reloading;
use runtime::{Clock, Shutdown};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::{Grant, Judge, PATH, Refusal, Request};
use crate::trust::BuiltIn;
use crate::trust::keyring::SERVER_LEAF_SECONDS;

/// The longest request: a signing request for any sensible key is a tenth of it.
const BODY_MOST: usize = 16 * 1024;

/// How many are served at once.
const CONNECTIONS: usize = 128;

/// How long a handshake, and how long a whole exchange may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(20);

/// What the server needs.
pub struct Settings {
    /// Decides who may have a certificate.
    pub judge: Judge,
    /// The authorities. `None` until they are settled.
    pub authorities: watch::Receiver<Option<Arc<BuiltIn>>>,
    /// The server's own TLS configuration.
    pub tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Serves until shutdown.
///
/// # Errors
/// Never: a connection that fails is its own affair.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut tls = Reloading::new(settings.tls.clone());
    let app = Router::new()
        .route(PATH, post(enroll))
        .layer(DefaultBodyLimit::max(BODY_MOST))
        .with_state(Arc::new(settings));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut served = JoinSet::new();
    loop {
        // Shutdown first: nobody is accepted after it.
        let stream = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(_) = served.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "enrollment connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (Ok(place), Some(config)) = (room.clone().try_acquire_owned(), tls.current().await)
        else {
            // Whoever is turned away comes back after a pause of its own.
            continue;
        };
        let app = app.clone();
        served.spawn(async move {
            if timeout(EXCHANGE, exchange(stream, config, app)).await.is_err() {
                debug!("enrollment connection took too long");
            }
            drop(place);
        });
    }
    let _ = timeout(Duration::from_secs(2), async { while served.join_next().await.is_some() {} })
        .await;
    Ok(())
}

async fn exchange(stream: TcpStream, config: Arc<ServerConfig>, app: Router) {
    let stream = match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "enrollment handshake failed"),
        Err(_) => return debug!("enrollment handshake took too long"),
    };
    let service = TowerToHyperService::new(app);
    let builder = Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        debug!(error, "enrollment connection failed");
    }
}

async fn enroll(
    State(settings): State<Arc<Settings>>,
    headers: HeaderMap,
    body: Result<Json<Request>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Grant>, Refusal> {
    let malformed = |what| move |_| Refusal::Malformed(what);
    let Json(request) = body.map_err(malformed("the body must be JSON with the field csr"))?;
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or(Refusal::Malformed("a bearer token is needed"))?;

    let (identity, purpose) = settings.judge.judge(token).await?;
    let authorities = settings.authorities.borrow().clone();
    let authorities = authorities.ok_or(Refusal::Unavailable(None))?;
    let now = seconds(&*settings.clock);
    let validity = Validity::starting(now, SERVER_LEAF_SECONDS);
    let certificate = authorities.server.current().sign_request(&request.csr, &purpose, validity);
    let certificate =
        certificate.map_err(|_| Refusal::Malformed("csr must be a signing request in PEM"))?;
    info!(pod = %identity.pod_uid, namespace = %identity.namespace, "proxy enrolled");
    Ok(Json(Grant {
        certificate,
        client_authorities: authorities.client.bundle(),
        enrollment_authorities: authorities.server.bundle(),
        renew_after_seconds: validity.renew_at() - now,
    }))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { audience: _ } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let cause = std::error::Error::source(&self).map(ToString::to_string);
        warn!(status = status.as_u16(), reason = %self, cause, "enrollment refused");
        (status, Json(serde_json::json!({ "message": self.to_string() }))).into_response()
    }
}

/// Seconds since the Unix epoch.
pub(in crate::trust) fn seconds(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.wall().as_secs()).unwrap_or(i64::MAX)
}
