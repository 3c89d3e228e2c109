//! What an answer of an Admin API means. No IO.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{StatusCode, header};
use operator_core::fleet::event::{
    Node, Pushed, Refusal, RefusalCause, RefusedEntity, Trouble, TroubleKind,
};
use operator_core::revision::{ConfigHash, Dialect};
use serde::Deserialize;
use serde_json::Value;

use super::hash_of;

/// How much of a proxy's own words is kept.
const WORDS_MOST: usize = 1024;
/// How the `Server` header of our own proxy begins.
const OWN: &str = "flotilla/";
/// How many refused entities are kept.
const ENTITIES_MOST: usize = 64;

/// An answer, read up to its bound.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    json: bool,
    /// Our own proxy answers.
    own: bool,
    retry_after: Option<Duration>,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(head: &Parts, body: Bytes) -> Self {
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status: head.status,
            json: text(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("json")),
            own: text(header::SERVER).is_some_and(|server| server.starts_with(OWN)),
            retry_after: text(header::RETRY_AFTER)
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
            body,
        }
    }

    /// What the proxy says in its `message`, or the beginning of what it sent.
    fn words(&self) -> String {
        #[derive(Deserialize)]
        struct Message {
            message: String,
        }
        let message = serde_json::from_slice::<Message>(&self.body).map(|it| it.message);
        shorten(&message.unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into_owned()))
    }

    /// An answer that should have been a 200 with JSON.
    fn expect_json<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, Trouble> {
        if let Some(trouble) = self.not_ours() {
            return Err(trouble);
        }
        if self.status != StatusCode::OK {
            let kind = if self.status.is_server_error() {
                TroubleKind::ServerError
            } else {
                TroubleKind::NotAnAdminApi
            };
            return Err(trouble(kind, format!("{what} answered {}", self.status)));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            trouble(TroubleKind::NotAnAdminApi, format!("{what} answered something else: {error}"))
        })
    }

    /// Answers that no Admin API gives: HTML pages and refusals of our certificate.
    fn not_ours(&self) -> Option<Trouble> {
        let page = String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]);
        if self.status == StatusCode::BAD_REQUEST && page.contains("SSL certificate") {
            // nginx verifies the client only after the handshake, and says so on a page.
            let message = "the proxy refuses the operator's certificate".to_owned();
            return Some(trouble(TroubleKind::Unauthorized, message));
        }
        if matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let message = format!("the proxy refuses the operator: {}", self.status);
            return Some(trouble(TroubleKind::Unauthorized, message));
        }
        let html = page.trim_start().get(..1) == Some("<");
        (html && self.status.is_success()).then(|| {
            let message = "what answers is a web page, not an Admin API".to_owned();
            trouble(TroubleKind::NotAnAdminApi, message)
        })
    }
}

/// Reads `GET /`.
pub(super) fn node(answer: &Answer) -> Result<Node, Trouble> {
    #[derive(Deserialize)]
    struct Root {
        version: String,
        #[serde(default)]
        node_id: String,
        #[serde(default)]
        hostname: String,
        configuration: Configuration,
    }
    #[derive(Deserialize)]
    struct Configuration {
        #[serde(default)]
        router_flavor: String,
        #[serde(default)]
        database: String,
    }
    let Root { version, node_id, hostname, configuration } = answer.expect_json("GET /")?;
    Ok(Node {
        version,
        node_id,
        hostname,
        dialect: Dialect::of(&configuration.router_flavor, answer.own),
        db_less: configuration.database == "off",
    })
}

/// Reads `GET /status`.
pub(super) fn hash(answer: &Answer) -> Result<ConfigHash, Trouble> {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        configuration_hash: Option<String>,
    }
    let status: Status = answer.expect_json("GET /status")?;
    hash_of(status.configuration_hash.as_deref()).ok_or_else(|| {
        let message = "GET /status reports a hash that is none".to_owned();
        trouble(TroubleKind::NotAnAdminApi, message)
    })
}

