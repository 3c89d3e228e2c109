//! Routes, compiled, and what a match says.
//!
//! A [`Router`] answers one question: which route takes this request, and what part of the path matched.
//! Three flavours give the answer by their own rules; none of them reads a clock or the network.

pub mod compat;
pub mod engine;
pub mod index;
mod judge;
mod literal;
pub mod traditional;

pub use judge::judge;

use std::net::IpAddr;

use http::HeaderMap;
use uuid::Uuid;

use crate::uri::PathHandling;

/// The protocol that a client speaks to a listener, as routes name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Protocol {
    /// Plain HTTP.
    Http = 1,
    /// HTTP over TLS.
    Https = 2,
    /// Plain gRPC.
    Grpc = 4,
    /// gRPC over TLS.
    Grpcs = 8,
    /// A byte stream.
    Tcp = 16,
    /// A byte stream whose TLS ends here.
    Tls = 32,
    /// A byte stream whose TLS goes through.
    TlsPassthrough = 64,
    /// Datagrams.
    Udp = 128,
    /// Plain WebSocket.
    Ws = 256,
    /// WebSocket over TLS.
    Wss = 512,
}

impl Protocol {
    /// The protocol of a name in a configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "http" => Self::Http,
            "https" => Self::Https,
            "grpc" => Self::Grpc,
            "grpcs" => Self::Grpcs,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "tls_passthrough" => Self::TlsPassthrough,
            "udp" => Self::Udp,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            _ => return None,
        })
    }

    /// Whether an upstream of this protocol is spoken to in gRPC.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsPassthrough => "tls_passthrough",
            Self::Udp => "udp",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// A set of [`Protocol`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocols(u16);

impl Protocols {
    /// Whether the set has this protocol.
    #[must_use]
    pub fn has(self, protocol: Protocol) -> bool {
        self.0 & protocol as u16 != 0
    }

    /// Whether the routes of the set are HTTP's rather than a stream's.
    #[must_use]
    pub fn is_http(self) -> bool {
        self.0 & 0b11_0000_1111 != 0
    }
}

impl FromIterator<Protocol> for Protocols {
    fn from_iter<I: IntoIterator<Item = Protocol>>(protocols: I) -> Self {
        Self(protocols.into_iter().fold(0, |set, protocol| set | protocol as u16))
    }
}

/// The flavour that a configuration's routes are matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavor {
    /// Kong's Lua router.
    Traditional,
    /// Classic fields, translated to expressions.
    #[default]
    TraditionalCompatible,
    /// Expressions as the user wrote them.
    Expressions,
}

impl Flavor {
    /// The flavour of a name in a configuration.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "traditional" => Self::Traditional,
            "traditional_compatible" => Self::TraditionalCompatible,
            "expressions" => Self::Expressions,
            _ => return None,
        })
    }

    /// The name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
        }
    }
}

/// An address that a stream route is bound to, as configured: an IP address, a range, a port, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// An address or a range in CIDR notation.
    pub ip: Option<String>,
    /// A port.
    pub port: Option<u16>,
}

/// A route as a configuration declares it: what a request must look like.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// The route's id.
    pub id: Uuid,
    /// When the route was made; older routes win ties in the traditional flavour.
    pub created_at: i64,
    /// The protocols it takes.
    pub protocols: Protocols,
    /// Methods, empty for any.
    pub methods: Vec<String>,
    /// Hosts, with a `*` at one end perhaps, and a port perhaps.
    pub hosts: Vec<String>,
    /// Paths: plain prefixes, or regular expressions after `~`.
    pub paths: Vec<String>,
    /// Header names with their accepted values.
    pub headers: Vec<(String, Vec<String>)>,
    /// Server names of TLS.
    pub snis: Vec<String>,
    /// Client addresses.
    pub sources: Vec<Endpoint>,
    /// Listener addresses.
    pub destinations: Vec<Endpoint>,
    /// Weight among regular expressions.
    pub regex_priority: i64,
    /// An expression in place of the fields above.
    pub expression: Option<String>,
    /// Weight of the expression.
    pub priority: u64,
    /// Whether the matched path is taken away.
    pub strip_path: bool,
    /// How paths are joined.
    pub path_handling: PathHandling,
}

/// What a router looks at.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// The protocol of the listener and of the request.
    pub protocol: Protocol,
    /// The method.
    pub method: &'a str,
    /// The Host header as it came.
    pub host_header: &'a str,
    /// The Host header without its port.
    pub host: &'a str,
    /// The Host header's port.
    pub host_port: Option<u16>,
    /// The normalised path.
    pub path: &'a str,
    /// The query without its `?`.
    pub query: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The server name of the TLS handshake.
    pub sni: Option<&'a str>,
    /// The client.
    pub source: (IpAddr, u16),
    /// The listener.
    pub destination: (IpAddr, u16),
}

/// What matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The place of the route in the list that the router was built from.
    pub route: usize,
    /// The text of the path that matched, when a path was looked at.
    pub path: Option<String>,
    /// What the path's regular expression captured: numbered and named groups.
    pub captures: Vec<(String, String)>,
}

/// Why a rule cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The expression is not one, or names what there is not.
    #[error("failed to parse expression of route {id}: {reason}")]
    Expression {
        /// The route.
        id: Uuid,
        /// What the engine says.
        reason: String,
    },
    /// A path or header is no regular expression that the engine can run.
    #[error("failed to parse regular expression of route {id}: {reason}")]
    Regex {
        /// The route.
        id: Uuid,
        /// What the engine says.
        reason: String,
    },
}

/// A compiled set of routes.
#[derive(Debug)]
pub enum Router {
    /// The Lua router's rules.
    Traditional(traditional::Traditional),
    /// Kong's expression engine behind an index.
    Engine(engine::Engine),
}

impl Router {
    /// Compiles rules; a match names its route by its place among them.
    pub fn new(flavor: Flavor, rules: &[Rule]) -> Result<Self, RuleError> {
        match flavor {
            Flavor::Traditional => traditional::Traditional::new(rules).map(Self::Traditional),
            Flavor::TraditionalCompatible | Flavor::Expressions => {
                engine::Engine::new(rules, flavor).map(Self::Engine)
            }
        }
    }

    /// The route that takes a request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Match> {
        match self {
            Self::Traditional(router) => router.find(lookup),
            Self::Engine(router) => router.find(lookup),
        }
    }
}

#[cfg(test)]
mod tests;
