//! `/config`: the whole configuration, in and out.

use std::{
    sync::{Arc, LazyLock},
    time::{SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use kong::{
    admin::{DELTA_TYPE, TERM_HEADER},
    canonical::ConfigHash,
    declarative::{self, Context, Declared, Rejection},
    schema::Flavor,
};
use serde_json::{Map, Value, json};

use super::{
    Node,
    call::{Call, Form, Reply},
    judge::Judge,
};
use crate::app::PRODUCT;
use crate::state::{Content, DiskError, Kept, Origin, aside};
use proxy_core::compile::Harvested;

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
    if asked.check_hash
        && asked.hashed
        && *node.gateway.state.current().hash == *ConfigHash::of(&asked.text).to_string()
    {
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
    let (flavor, text) = (node.flavor(), asked.text);
    let origin = origin();
    let decoded = aside(move || decode(flavor, &text, origin).map(|decoded| (decoded, text)));
    match decoded.await {
        None => refused(&Rejection::unreadable("the gateway is going down"), false),
        Some(Err(rejection)) => refused(&rejection, asked.flatten),
        Some(Ok((decoded, text))) => apply(node, decoded, (text, origin)).await,
    }
}

fn refused(rejection: &Rejection, flatten: bool) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, rejection.to_json(flatten))
}

/// Entities, and what the compiler takes of them as it is.
type Decoded = (Declared, Harvested);

/// Reads a configuration's text with everything that this gateway knows.
pub(super) fn decode(flavor: Flavor, text: &[u8], origin: Origin) -> Result<Decoded, Rejection> {
    let mut harvested = Harvested::default();
    let read = |context: &Context<'_>| declarative::decode_into(text, context, &mut harvested);
    with_context(flavor, origin, read).map(|declared| (declared, harvested))
}

/// What was kept as it was last: the whole, with the changes that were made to it.
pub(super) fn restore(
    flavor: Flavor,
    kept: &Kept,
) -> Result<(Declared, Option<Harvested>), Rejection> {
    let hash = kept.hash.as_deref().and_then(ConfigHash::parse);
    let (mut declared, mut harvested) = match &kept.content {
        Content::Text(text, known) => {
            let (declared, harvested) = decode(flavor, text, known.unwrap_or_else(origin))?;
            (declared, Some(harvested))
        }
        Content::Entities { json, mark } => {
            let unreadable = || Rejection::unreadable("kept entities cannot be read");
            let declared = Declared::from_json(json).ok_or_else(unreadable)?;
            // Whatever another program thought of them, this one makes up its own mind.
            match *mark == judge_mark(flavor) && hash.is_some() {
                true => (declared, None),
                false => {
                    let text = declared.document().to_string();
                    let (declared, harvested) = decode(flavor, text.as_bytes(), origin())?;
                    (declared, Some(harvested))
                }
            }
        }
    };
    if let Some(hash) = hash {
        declared.set_hash(hash);
    }
    for change in &kept.changes {
        let delta: Option<kong::diff::Delta> = serde_json::from_slice(change).ok();
        let Some(delta) = delta.filter(|delta| delta.base == declared.hash().to_string()) else {
            continue;
        };
        let changed = |context: &Context<'_>| declarative::patch(&declared, &delta, context);
        declared = with_context(flavor, origin(), changed)?.declared;
        harvested = None;
    }
    Ok((declared, harvested))
}

/// Size and time of the file that this program was started from. It is looked at once: later another program may stand there.
static BUILT: LazyLock<String> = LazyLock::new(|| {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let built = program.and_then(|program| Ok((program.len(), program.modified()?)));
    let built =
        built.map(|(size, time)| (size, time.duration_since(UNIX_EPOCH).unwrap_or_default()));
    // Without a way to tell, every start judges again.
    built.map_or_else(
        |_| uuid::Uuid::new_v4().to_string(),
        |(size, time)| format!("{size} {}", time.as_nanos()),
    )
});