/// Reads the answer to `POST /config`.
pub(super) fn pushed(answer: &Answer) -> Pushed {
    let status = answer.status.as_u16();
    match answer.status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NOT_MODIFIED => {
            Pushed::Accepted { status }
        }
        StatusCode::BAD_REQUEST => refused(answer),
        StatusCode::CONFLICT => Pushed::Fenced,
        StatusCode::PAYLOAD_TOO_LARGE => too_large(answer),
        StatusCode::TOO_MANY_REQUESTS => {
            Pushed::Busy { retry_after: answer.retry_after.unwrap_or(Duration::from_secs(1)) }
        }
        StatusCode::SERVICE_UNAVAILABLE if answer.words().contains("exiting") => Pushed::Leaving,
        other => {
            let trouble = answer.not_ours().unwrap_or_else(|| {
                let server = other.is_server_error();
                let kind =
                    if server { TroubleKind::ServerError } else { TroubleKind::NotAnAdminApi };
                trouble(kind, format!("POST /config answered {other}: {}", answer.words()))
            });
            Pushed::Failed(trouble)
        }
    }
}

fn too_large(answer: &Answer) -> Pushed {
    let (cause, message) = if answer.json {
        (RefusalCause::StoreFull, answer.words())
    } else {
        let message = "the Admin API's listener takes no body of this size \
                       (nginx_admin_client_max_body_size)";
        (RefusalCause::BodyTooLarge, message.to_owned())
    };
    Pushed::Refused(Arc::new(Refusal { cause, status: 413, message, entities: Vec::new() }))
}

fn refused(answer: &Answer) -> Pushed {
    if let Some(trouble) = answer.not_ours() {
        return Pushed::Failed(trouble);
    }
    let words = answer.words();
    if words.contains("configured to not use a database") {
        let message = "the proxy keeps its configuration in a database".to_owned();
        return Pushed::Failed(trouble(TroubleKind::NotDbLess, message));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut entities = flattened(&body);
    if entities.is_empty() {
        entities = unflattened(&body);
    }
    entities.truncate(ENTITIES_MOST);
    Pushed::Refused(Arc::new(Refusal {
        cause: RefusalCause::Invalid,
        status: 400,
        message: words,
        entities,
    }))
}

/// Reads `flattened_errors`: one item an entity, with its tags.
fn flattened(body: &Value) -> Vec<RefusedEntity> {
    #[derive(Deserialize)]
    struct Flattened {
        #[serde(default)]
        entity_type: String,
        entity_id: Option<String>,
        entity_name: Option<String>,
        #[serde(default)]
        entity_tags: Vec<String>,
        #[serde(default)]
        errors: Vec<FlatError>,
    }
    #[derive(Deserialize)]
    struct FlatError {
        field: Option<String>,
        /// One sentence, or whatever structure the proxy has for it.
        #[serde(default)]
        message: Value,
        /// Several sentences in place of one.
        #[serde(default)]
        messages: Vec<String>,
    }
    let items = body.get("flattened_errors").and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| Flattened::deserialize(item).ok())
        .map(|item| RefusedEntity {
            kind: item.entity_type,
            id: item.entity_id,
            name: item.entity_name,
            tags: item.entity_tags,
            errors: item
                .errors
                .into_iter()
                .map(|FlatError { field, message, messages }| {
                    let message = match message {
                        Value::Null => messages.join("; "),
                        Value::String(message) => message,
                        other => other.to_string(),
                    };
                    shorten(&field.map_or(message.clone(), |field| format!("{field}: {message}")))
                })
                .collect(),
        })
        .collect()
}

/// Reads `fields` as it is without flattening: kind, then name or id, then what is wrong.
fn unflattened(body: &Value) -> Vec<RefusedEntity> {
    let kinds = body.get("fields").and_then(Value::as_object).into_iter().flatten();
    let mut entities = Vec::new();
    for (kind, errors) in kinds {
        let kind = kind.strip_suffix('s').unwrap_or(kind);
        for (key, error) in errors.as_object().into_iter().flatten() {
            let is_id = key.len() == 36 && key.bytes().filter(|byte| *byte == b'-').count() == 4;
            entities.push(RefusedEntity {
                kind: kind.to_owned(),
                id: is_id.then(|| key.clone()),
                name: (!is_id).then(|| key.clone()),
                tags: Vec::new(),
                errors: sentences(error),
            });
        }
    }
    entities
}

fn sentences(error: &Value) -> Vec<String> {
    match error {
        Value::String(text) => vec![shorten(text)],
        Value::Array(items) => items.iter().flat_map(sentences).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(field, error)| {
                sentences(error).into_iter().map(move |text| format!("{field}: {text}"))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn trouble(kind: TroubleKind, message: String) -> Trouble {
    Trouble { kind, message }
}

fn shorten(text: &str) -> String {
    if text.len() <= WORDS_MOST {
        return text.to_owned();
    }
    let end = (0..=WORDS_MOST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;
