//! One request and its answer, as plugins see them.
//!
//! The gateway builds an [`Exchange`] per request, plugins read and change it phase by phase, and the gateway forwards
//! what is left. As in Kong there is one set of request headers, one query and one method: what a plugin changes is what
//! later plugins, the upstream and the log see, while `target` keeps what the client sent. Headers that describe the
//! hop (`x-forwarded-*`, `via`, `x-real-ip`) are not part of it: the gateway writes them last.
//!
//! Nothing here does IO: the request body comes through [`BodyReader`], which the shell implements.

use std::any::Any;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use crate::plugin::{Chosen, Consumer, Credential};
use crate::table::UpstreamTls;

/// A future that a plugin hands back when it cannot answer at once.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One request on its way through the gateway, and its answer.
pub struct Exchange {
    /// The request id: 32 lower-case hexadecimal digits.
    pub id: Box<str>,
    /// Who is asking.
    pub client: Client,
    /// The connection that it came on.
    pub connection: Connection,
    /// What is asked; changes are seen by everyone after.
    pub request: Request,
    /// Where it goes.
    pub upstream: Upstream,
    /// What the router found.
    pub matched: Matched,
    /// Who the authenticating plugins found.
    pub identity: Identity,
    /// The answer, from `header_filter` on.
    pub response: Response,
    /// Headers that a plugin wants on the answer whoever makes it; the gateway appends them before `header_filter`.
    pub early: HeaderMap,
    /// The answer is one that the upstream gave before: it is marked as the upstream's, not as the gateway's own.
    pub replayed: bool,
    /// What plugins keep for their own later phases.
    pub notes: Notes,
    /// When what happened.
    pub moments: Moments,
    /// The attempts to reach a target.
    pub tries: Vec<Try>,
    /// Instances picked in `access` because of the consumer; the later phases use the same.
    pub(crate) chosen: Chosen,
}

impl Exchange {
    /// Starts an exchange for a request that nothing has looked at yet.
    #[must_use]
    pub fn new(id: Box<str>, client: Client, request: Request, started: Duration) -> Self {
        Self {
            id,
            client,
            connection: Connection::default(),
            request,
            upstream: Upstream::default(),
            matched: Matched::default(),
            identity: Identity::default(),
            response: Response::default(),
            early: HeaderMap::new(),
            replayed: false,
            notes: Notes::default(),
            moments: Moments { started, ..Moments::default() },
            tries: Vec::new(),
            chosen: Chosen::default(),
        }
    }

    /// Whether the request is gRPC, which is answered in headers and not in a body.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.request.version == Version::HTTP_2
            && self
                .request
                .header("content-type")
                .is_some_and(|value| value.starts_with("application/grpc"))
    }
}

/// The connection that the request came on.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client's address, after `trusted_ips` and the PROXY protocol.
    pub ip: IpAddr,
    /// The address that the connection really came from.
    pub peer: IpAddr,
    /// The client's port.
    pub port: u16,
    /// The TLS session, when there is one.
    pub tls: Option<Arc<Tls>>,
}

/// The connection that a request came on.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// The address that it was accepted at.
    pub local: IpAddr,
    /// Counts the connections of this gateway.
    pub number: u64,
    /// Counts the requests on the connection; the first is 1.
    pub requests: u64,
}

impl Default for Connection {
    fn default() -> Self {
        Self { local: IpAddr::from([127, 0, 0, 1]), number: 1, requests: 1 }
    }
}

/// What is known of the client's TLS session.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The protocol as OpenSSL writes it: `TLSv1.3`.
    pub version: Box<str>,
    /// The cipher suite as OpenSSL writes it.
    pub cipher: Box<str>,
    /// The server name that the client asked for.
    pub sni: Option<Box<str>>,
    /// `NONE`, `SUCCESS` or `FAILED:<reason>`.
    pub client_verify: Box<str>,
}

/// The request, as sent by the client and then changed by plugins.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The protocol version of the client's side.
    pub version: Version,
    /// `http` or `https`, as the listener took it.
    pub scheme: &'static str,
    /// The host that was asked for, lower case and without port.
    pub host: String,
    /// The port of the listener.
    pub port: u16,
    /// Path and query exactly as the client wrote them; never changed.
    pub target: String,
    /// The normalized path; never changed.
    pub path: String,
    /// The query without its `?`; `Some("")` where a bare `?` was sent.
    pub query: Option<String>,
    /// The headers in the client's order.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// Bytes of request line, headers and body received so far.
    pub size: u64,
}

