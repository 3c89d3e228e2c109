//! HashiCorp's vault: its key-value engine in both versions, entered with a token or as a Kubernetes service account.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use kong::vault::Reference;
use proxy_core::plugin::{HttpCall, Services};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

/// The fields of its configuration.
pub(super) const FIELDS: [&str; 12] = [
    "protocol",
    "host",
    "port",
    "namespace",
    "mount",
    "kv",
    "token",
    "auth_method",
    "kube_role",
    "kube_auth_path",
    "kube_api_token_file",
    "ttl",
];

/// Where a pod finds its own token.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    /// It does not answer.
    #[error("failed to reach the vault")]
    Unreachable,
    /// It answers with a refusal.
    #[error("vault answered {0}")]
    Status(u16),
    /// The service account's token.
    #[error("failed to read the service account token")]
    Account(#[source] std::io::Error),
    /// The secret has no such key.
    #[error("secret has no such key")]
    Missing,
}

/// A vault, and the way in.
pub(super) struct Hashicorp {
    config: Map<String, Value>,
    session: Mutex<Option<Session>>,
}

/// A token in use.
#[derive(Clone)]
struct Session {
    token: String,
    /// When it should be renewed, where it ends at all.
    renew: Option<Instant>,
}

impl Hashicorp {
    pub(super) fn new(config: Map<String, Value>) -> Self {
        Self { config, session: Mutex::default() }
    }

    /// Whether this vault is the one of a configuration.
    pub(super) fn is_of(&self, config: &Map<String, Value>) -> bool {
        self.config == *config
    }

    /// How long what it says may be used.
    pub(super) fn refresh(&self) -> Option<Duration> {
        let ttl = self.config.get("ttl")?.as_f64().filter(|ttl| *ttl > 0.0)?;
        Some(Duration::from_secs_f64(ttl))
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.config.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    /// Reads a secret; one whose session has ended is asked for with a new one.
    pub(super) async fn read(
        &self,
        services: &dyn Services,
        reference: &Reference,
    ) -> Result<String, VaultError> {
        let mut session = self.session.lock().await;
        let mut tried = false;
        loop {
            let token = self.enter(services, &mut session).await?;
            let answer = self.ask(services, &self.path(reference), &token, None).await;
            match answer {
                Err(VaultError::Status(403)) if !tried => {
                    tried = true;
                    *session = None;
                }
                Err(error) => return Err(error),
                Ok(answer) => {
                    let data = match self.text("kv") {
                        Some("v2") => answer.pointer("/data/data"),
                        Some(_) | None => answer.get("data"),
                    };
                    let data = data.unwrap_or(&Value::Null).to_string();
                    return reference.pick(&data).ok_or(VaultError::Missing);
                }
            }
        }
    }

    fn path(&self, reference: &Reference) -> String {
        let mount = self.text("mount").unwrap_or("secret");
        match self.text("kv") {
            Some("v2") => format!("{mount}/data/{}", reference.resource),
            Some(_) | None => format!("{mount}/{}", reference.resource),
        }
    }

    /// The token to show, renewed in time.
    async fn enter(
        &self,
        services: &dyn Services,
        session: &mut Option<Session>,
    ) -> Result<String, VaultError> {
        if let Some(current) = session.as_ref()
            && current.renew.is_none_or(|renew| Instant::now() < renew)
        {
            return Ok(current.token.clone());
        }
        let new = match session.take() {
            Some(old) => self.renew(services, &old).await,
            None => None,
        };
        let new = match new {
            Some(new) => new,
            None if self.text("auth_method") == Some("kubernetes") => self.log_in(services).await?,
            None => self.first(services).await,
        };
        let token = new.token.clone();
        *session = Some(new);
        Ok(token)
    }

    /// The configured token, and how long it lives.
    async fn first(&self, services: &dyn Services) -> Session {
        let token = self.text("token").unwrap_or_default().to_owned();
        let found = self.ask(services, "auth/token/lookup-self", &token, None).await;
        let data = found.ok().and_then(|answer| answer.get("data").cloned()).unwrap_or_default();
        let renewable = data.get("renewable").and_then(Value::as_bool).unwrap_or(false);
        let ttl = data.get("ttl").and_then(Value::as_u64).filter(|_| renewable);
        Session { token, renew: ttl.and_then(two_thirds) }
    }

    /// A token for the pod's service account.
    async fn log_in(&self, services: &dyn Services) -> Result<Session, VaultError> {
        let file = self.text("kube_api_token_file").unwrap_or(TOKEN_FILE).to_owned();
        let account = tokio::fs::read_to_string(file).await.map_err(VaultError::Account)?;
        let path = format!("auth/{}/login", self.text("kube_auth_path").unwrap_or("kubernetes"));
        let body = json!({ "role": self.text("kube_role"), "jwt": account.trim() });
        let answer = self.ask(services, &path, "", Some(&body)).await?;
        session_of(&answer).ok_or(VaultError::Missing)
    }

    async fn renew(&self, services: &dyn Services, old: &Session) -> Option<Session> {
        let path = "auth/token/renew-self";
        let answer = self.ask(services, path, &old.token, Some(&json!({}))).await.ok()?;
        session_of(&answer)
    }

    /// Asks with a body what changes something, without one what does not.
    async fn ask(
        &self,
        services: &dyn Services,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Value, VaultError> {
        let protocol = self.text("protocol").unwrap_or("http");
        let host = self.text("host").unwrap_or("127.0.0.1");
        let port = self.config.get("port").and_then(Value::as_u64).unwrap_or(8_200);
        let mut headers = HeaderMap::new();
        let shown = [("x-vault-token", Some(token)), ("x-vault-namespace", self.text("namespace"))];
        for (name, value) in shown {
            let value = value.filter(|value| !value.is_empty());
            if let Some(Ok(mut value)) = value.map(HeaderValue::from_str) {
                value.set_sensitive(true);
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let call = HttpCall {
            method: if body.is_some() { Method::POST } else { Method::GET },
            url: format!("{protocol}://{host}:{port}/v1/{path}"),
            headers,
            body: body.map_or_else(Bytes::new, |body| body.to_string().into()),
            timeout: PATIENCE,
            verify: true,
            proxy: None,
        };
        let reply = services.http(call).await.map_err(|_| VaultError::Unreachable)?;
        if !reply.status.is_success() {
            return Err(VaultError::Status(reply.status.as_u16()));
        }
        serde_json::from_slice(&reply.body).map_err(|_| VaultError::Missing)
    }
}

fn session_of(answer: &Value) -> Option<Session> {
    let auth = answer.get("auth")?;
    let lives = auth.get("lease_duration").and_then(Value::as_u64).filter(|ttl| *ttl > 0);
    let token = auth.get("client_token")?.as_str()?.to_owned();
    Some(Session { token, renew: lives.and_then(two_thirds) })
}

/// The moment when two thirds of a life are over.
fn two_thirds(seconds: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(seconds.checked_mul(2)? / 3))
}
