//! The headers that the gateway adds and takes away, on both sides.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use proxy_core::exchange::{Exchange, Moments};
use proxy_core::uri;

use super::{Way, now};
use crate::app::Gateway;
use crate::http1::io::put_line;

static VIA: Name = (header::VIA, "Via: ");
static CONNECTION: Name = (header::CONNECTION, "Connection: ");
static UPGRADE: Name = (header::UPGRADE, "Upgrade: ");
static TE: Name = (header::TE, "Te: ");
static REAL_IP: Name = (HeaderName::from_static("x-real-ip"), "X-Real-Ip: ");
static OWN_ID: Name = (REQUEST_ID, "X-Kong-Request-Id: ");
const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");

/// What of an upstream's answer is meant for this hop.
static ENDS_HERE: [HeaderName; 10] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-accel-limit-rate"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-accel-charset"),
];

/// The header that asks for the request's times.
pub const REQUEST_DEBUG: HeaderName = HeaderName::from_static("x-kong-request-debug");

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");

/// The gateway's word in `Via`.
pub static VIA_11: HeaderValue =
    HeaderValue::from_static(concat!("1.1 flotilla/", env!("CARGO_PKG_VERSION")));
static VIA_2: HeaderValue =
    HeaderValue::from_static(concat!("2 flotilla/", env!("CARGO_PKG_VERSION")));

/// Types whose text gets a charset.
static CHARSET_TYPES: [(&str, HeaderValue); 6] = [
    ("text/html", HeaderValue::from_static("text/html; charset=UTF-8")),
    ("text/plain", HeaderValue::from_static("text/plain; charset=UTF-8")),
    ("text/xml", HeaderValue::from_static("text/xml; charset=UTF-8")),
    ("application/javascript", HeaderValue::from_static("application/javascript; charset=UTF-8")),
    ("application/rss+xml", HeaderValue::from_static("application/rss+xml; charset=UTF-8")),
    ("text/vnd.wap.wml", HeaderValue::from_static("text/vnd.wap.wml; charset=UTF-8")),
];

/// Names the charset of text that says nothing of it.
pub fn add_charset(status: StatusCode, headers: &mut HeaderMap) {
    let kind = headers.get(header::CONTENT_TYPE);
    if let Some(better) = kind.and_then(|kind| charset_type(status, kind.as_bytes())) {
        headers.insert(header::CONTENT_TYPE, better.clone());
    }
}

/// The type with its charset, for text that says nothing of it.
pub fn charset_type(status: StatusCode, kind: &[u8]) -> Option<&'static HeaderValue> {
    if matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) {
        return None;
    }
    let known = CHARSET_TYPES.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known.as_bytes()));
    known.map(|(_, better)| better)
}

/// What an upstream is told in headers, without Host and without what frames the body.
#[derive(Debug)]
pub struct UpstreamHeaders {
    /// The lines as HTTP/1 writes them.
    pub lines: Vec<u8>,
    /// The headers, for a service that is spoken to in HTTP/2.
    pub map: HeaderMap,
    /// Whether the client, or a plugin, announced a length.
    pub has_length: bool,
}

/// Where headers are gathered; a value comes in parts.
trait Gather {
    /// A header of the gateway's own.
    fn put(&mut self, name: &Name, value: &[&[u8]]);
    /// A header of the client's.
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue);
}

/// A header's name, and how its line begins.
type Name = (HeaderName, &'static str);

impl Gather for Vec<u8> {
    fn put(&mut self, (_, line): &Name, value: &[&[u8]]) {
        self.extend_from_slice(line.as_bytes());
        for part in value {
            self.extend_from_slice(part);
        }
        self.extend_from_slice(b"\r\n");
    }

    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        put_line(self, name.as_str().as_bytes(), &[value.as_bytes()]);
    }
}

impl Gather for HeaderMap {
    fn put(&mut self, (name, _): &Name, value: &[&[u8]]) {
        if let Ok(value) = HeaderValue::from_bytes(&value.concat()) {
            self.append(name, value);
        }
    }

    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }
}

/// Whether bytes that are no header's yet may be one's value.
fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f || *byte == b'\t')
}

/// What the gateway reads of a client's headers, found in one look over them: the first of each name.
#[derive(Default)]
struct Given<'a> {
    via: Option<&'a HeaderValue>,
    connection: &'a str,
    upgrade: Option<&'a HeaderValue>,
    te: Option<&'a HeaderValue>,
    has_length: bool,
    forwarded: [Option<&'a HeaderValue>; 6],
}

