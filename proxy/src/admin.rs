//! The Admin API's first steps: `POST /config` and `GET /status`, and the configuration at start.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kong::declarative::{Context, Declared, Lenient, Rejection, decode};
use proxy_core::compile::CompileError;
use proxy_core::route::Flavor;
use runtime::{Shutdown, Tasks};
use serde_json::{Value, json};

use crate::app::Gateway;
use crate::listen::bind;

/// What is wrong with a configuration.
enum Problem {
    /// It is not one.
    Rejected(Rejection),
    /// This gateway cannot run it.
    Uncompiled(CompileError),
}

fn decoded(gateway: &Gateway, text: &[u8]) -> Result<Declared, Rejection> {
    let flavor = match gateway.settings.flavor {
        Flavor::Traditional => kong::schema::Flavor::Traditional,
        Flavor::TraditionalCompatible => kong::schema::Flavor::TraditionalCompatible,
        Flavor::Expressions => kong::schema::Flavor::Expressions,
    };
    let context = Context {
        now: crate::http::now().as_secs_f64(),
        seed: uuid::Uuid::new_v4().as_u128(),
        flavor,
        judge: &Lenient,
    };
    decode(text, &context)
}

/// Decodes, compiles and puts a configuration to work.
async fn apply(gateway: &Arc<Gateway>, text: &[u8]) -> Result<(), Problem> {
    let declared = decoded(gateway, text).map_err(Problem::Rejected)?;
    let hash = declared.hash().to_string();
    let applied = gateway.state.apply(Arc::new(Entities(declared)), &hash).await;
    applied.map_err(Problem::Uncompiled)?;
    if let Err(error) = gateway.disk.save(text) {
        tracing::warn!(%error, "configuration is not kept on disk");
    }
    Ok(())
}

/// Decoded entities, as the compiler reads them.
struct Entities(Declared);

impl proxy_core::plugin::Entities for Entities {
    fn of<'a>(&'a self, kind: &str) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
        Box::new(self.0.of(kind))
    }
}

/// Says what is wrong with a configuration, if anything.
pub async fn try_text(gateway: &Arc<Gateway>, text: &[u8]) -> Option<String> {
    match apply(gateway, text).await {
        Ok(()) => None,
        Err(Problem::Rejected(rejection)) => Some(rejection.to_json(true).to_string()),
        Err(Problem::Uncompiled(error)) => Some(error.to_string()),
    }
}

/// Loads the declared configuration, or the one that was kept.
pub async fn load_first(gateway: &Arc<Gateway>) {
    let text = match &gateway.settings.declarative {
        Some(path) => std::fs::read(path).ok(),
        None => gateway.disk.load().ok().flatten(),
    };
    if let Some(text) = text
        && let Some(problem) = try_text(gateway, &text).await
    {
        tracing::error!(problem, "configuration at start was refused");
    }
}

/// Starts the Admin API's listeners.
pub fn start(gateway: &Arc<Gateway>, tasks: &mut Tasks, shutdown: &Shutdown) -> anyhow::Result<()> {
    for one in gateway.settings.admin.iter().filter(|one| !one.tls) {
        let listener = bind(one).with_context(|| format!("failed to listen on {}", one.address))?;
        let router = Router::new()
            .route("/config", post(config))
            .route("/status", get(status))
            .with_state(Arc::clone(gateway));
        let shutdown = shutdown.clone();
        tasks.spawn(format!("admin {}", one.address), async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(async move { shutdown.requested().await })
                .await?;
            Ok(())
        });
    }
    Ok(())
}

async fn config(State(gateway): State<Arc<Gateway>>, body: Bytes) -> Response {
    let answer = |status: StatusCode, body: &Value| {
        (status, [("content-type", "application/json; charset=utf-8")], body.to_string())
            .into_response()
    };
    match apply(&gateway, &body).await {
        Ok(()) => answer(StatusCode::CREATED, &json!({})),
        Err(Problem::Rejected(rejection)) => {
            answer(StatusCode::BAD_REQUEST, &rejection.to_json(true))
        }
        Err(Problem::Uncompiled(error)) => {
            answer(StatusCode::BAD_REQUEST, &json!({ "message": error.to_string() }))
        }
    }
}

async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    axum::Json(json!({ "configuration_hash": gateway.state.current().hash })).into_response()
}
