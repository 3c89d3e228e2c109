//! grpc-web and grpc-gateway: gRPC for browsers.
//!
//! grpc-web's frames, binary or as base64 text, become gRPC's and back, trailers included. What needs a `.proto` file
//! (JSON, and all of grpc-gateway) is answered as Kong answers without one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Access, BuildError, Config, Flow, Plugin};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange, text};

const NEEDS_PROTO: &str = "transcoding requests require a .proto file defining the service";
/// Headers that a browser may send.
const ALLOWED: &str = "content-type,x-grpc-web,x-user-agent";

/// The flag of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

struct GrpcWeb {
    allow_origin: Option<HeaderValue>,
    /// Whether frames are understood, or everything needs a `.proto` file.
    frames: bool,
}

/// How the client speaks.
struct Dialect {
    content_type: HeaderValue,
    is_text: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let allow_origin =
        config.text("allow_origin_header").and_then(|origin| HeaderValue::from_str(origin).ok());
    Ok(Box::new(GrpcWeb { allow_origin, frames: true }))
}

pub(super) fn build_gateway(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    if config.text("proto").is_some() {
        return Err(BuildError::Unsupported("grpc-gateway".to_owned()));
    }
    Ok(Box::new(GrpcWeb { allow_origin: Some(HeaderValue::from_static("*")), frames: false }))
}

impl Plugin for GrpcWeb {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if let Some(origin) = &self.allow_origin {
            exchange.early.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if exchange.request.method == Method::OPTIONS {
            let mut answer = Answer::empty(StatusCode::OK);
            for (name, value) in [
                ("access-control-allow-methods", "POST"),
                ("access-control-allow-headers", ALLOWED),
            ] {
                answer
                    .headers
                    .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            return Access::respond(answer);
        }
        let kind = exchange.request.headers.get(CONTENT_TYPE);
        let frames = kind
            .and_then(text)
            .filter(|kind| self.frames && kind.starts_with("application/grpc-web"));
        let (Some(name), Some(content_type), true) =
            (frames, kind, exchange.request.method == Method::POST)
        else {
            return Access::respond(Answer::new(StatusCode::BAD_REQUEST, None, NEEDS_PROTO));
        };
        let dialect = Dialect {
            content_type: content_type.clone(),
            is_text: name.starts_with("application/grpc-web-text"),
        };
        let headers = &mut exchange.request.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        if exchange.upstream.scheme.is_some_and(|scheme| scheme.starts_with("grpc")) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let is_text = dialect.is_text;
        exchange.notes.put(dialect);
        if is_text { Access::Later(Box::pin(decode_body(exchange))) } else { Access::Continue }
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let Some(dialect) = exchange.notes.take::<Dialect>() else { return };
        let response = &mut exchange.response;
        response.headers.insert(CONTENT_TYPE, dialect.content_type);

        if dialect.is_text || !response.headers.contains_key(CONTENT_LENGTH) {
            response.headers.remove(CONTENT_LENGTH);
            response
                .filters
                .push(Box::new(Frames { is_text: dialect.is_text, ..Frames::default() }));
        }
    }
}

async fn decode_body(exchange: &mut Exchange) -> Flow {
    let body = exchange.request.read_body().await.unwrap_or_default();
    match decode(&body) {
        Some(body) => {
            exchange.request.set_body(body.into());
            Flow::Continue
        }
        None => Flow::respond(Answer::bare(exchange, StatusCode::BAD_REQUEST)),
    }
}

/// Base64 that may consist of several padded pieces.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    text.chunks(4)
        .map(|quad| STANDARD.decode(quad).ok())
        .collect::<Option<Vec<_>>>()
        .map(|parts| parts.concat())
}

/// Turns the upstream's trailers into a last frame, and all of it into text where that is wanted.
#[derive(Default)]
struct Frames {
    is_text: bool,
    trailers: Option<Bytes>,
    /// Bytes that do not make a full group of base64 yet.
    rest: BytesMut,
}

impl BodyFilter for Frames {
    fn trailers(&mut self, trailers: &mut HeaderMap) {
        let mut lines = BytesMut::new();
        for (name, value) in trailers.iter() {
            lines.put_slice(name.as_str().as_bytes());
            lines.put_u8(b':');
            lines.put_slice(value.as_bytes());
            lines.put_slice(b"\r\n");
        }
        trailers.clear();
        let mut frame = BytesMut::with_capacity(lines.len() + 5);
        frame.put_u8(TRAILERS);
        frame.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        frame.put_slice(&lines);
        self.trailers = Some(frame.freeze());
    }

    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
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
        let mut frames = Frames::default();
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