impl Request {
    /// The first value of a header, where it is readable text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| text(value))
    }

    /// The whole body, read on first demand and kept, so that it can still be forwarded.
    ///
    /// # Errors
    /// The client went away, or sent more than the gateway buffers.
    pub async fn read_body(&mut self) -> Result<Bytes, BodyError> {
        let read = match &mut self.body {
            Body::Empty | Body::Taken => return Ok(Bytes::new()),
            Body::Whole(bytes) => return Ok(bytes.clone()),
            Body::Unread(reader) => reader.read_all().await?,
        };
        self.body = Body::Whole(read.clone());
        Ok(read)
    }

    /// Replaces the body, and the length that announces it.
    pub fn set_body(&mut self, body: Bytes) {
        self.headers.remove(http::header::TRANSFER_ENCODING);
        self.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.body = Body::Whole(body);
    }
}

/// A header value as text: UTF-8 is accepted, unlike in `HeaderValue::to_str`.
#[must_use]
pub fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// The request body.
#[derive(Default)]
pub enum Body {
    /// There is none.
    #[default]
    Empty,
    /// Still on its way from the client.
    Unread(Box<dyn BodyReader>),
    /// Read, or written by a plugin.
    Whole(Bytes),
    /// Handed to the upstream.
    Taken,
}

/// Reads the client's body. The shell implements it and takes it back with [`BodyReader::into_any`] to stream what no
/// plugin asked for.
pub trait BodyReader: Send {
    /// Reads to the end, within the gateway's bound.
    fn read_all(&mut self) -> Later<'_, Result<Bytes, BodyError>>;

    /// Gives the shell its own type back.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Why a request body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than the gateway is willing to hold.
    #[error("request body is larger than the buffer")]
    TooLarge,
    /// The client closed, reset or violated the framing.
    #[error("failed to read the request body")]
    Broken,
}

/// The request as it will be sent.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// The escaped path; empty until a route matched.
    pub path: String,
    /// A `Host` that a plugin wants instead of the gateway's choice.
    pub host: Option<HeaderValue>,
    /// A scheme that a plugin wants instead of the service's.
    pub scheme: Option<&'static str>,
    /// A host and port that a plugin wants instead of the service's.
    pub target: Option<(Box<str>, u16)>,
    /// A plugin wants the whole answer before `header_filter`; it finds it in [`Response::whole`].
    pub buffered: bool,
    /// What else a plugin wants of the forwarding.
    pub wishes: Wishes,
}

/// What a plugin may want of the forwarding.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// How long the client may wait for the answer's head, whatever is tried.
    pub request_timeout: Option<Duration>,
    /// How long each attempt may take to its head.
    pub backend_timeout: Option<Duration>,
    /// Which attempts are repeated, instead of as the service says.
    pub retry: Option<Arc<Retry>>,
    /// Upstreams that get a copy of the request.
    pub mirrors: Vec<Mirror>,
    /// TLS to the upstream, whatever the service says.
    pub tls: Option<Arc<TlsWish>>,
}

/// An upstream that gets a copy of a request.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// Its name.
    pub upstream: Arc<str>,
    /// TLS to it; in the clear without.
    pub tls: Option<Arc<TlsWish>>,
}

/// TLS to an upstream, as a plugin wants it.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsWish {
    /// The name that is asked for.
    pub name: Box<str>,
    /// What the certificate must show.
    pub demands: UpstreamTls,
}

/// Which attempts are repeated.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    /// How often at most.
    pub attempts: u32,
    /// Answers that are no better than none.
    pub codes: Vec<StatusCode>,
    /// The pause before each.
    pub backoff: Duration,
}

/// What the router found.
#[derive(Debug, Clone, Default)]
pub struct Matched {
    /// The route.
    pub route: Option<Arc<Entity>>,
    /// Its service.
    pub service: Option<Arc<Entity>>,
    /// The groups that a regular expression of the route's paths captured.
    pub captures: Captures,
}

/// A route or a service as far as plugins care.
#[derive(Debug, Clone, Default)]
pub struct Entity {
    /// The id.
    pub id: Box<str>,
    /// The name, where it has one.
    pub name: Option<Box<str>>,
    /// A service's host.
    pub host: Option<Box<str>>,
    /// The entity's JSON without nulls, for log records; empty where no plugin logs.
    pub document: Box<str>,
}

