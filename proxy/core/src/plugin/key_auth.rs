//! key-auth: an API key in a header, the query or the body names the consumer.

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method};
use serde_json::Value;

use super::args::{Args, Found};
use super::auth::{Strangers, authenticate, challenge, unauthorized};
use super::{Access, BuildError, Config, Directory, Flow, Plugin, spellings};
use crate::exchange::{Exchange, text};
use std::sync::Arc;

/// A longer form or JSON body is not searched.
const MAX_BODY: usize = 8192;

struct KeyAuth {
    names: Vec<Name>,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    hide: bool,
    on_preflight: bool,
    challenge: HeaderValue,
    strangers: Strangers,
    directory: Arc<Directory>,
}

struct Name {
    text: String,
    /// The header of exactly this name, and the one with dashes for its underscores.
    headers: Vec<HeaderName>,
}

/// What was found under the configured names.
enum Key {
    None,
    One(String),
    Duplicate,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let name = |text: String| {
        // In capitals an underscore is only looked for as a dash.
        let is_lower = text == text.to_ascii_lowercase();
        let mut headers = spellings(&text);
        headers.retain(|name| is_lower || !name.as_str().contains('_'));
        Name { text, headers }
    };
    let names = config.list("key_names").into_iter().map(name);
    Ok(Box::new(KeyAuth {
        names: names.collect(),
        in_header: config.flag("key_in_header"),
        in_query: config.flag("key_in_query"),
        in_body: config.flag("key_in_body"),
        hide: config.flag("hide_credentials"),
        on_preflight: config.flag("run_on_preflight"),
        challenge: challenge("Key", config.text("realm")),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
    }))
}

impl Plugin for KeyAuth {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if (!self.on_preflight && exchange.request.method == Method::OPTIONS)
            || self.strangers.known(exchange)
        {
            return Access::Continue;
        }
        if self.in_body {
            return Access::Later(Box::pin(self.search_body(exchange)));
        }
        self.decide(exchange, None).into()
    }
}

impl KeyAuth {
    async fn search_body(&self, exchange: &mut Exchange) -> Flow {
        let body = match exchange.request.read_body().await {
            Ok(bytes) if bytes.len() <= MAX_BODY => Form::parse(exchange, &bytes),
            Ok(_) | Err(_) => None,
        };
        self.decide(exchange, body)
    }

    fn decide(&self, exchange: &mut Exchange, body: Option<Form>) -> Flow {
        let refuse = |exchange: &mut Exchange, message: &str| {
            self.strangers
                .refuse(exchange, |exchange| unauthorized(exchange, message, &self.challenge))
        };
        let key = match self.find(exchange, body) {
            Key::None => return refuse(exchange, "No API key found in request"),
            Key::Duplicate => return refuse(exchange, "Duplicate API key found"),
            Key::One(key) if key.is_empty() => {
                return refuse(exchange, "No API key found in request");
            }
            Key::One(key) => key,
        };
        match self.directory.key(&key) {
            Some(credential) => {
                authenticate(exchange, credential.consumer.clone(), Some(Arc::clone(credential)));
                Flow::Continue
            }
            None => refuse(exchange, "Unauthorized"),
        }
    }

    fn find(&self, exchange: &mut Exchange, mut body: Option<Form>) -> Key {
        let query = match &exchange.request.query {
            Some(query) if self.in_query => Some(Args::parse(query)),
            Some(_) | None => None,
        };
        for name in &self.names {
            let mut key = if self.in_header { name.in_headers(exchange) } else { Key::None };
            if let (Key::None, Some(query)) = (&key, &query) {
                key = match query.find(&name.text) {
                    Found::One(value) => Key::One(value.to_owned()),
                    Found::Many => Key::Duplicate,
                    Found::Nothing | Found::Bare => Key::None,
                };
            }
            if let (Key::None, Some(body)) = (&key, &body) {
                key = body.find(&name.text);
            }
            match &key {
                Key::None => {}
                Key::Duplicate => return key,
                Key::One(_) => {
                    if self.hide {
                        name.hide(exchange, body.as_mut());
                    }
                    return key;
                }
            }
        }
        Key::None
    }
}

