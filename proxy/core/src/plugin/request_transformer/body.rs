//! Bodies that request-transformer understands: JSON objects, forms, multipart forms.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Failure, Rules, content_type};
use crate::exchange::Exchange;
use crate::plugin::args::Args;
use crate::plugin::json;

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Form,
    Multipart,
}

impl Kind {
    /// What the request's content type says.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let content_type = content_type(exchange)?;
        if content_type.contains("application/json") {
            Some(Self::Json)
        } else if content_type.contains("multipart/form-data") {
            Some(Self::Multipart)
        } else if content_type.contains("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }
}

/// Puts a form's fields behind the query's: a GET has no body that anyone reads.
pub(super) async fn move_form_to_query(exchange: &mut Exchange) {
    let Ok(body) = exchange.request.read_body().await else { return };
    let fields = Args::parse(&String::from_utf8_lossy(&body));
    if fields.0.is_empty() {
        return;
    }
    let mut args = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
    args.0.extend(fields.0);
    exchange.request.query = Some(args.encode());
}

/// Applies the rules to the body, where it is of a kind that has members.
pub(super) async fn transform(rules: &Rules, exchange: &mut Exchange) -> Result<(), Failure> {
    let (Some(kind), false) = (Kind::of(exchange), rules.is_empty()) else { return Ok(()) };
    let body = exchange.request.read_body().await.map_err(|_| Failure)?;
    let changed = match kind {
        Kind::Json => transform_json(rules, exchange, &body)?.map(String::into_bytes),
        Kind::Form => {
            let mut args = Args::parse(&String::from_utf8_lossy(&body));
            let before = args.clone();
            rules.apply(exchange, &mut args)?;
            (args != before || !body.is_empty()).then(|| args.encode().into_bytes())
        }
        Kind::Multipart => Multipart::parse(exchange, &body)
            .map(|mut multipart| multipart.apply(rules, exchange).map(|()| multipart.encode()))
            .transpose()?,
    };
    if let Some(changed) = changed {
        exchange.request.set_body(changed.into());
    }
    Ok(())
}

fn transform_json(
    rules: &Rules,
    exchange: &Exchange,
    body: &Bytes,
) -> Result<Option<String>, Failure> {
    let mut fields = if body.is_empty() {
        Map::new()
    } else {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(Value::Array(_)) | Err(_) => return Ok(None),
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                return Err(Failure);
            }
        }
    };
    let mut changed = false;
    if !body.is_empty() {
        for name in &rules.remove {
            fields.remove(name);
            changed = true;
        }
        for pair in &rules.rename {
            let Some(new) = pair.render(exchange)? else { continue };
            json::rename(&mut fields, &pair.name, &new);
            changed = true;
        }
        for pair in &rules.replace {
            let Some(value) = pair.render(exchange)? else { continue };
            if json::is_there(&fields, &pair.name) {
                fields.insert(pair.name.clone(), value.into());
                changed = true;
            }
        }
    }
    for pair in &rules.add {
        let Some(value) = pair.render(exchange)? else { continue };
        if !json::is_there(&fields, &pair.name) {
            fields.insert(pair.name.clone(), value.into());
            changed = true;
        }
    }
    for pair in &rules.append {
        let Some(value) = pair.render(exchange)? else { continue };
        json::append(&mut fields, &pair.name, value.into());
        changed = true;
    }
    Ok(changed.then(|| json::write(&Value::Object(fields))))
}

/// A multipart form: named parts in order.
struct Multipart {
    boundary: String,
    parts: Vec<(String, Vec<u8>)>,
}

impl Multipart {
    fn parse(exchange: &Exchange, body: &[u8]) -> Option<Self> {
        let content_type = exchange.request.header("content-type")?;
        let boundary =
            content_type.split("boundary=").nth(1)?.split(';').next()?.trim_matches('"').to_owned();
        let delimiter = format!("--{boundary}").into_bytes();
        let parts = split(body, &delimiter)
            .filter_map(|part| part.strip_prefix(b"\r\n"))
            .map(|part| (name_of(part), part.to_vec()))
            .collect();
        Some(Self { boundary, parts })
    }

    fn apply(&mut self, rules: &Rules, exchange: &Exchange) -> Result<(), Failure> {
        for name in &rules.remove {
            self.parts.retain(|(known, _)| known != name);
        }
        for pair in &rules.rename {
            let Some(new) = pair.render(exchange)? else { continue };
            let Some(value) = self.value(&pair.name) else { continue };
            self.parts.retain(|(known, _)| *known != pair.name && *known != new);
            self.push(&new, &value);
        }
        for pair in &rules.replace {
            let Some(value) = pair.render(exchange)? else { continue };
            if self.value(&pair.name).is_some() {
                self.parts.retain(|(known, _)| *known != pair.name);
                self.push(&pair.name, value.as_bytes());
            }
        }
        for pair in &rules.add {
            let Some(value) = pair.render(exchange)? else { continue };
            if self.value(&pair.name).is_none() {
                self.push(&pair.name, value.as_bytes());
            }
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let (_, part) = self.parts.iter().find(|(known, _)| known == name)?;
        let start = part.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let value = part.get(start..)?;
        Some(value.strip_suffix(b"\r\n").unwrap_or(value).to_vec())
    }

    fn push(&mut self, name: &str, value: &[u8]) {
        let mut part =
            format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n").into_bytes();
        part.extend_from_slice(value);
        part.extend_from_slice(b"\r\n");
        self.parts.push((name.to_owned(), part));
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (_, part) in &self.parts {
            body.extend_from_slice(format!("--{}\r\n", self.boundary).as_bytes());
            body.extend_from_slice(part);
        }
        body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        body
    }
}

fn split<'a>(body: &'a [u8], delimiter: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest?;
        match body.windows(delimiter.len()).position(|window| window == delimiter) {
            Some(at) => {
                rest = body.get(at + delimiter.len()..);
                body.get(..at)
            }
            None => rest.take(),
        }
    })
}

fn name_of(part: &[u8]) -> String {
    let text = String::from_utf8_lossy(part);
    let name = text.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
    name.unwrap_or_default().to_owned()
}
