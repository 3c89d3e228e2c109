//! One HTTP exchange from its head to its last byte: routing, plugins, and either an own answer or the upstream's.
//!
//! A request reads one generation of the configuration, taken once at its beginning.

mod answer;
mod headers;
pub mod request_id;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use proxy_core::answer::Answer;
use proxy_core::exchange::{Body, Captures, Client, Exchange, Matched, Request, Tls};
use proxy_core::plugin::{Flow, Plan};
use proxy_core::route::{Flavor, Lookup, Match, Protocol};
use proxy_core::table::Route;
use proxy_core::uri::{self, Join};

use crate::app::Gateway;
use crate::downstream::{Out, RequestBody};
use crate::http1::io::Reader;
use crate::probe;
use crate::state::Generation;

pub use answer::{finish, respond, send_own};
pub use headers::{
    REQUEST_DEBUG, REQUEST_ID, Text, UpstreamHeaders, VIA_11, add_answer_headers, add_charset,
    charset_type, strip_answer, upstream_headers,
};

/// The connection that requests come on.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address that the connection came from, after the PROXY protocol.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The address that it came to.
    pub local: (IpAddr, u16),
    /// The TLS session.
    pub tls: Option<Arc<Tls>>,
    /// The client's address and the listener's port as text.
    pub shown: (Box<str>, Box<str>),
}

impl Peer {
    /// The ends of a connection before anything is known of TLS.
    pub fn new(client: SocketAddr, local: SocketAddr) -> Self {
        Self {
            ip: client.ip(),
            port: client.port(),
            local: (local.ip(), local.port()),
            tls: None,
            shown: (client.ip().to_string().into(), local.port().to_string().into()),
        }
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A request, its head read.
pub struct Incoming {
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// Path and query as written.
    pub target: Vec<u8>,
    /// The host of an absolute target.
    pub authority: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<RequestBody>,
    /// Bytes received.
    pub size: u64,
}

/// What a client is on the way to, beside an answer.
pub struct Client1<'a> {
    /// Where the answer goes.
    pub out: Out<'a>,
    /// The reading side, for what becomes a tunnel.
    pub reader: Option<&'a mut Reader>,
}

/// What routing gives.
struct Routed {
    route: Arc<Route>,
    stripped: Option<usize>,
    prefix: Option<String>,
}

/// What the forwarding needs of the routing.
pub struct Way<'a> {
    /// The generation that the request reads.
    pub generation: &'a Arc<Generation>,
    /// The route.
    pub route: &'a Arc<Route>,
    /// The stripped part of the path.
    pub prefix: Option<String>,
    /// The connection.
    pub peer: &'a Peer,
}

/// Serves one request. Whether the connection may go on is up to the responder.
pub async fn serve(
    gateway: &Arc<Gateway>,
    peer: &Peer,
    incoming: Incoming,
    client: &mut Client1<'_>,
) {
    let generation = gateway.state.current();
    let table = &generation.table;
    let mut exchange = begin(gateway, peer, incoming);
    gateway.counters.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let plan = Arc::clone(&table.unmatched);
    let path = exchange.request.target.split('?').next().unwrap_or_default();
    if uri::validate(path.as_bytes()).is_err() {
        client.out.close_after();
        let answer = Answer::bare(&exchange, StatusCode::BAD_REQUEST);
        return respond(gateway, &plan, &mut exchange, answer, &mut client.out).await;
    }
    if let Some(answer) = probe::answer(&exchange, &generation) {
        return send_own(gateway, &mut exchange, answer, &mut client.out).await;
    }
    if let Some(answer) = plan.rewrite(&mut exchange) {
        exchange.response.source = proxy_core::exchange::Source::Exit;
        return respond(gateway, &plan, &mut exchange, *answer, &mut client.out).await;
    }
    if is_misdirected(&generation, peer, &exchange) {
        let message = "this connection is for another listener's hostname";
        let answer = Answer::error(&exchange, StatusCode::MISDIRECTED_REQUEST, message);
        return respond(gateway, &plan, &mut exchange, answer, &mut client.out).await;
    }
    let Some(routed) = find(gateway, peer, &generation, &mut exchange) else {
        let answer = unmatched(gateway, peer, &exchange);
        return respond(gateway, &plan, &mut exchange, answer, &mut client.out).await;
    };
    let plan = Arc::clone(&routed.route.plan);
    if let Some(answer) = refuse_protocol(gateway, &routed.route, &exchange) {
        // The route's plugins have not been reached: only those without a scope see the answer.
        let plan = Arc::clone(&table.unmatched);
        return respond(gateway, &plan, &mut exchange, answer, &mut client.out).await;
    }
    let base = routed.route.service.as_ref().map_or("/", |service| &service.path);
    place(&routed, base, &mut exchange);
    if let Flow::Respond(answer) = plan.access(&mut exchange).await {
        exchange.response.source = proxy_core::exchange::Source::Exit;
        return respond(gateway, &plan, &mut exchange, *answer, &mut client.out).await;
    }
    if routed.route.service.is_none() {
        let message = "no Service found with those values";
        let answer = Answer::error(&exchange, StatusCode::SERVICE_UNAVAILABLE, message);
        return respond(gateway, &plan, &mut exchange, answer, &mut client.out).await;
    }
    let way = Way { generation: &generation, route: &routed.route, prefix: routed.prefix, peer };
    crate::forward::forward(gateway, &way, &mut exchange, client).await;
    finish(gateway, &plan, &mut exchange);
}