/// The headers that tell where a request came from, in the order in which they are written.
static FORWARDED: [Name; 6] = [
    (HeaderName::from_static("x-forwarded-for"), "X-Forwarded-For: "),
    (HeaderName::from_static("x-forwarded-proto"), "X-Forwarded-Proto: "),
    (HeaderName::from_static("x-forwarded-host"), "X-Forwarded-Host: "),
    (HeaderName::from_static("x-forwarded-port"), "X-Forwarded-Port: "),
    (HeaderName::from_static("x-forwarded-path"), "X-Forwarded-Path: "),
    (HeaderName::from_static("x-forwarded-prefix"), "X-Forwarded-Prefix: "),
];

impl<'a> Given<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut given = Self::default();
        for name in headers.keys() {
            let place = match *name {
                header::VIA => &mut given.via,
                header::UPGRADE => &mut given.upgrade,
                header::TE => &mut given.te,
                header::CONNECTION => {
                    given.connection = connection_tokens(headers);
                    continue;
                }
                header::CONTENT_LENGTH => {
                    given.has_length = true;
                    continue;
                }
                _ => match FORWARDED.iter().position(|(one, _)| one == name) {
                    Some(at) => &mut given.forwarded[at],
                    None => continue,
                },
            };
            *place = headers.get(name);
        }
        given
    }
}

/// The headers for the upstream: the gateway's own first, then the client's.
pub fn upstream_headers(gateway: &Gateway, way: &Way<'_>, exchange: &Exchange) -> UpstreamHeaders {
    let given = Given::of(&exchange.request.headers);
    let has_length = given.has_length && !is_named(given.connection, &header::CONTENT_LENGTH);
    let mut lines = Vec::with_capacity(1024);
    gather(gateway, way, exchange, (&given, &mut lines));
    let mut map = HeaderMap::new();
    let service = way.route.service.as_ref();
    if service.is_some_and(|service| service.protocol.is_grpc()) {
        gather(gateway, way, exchange, (&given, &mut map));
        // What gRPC asks of every call; a client that is translated for did not say it.
        map.insert(header::TE, HeaderValue::from_static("trailers"));
        if has_length && let Some(length) = exchange.request.headers.get(header::CONTENT_LENGTH) {
            map.insert(header::CONTENT_LENGTH, length.clone());
        }
    }
    UpstreamHeaders { lines, map, has_length }
}