impl Entity {
    /// The name, else the id.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// Captured groups of a path match.
#[derive(Debug, Clone, Default)]
pub struct Captures {
    /// All groups by position; the first is the whole match.
    pub unnamed: Vec<String>,
    /// The named ones.
    pub named: Vec<(String, String)>,
}

/// Who is asking, once known.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The consumer.
    pub consumer: Option<Arc<Consumer>>,
    /// The credential that proved it.
    pub credential: Option<Arc<Credential>>,
    /// Groups that an authenticating plugin brought instead of a consumer.
    pub groups: Option<Arc<[String]>>,
}

/// The answer on its way to the client.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Who made it.
    pub source: Source,
    /// What the body passes through, in order.
    pub filters: Vec<Box<dyn BodyFilter>>,
    /// Bytes of the answer sent to the client, head included.
    pub size: u64,
    /// The bytes of the body alone.
    pub body_size: u64,
    /// The whole body of the upstream's answer, where a plugin asked for it; what is left here goes on.
    pub whole: Option<Bytes>,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            source: Source::default(),
            filters: Vec::new(),
            size: 0,
            body_size: 0,
            whole: None,
        }
    }
}

/// Who made the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The gateway could not get one (`error` in Kong's words).
    #[default]
    Error,
    /// A plugin answered (`exit`).
    Exit,
    /// The upstream.
    Upstream,
}

/// Changes an answer's body while it streams; made in `header_filter`, one per request.
pub trait BodyFilter: Send {
    /// Takes a piece (empty at the end, perhaps) and gives what goes on instead.
    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes;

    /// The upstream's trailers, called before the last piece; what is left in them goes on.
    fn trailers(&mut self, _trailers: &mut HeaderMap) {}
}

/// When what happened, since the Unix epoch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    /// The request's head was read.
    pub started: Duration,
    /// The request was handed to the balancer.
    pub forwarded: Option<Duration>,
    /// The upstream's head arrived.
    pub answered: Option<Duration>,
    /// The upstream's body ended.
    pub received: Option<Duration>,
    /// The last byte went to the client.
    pub ended: Option<Duration>,
}

impl Moments {
    /// Whole milliseconds between two moments; zero where one is missing.
    #[must_use]
    pub fn between(from: Option<Duration>, to: Option<Duration>) -> u64 {
        match (from, to) {
            (Some(from), Some(to)) => {
                u64::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(u64::MAX)
            }
            (None, _) | (_, None) => 0,
        }
    }

    /// Time until the last byte (`latencies.request`).
    #[must_use]
    pub fn request(&self) -> u64 {
        Self::between(Some(self.started), self.ended)
    }

    /// Time spent waiting for the upstream's head (`latencies.proxy`), where there was one.
    #[must_use]
    pub fn upstream(&self) -> Option<u64> {
        self.answered.map(|_| Self::between(self.forwarded, self.answered))
    }

    /// Time that the body took (`latencies.receive`).
    #[must_use]
    pub fn receive(&self) -> u64 {
        Self::between(self.answered, self.received.or(self.ended))
    }
}

/// One attempt to reach a target.
#[derive(Debug, Clone)]
pub struct Try {
    /// The target's address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// When the balancer began.
    pub started: Duration,
    /// How long it took to choose.
    pub latency: Duration,
    /// `failed` or `next`, when the attempt did not work out.
    pub state: Option<&'static str>,
    /// The status that the failure counts as.
    pub code: Option<u16>,
}

/// What plugins keep between phases, one value per type.
#[derive(Default)]
pub struct Notes(Vec<Box<dyn Any + Send + Sync>>);

impl Notes {
    /// Keeps a value, in place of an earlier one of its type.
    pub fn put<T: Any + Send + Sync>(&mut self, value: T) {
        match self.get_mut::<T>() {
            Some(slot) => *slot = value,
            None => self.0.push(Box::new(value)),
        }
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.iter().find_map(|value| value.downcast_ref())
    }

    /// The value of this type, to change.
    pub fn get_mut<T: Any + Send + Sync>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().find_map(|value| value.downcast_mut())
    }

    /// Takes the value of this type out.
    pub fn take<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let at = self.0.iter().position(|value| value.is::<T>())?;
        self.0.swap_remove(at).downcast().ok().map(|value| *value)
    }
}