/// What a client is told for whom there is no route. A Gateway owes gRPC the word for a method that is not there.
fn unmatched(gateway: &Gateway, peer: &Peer, exchange: &Exchange) -> Answer {
    let entrance = gateway.settings.entrances.iter().any(|one| one.address.port() == peer.local.1);
    let status = match exchange.is_grpc() && entrance {
        true => StatusCode::NOT_IMPLEMENTED,
        false => StatusCode::NOT_FOUND,
    };
    Answer::error(exchange, status, "no Route matched with those values")
}

/// Whether a request came on a connection that was made for the hostname of another listener of its port.
fn is_misdirected(generation: &Generation, peer: &Peer, exchange: &Exchange) -> bool {
    let sni = peer.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let entrance = generation.table.entrances.get(&peer.local.1);
    sni.zip(entrance)
        .is_some_and(|(sni, entrance)| entrance.is_misdirected(sni, &exchange.request.host))
}

/// The wall clock.
pub fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn begin(gateway: &Gateway, peer: &Peer, incoming: Incoming) -> Exchange {
    let Incoming { method, version, target, authority, headers, body, size } = incoming;
    let trusted = gateway.settings.trusts(peer.ip);
    let ip = if trusted { real_ip(gateway, &headers).unwrap_or(peer.ip) } else { peer.ip };
    let path = uri::normalize(target.split(|byte| *byte == b'?').next().unwrap_or_default());
    let target = String::from_utf8(target).unwrap_or_else(|raw| uri::lossless(raw.as_bytes()));
    let raw_path = target.split('?').next().unwrap_or_default();
    let query =
        if raw_path.contains('#') { None } else { target.split_once('?').map(|(_, query)| query) };
    let query = query.map(|query| query.split('#').next().unwrap_or_default().to_owned());
    let host = authority.unwrap_or_else(|| host_name(&headers));
    let request = Request {
        method,
        version,
        scheme: peer.scheme(),
        host,
        port: peer.local.1,
        path: text_path(gateway, path),
        query,
        headers,
        body: body.map_or(Body::Empty, |body| Body::Unread(Box::new(body))),
        size,
        target,
    };
    let client = Client { ip, peer: peer.ip, port: peer.port, tls: peer.tls.clone() };
    Exchange::new(request_id::next(), client, request, now())
}

/// The path that routes are matched against. One that is no text matches none, but in the traditional flavour.
fn text_path(gateway: &Gateway, path: Vec<u8>) -> String {
    String::from_utf8(path).unwrap_or_else(|raw| match gateway.settings.flavor {
        Flavor::Traditional => uri::lossless(raw.as_bytes()),
        Flavor::TraditionalCompatible | Flavor::Expressions => String::new(),
    })
}

