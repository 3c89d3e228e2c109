//! The log record of a request, as every logging plugin sends it.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::args::Args;
use super::lua::{Machine, Outcome, Stage};
use super::{Config, DEFAULT_WORKSPACE};
use crate::exchange::{Entity, Exchange, Source, text};

/// Fields that a configuration adds to the record: names, and the code that makes their values.
pub(super) struct CustomFields {
    names: Vec<String>,
    machine: Option<Machine>,
}

impl CustomFields {
    /// Takes those whose code is Lua; the others add nothing.
    pub(super) fn of(config: &Config<'_>) -> Self {
        let fields = config.config.get("custom_fields_by_lua").and_then(Value::as_object);
        let (names, code): (Vec<_>, Vec<_>) = fields
            .into_iter()
            .flatten()
            .filter_map(|(name, code)| Some((name.clone(), code.as_str()?.to_owned())))
            .filter(|(_, code)| super::check_code(code).is_ok())
            .unzip();
        let services = &config.context.services;
        let machine = if code.is_empty() { None } else { Machine::new(&code, services).ok() };
        Self { names, machine }
    }

    /// Puts the fields into the record; one whose code gives nothing is taken out.
    fn put(&self, exchange: &mut Exchange, record: &mut Map<String, Value>) {
        let Some(machine) = &self.machine else { return };
        for (at, name) in self.names.iter().enumerate() {
            match machine.run(at, ("", Stage::Log), exchange) {
                Outcome::Done(Value::Null) => drop(record.remove(name)),
                Outcome::Done(value) => set(record, &name.split('.').collect::<Vec<_>>(), value),
                Outcome::Answered(_) | Outcome::Failed(_) => {}
            }
        }
    }
}

/// Sets a field by its path; objects on the way are made.
fn set(mut fields: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    for name in way {
        let inner = fields.entry(*name).or_insert_with(|| json!({}));
        if !inner.is_object() {
            *inner = json!({});
        }
        let Value::Object(inner) = inner else { return };
        fields = inner;
    }
    fields.insert((*last).to_owned(), value);
}

/// Fields that plugins add to the record, beside those that a configuration adds.
#[derive(Default)]
pub(super) struct Extra(Map<String, Value>);

impl Extra {
    /// Sets a field by its path; objects on the way are made.
    pub(super) fn set(exchange: &mut Exchange, path: &[&str], value: Value) {
        let mut extra = exchange.notes.take::<Self>().unwrap_or_default();
        set(&mut extra.0, path, value);
        exchange.notes.put(extra);
    }
}

/// The record as JSON text.
pub(super) fn record(exchange: &mut Exchange, custom: &CustomFields) -> Bytes {
    let mut record = fields(exchange);
    custom.put(exchange, &mut record);
    Value::Object(record).to_string().into()
}

/// The record of a stream: bytes both ways in place of request and answer.
fn stream_fields(exchange: &Exchange) -> Map<String, Value> {
    let mut record = Map::new();
    let (received, sent) = (exchange.request.size, exchange.response.size);
    let mut put = |name: &str, value: Value| record.insert(name.to_owned(), value);
    put(
        "session",
        json!({
            "received": received,
            "sent": sent,
            "status": exchange.response.status.as_u16(),
            "server_port": exchange.request.port,
        }),
    );
    put("upstream", json!({ "received": sent, "sent": received }));
    let latencies =
        json!({ "kong": kong_latency(exchange), "session": exchange.moments.request() });
    put("latencies", latencies);
    put("tries", exchange.tries.iter().map(attempt).collect());
    if let Some(route) = &exchange.matched.route {
        put("route", entity(route));
    }
    if let Some(service) = &exchange.matched.service {
        put("service", entity(service));
    }
    put("client_ip", exchange.client.ip.to_string().into());
    put("started_at", milliseconds(exchange.moments.started).into());
    record
}

/// Whether bytes are carried here and no requests.
pub(super) fn is_stream(exchange: &Exchange) -> bool {
    matches!(exchange.request.scheme, "tcp" | "tls" | "tls_passthrough" | "udp")
}

