//! From bytes on a connection to a [`Call`], and from a [`Reply`] to bytes.

use std::{io::Read, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION,
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, SERVER,
    },
};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{
    Door, Node,
    call::{Body, Call, Reply},
};
use crate::http1::io::PATIENCE;

/// Bodies beyond this are refused, compressed or not.
const LARGEST_BODY: usize = 256 << 20;
/// How much is set aside for a body because it says that it is so large.
const MOST_AHEAD: usize = 16 << 20;

/// Answers one request.
pub(super) async fn answer(
    node: Arc<Node>,
    door: Door,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let start = Instant::now();
    let (head, body) = request.into_parts();
    // HTTP/1.1 says what it does with the connection, as Kong does.
    let keeps = head.version == http::Version::HTTP_11;
    let is_head = head.method == Method::HEAD;
    let origin = head.headers.get(ORIGIN).cloned();
    let reply = match read(&head.headers, body).await {
        Ok(body) => {
            let call = Call {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                headers: head.headers,
                body,
            };
            super::handle(&node, door, call).await
        }
        Err(reply) => reply,
    };
    let mut response = finish(&node, reply, is_head, origin, start);
    let headers = response.headers_mut();
    if keeps {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    if door == Door::Status {
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
    response
}

/// Reads and unpacks a body.
async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Reply> {
    let too_large = || Reply::page(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    let packed = gather(body, too_large).await?;
    let encoding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let broken =
        || Reply::message(StatusCode::BAD_REQUEST, "the body is not what Content-Encoding says");
    let mut out = Vec::new();
    let limit = LARGEST_BODY as u64 + 1;
    match encoding {
        None | Some("identity") => return Ok(packed),
        Some("gzip") => {
            let reader = flate2::read::MultiGzDecoder::new(&packed[..]);
            reader.take(limit).read_to_end(&mut out).map_err(|_| broken())?;
        }
        Some("zstd") => {
            let reader =
                ruzstd::decoding::StreamingDecoder::new(&packed[..]).map_err(|_| broken())?;
            reader.take(limit).read_to_end(&mut out).map_err(|_| broken())?;
        }
        Some(_) => {
            return Err(Reply::page(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type"));
        }
    }
    if out.len() > LARGEST_BODY { Err(too_large()) } else { Ok(out.into()) }
}

/// A body in one piece; one that comes in drops may take its time, but must go on coming.
async fn gather(mut body: Incoming, too_large: impl Fn() -> Reply) -> Result<Bytes, Reply> {
    let announced = body.size_hint().lower();
    if announced > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let mut whole =
        BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).min(MOST_AHEAD));
    loop {
        let frame = match timeout(PATIENCE, body.frame()).await {
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => {
                return Err(Reply::page(StatusCode::REQUEST_TIMEOUT, "Request Time-out"));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > LARGEST_BODY {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
}

fn finish(
    node: &Node,
    reply: Reply,
    is_head: bool,
    origin: Option<HeaderValue>,
    start: Instant,
) -> Response<Full<Bytes>> {
    let (kind, body) = match reply.body {
        Body::Empty => (None, Bytes::new()),
        Body::Json(value) => {
            (Some("application/json; charset=utf-8"), Bytes::from(value.to_string()))
        }
        Body::Text(kind, bytes) => (Some(kind), bytes),
    };
    let length = body.len();
    let mut response = Response::new(Full::new(if is_head { Bytes::new() } else { body }));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if !matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers.insert(SERVER, node.gateway.product.clone());
    let any = HeaderValue::from_static("*");
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.unwrap_or(any));
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    let latency = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    headers.insert(HeaderName::from_static("x-kong-admin-latency"), latency.into());
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
