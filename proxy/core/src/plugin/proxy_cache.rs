//! proxy-cache: answers of the upstream kept for later requests.

mod directives;
mod store;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::args::Args;
use super::{Access, BuildError, Config, Lasting, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange, Source, text};
use directives::Directives;
pub use store::{Entry, Store};

const STATUS: HeaderName = HeaderName::from_static("x-cache-status");
const KEY: HeaderName = HeaderName::from_static("x-cache-key");

/// A larger answer is passed on and not kept.
const MAX_BODY: usize = 8 << 20;

struct ProxyCache {
    statuses: Vec<u16>,
    methods: Vec<Method>,
    content_types: Vec<MediaType>,
    ttl: u64,
    storage_ttl: Option<u64>,
    cache_control: bool,
    ignore_case: bool,
    vary_query: Vec<String>,
    vary_headers: Vec<String>,
    show_age: bool,
    show_status: bool,
    show_key: bool,
    lasting: Arc<Lasting>,
    services: Arc<dyn Services>,
}

/// The answer to come may be kept under this key.
struct Pending {
    key: String,
    body: Bytes,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let numbers = |field: &str| {
        config.config.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let show = |header: &str| {
        config
            .config
            .pointer(&format!("/response_headers/{header}"))
            .and_then(Value::as_bool)
            .unwrap_or(true)
    };
    let sorted = |field: &str| {
        let mut list = config.list(field);
        list.sort_unstable();
        list
    };
    Ok(Box::new(ProxyCache {
        statuses: numbers("response_code")
            .iter()
            .filter_map(|code| u16::try_from(code.as_u64()?).ok())
            .collect(),
        methods: config
            .list("request_method")
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
        content_types: config
            .list("content_type")
            .iter()
            .filter_map(|text| MediaType::parse(text))
            .collect(),
        ttl: config.number("cache_ttl").unwrap_or(300.0) as u64,
        storage_ttl: config.number("storage_ttl").map(|ttl| ttl as u64),
        cache_control: config.flag("cache_control"),
        ignore_case: config.flag("ignore_uri_case"),
        vary_query: sorted("vary_query_params"),
        vary_headers: sorted("vary_headers"),
        show_age: show("age"),
        show_status: show("X-Cache-Status"),
        show_key: show("X-Cache-Key"),
        lasting: Arc::clone(&config.context.lasting),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for ProxyCache {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let directives = if self.cache_control {
            Directives::of(&exchange.request.headers, &CACHE_CONTROL)
        } else {
            Directives::default()
        };
        let refuses = directives.has("no-store") || directives.has("no-cache");
        if !self.methods.contains(&exchange.request.method) || refuses {
            self.mark(exchange, "Bypass");
            return Access::Continue;
        }
        let key = self.key(exchange);
        if let (true, Ok(value)) = (self.show_key, HeaderValue::from_str(&key)) {
            exchange.early.insert(KEY, value);
        }
        let now = self.services.now();
        let Some(entry) = self.lasting.cache.get(&key, now) else {
            if directives.has("only-if-cached") {
                return Access::respond(Answer::bare(exchange, StatusCode::GATEWAY_TIMEOUT));
            }
            return self.ask_upstream(exchange, key, "Miss");
        };
        if !self.is_fresh(&entry, &directives, now) {
            return self.ask_upstream(exchange, key, "Refresh");
        }
        Access::respond(self.replay(exchange, &entry, now))
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let Some(pending) = exchange.notes.take::<Pending>() else { return };
        let ttl =
            (exchange.response.source == Source::Upstream).then(|| self.ttl_of(exchange)).flatten();
        let Some(ttl) = ttl else {
            if self.show_status {
                exchange.response.headers.insert(STATUS, HeaderValue::from_static("Bypass"));
            }
            return;
        };
        if exchange.request.method == Method::HEAD {
            return;
        }
        let response = &mut exchange.response;
        let entry = Entry {
            status: response.status,
            headers: response.headers.clone(),
            body: Bytes::new(),
            request_body: pending.body,
            stored: self.services.now(),
            ttl,
            keep: self.storage_ttl.unwrap_or(ttl),
        };
        let lasting = Arc::clone(&self.lasting);
        response.filters.push(Box::new(Recorder {
            key: pending.key,
            entry: Some(entry),
            body: BytesMut::new(),
            lasting,
        }));
    }
}

impl ProxyCache {
    fn mark(&self, exchange: &mut Exchange, status: &'static str) {
        if self.show_status {
            exchange.early.insert(STATUS, HeaderValue::from_static(status));
        }
    }

    fn ask_upstream<'a>(
        &self,
        exchange: &mut Exchange,
        key: String,
        status: &'static str,
    ) -> Access<'a> {
        self.mark(exchange, status);
        exchange.notes.put(Pending { key, body: Bytes::new() });
        Access::Continue
    }

    /// Kong's key: scope, method, request line up to the query, arguments, headers.
    fn key(&self, exchange: &Exchange) -> String {
        let request = &exchange.request;
        let route = exchange.matched.route.as_ref().map(|route| route.id.as_ref());
        let consumer = exchange.identity.consumer.as_ref().map(|consumer| consumer.id.as_ref());
        let scope = match (consumer, route) {
            (Some(consumer), Some(route)) => format!("{consumer}:{route}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => "default".to_owned(),
        };
        let mut line = match request.target.split_once('?') {
            Some((path, _)) => format!("{} {path}", request.method),
            None => format!("{} {} {:?}", request.method, request.target, request.version),
        };
        if self.ignore_case {
            line.make_ascii_lowercase();
        }
        let args = Args::parse(request.query.as_deref().unwrap_or_default());
        let mut names = self.vary_query.clone();
        if names.is_empty() {
            names = args.0.iter().map(|(name, _)| name.clone()).collect();
            names.sort_unstable();
            names.dedup();
        }
        let arguments = varied(&names, |name| {
            args.0
                .iter()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
                .collect()
        });
        let headers = varied(&self.vary_headers, |name| {
            request
                .headers
                .get_all(name)
                .iter()
                .filter_map(text)
                .map(|value| Some(value.to_owned()))
                .collect()
        });
        let key = format!("{scope}|{}|{line}|{arguments}|{headers}", request.method);
        hex::encode(Sha256::digest(key))
    }

    fn is_fresh(&self, entry: &Entry, directives: &Directives, now: Duration) -> bool {
        let age = entry.age(now);
        if !self.cache_control {
            return age <= self.ttl;
        }
        let too_old = directives.number("max-age").is_some_and(|most| age > most);
        let too_stale =
            directives.number("max-stale").is_some_and(|most| age.saturating_sub(entry.ttl) > most);
        let ends_soon = directives
            .number("min-fresh")
            .is_some_and(|least| entry.ttl.saturating_sub(age) < least);
        !(too_old || too_stale || ends_soon)
    }

    fn replay(&self, exchange: &mut Exchange, entry: &Entry, now: Duration) -> Answer {
        let mut answer = Answer::new(entry.status, None, entry.body.clone());
        for (name, value) in &entry.headers {
            if is_repeatable(name) && *name != CONTENT_LENGTH && !exchange.early.contains_key(name)
            {
                answer.headers.append(name.clone(), value.clone());
            }
        }
        if self.show_age {
            answer.headers.insert(AGE, HeaderValue::from(entry.age(now)));
        }
        if self.show_status {
            answer.headers.insert(STATUS, HeaderValue::from_static("Hit"));
        }
        exchange.replayed = true;
        if entry.status == StatusCode::OK && is_known(exchange, entry) {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.body = Bytes::new();
            answer.headers.remove(CONTENT_LENGTH);
            answer.headers.remove(CONTENT_TYPE);
        }
        answer
    }

    /// How long the answer may be kept; `None` where it may not.
    fn ttl_of(&self, exchange: &Exchange) -> Option<u64> {
        let response = &exchange.response;
        let kind = response.headers.get(CONTENT_TYPE).and_then(text).and_then(MediaType::parse)?;
        let matches = self.content_types.iter().any(|wanted| wanted.covers(&kind));
        if !matches || !self.statuses.contains(&response.status.as_u16()) {
            return None;
        }
        if !self.cache_control {
            return Some(self.ttl);
        }
        let directives = Directives::of(&response.headers, &CACHE_CONTROL);
        if ["private", "no-store", "no-cache"].iter().any(|name| directives.has(name)) {
            return None;
        }
        let expires = || {
            let date = response.headers.get_all(EXPIRES).iter().next_back().and_then(text)?;
            let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
            Some(u64::try_from(date).ok()?.saturating_sub(self.services.now().as_secs()))
        };
        let ttl = directives
            .number("s-maxage")
            .or_else(|| directives.number("max-age"))
            .or_else(expires)?;
        (ttl > 0).then_some(ttl)
    }
}

/// `name=value` pairs of the names that are there, joined with colons; several values sorted and joined with commas.
fn varied(names: &[String], values: impl Fn(&str) -> Vec<Option<String>>) -> String {
    let pair = |name: &String| {
        let mut values = values(name);
        match values.as_mut_slice() {
            [] => None,
            [None] => Some(name.clone()),
            [Some(value)] => Some(format!("{name}={value}")),
            many => {
                many.sort_unstable();
                let joined: Vec<_> =
                    many.iter().map(|value| value.as_deref().unwrap_or("true")).collect();
                Some(format!("{name}={}", joined.join(",")))
            }
        }
    };
    names.iter().filter_map(pair).collect::<Vec<_>>().join(":")
}

/// Headers of one connection, and what counts down, are not repeated.
fn is_repeatable(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "public"
            | "proxy-authenticate"
            | "transfer-encoding"
            | "upgrade"
    ) && !name.as_str().contains("ratelimit-remaining")
}

/// Whether the client has this very answer.
fn is_known(exchange: &Exchange, entry: &Entry) -> bool {
    let asked = exchange.request.headers.get(IF_NONE_MATCH).and_then(text);
    if let Some(asked) = asked {
        let Some(tag) = entry.headers.get(ETAG).and_then(text) else { return false };
        let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return asked.trim() == "*" || asked.split(',').any(|one| weak(one) == weak(tag));
    }
    let since = exchange.request.headers.get(http::header::IF_MODIFIED_SINCE);
    since.is_some() && since == entry.headers.get(LAST_MODIFIED)
}

/// Keeps a copy of the body, and then the answer.
struct Recorder {
    key: String,
    entry: Option<Entry>,
    body: BytesMut,
    lasting: Arc<Lasting>,
}

impl BodyFilter for Recorder {
    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
        if self.body.len() + piece.len() > MAX_BODY {
            self.entry = None;
            self.body = BytesMut::new();
        }
        if self.entry.is_some() {
            self.body.extend_from_slice(&piece);
        }
        if last && let Some(mut entry) = self.entry.take() {
            entry.body = std::mem::take(&mut self.body).freeze();
            self.lasting.cache.put(self.key.clone(), entry);
        }
        piece
    }
}

/// A content type with its parameters, lower case.
#[derive(Debug, PartialEq, Eq)]
struct MediaType {
    kind: String,
    subtype: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let parameters = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Self {
            kind: kind.to_owned(),
            subtype: subtype.to_owned(),
            parameters: parameters.collect(),
        })
    }

    fn covers(&self, other: &Self) -> bool {
        (self.kind == "*" || self.kind == other.kind)
            && (self.subtype == "*" || self.subtype == other.subtype)
            && self.parameters.iter().all(|parameter| other.parameters.contains(parameter))
    }
}
