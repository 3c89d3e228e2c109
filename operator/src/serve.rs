//! What the operator shows: health, readiness, metrics, and the fleets as JSON. Nothing of the fleets
//! can be changed here; only what is logged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, put};
use axum::{Json, Router};
use operator_core::fleet::view::FleetView;
use runtime::telemetry::{Filter, Metrics};
use runtime::{Readiness, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

mod fleets;
pub mod tls;

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

/// `PUT /log-filter`: its body is the filter from now on, such as `info,operator::fleet=debug`.
pub fn debug(filter: Filter) -> Router {
    let change = put(async move |text: String| match filter.set(text.trim()) {
        Ok(()) => {
            info!(filter = text.trim(), "log filter changed");
            (StatusCode::OK, "ok\n".to_owned())
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    });
    Router::new().route("/log-filter", change)
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

#[cfg(test)]
mod tests {
    use runtime::telemetry::{LogFormat, Settings, Telemetry};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tracing::{Level, enabled};

    use super::*;

    async fn put(address: SocketAddr, filter: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head =
            "PUT /log-filter HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/plain";
        let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{filter}", filter.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn log_filter_changes_while_the_process_runs() {
        let settings = Settings {
            service: "test",
            format: LogFormat::Text,
            filter: "warn".to_owned(),
            otlp_endpoint: None,
        };
        let telemetry = Telemetry::start(&settings).unwrap();
        let listener = bind("debugging", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = serve(listener, debug(telemetry.filter()), shutdown.clone());
        let asked = async {
            assert!(!enabled!(Level::INFO));
            assert!(put(address, "info").await.starts_with("HTTP/1.1 200"));
            assert!(enabled!(Level::INFO));
            let refused = put(address, "operator=loud").await;
            assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
            assert!(refused.contains("operator=loud"), "{refused}");
            assert!(enabled!(Level::INFO));
            shutdown.begin();
        };
        let (served, ()) = tokio::join!(server, asked);
        served.unwrap();
    }
}
