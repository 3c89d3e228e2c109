//! `/config`: the whole configuration, in and out.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use kong::{
    canonical::ConfigHash,
    declarative::{self, Context, Declared, Rejection},
};
use serde_json::{Map, Value, json};

use super::{
    Node,
    call::{Call, Form, Reply},
    judge::Judge,
};

/// Names the leadership under which a configuration is sent; an older one is refused.
pub(super) const TERM: &str = "x-flotilla-term";
/// The media type of a change to a configuration.
const DELTA: &str = "application/vnd.flotilla.delta+json";

/// What a request asks to be loaded.
struct Asked {
    text: Vec<u8>,
    /// Whether the hash of the text is known to the sender.
    hashed: bool,
    check_hash: bool,
    flatten: bool,
}

/// `POST /config`.
pub(super) async fn load(node: &Node, call: &Call) -> Reply {
    let asked = match asked(call) {
        Ok(asked) => asked,
        Err(reply) => return reply,
    };
    let hash = ConfigHash::of(&asked.text).to_string();
    if asked.check_hash && asked.hashed && *node.gateway.state.current().hash == *hash {
        return Reply::empty(StatusCode::NOT_MODIFIED);
    }
    let Ok(_only) = node.loading.try_lock() else {
        return Reply::message(
            StatusCode::TOO_MANY_REQUESTS,
            "Currently loading previous configuration",
        )
        .header("retry-after", "1");
    };
    if let Err(reply) = fence(node, call) {
        return reply;
    }
    match decode(node, &asked.text) {
        Err(rejection) => refused(&rejection, asked.flatten),
        Ok(declared) => apply(node, declared, &asked.text).await,
    }
}

fn refused(rejection: &Rejection, flatten: bool) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, rejection.to_json(flatten))
}

/// Reads a configuration's text with everything that this gateway knows.
pub(super) fn decode(node: &Node, text: &[u8]) -> Result<Declared, Rejection> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let flavor = node.flavor();
    let context = Context {
        now: now.as_secs_f64(),
        seed: uuid::Uuid::new_v4().as_u128(),
        flavor,
        judge: &Judge { flavor, now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX) },
    };
    declarative::decode(text, &context)
}

/// Puts a configuration to work and keeps its text.
async fn apply(node: &Node, declared: Declared, text: &[u8]) -> Reply {
    let declared = Arc::new(declared);
    let hash = declared.hash().to_string();
    if let Err(error) = node.gateway.state.apply(Arc::clone(&declared), &hash).await {
        return refused(&Rejection::unreadable(&error.to_string()), false);
    }
    if let Err(error) = node.gateway.disk.save(text) {
        // The gateway serves on; only a restart without its operator would miss the text.
        tracing::error!(%error, "failed to keep the configuration on disk");
    }
    tracing::info!(hash, "configuration loaded");
    Reply::json(StatusCode::CREATED, declared.to_json())
}

/// Refuses pushes of an older leadership than the last one's.
fn fence(node: &Node, call: &Call) -> Result<(), Reply> {
    let Some(term) = call.headers.get(TERM) else { return Ok(()) };
    let Some(term) = term.to_str().ok().and_then(|text| text.parse::<u64>().ok()) else {
        return Err(Reply::message(StatusCode::BAD_REQUEST, "the leadership term is no number"));
    };
    let seen = node.term.fetch_max(term, std::sync::atomic::Ordering::SeqCst);
    if term < seen {
        let body = json!({ "message": "the push is of an older leadership", "term": seen });
        return Err(Reply::json(StatusCode::CONFLICT, body));
    }
    Ok(())
}

/// Finds the configuration's text in a request.
fn asked(call: &Call) -> Result<Asked, Reply> {
    let nothing =
        || Reply::message(StatusCode::BAD_REQUEST, "expected a declarative configuration");
    let mut parameters = call.parameters()?;
    let is_one = |value: &Value| *value == json!(1) || *value == json!("1");
    let check_hash = parameters.remove("check_hash").is_some_and(|value| is_one(&value));
    let flatten = parameters.remove("flatten_errors").is_some_and(|value| match value {
        Value::Bool(yes) => yes,
        Value::String(text) => {
            ["1", "true", "on", "yes"].contains(&text.to_ascii_lowercase().as_str())
        }
        other => is_one(&other),
    });
    let found = |text: Vec<u8>, hashed| Ok(Asked { text, hashed, check_hash, flatten });
    match parameters.remove("config") {
        Some(Value::String(text)) => return found(text.into_bytes(), true),
        // Only text is read; anything else is no configuration.
        Some(_) => return found(b"null".to_vec(), true),
        None => {}
    }
    match call.form() {
        Form::Json => found(Value::Object(parameters).to_string().into_bytes(), false),
        _ if call.body.is_empty() => Err(nothing()),
        _ => found(call.body.to_vec(), true),
    }
}

/// Whether the request is a change to the configuration rather than Kong's unknown `PATCH`.
pub(super) fn is_delta(call: &Call) -> bool {
    call.headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(DELTA))
}

