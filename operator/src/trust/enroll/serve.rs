//! Serves enrollment over TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use operator_core::trust::Validity;
use runtime::{Clock, Shutdown};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Grant, Judge, PATH, Refusal, Request};
use crate::serve::tls;
use crate::trust::BuiltIn;
use crate::trust::keyring::SERVER_LEAF_SECONDS;

/// The longest request: a signing request for any sensible key is a tenth of it.
const BODY_MOST: usize = 16 * 1024;

/// How long a whole exchange may take.
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
    let tls = settings.tls.clone();
    let app = Router::new()
        .route(PATH, post(enroll))
        .layer(DefaultBodyLimit::max(BODY_MOST))
        .with_state(Arc::new(settings));
    let service = tls::Service { name: "enrollment", app, tls, longest: EXCHANGE };
    tls::serve(listener, service, shutdown).await
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
