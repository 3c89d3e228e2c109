//! What a function is told of the request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Version;
use serde_json::{Map, Value, json};

use crate::exchange::Exchange;
use crate::plugin::args::Args;
use crate::plugin::{Config, json as text, llm};

/// Bodies beyond this are large.
const LARGE: usize = 8 * 1024;

/// Types whose bodies are text.
const TEXT: [&str; 5] =
    ["text/plain", "text/html", "application/xml", "text/xml", "application/soap+xml"];

/// Which parts of the request are told, and how.
pub(super) struct Payload {
    method: bool,
    uri: bool,
    headers: bool,
    body: bool,
    gateway: Option<GatewayVersion>,
    skip_large: bool,
    base64: bool,
}

/// The formats of AWS' own gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GatewayVersion {
    One,
    Two,
}

impl Payload {
    /// Reads the configuration.
    pub(super) fn of(config: &Config<'_>) -> Self {
        let version = match config.text("awsgateway_compatible_payload_version") {
            Some("2.0") => GatewayVersion::Two,
            Some(_) | None => GatewayVersion::One,
        };
        Self {
            method: config.flag("forward_request_method"),
            uri: config.flag("forward_request_uri"),
            headers: config.flag("forward_request_headers"),
            body: config.flag("forward_request_body"),
            gateway: config.flag("awsgateway_compatible").then_some(version),
            skip_large: config.flag("skip_large_bodies"),
            base64: config.flag("base64_encode_body"),
        }
    }

    /// The payload as text.
    pub(super) async fn of_request(&self, exchange: &mut Exchange) -> String {
        let body = exchange.request.read_body().await.unwrap_or_default();
        let body = if self.skip_large && body.len() > LARGE { Bytes::new() } else { body };
        let value = match self.gateway {
            Some(GatewayVersion::One) => self.version_one(exchange, &body),
            Some(GatewayVersion::Two) => self.version_two(exchange, &body),
            None if self.method || self.uri || self.headers || self.body => {
                self.parts(exchange, &body).await
            }
            None => {
                let mut all = query(exchange);
                all.extend(llm::body(exchange, usize::MAX).await.unwrap_or_default());
                Value::Object(all)
            }
        };
        text::write_escaped(&value)
    }

    async fn parts(&self, exchange: &mut Exchange, body: &[u8]) -> Value {
        let mut told = Map::new();
        let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
        if self.method {
            put("request_method", exchange.request.method.as_str().into());
        }
        if self.headers {
            put("request_headers", Value::Object(headers(exchange)));
        }
        if self.uri {
            put("request_uri", exchange.request.target.clone().into());
            put("request_uri_args", Value::Object(query(exchange)));
        }
        if self.body {
            let args = llm::body(exchange, usize::MAX).await;
            let kind = exchange.request.header("content-type").unwrap_or_default();
            let base = kind.split(';').next().unwrap_or_default().trim();
            let readable =
                base == "application/json" || base == "application/x-www-form-urlencoded";
            if args.is_none() && !readable && !TEXT.contains(&kind) && self.base64 {
                put("request_body", STANDARD.encode(body).into());
                put("request_body_base64", true.into());
            } else {
                put("request_body", String::from_utf8_lossy(body).into());
            }
            put("request_body_args", Value::Object(args.unwrap_or_default()));
        }
        Value::Object(told)
    }

    /// The body, and whether it is base64.
    fn wrapped(&self, body: &[u8]) -> (Value, bool) {
        if self.base64 && !body.is_empty() {
            (STANDARD.encode(body).into(), true)
        } else {
            (String::from_utf8_lossy(body).into(), false)
        }
    }

