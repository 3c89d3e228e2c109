//! A vault of our own making in place of HashiCorp's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use rustls::ClientConfig;
use serde_json::json;

use super::*;

#[derive(Default)]
struct Fake {
    away: AtomicBool,
    logins: AtomicUsize,
    version: AtomicUsize,
}

type Answer = Result<Json<Value>, StatusCode>;

async fn secret(State(fake): State<Arc<Fake>>, path: Path<String>, headers: HeaderMap) -> Answer {
    if fake.away.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    match headers.get("x-vault-token").and_then(|token| token.to_str().ok()) {
        Some("right" | "pod") => {}
        _ => return Err(StatusCode::FORBIDDEN),
    }
    let value = format!("{}-{}", path.0, fake.version.load(Ordering::SeqCst));
    Ok(Json(json!({ "data": { "data": { "key": value } } })))
}

async fn login(State(fake): State<Arc<Fake>>, Json(asked): Json<Value>) -> Answer {
    fake.logins.fetch_add(1, Ordering::SeqCst);
    if asked != json!({ "role": "gateway", "jwt": "account" }) {
        return Err(StatusCode::FORBIDDEN);
    }
    Ok(Json(json!({ "auth": { "client_token": "pod", "lease_duration": 3600 } })))
}

async fn start() -> (Arc<Fake>, SocketAddr) {
    let fake = Arc::new(Fake::default());
    let router = Router::new()
        .route("/v1/kv/data/{*path}", get(secret))
        .route("/v1/auth/kubernetes/login", post(login))
        .with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move { axum::serve(listener, router).await });
    (fake, address)
}

fn vaults(address: SocketAddr, more: &[(&str, &str)]) -> Vaults {
    let mut raw = Raw::default();
    raw.set("vault_hcv_port", &address.port().to_string());
    raw.set("vault_hcv_mount", "kv");
    raw.set("vault_hcv_kv", "v2");
    for (name, value) in more {
        raw.set(name, value);
    }
    let config = ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let config = Arc::new(config);
    let world = crate::services::World::new(uuid::Uuid::nil(), Arc::clone(&config), config);
    Vaults::new(&raw, Arc::new(world))
}

fn declared(reference: &str) -> Declared {
    let text = json!({
        "_format_version": "3.0",
        "plugins": [{ "name": "session", "config": { "secret": reference } }],
    });
    crate::admin::decode_text(text.to_string().as_bytes())
}

fn found(vaults: &Vaults, reference: &str) -> Option<String> {
    vaults.get(&Reference::parse(reference).unwrap())
}

#[tokio::test]
async fn a_secret_is_read_and_stands_while_the_vault_is_away() {
    let (fake, address) = start().await;
    let vaults = vaults(address, &[("vault_hcv_token", "right")]);
    let reference = "{vault://hcv/team/app/key}";
    let declared = declared(reference);
    assert!(vaults.prepare(&declared).await);
    assert_eq!(found(&vaults, reference).as_deref(), Some("team/app-0"));
    assert!(!vaults.prepare(&declared).await);
    fake.away.store(true, Ordering::SeqCst);
    assert!(!vaults.prepare(&declared).await);
    assert_eq!(found(&vaults, reference).as_deref(), Some("team/app-0"));
    fake.away.store(false, Ordering::SeqCst);
    fake.version.store(1, Ordering::SeqCst);
    assert!(vaults.prepare(&declared).await);
    assert_eq!(found(&vaults, reference).as_deref(), Some("team/app-1"));
}

#[tokio::test]
async fn a_pod_logs_in_once_with_its_service_account() {
    let (fake, address) = start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "account\n").unwrap();
    let vaults = vaults(
        address,
        &[
            ("vault_hcv_auth_method", "kubernetes"),
            ("vault_hcv_kube_role", "gateway"),
            ("vault_hcv_kube_api_token_file", file.path().to_str().unwrap()),
        ],
    );
    let reference = "{vault://hcv/a/key}";
    let declared = declared(reference);
    vaults.prepare(&declared).await;
    vaults.prepare(&declared).await;
    assert_eq!(found(&vaults, reference).as_deref(), Some("a-0"));
    assert_eq!(fake.logins.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_wrong_token_gives_nothing() {
    let (_fake, address) = start().await;
    let vaults = vaults(address, &[("vault_hcv_token", "wrong")]);
    let reference = "{vault://hcv/a/key}";
    vaults.prepare(&declared(reference)).await;
    assert_eq!(found(&vaults, reference), None);
}
