//! The headers that the gateway adds and takes away, on both sides.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use proxy_core::exchange::{Exchange, Moments};
use proxy_core::uri;

use super::{Way, now};
use crate::app::Gateway;

/// Types whose text gets a charset.
const CHARSET_TYPES: [&str; 6] = [
    "text/html",
    "text/plain",
    "text/xml",
    "application/javascript",
    "application/rss+xml",
    "text/vnd.wap.wml",
];

/// Names the charset of text that says nothing of it.
pub fn add_charset(status: StatusCode, headers: &mut HeaderMap) {
    if matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) {
        return;
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return;
    };
    if let Some(known) = CHARSET_TYPES.iter().find(|known| kind.eq_ignore_ascii_case(known))
        && let Ok(value) = HeaderValue::from_str(&format!("{known}; charset=UTF-8"))
    {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

/// The headers for the upstream, without Host: the gateway's own first, then the client's.
pub fn upstream_headers(gateway: &Gateway, way: &Way<'_>, exchange: &Exchange) -> HeaderMap {
    let request = &exchange.request;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 12);
    let websocket = is_websocket(exchange);
    let version = match request.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1",
        _ => "1.1",
    };
    let own = format!("{version} {}", gateway.product_name());
    let via = request.headers.get(header::VIA);
    put(&mut headers, header::VIA, &append(via, &own));
    headers.insert(
        header::CONNECTION,
        HeaderValue::from_static(if websocket { "keep-alive, Upgrade" } else { "keep-alive" }),
    );
    if websocket {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    forwarded(gateway, way, exchange, &mut headers);
    put(
        &mut headers,
        HeaderName::from_static("x-real-ip"),
        exchange.client.ip.to_string().as_bytes(),
    );
    put(&mut headers, HeaderName::from_static("x-kong-request-id"), exchange.id.as_bytes());
    let dropped = connection_tokens(&request.headers);
    for (name, value) in &request.headers {
        let named =
            dropped.split(',').any(|token| token.trim().eq_ignore_ascii_case(name.as_str()));
        if !is_own(name) && !named && !is_disguised(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let trailers = request.headers.get(header::TE).is_some_and(|te| te.as_bytes() == b"trailers");
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// Whether the client asks for a WebSocket.
fn is_websocket(exchange: &Exchange) -> bool {
    exchange.request.version != Version::HTTP_2
        && exchange.request.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
}

/// What the first Connection header names; `close` and `keep-alive` alone name nothing.
fn connection_tokens(headers: &HeaderMap) -> &str {
    headers.get(header::CONNECTION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Headers that the gateway writes itself, or that end at this hop.
fn is_own(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST
            | header::CONNECTION
            | header::VIA
            | header::UPGRADE
            | header::TE
            | header::TRANSFER_ENCODING
            | header::EXPECT
    ) || matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-path"
            | "x-forwarded-prefix"
            | "x-real-ip"
            | "x-kong-request-id"
            | "x-kong-request-debug"
            | "x-kong-request-debug-token"
            | "x-kong-request-debug-log"
            | "http2-settings"
    )
}

/// Whether the name becomes one that the gateway answers for once a server behind it takes `_` for `-`, as CGI and its
/// heirs do.
fn is_disguised(name: &HeaderName) -> bool {
    name.as_str().contains('_')
        && HeaderName::try_from(name.as_str().replace('_', "-"))
            .is_ok_and(|name| is_own(&name) || name == header::CONTENT_LENGTH)
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

fn append(first: Option<&HeaderValue>, own: &str) -> Vec<u8> {
    match first {
        Some(first) => [first.as_bytes(), b", ", own.as_bytes()].concat(),
        None => own.as_bytes().to_vec(),
    }
}

fn forwarded(gateway: &Gateway, way: &Way<'_>, exchange: &Exchange, headers: &mut HeaderMap) {
    let request = &exchange.request;
    let trusted = gateway.settings.trusts(exchange.client.peer);
    let said =
        |name: &str| request.headers.get(name).filter(|_| trusted).map(HeaderValue::as_bytes);
    let chain = append(request.headers.get("x-forwarded-for"), &exchange.client.peer.to_string());
    put(headers, HeaderName::from_static("x-forwarded-for"), &chain);
    let proto = said("x-forwarded-proto").unwrap_or(request.scheme.as_bytes());
    put(headers, HeaderName::from_static("x-forwarded-proto"), proto);
    let asked = asked_host(exchange);
    let host = said("x-forwarded-host").unwrap_or(&asked);
    put(headers, HeaderName::from_static("x-forwarded-host"), host);
    let port = request.port.to_string();
    put(
        headers,
        HeaderName::from_static("x-forwarded-port"),
        said("x-forwarded-port").unwrap_or(port.as_bytes()),
    );
    let path = request.target.split('?').next().unwrap_or_default();
    put(
        headers,
        HeaderName::from_static("x-forwarded-path"),
        said("x-forwarded-path").unwrap_or(&uri::bytes(path)),
    );
    let prefix = said("x-forwarded-prefix").or(way.prefix.as_deref().map(str::as_bytes));
    if let Some(prefix) = prefix {
        let end = prefix.iter().position(|byte| *byte < 0x20).unwrap_or(prefix.len());
        let prefix = &prefix[..end];
        put(headers, HeaderName::from_static("x-forwarded-prefix"), prefix);
    }
}

/// The host that was asked for; one that is no text goes on byte for byte.
fn asked_host(exchange: &Exchange) -> Vec<u8> {
    let host = &exchange.request.host;
    match exchange.request.headers.get(header::HOST) {
        Some(raw) if host.contains(char::REPLACEMENT_CHARACTER) => {
            let name = raw.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
            name.to_ascii_lowercase()
        }
        _ => host.as_bytes().to_vec(),
    }
}

/// Takes away what of an upstream's answer ends at this hop, or speaks to a web server that is not there.
pub fn strip_answer(headers: &mut HeaderMap) {
    let named = connection_tokens(headers).to_owned();
    for token in named.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        headers.remove(token);
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER] {
        headers.remove(name);
    }
    for name in [
        "keep-alive",
        "x-accel-expires",
        "x-accel-buffering",
        "x-accel-limit-rate",
        "x-accel-redirect",
        "x-accel-charset",
    ] {
        headers.remove(name);
    }
}

/// What the gateway adds to an answer that an upstream was asked for.
pub fn add_answer_headers(gateway: &Gateway, exchange: &Exchange, headers: &mut HeaderMap) {
    let settings = &gateway.settings.headers;
    let moments = &exchange.moments;
    if settings.latency {
        let answered = moments.answered.unwrap_or_else(now);
        let waited = Moments::between(moments.forwarded, Some(answered));
        let own = Moments::between(Some(moments.started), moments.forwarded);
        headers.insert("x-kong-upstream-latency", HeaderValue::from(waited));
        headers.insert("x-kong-proxy-latency", HeaderValue::from(own));
    }
    if exchange.client.peer.is_loopback()
        && exchange.request.headers.contains_key("x-kong-request-debug")
    {
        let total = Moments::between(Some(moments.started), Some(now()));
        let waited = Moments::between(moments.forwarded, moments.answered);
        let output = format!(
            r#"{{"child":{{"upstream":{{"total_time":{waited}}}}},"request_id":"{}","total_time":{total}}}"#,
            exchange.id
        );
        put(headers, HeaderName::from_static("x-kong-request-debug-output"), output.as_bytes());
    }
    if settings.via {
        let grpc = exchange.upstream.scheme.is_some_and(|scheme| scheme.starts_with("grpc"));
        let own = format!("{} {}", if grpc { "2" } else { "1.1" }, gateway.product_name());
        let via = append(headers.get(header::VIA), &own);
        put(headers, header::VIA, &via);
    }
}
