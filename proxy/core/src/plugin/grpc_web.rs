//! grpc-web: gRPC for browsers.
//!
//! Its frames, binary or as base64 text, become gRPC's and back, trailers included. Where a `.proto` file is configured,
//! messages may be JSON, in frames or alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::Value;

use super::grpc_gateway::NEEDS_PROTO;
use super::proto::{self, Messages, ProtoFile};
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange, Source, text};

/// Headers that a browser may send.
const ALLOWED: &str = "content-type,x-grpc-web,x-user-agent";

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

struct GrpcWeb {
    allow_origin: Option<HeaderValue>,
    proto: Option<ProtoFile>,
    /// Whether methods are called by the path that the route leaves.
    stripped: bool,
}

/// How the client speaks.
#[derive(Clone)]
struct Dialect {
    content_type: HeaderValue,
    is_text: bool,
    framed: bool,
    /// What the answer's messages are, where they are to be JSON.
    json: Option<MessageDescriptor>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let allow_origin =
        config.text("allow_origin_header").and_then(|origin| HeaderValue::from_str(origin).ok());
    let stripped = config.flag("pass_stripped_path");
    Ok(Box::new(GrpcWeb { allow_origin, proto: ProtoFile::of(config), stripped }))
}

impl Plugin for GrpcWeb {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if let Some(origin) = &self.allow_origin {
            exchange.early.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if exchange.request.method == Method::OPTIONS {
            return Access::respond(preflight());
        }
        let kind = exchange.request.headers.get(CONTENT_TYPE).cloned();
        let name = kind.as_ref().and_then(text).unwrap_or_default().to_owned();
        let (framed, is_json) = match name.as_str() {
            "application/grpc-web" | "application/grpc-web+proto" => (true, false),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => (true, false),
            "application/grpc-web+json" | "application/grpc-web-text+json" => (true, true),
            _ => (false, true),
        };
        let method = if is_json {
            match self.method(exchange) {
                Ok(method) => Some(method),
                Err(answer) => return Access::Respond(answer),
            }
        } else {
            None
        };
        let dialect = Dialect {
            content_type: kind.unwrap_or(HeaderValue::from_static("application/json")),
            is_text: name.starts_with("application/grpc-web-text"),
            framed,
            json: method.map(MethodDescriptor::output),
        };
        let headers = &mut exchange.request.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        exchange.notes.put(dialect.clone());
        if dialect.is_text || method.is_some() {
            let kind = method.map(MethodDescriptor::input);
            Access::Later(Box::pin(translate(dialect, kind, exchange)))
        } else {
            Access::Continue
        }
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let Some(dialect) = exchange.notes.take::<Dialect>() else { return };
        let response = &mut exchange.response;
        response.headers.insert(CONTENT_TYPE, dialect.content_type);
        let rewritten = dialect.is_text || dialect.json.is_some();
        if !rewritten && response.headers.contains_key(CONTENT_LENGTH) {
            return;
        }
        if response.source != Source::Upstream && dialect.json.is_some() {
            return;
        }
        response.headers.remove(CONTENT_LENGTH);
        let messages = dialect.json.map(Messages::new);
        let (is_text, framed) = (dialect.is_text, dialect.framed);
        response.filters.push(Box::new(Frames { is_text, framed, messages, ..Frames::default() }));
    }
}

impl GrpcWeb {
    /// The method that a request with JSON calls.
    fn method(&self, exchange: &Exchange) -> Result<&MethodDescriptor, Box<Answer>> {
        let refuse = |reason: String| Box::new(Answer::new(StatusCode::BAD_REQUEST, None, reason));
        let file = self.proto.as_ref().ok_or_else(|| refuse(NEEDS_PROTO.to_owned()))?;
        let Some(proto) = file.get() else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Err(Box::new(Answer::status_error(exchange, status)));
        };
        let path = if self.stripped { &exchange.upstream.path } else { &exchange.request.path };
        // The spelling is Kong's.
        proto.method(path).ok_or_else(|| refuse(format!("Unkown path {}", proto::quoted(path))))
    }
}