fn gather(
    gateway: &Gateway,
    way: &Way<'_>,
    exchange: &Exchange,
    (given, to): (&Given<'_>, &mut impl Gather),
) {
    let request = &exchange.request;
    let websocket = request.version != Version::HTTP_2
        && given.upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let version = match request.version {
        Version::HTTP_2 => "2 ",
        Version::HTTP_10 => "1 ",
        _ => "1.1 ",
    };
    let own = gateway.product_name().as_bytes();
    let (via, comma) = before(given.via);
    to.put(&VIA, &[via, comma, version.as_bytes(), own]);
    let connection: &[u8] = if websocket { b"keep-alive, Upgrade" } else { b"keep-alive" };
    to.put(&CONNECTION, &[connection]);
    if websocket {
        to.put(&UPGRADE, &[b"websocket"]);
    }
    forwarded(gateway, way, exchange, (given, to));
    if exchange.client.ip == way.peer.ip {
        to.put(&REAL_IP, &[way.peer.shown.0.as_bytes()]);
    } else {
        to.put(&REAL_IP, &[Text::of(exchange.client.ip).as_bytes()]);
    }
    to.put(&OWN_ID, &[exchange.id.as_bytes()]);
    for (name, value) in &request.headers {
        if *name != header::CONTENT_LENGTH
            && !is_own(name)
            && !is_named(given.connection, name)
            && !is_disguised(name)
        {
            to.pass(name, value);
        }
    }
    if given.te.is_some_and(|te| te.as_bytes() == b"trailers") {
        to.put(&TE, &[b"trailers"]);
    }
}

/// What the first Connection header names; `close` and `keep-alive` alone name nothing.
fn connection_tokens(headers: &HeaderMap) -> &str {
    headers.get(header::CONNECTION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a Connection header's tokens name a header.
fn is_named(tokens: &str, name: &HeaderName) -> bool {
    !tokens.is_empty()
        && tokens.split(',').any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
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

/// What stands before a word of the gateway's own in a list, and what comes between.
fn before(first: Option<&HeaderValue>) -> (&[u8], &'static [u8]) {
    first.map_or((b"", b""), |first| (first.as_bytes(), b", "))
}

/// A short text that needs no allocation: an address, a number.
pub struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Text {
    /// The text of a value, cut off where it is too long.
    pub fn of(value: impl std::fmt::Display) -> Self {
        use std::fmt::Write;
        let mut text = Self { bytes: [0; 48], length: 0 };
        // The longest address has 39 letters.
        let _ = write!(text, "{value}");
        text
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let end = self.length + part.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn forwarded(
    gateway: &Gateway,
    way: &Way<'_>,
    exchange: &Exchange,
    (given, to): (&Given<'_>, &mut impl Gather),
) {
    let request = &exchange.request;
    let trusted = gateway.settings.trusts(exchange.client.peer);
    let said = |at: usize| given.forwarded[at].filter(|_| trusted).map(HeaderValue::as_bytes);
    let [for_, proto, host, port, path, prefix] = &FORWARDED;
    let (ip_shown, port_shown) = &way.peer.shown;
    let (chain, comma) = before(given.forwarded[0]);
    to.put(for_, &[chain, comma, ip_shown.as_bytes()]);
    to.put(proto, &[said(1).unwrap_or(request.scheme.as_bytes())]);
    let asked = asked_host(exchange);
    if let Some(name) = said(2).or(Some(&*asked).filter(|asked| is_value(asked))) {
        to.put(host, &[name]);
    }
    to.put(port, &[said(3).unwrap_or(port_shown.as_bytes())]);
    let asked = request.target.split('?').next().unwrap_or_default();
    let asked = uri::bytes(asked);
    if let Some(asked) = said(4).or(Some(&*asked).filter(|asked| is_value(asked))) {
        to.put(path, &[asked]);
    }
    if let Some(stripped) = said(5).or(way.prefix.as_deref().map(str::as_bytes)) {
        let end = stripped.iter().position(|byte| *byte < 0x20).unwrap_or(stripped.len());
        if is_value(&stripped[..end]) {
            to.put(prefix, &[&stripped[..end]]);
        }
    }
}

/// The host that was asked for; one that is no text goes on byte for byte.
fn asked_host(exchange: &Exchange) -> Cow<'_, [u8]> {
    let host = &exchange.request.host;
    if !host.contains(char::REPLACEMENT_CHARACTER) {
        return host.as_bytes().into();
    }
    match exchange.request.headers.get(header::HOST) {
        Some(raw) => {
            let name = raw.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
            name.to_ascii_lowercase().into()
        }
        None => host.as_bytes().into(),
    }
}

/// Takes away what of an upstream's answer ends at this hop, or speaks to a web server that is not there.
pub fn strip_answer(headers: &mut HeaderMap) {
    let named = connection_tokens(headers);
    if !named.is_empty() {
        let named = named.to_owned();
        for token in named.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            headers.remove(token);
        }
    }
    // One look over an answer's few headers is cheaper than a removal for each of these.
    if headers.keys().any(|name| ENDS_HERE.contains(name)) {
        for name in &ENDS_HERE {
            headers.remove(name);
        }
    }
}

/// Has the answer name the route and the service, where the client asks with `Kong-Debug: 1`.
pub(super) fn tell_route(exchange: &mut Exchange) {
    if exchange.request.header("kong-debug") != Some("1") {
        return;
    }
    let (route, service) = (exchange.matched.route.clone(), exchange.matched.service.clone());
    let names = [("kong-route-id", "kong-route-name"), ("kong-service-id", "kong-service-name")];
    for ((id, name), entity) in names.into_iter().zip([route, service]) {
        let Some(entity) = entity else { continue };
        put(&mut exchange.early, HeaderName::from_static(id), entity.id.as_bytes());
        if let Some(text) = &entity.name {
            put(&mut exchange.early, HeaderName::from_static(name), text.as_bytes());
        }
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
        headers.insert(UPSTREAM_LATENCY, HeaderValue::from(waited));
        headers.insert(PROXY_LATENCY, HeaderValue::from(own));
    }
    if exchange.client.peer.is_loopback() && exchange.request.headers.contains_key(&REQUEST_DEBUG) {
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
        let own = if grpc { &VIA_2 } else { &VIA_11 };
        match headers.get(header::VIA) {
            Some(first) => {
                let via = [first.as_bytes(), b", ", own.as_bytes()].concat();
                put(headers, header::VIA, &via);
            }
            None => {
                headers.insert(header::VIA, own.clone());
            }
        }
    }
}