/// What tells this program, judging routes of this flavor, from every other: one that was built anew is another.
fn judge_mark(flavor: Flavor) -> String {
    format!("{PRODUCT} {} {}", flavor.as_str(), *BUILT)
}

/// The time and the chance of this moment.
pub(super) fn origin() -> Origin {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Origin { now, seed: uuid::Uuid::new_v4().as_u128() }
}

/// What decoding needs from this gateway.
pub(super) fn with_context<T>(
    flavor: Flavor,
    origin: Origin,
    read: impl FnOnce(&Context<'_>) -> T,
) -> T {
    let Origin { now, seed } = origin;
    let judge = &Judge { flavor, now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX) };
    read(&Context { now: now.as_secs_f64(), seed, flavor, judge })
}

/// Puts a configuration to work and keeps it.
async fn apply(
    node: &Node,
    (declared, harvested): Decoded,
    (text, origin): (Vec<u8>, Origin),
) -> Reply {
    let declared = Arc::new(declared);
    let hash = declared.hash().to_string();
    let applied = node.gateway.state.apply(Arc::clone(&declared), Some(harvested), &hash);
    if let Err(error) = applied.await {
        return refused(&Rejection::unreadable(&error.to_string()), false);
    }
    tracing::info!(hash, "configuration loaded");
    let (disk, flavor) = (node.gateway.disk.clone(), node.flavor());
    let rest = aside(move || {
        let json = declared.to_json();
        // Passwords become hashes when they are read, and only those are kept.
        let content = match declared.kind("basicauth_credentials") {
            None => Content::Text(text, Some(origin)),
            Some(_) => Content::Entities { json: json.clone(), mark: judge_mark(flavor) },
        };
        note(disk.save(&content, &hash));
        json
    });
    Reply::raw_json(StatusCode::CREATED, rest.await.unwrap_or_default())
}

/// The gateway serves on; only a restart without its operator would miss what was not kept.
fn note(kept: Result<(), DiskError>) {
    if let Err(error) = kept {
        tracing::error!(%error, "failed to keep the configuration on disk");
    }
}

/// Keeps a change, and the whole once there are many.
async fn keep(node: &Node, change: &[u8]) {
    match node.gateway.disk.append(change) {
        Ok(false) => {}
        Ok(true) => {
            let (disk, current) = (node.gateway.disk.clone(), node.gateway.state.current());
            let flavor = node.flavor();
            let save = move || {
                let (json, mark) = (current.entities.to_json(), judge_mark(flavor));
                note(disk.save(&Content::Entities { json, mark }, &current.hash));
            };
            aside(save).await;
        }
        Err(error) => note(Err(error)),
    }
}

/// Refuses pushes of an older leadership than the last one's.
fn fence(node: &Node, call: &Call) -> Result<(), Reply> {
    let Some(term) = call.headers.get(TERM_HEADER) else { return Ok(()) };
    let Some(term) = term.to_str().ok().and_then(|text| text.parse::<u64>().ok()) else {
        return Err(Reply::message(StatusCode::BAD_REQUEST, "the leadership term is no number"));
    };
    let seen = node.term.fetch_max(term, std::sync::atomic::Ordering::SeqCst);
    if term < seen {
        let body = json!({ "message": "the push is of an older leadership", "term": seen });
        return Err(Reply::json(StatusCode::CONFLICT, body));
    }
    if term > seen {
        note(node.gateway.disk.save_term(term));
    }
    Ok(())
}

