//! What the operator shows: health, readiness, metrics, and the fleets as JSON. Read-only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use operator_core::fleet::view::FleetView;
use runtime::telemetry::Metrics;
use runtime::{Readiness, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

mod fleets;

pub use fleets::FleetSummary;

/// Views of all fleets, by `namespace/name`.
pub type Views = BTreeMap<String, watch::Receiver<Arc<FleetView>>>;

/// `/healthz` and `/readyz`.
pub fn health(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let missing = readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", missing.join(", ")))
}

/// `/metrics` and `/fleets`.
pub fn metrics(metrics: Metrics, views: watch::Receiver<Views>) -> Router {
    let text = get(async move |State(metrics): State<Metrics>| {
        ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.text())
    });
    let fleets = get(async move || Json(fleets::summaries(&views.borrow())));
    Router::new().route("/metrics", text).route("/fleets", fleets).with_state(metrics)
}

/// Why a page could not be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address} for {what}")]
pub struct ServeError {
    what: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Listens, so that a port in use ends the process before it starts anything.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError { what, address, source })
}

/// Serves `router` until shutdown.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "listening");
    }
    let end = async move { shutdown.requested().await };
    axum::serve(listener, router).with_graceful_shutdown(end).await?;
    Ok(())
}