    fn version_one(&self, exchange: &Exchange, body: &[u8]) -> Value {
        let (body, is_base64) = self.wrapped(body);
        let (first, all) = split(headers(exchange));
        let (first_args, all_args) = split(query(exchange));
        let request = &exchange.request;
        let path = exchange.upstream.path.split('?').next().unwrap_or_default();
        json!({
            "version": "1.0",
            "resource": exchange.matched.captures.unnamed.first().unwrap_or(&request.path),
            "path": path,
            "httpMethod": request.method.as_str(),
            "headers": first,
            "multiValueHeaders": all,
            "pathParameters": captures(exchange),
            "queryStringParameters": first_args,
            "multiValueQueryStringParameters": all_args,
            "body": body,
            "isBase64Encoded": is_base64,
            "requestContext": {
                "path": path,
                "protocol": protocol(request.version),
                "httpMethod": request.method.as_str(),
                "domainName": request.host,
                "domainPrefix": prefix(&request.host),
                "identity": {
                    "sourceIp": exchange.client.peer.to_string(),
                    "userAgent": request.header("user-agent"),
                },
                "requestId": exchange.id,
                "requestTime": clock(exchange),
                "requestTimeEpoch": millis(exchange),
                "resourcePath": path,
            },
        })
    }

    fn version_two(&self, exchange: &Exchange, body: &[u8]) -> Value {
        let (body, is_base64) = self.wrapped(body);
        let request = &exchange.request;
        let path = exchange.upstream.path.split('?').next().unwrap_or_default();
        let cookies = request.header("cookie").map(|all| all.split("; ").collect::<Vec<_>>());
        json!({
            "version": "2.0",
            "routeKey": format!("{} {path}", request.method),
            "rawPath": path,
            "rawQueryString": request.query.as_deref().unwrap_or_default(),
            "cookies": cookies.unwrap_or_default(),
            "headers": joined(headers(exchange)),
            "pathParameters": captures(exchange),
            "queryStringParameters": joined(query(exchange)),
            "body": body,
            "isBase64Encoded": is_base64,
            "requestContext": {
                "http": {
                    "method": request.method.as_str(),
                    "path": path,
                    "protocol": protocol(request.version),
                    "sourceIp": exchange.client.peer.to_string(),
                    "userAgent": request.header("user-agent"),
                },
                "domainName": request.host,
                "domainPrefix": prefix(&request.host),
                "requestId": exchange.id,
                "routeKey": format!("{} {path}", request.method),
                "time": clock(exchange),
                "timeEpoch": millis(exchange),
            },
        })
    }
}

fn headers(exchange: &Exchange) -> Map<String, Value> {
    let headers = &exchange.request.headers;
    let mut told = Map::new();
    for name in headers.keys() {
        let text =
            |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
        let mut values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
        let one = if values.len() == 1 { values.pop() } else { None };
        told.insert(name.as_str().to_owned(), one.unwrap_or(Value::Array(values)));
    }
    told
}

fn query(exchange: &Exchange) -> Map<String, Value> {
    let mut told: Map<String, Value> = Map::new();
    for (name, value) in Args::parse(exchange.request.query.as_deref().unwrap_or_default()).0 {
        let value = value.map_or(Value::Bool(true), Value::String);
        match told.get_mut(&name) {
            None => {
                told.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    told
}

/// The first value of each name, and all of them.
fn split(fields: Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut firsts, mut lists) = (Map::new(), Map::new());
    for (name, value) in fields {
        let list = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        firsts.insert(name.clone(), list.first().cloned().unwrap_or_default());
        lists.insert(name, Value::Array(list));
    }
    (firsts, lists)
}

/// Several values of one name with commas between.
fn joined(fields: Map<String, Value>) -> Map<String, Value> {
    let join = |value: Value| match value {
        Value::Array(values) => {
            let words: Vec<String> = values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            words.join(",").into()
        }
        one => one,
    };
    fields.into_iter().map(|(name, value)| (name, join(value))).collect()
}

fn captures(exchange: &Exchange) -> Map<String, Value> {
    let named = exchange.matched.captures.named.iter();
    named.map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1",
        _ => "HTTP/1.1",
    }
}

fn prefix(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

fn millis(exchange: &Exchange) -> u64 {
    u64::try_from(exchange.moments.started.as_millis()).unwrap_or(u64::MAX)
}

/// The common log format's time, in UTC.
fn clock(exchange: &Exchange) -> String {
    let seconds = i64::try_from(exchange.moments.started.as_secs()).unwrap_or(0);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}