fn preflight() -> Answer {
    let kind = "application/grpc-web-text+proto";
    let mut answer = Answer::new(StatusCode::OK, Some(kind), "OK");
    for (name, value) in [
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", ALLOWED),
        ("grpc-status", "0"),
        ("grpc-message", "OK"),
    ] {
        answer.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// Turns the body into what a gRPC server reads: `kind` is what its JSON is a message of.
async fn translate(
    dialect: Dialect,
    kind: Option<MessageDescriptor>,
    exchange: &mut Exchange,
) -> Flow {
    let mut body = exchange.request.read_body().await.unwrap_or_default();
    if dialect.is_text {
        match decode(&body) {
            Some(bytes) => body = bytes.into(),
            None => return Flow::respond(Answer::bare(exchange, StatusCode::BAD_REQUEST)),
        }
    }
    if let Some(kind) = kind {
        match message(&kind, body, dialect.framed) {
            Some(bytes) => body = bytes,
            None => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Flow::respond(Answer::status_error(exchange, status));
            }
        }
    }
    exchange.request.set_body(body);
    Flow::Continue
}

/// The frame of a message that came as JSON, itself in a frame or alone.
fn message(kind: &MessageDescriptor, body: Bytes, framed: bool) -> Option<Bytes> {
    let json = if framed { proto::unframe(&mut BytesMut::from(body))? } else { body };
    let message = match serde_json::from_slice(&json).ok()? {
        Value::Object(members) => proto::encode(kind, &members).ok()?,
        Value::Array(_) => Vec::new(),
        _ => return None,
    };
    Some(proto::frame(0, &message))
}

/// Base64 that may consist of several padded pieces.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    text.chunks(4)
        .map(|quad| STANDARD.decode(quad).ok())
        .collect::<Option<Vec<_>>>()
        .map(|parts| parts.concat())
}

/// Turns messages into JSON where that is wanted, the upstream's trailers into a last frame, and all of it into text.
#[derive(Default)]
struct Frames {
    is_text: bool,
    framed: bool,
    messages: Option<Messages>,
    trailers: Option<Bytes>,
    /// Bytes that do not make a full group of base64 yet.
    rest: BytesMut,
}

impl Frames {
    /// A piece of the answer as the client wants its messages.
    fn messages(&mut self, piece: Bytes, last: bool) -> Bytes {
        let Some(messages) = &mut self.messages else { return piece };
        let mut out = BytesMut::new();
        for json in messages.take(&piece) {
            if self.framed {
                out.extend_from_slice(&proto::frame(0, json.as_bytes()));
            } else {
                out.extend_from_slice(json.as_bytes());
            }
        }
        if last {
            out.extend_from_slice(&messages.rest());
        }
        out.freeze()
    }
}

impl BodyFilter for Frames {
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        if !self.framed {
            return;
        }
        let mut lines = BytesMut::new();
        for (name, value) in trailers.iter() {
            lines.put_slice(name.as_str().as_bytes());
            lines.put_u8(b':');
            lines.put_slice(value.as_bytes());
            lines.put_slice(b"\r\n");
        }
        trailers.clear();
        self.trailers = Some(proto::frame(TRAILERS, &lines));
    }

    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
        let piece = self.messages(piece, last);
        let end = if last { self.trailers.take() } else { None };
        if !self.is_text {
            return match end {
                None => piece,
                Some(frame) => [piece, frame].concat().into(),
            };
        }
        self.rest.extend_from_slice(&piece);
        self.rest.extend_from_slice(&end.unwrap_or_default());
        let whole = if last { self.rest.len() } else { self.rest.len() / 3 * 3 };
        STANDARD.encode(self.rest.split_to(whole)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_become_the_last_frame() {
        let mut frames = Frames { framed: true, ..Frames::default() };
        let mut trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        frames.trailers(&mut trailers);
        assert!(trailers.is_empty());
        assert_eq!(frames.chunk(Bytes::new(), true), &b"\x80\0\0\0\x0fgrpc-status:0\r\n"[..]);
    }

    #[test]
    fn padded_pieces_of_text_are_decoded_one_after_the_other() {
        assert_eq!(decode(b"YQ==Yg==").unwrap(), b"ab");
    }
}
