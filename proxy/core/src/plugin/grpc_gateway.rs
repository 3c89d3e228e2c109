//! grpc-gateway: resources over HTTP that are methods of a gRPC service.
//!
//! The `.proto` file says which request calls which method; path, query and body become its message, and the messages
//! that come back become JSON, one after the other as they come.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

use super::args::Args;
use super::proto::{self, Body, Messages, ProtoFile, Rule};
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange, Source};

/// What both gRPC plugins answer where no file is configured.
pub(super) const NEEDS_PROTO: &str =
    "transcoding requests require a .proto file defining the service";

const ANY: HeaderValue = HeaderValue::from_static("*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

struct GrpcGateway {
    proto: Option<ProtoFile>,
}

/// What the method that was called answers with.
struct Called(MessageDescriptor);

/// Why a request is not sent on.
enum Refusal {
    /// It is not what a rule describes.
    Says(String),
    /// Kong breaks down on it.
    Breaks,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(GrpcGateway { proto: ProtoFile::of(config) }))
}

impl Plugin for GrpcGateway {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        exchange.early.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        if exchange.request.method == Method::OPTIONS {
            return Access::respond(preflight());
        }
        let Some(file) = &self.proto else {
            return Access::respond(refuse(NEEDS_PROTO));
        };
        let Some(proto) = file.get() else {
            return Access::respond(Answer::status_error(
                exchange,
                StatusCode::INTERNAL_SERVER_ERROR,
            ));
        };
        let method = exchange.request.method.as_str().to_ascii_lowercase();
        match proto.resource(&method, &exchange.request.path) {
            Ok((rule, captures)) => Access::Later(Box::pin(call(rule, captures, exchange))),
            Err(reason) => {
                Access::respond(refuse(&format!("failed to transcode .proto file {reason}")))
            }
        }
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        if exchange.request.method == Method::OPTIONS {
            return;
        }
        let called = exchange.notes.take::<Called>();
        let response = &mut exchange.response;
        if called.is_some() {
            response.headers.insert(CONTENT_TYPE, JSON);
        }
        let grpc = response.headers.get("grpc-status").and_then(|status| status.to_str().ok());
        if let Some(status) = grpc.and_then(|status| status.trim().parse().ok()) {
            response.status = http_status(status);
        }
        if let Some(Called(kind)) = called.filter(|_| response.source == Source::Upstream) {
            response.headers.remove(CONTENT_LENGTH);
            response.filters.push(Box::new(Transcoded(Messages::new(kind))));
        }
    }
}

fn preflight() -> Answer {
    let mut answer = Answer::new(StatusCode::OK, Some("application/json"), "OK");
    for (name, value) in [
        ("access-control-allow-methods", "GET,POST,PATCH,DELETE"),
        ("access-control-allow-headers", "content-type"),
    ] {
        answer.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

fn refuse(reason: &str) -> Answer {
    Answer::new(StatusCode::BAD_REQUEST, None, reason.to_owned())
}

/// Turns the request into the call of a method.
async fn call(rule: &Rule, captures: Vec<String>, exchange: &mut Exchange) -> Flow {
    let body = exchange.request.read_body().await.unwrap_or_default();
    let query = exchange.request.query.as_deref().unwrap_or_default();
    let message = members(rule, captures, query, &body).and_then(|members| {
        proto::encode(&rule.method.input(), &members).map_err(|_| Refusal::Breaks)
    });
    let message = match message {
        Ok(message) => message,
        Err(Refusal::Says(reason)) => return Flow::respond(refuse(&reason)),
        Err(Refusal::Breaks) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Flow::respond(Answer::status_error(exchange, status));
        }
    };
    let request = &mut exchange.request;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.set_body(proto::frame(0, &message));
    request.method = Method::POST;
    request.query = None;
    exchange.upstream.path = proto::path_of(&rule.method);
    exchange.notes.put(Called(rule.method.output()));
    Flow::Continue
}

/// The fields of the message: those of the path, then those of the body or the query.
fn members(
    rule: &Rule,
    captures: Vec<String>,
    query: &str,
    body: &[u8],
) -> Result<Map<String, Value>, Refusal> {
    let mut members = Map::new();
    for (field, value) in rule.fields.iter().zip(captures) {
        put(&mut members, field, Value::from(value));
    }
    let json = || serde_json::from_slice(body).map_err(|_| Refusal::Breaks);
    match &rule.body {
        Body::Query => {
            for (name, values) in arguments(query) {
                put(&mut members, &name, values);
            }
        }
        Body::All | Body::Field(_) if body.is_empty() => {}
        Body::All => match json()? {
            Value::Object(fields) => members.extend(fields),
            Value::Array(_) => {}
            _ => return Err(Refusal::Says("body must be a table".to_owned())),
        },
        Body::Field(field) => put(&mut members, field, json()?),
    }
    Ok(members)
}

/// The arguments of a query by name; one that is repeated is a list.
fn arguments(query: &str) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    for (name, value) in Args::parse(query).0 {
        let value = value.map_or(Value::Bool(true), Value::from);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, Value::Array(values))) => values.push(value),
            Some((_, first)) => *first = Value::Array(vec![first.take(), value]),
            None => found.push((name, value)),
        }
    }
    found
}

/// Sets a field of a field of …, as `a.b.c` names it.
fn put(members: &mut Map<String, Value>, path: &str, value: Value) {
    let mut inner = members;
    let mut names = path.split('.').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            inner.insert(name.to_owned(), value);
            return;
        }
        let next = inner.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        let Some(next) = next.as_object_mut() else { return };
        inner = next;
    }
}

/// The status that stands for gRPC's.
fn http_status(grpc: u32) -> StatusCode {
    let status = match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        14 => 503,
        16 => 401,
        _ => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer as JSON; what is no gRPC goes on as it is.
struct Transcoded(Messages);

impl BodyFilter for Transcoded {
    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
        let mut json = self.0.take(&piece).concat().into_bytes();
        if last {
            json.extend_from_slice(&self.0.rest());
        }
        json.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dotted_arguments_are_fields_of_fields_and_repeated_ones_lists() {
        let mut members = Map::new();
        for (name, value) in arguments("a.b=1&a.c.d=x+y&e=1&e=2&f") {
            put(&mut members, &name, value);
        }
        let expected =
            json!({ "a": { "b": "1", "c": { "d": "x y" } }, "e": ["1", "2"], "f": true });
        assert_eq!(Value::from(members), expected);
    }
}
