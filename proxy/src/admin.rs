//! The Admin API's first steps: `POST /config` and `GET /status`, and the configuration at start.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use proxy_core::plugin::Entities;
use runtime::{Shutdown, Tasks};
use serde_json::{Map, Value, json};

use crate::app::Gateway;
use crate::listen::bind;

/// Entities by kind.
struct Flat(BTreeMap<String, Vec<Value>>);

impl Entities for Flat {
    fn of<'a>(&'a self, kind: &str) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
        Box::new(self.0.get(kind).into_iter().flatten())
    }
}

const NESTED: &[(&str, &str, &str)] = &[
    ("services", "routes", "service"),
    ("services", "plugins", "service"),
    ("routes", "plugins", "route"),
    ("consumers", "plugins", "consumer"),
    ("upstreams", "targets", "upstream"),
    ("certificates", "snis", "certificate"),
];

fn flatten(kind: &str, mut entity: Map<String, Value>, all: &mut BTreeMap<String, Vec<Value>>) {
    let id = entity.entry("id").or_insert_with(|| uuid::Uuid::new_v4().to_string().into()).clone();
    for (parent, field, key) in NESTED {
        if *parent == kind
            && let Some(Value::Array(children)) = entity.remove(*field)
        {
            for child in children {
                if let Value::Object(mut child) = child {
                    child.insert((*key).to_owned(), json!({ "id": id }));
                    flatten(field, child, all);
                }
            }
        }
    }
    if let Some(url) = entity.remove("url").and_then(|url| url.as_str().map(str::to_owned))
        && let Ok(url) = url.parse::<http::Uri>()
    {
        entity.insert("protocol".into(), url.scheme_str().unwrap_or("http").into());
        entity.insert("host".into(), url.host().unwrap_or_default().into());
        let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
        entity.insert("port".into(), url.port_u16().unwrap_or(default).into());
        if url.path() != "/" {
            entity.insert("path".into(), url.path().into());
        }
    }
    all.entry(kind.to_owned()).or_default().push(Value::Object(entity));
}

fn decode(text: &[u8]) -> Option<Flat> {
    let Value::Object(document) = serde_json::from_slice(text).ok()? else { return None };
    let mut all = BTreeMap::new();
    for (kind, list) in document {
        if let Value::Array(list) = list {
            for entity in list {
                if let Value::Object(entity) = entity {
                    flatten(&kind, entity, &mut all);
                }
            }
        }
    }
    Some(Flat(all))
}

/// Compiles a configuration and says what is wrong with it.
pub async fn try_text(gateway: &Arc<Gateway>, text: &[u8]) -> Option<String> {
    let Some(flat) = decode(text) else { return Some("not a configuration".to_owned()) };
    gateway.state.apply(Arc::new(flat), "00").await.err().map(|error| error.to_string())
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
    match try_text(&gateway, &body).await {
        None => (StatusCode::CREATED, axum::Json(json!({}))).into_response(),
        Some(problem) => {
            (StatusCode::BAD_REQUEST, axum::Json(json!({ "message": problem }))).into_response()
        }
    }
}

async fn status(State(gateway): State<Arc<Gateway>>) -> Response {
    axum::Json(json!({ "configuration_hash": gateway.state.current().hash })).into_response()
}