impl Name {
    fn in_headers(&self, exchange: &Exchange) -> Key {
        for header in &self.headers {
            let mut values = exchange.request.headers.get_all(header).iter();
            match (values.next(), values.next()) {
                (None, _) => {}
                (Some(_), Some(_)) => return Key::Duplicate,
                (Some(value), None) => {
                    return Key::One(String::from_utf8_lossy(value.as_bytes()).into_owned());
                }
            }
        }
        Key::None
    }

    fn hide(&self, exchange: &mut Exchange, body: Option<&mut Form>) {
        let request = &mut exchange.request;
        if let Some(query) = &request.query {
            let mut args = Args::parse(query);
            args.remove(&self.text);
            for (_, value) in &mut args.0 {
                value.get_or_insert_default();
            }
            request.query = Some(args.encode());
        }
        for header in &self.headers {
            request.headers.remove(header);
        }
        if let Some(changed) = body.and_then(|body| body.without(&self.text)) {
            request.set_body(changed.into());
        }
    }
}

/// A body that a key may stand in.
enum Form {
    Urlencoded(Args),
    Json(Value),
    Multipart { boundary: String, body: String },
}

impl Form {
    fn parse(exchange: &Exchange, bytes: &[u8]) -> Option<Self> {
        let content_type = exchange.request.headers.get(CONTENT_TYPE).and_then(text)?;
        let body = std::str::from_utf8(bytes).ok()?;
        if content_type.starts_with("application/x-www-form-urlencoded") {
            Some(Self::Urlencoded(Args::parse(body)))
        } else if content_type.starts_with("application/json") {
            serde_json::from_str(body).ok().map(Self::Json)
        } else if content_type.starts_with("multipart/form-data") {
            let boundary = content_type.split("boundary=").nth(1)?.trim_matches('"').to_owned();
            Some(Self::Multipart { boundary, body: body.to_owned() })
        } else {
            None
        }
    }

    fn find(&self, name: &str) -> Key {
        match self {
            Self::Urlencoded(args) => match args.find(name) {
                Found::One(value) => Key::One(value.to_owned()),
                Found::Many => Key::Duplicate,
                Found::Nothing | Found::Bare => Key::None,
            },
            Self::Json(value) => match value.get(name) {
                Some(Value::String(key)) => Key::One(key.clone()),
                Some(Value::Array(_) | Value::Object(_)) => Key::Duplicate,
                Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => Key::None,
            },
            Self::Multipart { boundary, body } => parts(boundary, body)
                .find(|(known, _)| known.as_deref() == Some(name))
                .and_then(|(_, part)| part.split_once("\r\n\r\n"))
                .map_or(Key::None, |(_, value)| {
                    Key::One(value.trim_end_matches("\r\n").to_owned())
                }),
        }
    }

    /// The body without this field, where that changes it.
    fn without(&mut self, name: &str) -> Option<String> {
        match self {
            Self::Urlencoded(args) => {
                args.remove(name);
                Some(args.encode())
            }
            Self::Json(value) => {
                value.as_object_mut()?.remove(name);
                Some(value.to_string())
            }
            Self::Multipart { boundary, body } => {
                let mut kept = String::new();
                for (_, part) in
                    parts(boundary, body).filter(|(known, _)| known.as_deref() != Some(name))
                {
                    kept.push_str("--");
                    kept.push_str(boundary);
                    kept.push_str("\r\n");
                    kept.push_str(part);
                }
                kept.push_str("--");
                kept.push_str(boundary);
                kept.push_str("--\r\n");
                Some(kept)
            }
        }
    }
}

/// The named parts of a multipart body, each with its head.
fn parts<'a>(boundary: &str, body: &'a str) -> impl Iterator<Item = (Option<String>, &'a str)> {
    let delimiter = format!("--{boundary}");
    body.split(&delimiter)
        .filter_map(|part| part.strip_prefix("\r\n"))
        .map(|part| {
            let name = part
                .split("name=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .map(str::to_owned);
            (name, part)
        })
        .collect::<Vec<_>>()
        .into_iter()
}
