//! response-transformer: headers and JSON members changed on the way to the client.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::template::number;
use super::{BuildError, Config, Plugin, json, texts};
use crate::exchange::{BodyFilter, Exchange, text};

struct ResponseTransformer {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    replace: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
    json: Option<Arc<JsonRules>>,
}

#[derive(Default)]
struct JsonRules {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, Option<Value>)>,
    add: Vec<(String, Option<Value>)>,
    append: Vec<(String, Option<Value>)>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let list = |action: &str, place: &str| {
        texts(config.config.get(action).and_then(|action| action.get(place)))
    };
    let pairs = |action: &str| -> Vec<(HeaderName, HeaderValue)> {
        list(action, "headers")
            .iter()
            .filter_map(|entry| entry.split_once(':'))
            .filter_map(|(name, value)| {
                Some((name.parse().ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
            })
            .collect()
    };
    let members = |action: &str| -> Vec<(String, Option<Value>)> {
        let types = list(action, "json_types");
        list(action, "json")
            .iter()
            .enumerate()
            .map(|(at, entry)| {
                let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
                (name.to_owned(), typed(value, types.get(at).map(String::as_str)))
            })
            .collect()
    };
    let split =
        |entry: &String| entry.split_once(':').map(|(old, new)| (old.to_owned(), new.to_owned()));
    let rules = JsonRules {
        remove: list("remove", "json"),
        rename: list("rename", "json").iter().filter_map(split).collect(),
        replace: members("replace"),
        add: members("add"),
        append: members("append"),
    };
    Ok(Box::new(ResponseTransformer {
        remove: list("remove", "headers").iter().filter_map(|name| name.parse().ok()).collect(),
        rename: list("rename", "headers")
            .iter()
            .filter_map(split)
            .filter_map(|(old, new)| Some((old.parse().ok()?, new.parse().ok()?)))
            .collect(),
        replace: pairs("replace"),
        add: pairs("add"),
        append: pairs("append"),
        json: (!rules.is_empty()).then(|| Arc::new(rules)),
    }))
}

/// A configured value in the type that stands beside it; text is escaped once, as Kong does.
fn typed(value: &str, kind: Option<&str>) -> Option<Value> {
    match kind {
        Some("number") => number(value).map(|number| {
            if number.fract() == 0.0 { Value::from(number as i64) } else { Value::from(number) }
        }),
        Some("boolean") => Some(Value::Bool(value == "true")),
        Some(_) | None if value.is_empty() => Some("null".into()),
        Some(_) | None => {
            let quoted = Value::from(value).to_string();
            let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            Some(inner.replace("\\\"", "\"").into())
        }
    }
}

impl Plugin for ResponseTransformer {
    fn header_filter(&self, exchange: &mut Exchange) {
        let response = &mut exchange.response;
        self.headers(&mut response.headers);
        let is_json = response.headers.get(CONTENT_TYPE).and_then(text).is_some_and(is_json);
        if let (Some(rules), true) = (&self.json, is_json) {
            response.headers.remove(CONTENT_LENGTH);
            response
                .filters
                .push(Box::new(Whole { rules: Arc::clone(rules), body: BytesMut::new() }));
        }
    }
}

impl ResponseTransformer {
    /// Decides on the headers as they were before.
    fn headers(&self, headers: &mut HeaderMap) {
        let before = headers.clone();
        for name in &self.remove {
            headers.remove(name);
        }
        for (old, new) in &self.rename {
            let mut values = before.get_all(old).iter();
            if let Some(first) = values.next() {
                headers.remove(old);
                headers.insert(new.clone(), first.clone());
                for value in values {
                    headers.append(new.clone(), value.clone());
                }
            }
        }
        for (name, value) in &self.replace {
            if before.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.add {
            if !before.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.append {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// `application/json` or `application/…+json`, also in a list.
fn is_json(content_type: &str) -> bool {
    content_type.to_ascii_lowercase().split([',', ';']).any(|media| {
        media
            .trim()
            .strip_prefix("application/")
            .is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
    })
}

/// Collects the body and changes it at its end.
struct Whole {
    rules: Arc<JsonRules>,
    body: BytesMut,
}

impl BodyFilter for Whole {
    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
        self.body.extend_from_slice(&piece);
        if !last {
            return Bytes::new();
        }
        let body = std::mem::take(&mut self.body).freeze();
        match serde_json::from_slice(&body) {
            Ok(Value::Object(mut fields)) => {
                self.rules.apply(&mut fields);
                json::write(&Value::Object(fields)).into()
            }
            // A list has no members to change, but is written anew.
            Ok(list @ Value::Array(_)) => json::write(&list).into(),
            Ok(_) | Err(_) => body,
        }
    }
}

impl JsonRules {
    fn is_empty(&self) -> bool {
        let values = [&self.replace, &self.add, &self.append];
        self.remove.is_empty()
            && self.rename.is_empty()
            && values.iter().all(|list| list.is_empty())
    }

    fn apply(&self, fields: &mut Map<String, Value>) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (old, new) in &self.rename {
            json::rename(fields, old, new);
        }
        for (name, value) in &self.replace {
            if let (Some(value), true) = (value, json::is_there(fields, name)) {
                fields.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.add {
            if let (Some(value), false) = (value, json::is_there(fields, name)) {
                fields.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.append {
            if let Some(value) = value {
                json::append(fields, name, value.clone());
            }
        }
    }
}
