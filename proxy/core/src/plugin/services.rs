//! What plugins need of the world: time, chance, and the places they send to. The shell implements it; tests fake it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::exchange::Later;

/// IO, clock and randomness for plugins.
pub trait Services: Send + Sync + 'static {
    /// The wall clock, since the Unix epoch.
    fn now(&self) -> Duration;

    /// Fills the buffer with unpredictable bytes.
    fn random(&self, buffer: &mut [u8]);

    /// The gateway's host name.
    fn hostname(&self) -> &str;

    /// What the gateway calls itself in `Server` and `Via`.
    fn product(&self) -> &str;

    /// The gateway's id.
    fn node_id(&self) -> &str;

    /// Writes a line of a plugin into the gateway's own log; the level is nginx's.
    fn log(&self, level: &str, text: &str);

    /// Opens (or finds again) a place to send records to. Sending never blocks; the queue behind it is bounded.
    fn sink(&self, target: &Target) -> Arc<dyn Sink>;

    /// Runs commands on a Redis server, in order, on one connection.
    fn redis<'a>(
        &'a self,
        server: &'a Redis,
        commands: Vec<Vec<Bytes>>,
    ) -> Later<'a, Result<Vec<Reply>, ServiceError>>;

    /// Runs commands that nobody waits for.
    fn redis_detached(&self, server: &Redis, commands: Vec<Vec<Bytes>>);

    /// Reads a file that a plugin's configuration names, as text.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is no text.
    fn read_file(&self, path: &str) -> io::Result<String>;

    /// Asks an HTTP server and reads its whole answer, whatever its status.
    fn http<'a>(&'a self, call: HttpCall) -> Later<'a, Result<HttpReply, ServiceError>>;

    /// Tries to bind to a directory: whether the password was right.
    fn ldap_bind<'a>(
        &'a self,
        server: &'a Ldap,
        dn: &'a str,
        password: &'a str,
    ) -> Later<'a, Result<bool, ServiceError>>;
}

/// A place that records go to.
pub trait Sink: Send + Sync {
    /// Queues one record; dropped, oldest first, where the queue is full.
    fn send(&self, record: Bytes);
}

/// One request to an HTTP server.
#[derive(Debug, Clone)]
pub struct HttpCall {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Time for the whole call.
    pub timeout: Duration,
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// The address of a proxy on the way.
    pub proxy: Option<String>,
}

/// The answer of an HTTP server.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why a service call failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The other side could not be reached, or went away.
    #[error("failed to reach {0}")]
    Unreachable(String),
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// Where records go, and how. Equal targets of one plugin share a queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// An HTTP endpoint.
    Http(Box<HttpTarget>),
    /// A file, one record a line.
    File {
        /// Its path.
        path: String,
        /// Whether to open it anew for each record.
        reopen: bool,
    },
    /// A TCP connection, kept open.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Time to connect and to send.
        timeout: Duration,
        /// The server name for TLS, where TLS is wanted; empty means the host.
        tls: Option<String>,
    },
    /// Datagrams.
    Udp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The local system log.
    Syslog,
}

/// An HTTP endpoint that records go to.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTarget {
    /// The plugin instance, which owns the queue.
    pub owner: String,
    /// The address.
    pub url: String,
    /// The method.
    pub method: Method,
    /// The headers.
    pub headers: HeaderMap,
    /// Time for one attempt.
    pub timeout: Duration,
    /// How records are put together.
    pub framing: Framing,
    /// The queue's limits.
    pub queue: Queue,
}

/// How several records make one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One as it is; several as a JSON list.
    JsonOrList,
    /// Always a JSON list.
    JsonList,
    /// One after the other: protobuf messages merge that way.
    Concatenated,
}

/// The limits of a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Records in one body.
    pub max_batch_size: usize,
    /// How long to wait for more.
    pub max_coalescing_delay: Duration,
    /// Records kept.
    pub max_entries: usize,
    /// Bytes kept.
    pub max_bytes: Option<usize>,
    /// How long to go on trying.
    pub max_retry_time: Duration,
    /// The first pause.
    pub initial_retry_delay: Duration,
    /// The longest pause.
    pub max_retry_delay: Duration,
    /// Batches on their way at once; `None` without bound.
    pub concurrency: Option<usize>,
}

/// A Redis server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Redis {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Time for one command.
    pub timeout: Duration,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database number.
    pub database: u32,
    /// TLS: the server name and whether the certificate is verified.
    pub tls: Option<(Option<String>, bool)>,
}

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// A number.
    Integer(i64),
    /// Text or bytes, and status lines.
    Data(Bytes),
    /// A list.
    List(Vec<Reply>),
    /// An error that this one command met.
    Error(String),
}

/// A directory server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ldap {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS from the first byte.
    pub ldaps: bool,
    /// TLS after the StartTLS command.
    pub start_tls: bool,
    /// Whether the certificate is verified.
    pub verify: bool,
    /// Time for the whole conversation.
    pub timeout: Duration,
}