fn fields(exchange: &Exchange) -> Map<String, Value> {
    if is_stream(exchange) {
        return stream_fields(exchange);
    }
    let mut record = Map::new();
    let mut put = |name: &str, value: Value| record.insert(name.to_owned(), value);
    put("request", request(exchange));
    put(
        "response",
        json!({
            "status": exchange.response.status.as_u16(),
            "headers": answer_headers(exchange),
            "size": exchange.response.size,
        }),
    );
    put("upstream_uri", upstream_uri(exchange).into());
    put("upstream_status", upstream_status(exchange).into());
    let moments = &exchange.moments;
    put(
        "latencies",
        json!({
            "request": moments.request(),
            "kong": kong_latency(exchange),
            "proxy": moments.upstream().map_or(-1, |time| i64::try_from(time).unwrap_or(i64::MAX)),
            "receive": moments.receive(),
        }),
    );
    if let Some(route) = &exchange.matched.route {
        put("tries", exchange.tries.iter().map(attempt).collect());
        put("route", entity(route));
    }
    if let Some(service) = &exchange.matched.service {
        put("service", entity(service));
    }
    if let Some(consumer) = &exchange.identity.consumer {
        put("consumer", parse(&consumer.document));
    }
    if let Some(credential) = &exchange.identity.credential {
        put("authenticated_entity", json!({ "id": credential.id }));
    }
    if let Some(id) = exchange.notes.get::<super::correlation_id::Correlation>() {
        put("correlation_id", text(&id.0).unwrap_or_default().into());
    }
    put("client_ip", exchange.client.ip.to_string().into());
    put("started_at", milliseconds(moments.started).into());
    put(
        "source",
        if exchange.response.source == Source::Upstream { "upstream" } else { "kong" }.into(),
    );
    put("workspace", DEFAULT_WORKSPACE.into());
    put("workspace_name", "default".into());
    if let Some(extra) = exchange.notes.get::<Extra>() {
        for (name, value) in &extra.0 {
            put(name, value.clone());
        }
    }
    record
}

/// Milliseconds that the gateway itself took.
pub(super) fn kong_latency(exchange: &Exchange) -> u64 {
    let moments = &exchange.moments;
    match moments.forwarded {
        Some(_) => crate::exchange::Moments::between(Some(moments.started), moments.forwarded),
        None => moments.request(),
    }
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn request(exchange: &Exchange) -> Value {
    let request = &exchange.request;
    let mut fields = json!({
        "id": exchange.id,
        "uri": request.target,
        "url": format!("{}://{}:{}{}", request.scheme, request.host, request.port, request.target),
        "querystring": query(request.query.as_deref().unwrap_or_default()),
        "method": request.method.as_str(),
        "headers": headers(&request.headers),
        "size": request.size,
    });
    if let Some(tls) = &exchange.client.tls {
        fields["tls"] = json!({
            "version": tls.version,
            "cipher": tls.cipher,
            "client_verify": if tls.client_verify.is_empty() { "NONE" } else { &tls.client_verify },
        });
    }
    fields
}

/// What went to the upstream, or would have.
fn upstream_uri(exchange: &Exchange) -> String {
    match &exchange.request.query {
        Some(query) => format!("{}?{query}", exchange.upstream.path),
        None => exchange.upstream.path.clone(),
    }
}

/// The statuses of all tries, the answer's last.
fn upstream_status(exchange: &Exchange) -> String {
    let mut statuses: Vec<String> = exchange
        .tries
        .iter()
        .filter_map(|attempt| attempt.code)
        .map(|code| code.to_string())
        .collect();
    if exchange.response.source == Source::Upstream {
        statuses.push(exchange.response.status.as_str().to_owned());
    }
    statuses.join(", ")
}

fn attempt(attempt: &crate::exchange::Try) -> Value {
    let mut fields = json!({
        "ip": attempt.ip.to_string(),
        "port": attempt.port,
        "balancer_start": milliseconds(attempt.started),
        "balancer_start_ns": u64::try_from(attempt.started.as_nanos()).unwrap_or(u64::MAX),
        "balancer_latency": milliseconds(attempt.latency),
        "balancer_latency_ns": u64::try_from(attempt.latency.as_nanos()).unwrap_or(u64::MAX),
    });
    if let Some(state) = attempt.state {
        fields["state"] = state.into();
    }
    if let Some(code) = attempt.code {
        fields["code"] = code.into();
    }
    fields
}

fn entity(entity: &Entity) -> Value {
    parse(&entity.document)
}

fn parse(document: &str) -> Value {
    serde_json::from_str(document).unwrap_or(Value::Null)
}

/// The answer's headers: the date is the server's own business, how the connection goes on is told.
fn answer_headers(exchange: &Exchange) -> Value {
    let mut fields = headers(&exchange.response.headers);
    if let Value::Object(fields) = &mut fields {
        fields.remove("date");
        fields.entry("connection").or_insert_with(|| "keep-alive".into());
    }
    fields
}

fn headers(headers: &HeaderMap) -> Value {
    let mut fields = Map::new();
    for name in headers.keys() {
        let secret = matches!(name.as_str(), "authorization" | "proxy-authorization");
        let value = |value: &http::HeaderValue| {
            if secret {
                "REDACTED".into()
            } else {
                Value::from(String::from_utf8_lossy(value.as_bytes()))
            }
        };
        let mut values: Vec<Value> = headers.get_all(name).iter().map(value).collect();
        let one = if values.len() == 1 { values.pop() } else { None };
        fields.insert(name.as_str().to_owned(), one.unwrap_or(Value::Array(values)));
    }
    Value::Object(fields)
}

fn query(query: &str) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in Args::parse(query).0 {
        let value = value.map_or(Value::Bool(true), Value::String);
        match fields.get_mut(&name) {
            None => {
                fields.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    Value::Object(fields)
}