fn real_ip(gateway: &Gateway, headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get(&gateway.settings.real_ip_header)?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim();
    last.parse().ok().or_else(|| last.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The host without its port, in lower case; a gateway that is asked for none calls itself `kong`.
fn host_name(headers: &HeaderMap) -> String {
    let Some(host) = headers.get(header::HOST) else { return "kong".to_owned() };
    let host = String::from_utf8_lossy(host.as_bytes());
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    let name = &host[..end.unwrap_or(host.len())];
    let name = name.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(name);
    name.to_ascii_lowercase()
}

/// A Host header's name and port; what is no number after the colon belongs to the name.
fn split_host(host: &str) -> (&str, Option<u16>) {
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    let (name, port) = host.split_at(end.unwrap_or(host.len()));
    match port.strip_prefix(':').map(str::parse::<i64>) {
        Some(Ok(port)) => (name, u16::try_from(port).ok()),
        Some(Err(_)) => (host, None),
        None => (host, None),
    }
}

fn find(
    gateway: &Gateway,
    peer: &Peer,
    generation: &Generation,
    exchange: &mut Exchange,
) -> Option<Routed> {
    let request = &exchange.request;
    if request.path.is_empty() || !request.target.starts_with('/') {
        return None;
    }
    let host = request.headers.get(header::HOST);
    let host = host
        .map(|host| std::str::from_utf8(host.as_bytes()).unwrap_or_default())
        .unwrap_or_default();
    let (name, port) = split_host(host);
    let secure = forwarded_proto(gateway, exchange) == "https";
    let lookup = Lookup {
        protocol: if secure { Protocol::Https } else { Protocol::Http },
        method: request.method.as_str(),
        host_header: host,
        host: name,
        host_port: port,
        path: &request.path,
        query: request.query.as_deref().unwrap_or_default(),
        headers: &request.headers,
        sni: peer.tls.as_ref().and_then(|tls| tls.sni.as_deref()),
        source: (exchange.client.ip, exchange.client.port),
        destination: peer.local,
    };
    let hit = generation.table.find(&lookup)?;
    let route = Arc::clone(hit.route);
    let Match { route: _, path, captures } = hit.matched;
    let matched = path.filter(|_| route.strip_path);
    exchange.matched = Matched {
        route: Some(Arc::clone(&route.entity)),
        service: route.service.as_ref().map(|service| Arc::clone(&service.entity)),
        captures: sort_captures(captures),
    };
    if gateway.settings.tells_route {
        headers::tell_route(exchange);
    }
    Some(Routed {
        stripped: matched.as_ref().map(String::len),
        prefix: matched.filter(|path| !path.is_empty() && path != "/"),
        route,
    })
}

fn sort_captures(captures: Vec<(String, String)>) -> Captures {
    let mut sorted = Captures::default();
    for (name, value) in captures {
        match name.parse::<usize>() {
            Ok(place) => {
                if sorted.unnamed.len() <= place {
                    sorted.unnamed.resize(place + 1, String::new());
                }
                sorted.unnamed[place] = value;
            }
            Err(_) => sorted.named.push((name, value)),
        }
    }
    sorted
}

/// `https` when the client's side is, or a trusted proxy says so.
pub fn forwarded_proto(gateway: &Gateway, exchange: &Exchange) -> &'static str {
    if gateway.settings.trusts(exchange.client.peer) {
        match exchange.request.header("x-forwarded-proto") {
            Some("https") => return "https",
            Some("http") => return "http",
            _ => {}
        }
    }
    exchange.request.scheme
}

/// What a client of the wrong protocol is told.
fn refuse_protocol(gateway: &Gateway, route: &Route, exchange: &Exchange) -> Option<Answer> {
    let secure = forwarded_proto(gateway, exchange) == "https";
    let only_https = route.protocols.has(Protocol::Https) && !route.protocols.has(Protocol::Http);
    if only_https && !secure {
        return Some(redirect(gateway, route.https_redirect, exchange));
    }
    if !route.protocols.has(Protocol::Grpc) && !route.protocols.has(Protocol::Grpcs) {
        return None;
    }
    let grpc = exchange
        .request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/grpc"));
    if !grpc {
        let message = "Non-gRPC request matched gRPC route";
        return Some(Answer::error(exchange, StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if exchange.request.version != Version::HTTP_2 {
        let answer =
            Answer::error(exchange, StatusCode::UPGRADE_REQUIRED, "Please use HTTP2 protocol");
        return Some(upgrade(answer, "HTTP/2"));
    }
    if !route.protocols.has(Protocol::Grpc) && !secure {
        let mut answer = Answer::empty(StatusCode::OK);
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        answer.headers.insert("grpc-status", HeaderValue::from_static("1"));
        answer
            .headers
            .insert("grpc-message", HeaderValue::from_static("gRPC request matched gRPCs route"));
        return Some(answer);
    }
    None
}

fn upgrade(answer: Answer, to: &'static str) -> Answer {
    answer
        .with(header::CONNECTION, HeaderValue::from_static("Upgrade"))
        .with(header::UPGRADE, HeaderValue::from_static(to))
}

fn redirect(gateway: &Gateway, status: StatusCode, exchange: &Exchange) -> Answer {
    if status == StatusCode::UPGRADE_REQUIRED {
        let answer = Answer::error(exchange, status, "Please use HTTPS protocol");
        return upgrade(answer, "TLS/1.2, HTTP/1.1");
    }
    let request = &exchange.request;
    let host = match exchange.request.header("x-forwarded-host") {
        Some(host) if gateway.settings.trusts(exchange.client.peer) => host,
        _ => &request.host,
    };
    let answer = Answer::bare(exchange, status);
    let location = [b"https://", host.as_bytes(), &uri::bytes(&request.target)].concat();
    match HeaderValue::from_bytes(&location) {
        Ok(location) => answer.with(header::LOCATION, location),
        Err(_) => answer,
    }
}

/// Sets the path that the upstream will see.
fn place(routed: &Routed, base: &str, exchange: &mut Exchange) {
    let route = &routed.route;
    let joined = uri::join(Join {
        base,
        path: &exchange.request.path,
        stripped: routed.stripped,
        strips: route.strip_path,
        handling: route.path_handling,
    });
    exchange.upstream.path = uri::escape(&joined);
}

/// Sends an own answer in the course of forwarding, which ends the exchange itself.
pub async fn write_answer(
    gateway: &Gateway,
    plan: &Arc<Plan>,
    exchange: &mut Exchange,
    answer: Answer,
    client: &mut Client1<'_>,
) {
    answer::write(gateway, plan, exchange, answer, &mut client.out).await;
}
