//! One generation of configuration, compiled: all that a request needs, in one immutable value.
//!
//! A request reads one [`Table`] from beginning to end. Balancers and sockets are the shell's: the table only says which
//! upstreams there should be.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::balance::{Algorithm, HashOn};
use crate::entrances::Entrances;
use crate::exchange::Entity;
use crate::health::Checks;
use crate::plugin::{Plan, Plugins};
use crate::route::{Flavor, Lookup, Match, Protocol, Protocols, Router};
use crate::shared::SharedMap;
use crate::uri::PathHandling;

/// A compiled configuration. A copy shares everything; a change replaces what it touches.
#[derive(Clone)]
pub struct Table {
    /// The flavour that it was compiled for.
    pub flavor: Flavor,
    /// Routes of HTTP, and of streams.
    pub routes: Arc<Vec<Arc<Route>>>,
    pub(crate) http: Arc<Places>,
    pub(crate) tcp: Arc<Places>,
    pub(crate) tls: Arc<Places>,
    pub(crate) udp: Arc<Places>,
    /// Upstreams by name.
    pub upstreams: SharedMap<Arc<Upstream>>,
    /// Hosts of services that are no HTTP: the upstreams of these names serve streams.
    pub(crate) stream_hosts: Arc<HashSet<Box<str>>>,
    /// Certificates by id.
    pub certificates: Arc<HashMap<Box<str>, Certificate>>,
    /// Certificate ids by server name, wildcards included.
    pub snis: Arc<HashMap<Box<str>, Box<str>>>,
    /// Authorities by id, as PEM.
    pub authorities: Arc<HashMap<Box<str>, Box<str>>>,
    /// What listeners of Gateways say, by the port that connections come in at.
    pub entrances: Arc<Entrances>,
    /// All plugins.
    pub plugins: Arc<Plugins>,
    /// What runs for a request that no route takes.
    pub unmatched: Arc<Plan>,
}

/// A router, and the places of its rules' routes among all routes.
pub(crate) struct Places {
    pub(crate) router: Router,
    pub(crate) places: Vec<u32>,
}

impl Places {
    fn find<'a>(
        &self,
        lookup: &Lookup<'_>,
        routes: &'a [Arc<Route>],
    ) -> Option<(&'a Arc<Route>, Match)> {
        let matched = self.router.find(lookup)?;
        let place = *self.places.get(matched.route)?;
        Some((routes.get(place as usize)?, matched))
    }
}

/// A route, ready for requests.
pub struct Route {
    /// What plugins see of it.
    pub entity: Arc<Entity>,
    /// Its service.
    pub service: Option<Arc<Service>>,
    /// Its plugins.
    pub plan: Arc<Plan>,
    /// The protocols that it takes.
    pub protocols: Protocols,
    /// Whether the matched path is taken away.
    pub strip_path: bool,
    /// How paths are joined.
    pub path_handling: PathHandling,
    /// Whether the client's Host goes on.
    pub preserve_host: bool,
    /// What a client on the wrong side of TLS is told.
    pub https_redirect: StatusCode,
    /// Whether the request body is read whole before the upstream is asked.
    pub request_buffering: bool,
    /// Whether the answer may be held back.
    pub response_buffering: bool,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// What plugins see of it.
    pub entity: Arc<Entity>,
    /// How the upstream is spoken to.
    pub protocol: Protocol,
    /// A name, an address, or the name of an upstream.
    pub host: Box<str>,
    /// The port, where the host is no upstream.
    pub port: u16,
    /// The path that requests are put under.
    pub path: Box<str>,
    /// Further attempts.
    pub retries: u32,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time between two writes.
    pub write_timeout: Duration,
    /// Time between two reads.
    pub read_timeout: Duration,
    /// What TLS to the upstream demands.
    pub tls: UpstreamTls,
}

impl Service {
    /// Whether its upstream is spoken to in HTTP of some kind.
    #[must_use]
    pub fn speaks_http(&self) -> bool {
        Protocols::from_iter([self.protocol]).is_http()
    }
}

/// Demands on TLS towards an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UpstreamTls {
    /// Whether the certificate is verified; the gateway's default where unsaid.
    pub verify: Option<bool>,
    /// How many authorities may stand between.
    pub depth: Option<u32>,
    /// The ids of the authorities that are trusted.
    pub authorities: Vec<Box<str>>,
    /// The id of the certificate that the gateway shows.
    pub certificate: Option<Box<str>>,
    /// Authorities in PEM, instead of entities.
    pub roots: Option<Arc<str>>,
    /// Names of which the certificate must carry one, instead of the one that is asked for.
    pub dns_names: Vec<Box<str>>,
    /// URIs that do as well.
    pub uris: Vec<Box<str>>,
}

/// A named set of targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The id.
    pub id: Box<str>,
    /// The name.
    pub name: Box<str>,
    /// How peers are chosen.
    pub algorithm: Algorithm,
    /// What is hashed.
    pub hash_on: HashOn,
    /// What is hashed where the first is missing.
    pub hash_fallback: HashOn,
    /// The size of the ring.
    pub slots: usize,
    /// The Host that upstreams see.
    pub host_header: Option<Box<str>>,
    /// Health checks.
    pub checks: Checks,
    /// The id of the certificate that is shown to targets.
    pub certificate: Option<Box<str>>,
    /// Whether services of streams use it: checks of type `tcp` are theirs alone.
    pub streams: bool,
    /// The targets, the newest of each name.
    pub targets: Vec<Target>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The entity's id; targets stand in the order of their ids.
    pub id: Box<str>,
    /// `host:port`.
    pub target: Box<str>,
    /// The host.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// The weight.
    pub weight: u32,
}

/// A certificate with its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain.
    pub chain: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// Another chain, of another kind of key.
    pub alternative: Option<(Box<str>, Box<str>)>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A route that takes a request.
pub struct Hit<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What matched.
    pub matched: Match,
}

impl Table {
    /// The route of an HTTP request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Hit<'_>> {
        let (route, matched) = self.http.find(lookup, &self.routes)?;
        Some(Hit { route, matched })
    }

    /// The route of a stream; each kind of listener has routes of its own.
    #[must_use]
    pub fn find_stream(&self, lookup: &Lookup<'_>) -> Option<&Arc<Route>> {
        let router = match lookup.protocol {
            Protocol::Udp => &self.udp,
            Protocol::Tls | Protocol::TlsPassthrough => &self.tls,
            Protocol::Tcp
            | Protocol::Http
            | Protocol::Https
            | Protocol::Grpc
            | Protocol::Grpcs
            | Protocol::Ws
            | Protocol::Wss => &self.tcp,
        };
        router.find(lookup, &self.routes).map(|(route, _)| route)
    }

    /// The certificate of a server name: the name itself, `*.rest`, `first.*`, then `*`.
    #[must_use]
    pub fn certificate_for(&self, sni: &str) -> Option<&str> {
        let by_name = |name: &str| self.snis.get(name).map(AsRef::as_ref);
        by_name(sni)
            .or_else(|| sni.split_once('.').and_then(|(_, rest)| by_name(&format!("*.{rest}"))))
            .or_else(|| sni.rsplit_once('.').and_then(|(first, _)| by_name(&format!("{first}.*"))))
            .or_else(|| by_name("*"))
    }
}