/// `PATCH /config`: changes the configuration whose hash is the delta's base.
pub(super) async fn patch(node: &Node, call: &Call) -> Reply {
    let delta: kong::diff::Delta = match serde_json::from_slice(&call.body) {
        Ok(delta) => delta,
        Err(_) => return Reply::message(StatusCode::BAD_REQUEST, "Cannot parse JSON body"),
    };
    let Ok(_only) = node.loading.try_lock() else {
        return Reply::message(
            StatusCode::TOO_MANY_REQUESTS,
            "Currently loading previous configuration",
        )
        .header("retry-after", "1");
    };
    if let Err(reply) = fence(node, call) {
        return reply;
    }
    let current = node.gateway.state.current();
    if *current.hash != *delta.base {
        let body = json!({ "message": "the base is not what is loaded", "loaded": current.hash });
        return Reply::json(StatusCode::CONFLICT, body);
    }
    let document = delta.apply(&document(&node.declared()));
    let text = document.to_string().into_bytes();
    let mut declared = match decode(node, &text) {
        Ok(declared) => declared,
        Err(rejection) => return refused(&rejection, true),
    };
    match ConfigHash::parse(&delta.result) {
        Some(hash) => declared.set_hash(hash),
        None => return Reply::message(StatusCode::BAD_REQUEST, "the result is no hash"),
    }
    let reply = apply(node, declared, &text).await;
    if reply.status == StatusCode::CREATED {
        return Reply::ok(json!({ "configuration_hash": delta.result }));
    }
    reply
}

/// The configuration as a document that loads to the same entities.
pub(super) fn document(declared: &Declared) -> Value {
    let mut out = Map::new();
    out.insert("_format_version".into(), json!("3.0"));
    out.insert("_transform".into(), json!(false));
    for (kind, all) in declared.kinds().filter(|(kind, _)| *kind != "workspaces") {
        let entities: Vec<Value> = all.values().map(without_shorthands).collect();
        out.insert(kind.to_owned(), entities.into());
    }
    Value::Object(out)
}

/// References as text, and no older spellings beside the fields that they stand for.
fn without_shorthands(entity: &Value) -> Value {
    let Value::Object(map) = entity else { return entity.clone() };
    let mut out = map.clone();
    for value in out.values_mut() {
        if let Value::Object(reference) = value
            && reference.len() == 1
            && let Some(id) = reference.get("id")
        {
            *value = id.clone();
        }
    }
    let shorthands = out
        .get("name")
        .and_then(Value::as_str)
        .and_then(kong::schema::plugin)
        .and_then(|plugin| plugin.get("config"))
        .map(|field| match &field.kind {
            kong::schema::Kind::Record(record) => record.shorthands.as_slice(),
            _ => &[],
        });
    if let (Some(shorthands), Some(Value::Object(config))) = (shorthands, out.get_mut("config")) {
        for shorthand in shorthands {
            config.remove(shorthand.name);
        }
    }
    Value::Object(out)
}

/// `GET /config`: the configuration as YAML text.
pub(super) fn dump(declared: &Declared) -> Reply {
    let mut text = String::new();
    if let Value::Object(document) = document(declared) {
        for (name, value) in &document {
            write_field(&mut text, name, value, 0);
        }
    }
    Reply::ok(json!({ "config": text }))
}

/// Writes `name: value` in YAML as Kong's writer does: null as `~`, lists at their key's depth.
fn write_field(out: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(all) if all.is_empty() => out.push_str(&format!("{indent}{name}: []\n")),
        Value::Array(all) => {
            out.push_str(&format!("{indent}{name}:\n"));
            all.iter().for_each(|item| write_item(out, item, depth));
        }
        Value::Object(map) if map.is_empty() => out.push_str(&format!("{indent}{name}: {{}}\n")),
        Value::Object(map) => {
            out.push_str(&format!("{indent}{name}:\n"));
            map.iter().for_each(|(name, value)| write_field(out, name, value, depth + 1));
        }
        scalar => out.push_str(&format!("{indent}{name}: {}\n", write_scalar(scalar))),
    }
}

fn write_item(out: &mut String, item: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match item {
        Value::Object(map) if !map.is_empty() => {
            let mut inner = String::new();
            map.iter().for_each(|(name, value)| write_field(&mut inner, name, value, depth + 1));
            let body = inner.get(indent.len() + 2..).unwrap_or_default();
            out.push_str(&format!("{indent}- {body}"));
        }
        Value::Array(all) => out.push_str(&format!("{indent}- {}\n", json!(all))),
        scalar => out.push_str(&format!("{indent}- {}\n", write_scalar(scalar))),
    }
}

fn write_scalar(value: &Value) -> String {
    match value {
        Value::Null => "~".into(),
        Value::String(text) => write_text(text),
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

/// Text without quotes where it can be read back as the same text.
fn write_text(text: &str) -> String {
    const WORDS: [&str; 10] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "none"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let plain = (begins || kong::schema::is_uuid(text))
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    json!(text).to_string()
}