/// Finds the configuration's text in a request.
fn asked(call: &Call) -> Result<Asked, Reply> {
    let nothing =
        || Reply::message(StatusCode::BAD_REQUEST, "expected a declarative configuration");
    let query = call.arguments();
    let bare = bare_configuration(call, &query);
    let mut parameters = if bare.is_some() { query } else { call.parameters()? };
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
    if let Some(text) = bare {
        return found(text, false);
    }
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

/// Options of `POST /config`, which may stand in the query or beside the configuration.
const OPTIONS: [&str; 2] = ["check_hash", "flatten_errors"];

/// The body, where it is a configuration in JSON without anything beside it: read and printed anew it would say the same.
fn bare_configuration(call: &Call, query: &Map<String, Value>) -> Option<Vec<u8>> {
    type Names = std::collections::HashMap<String, serde::de::IgnoredAny>;
    if call.form() != Form::Json || !query.keys().all(|name| OPTIONS.contains(&name.as_str())) {
        return None;
    }
    let text = std::str::from_utf8(&call.body).ok()?;
    let names: Names = serde_json::from_str(text).ok()?;
    let bare = !names.keys().any(|name| name == "config" || OPTIONS.contains(&name.as_str()));
    bare.then(|| call.body.to_vec())
}

/// Whether the request is a change to the configuration rather than Kong's unknown `PATCH`.
pub(super) fn is_delta(call: &Call) -> bool {
    call.headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(DELTA_TYPE))
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
    if ConfigHash::parse(&delta.result).is_none() {
        return Reply::message(StatusCode::BAD_REQUEST, "the result is no hash");
    }
    let amended = with_context(node.flavor(), origin(), |context| {
        declarative::patch(&current.entities, &delta, context)
    });
    let amended = match amended {
        Ok(amended) => amended,
        Err(rejection) => return refused(&rejection, true),
    };
    let (declared, ids) = (Arc::new(amended.declared), amended.ids.as_ref());
    if let Err(error) = node.gateway.state.amend(declared, ids).await {
        return refused(&Rejection::unreadable(&error.to_string()), false);
    }
    keep(node, &call.body).await;
    tracing::info!(hash = delta.result, "configuration changed");
    Reply::ok(json!({ "configuration_hash": delta.result }))
}

/// `GET /config`: the configuration as YAML text.
pub(super) fn dump(declared: &Declared) -> Reply {
    let mut text = String::new();
    if let Value::Object(document) = declared.document() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(json: &str, mark: String) -> Kept {
        let content = Content::Entities { json: json.to_owned(), mark };
        Kept { content, hash: Some("0123456789abcdef0123456789abcdef".into()), changes: Vec::new() }
    }

    #[test]
    fn only_what_this_program_judged_is_taken_as_it_is() {
        let flavor = Flavor::TraditionalCompatible;
        let text = br#"{"_format_version":"3.0","services":[{"name":"s","host":"a","routes":[{"paths":["/a"]}]}]}"#;
        let (declared, _) = decode(flavor, text, origin()).unwrap();
        let json = declared.to_json();
        let faulty = json.replace("\"port\":80,", "\"port\":\"none\",");
        assert_ne!(faulty, json);
        let (own, _) = restore(flavor, &kept(&json, judge_mark(flavor))).unwrap();
        assert_eq!(own.to_json(), json);
        assert_eq!(own.hash().to_string(), "0123456789abcdef0123456789abcdef");
        let (again, _) = restore(flavor, &kept(&json, "another program".into())).unwrap();
        let ids =
            |all: &Declared| all.values("routes").map(|one| one["id"].clone()).collect::<Vec<_>>();
        assert_eq!((ids(&again), again.hash()), (ids(&declared), own.hash()));
        assert!(restore(flavor, &kept(&faulty, judge_mark(flavor))).is_ok());
        assert!(restore(flavor, &kept(&faulty, judge_mark(Flavor::Expressions))).is_err());
        assert!(restore(flavor, &kept("{", judge_mark(flavor))).is_err());
    }

    #[test]
    fn a_kept_text_becomes_the_entities_that_it_was() {
        let flavor = Flavor::TraditionalCompatible;
        let text = br#"{"_format_version":"3.0","consumers":[{"username":"a","keyauth_credentials":[{}]}],"routes":[{"paths":["/a"]}]}"#;
        let origin = origin();
        let (declared, _) = decode(flavor, text, origin).unwrap();
        let content = Content::Text(text.to_vec(), Some(origin));
        let (again, _) =
            restore(flavor, &Kept { content, hash: None, changes: Vec::new() }).unwrap();
        assert_eq!(again, declared);
    }
}
