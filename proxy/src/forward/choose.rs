//! The choice of a peer for each attempt.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use proxy_core::answer::Answer;
use proxy_core::balance::{Balancer, HashOn, InFlight, Wish};
use proxy_core::exchange::Exchange;
use proxy_core::health::Report;
use proxy_core::route::engine::decode;
use proxy_core::table::{Service, Upstream};

use crate::app::Gateway;
use crate::live::Live;
use crate::state::Generation;

/// A peer for one attempt.
pub(crate) struct Chosen {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it is called, for Host and server name.
    pub(crate) host: Box<str>,
    /// The port as it was declared.
    pub(crate) port: u16,
    place: Option<(Arc<Balancer>, usize)>,
    _in_flight: Option<InFlight>,
}

/// Why there is no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The name has no address.
    Unresolved,
    /// The upstream has no fit target.
    NoPeer,
}

impl Problem {
    /// What the client is told.
    pub(crate) fn answer(self, exchange: &Exchange) -> Answer {
        let message = match self {
            Self::Unresolved => "name resolution failed",
            Self::NoPeer => "failure to get a peer from the ring-balancer",
        };
        Answer::error(exchange, StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// Chooses peers for the attempts of one request.
pub(crate) struct Chooser<'a> {
    gateway: &'a Gateway,
    service: &'a Service,
    live: Option<Arc<Live>>,
    key: Option<Vec<u8>>,
    failed: Vec<usize>,
}

impl<'a> Chooser<'a> {
    /// A chooser for a request to a service, among the peers of the upstream of this name.
    pub(crate) fn new(
        gateway: &'a Gateway,
        generation: &Generation,
        (service, upstream): (&'a Service, &str),
        exchange: &mut Exchange,
    ) -> Self {
        let live = generation.live.get(upstream).cloned();
        let key = live.as_ref().and_then(|live| key(&live.upstream, exchange));
        Self { gateway, service, live, key, failed: Vec::new() }
    }

    /// A chooser for a stream, of which only the client's address can be hashed.
    pub(crate) fn for_stream(
        gateway: &'a Gateway,
        generation: &Generation,
        service: &'a Service,
        client: std::net::IpAddr,
    ) -> Self {
        let live = generation.live.get(&service.host).cloned();
        let key = Some(client.to_string().into_bytes());
        Self { gateway, service, live, key, failed: Vec::new() }
    }

    /// The peer of the next attempt.
    pub(crate) async fn next(&mut self) -> Result<Chosen, Problem> {
        let Some(live) = &self.live else {
            let (host, port) = (&self.service.host, self.service.port);
            let found = self.gateway.dns.resolve_one(host, port).await;
            let address = found.ok_or(Problem::Unresolved)?;
            return Ok(Chosen { address, host: host.clone(), port, place: None, _in_flight: None });
        };
        let balancer = live.balancer.load_full();
        let wish = Wish {
            key: self.key.as_deref(),
            failed: &self.failed,
            random: self.gateway.chance(),
            now: self.gateway.seconds(),
        };
        let place = balancer.pick(wish).ok_or(Problem::NoPeer)?;
        let peer = balancer.peers.get(place).ok_or(Problem::NoPeer)?;
        Ok(Chosen {
            address: SocketAddr::new(peer.ip, peer.port),
            host: live.upstream.host_header.clone().unwrap_or_else(|| peer.host.clone()),
            port: peer.port,
            _in_flight: Some(peer.vitals.enter()),
            place: Some((Arc::clone(&balancer), place)),
        })
    }

    /// Leaves a peer out of this request's next attempts where there are others.
    pub(crate) fn avoid(&mut self, chosen: &Chosen) {
        self.failed.extend(chosen.place.as_ref().map(|(_, place)| *place));
    }

    /// Tells the peer's health what was seen.
    pub(crate) fn report(&self, chosen: &Chosen, report: Report) {
        let (Some(live), Some((balancer, place))) = (&self.live, &chosen.place) else { return };
        let Some(peer) = balancer.peers.get(*place) else { return };
        let checks = &live.upstream.checks;
        let report = match report {
            Report::Status(504) => Report::Timeout,
            other => other,
        };
        if peer.vitals.health.report(report, &checks.passive) {
            let fit = peer.vitals.health.is_fit();
            tracing::info!(upstream = %live.upstream.name, target = %peer.target, fit, "target health changed");
        }
    }
}

/// What is hashed for an upstream: its first wish, else its fallback.
fn key(upstream: &Upstream, exchange: &mut Exchange) -> Option<Vec<u8>> {
    value(&upstream.hash_on, exchange).or_else(|| value(&upstream.hash_fallback, exchange))
}

fn value(on: &HashOn, exchange: &mut Exchange) -> Option<Vec<u8>> {
    match on {
        HashOn::None => None,
        HashOn::Consumer => {
            let identity = &exchange.identity;
            let consumer =
                identity.consumer.as_ref().map(|consumer| consumer.id.as_bytes().to_vec());
            consumer.or_else(|| identity.credential.as_ref().map(|one| one.id.as_bytes().to_vec()))
        }
        HashOn::Ip => Some(exchange.client.ip.to_string().into_bytes()),
        HashOn::Header(name) => {
            let values = exchange.request.headers.get_all(name.as_str()).iter();
            let values = values.map(HeaderValue::as_bytes).collect::<Vec<_>>();
            (!values.is_empty()).then(|| values.join(&b", "[..]))
        }
        HashOn::Cookie { name, path } => Some(cookie(name, path, exchange)),
        HashOn::Path => Some(exchange.request.path.clone().into_bytes()),
        HashOn::QueryArg(name) => query_arg(name, exchange),
        HashOn::UriCapture(name) => {
            let captures = &exchange.matched.captures;
            let named =
                captures.named.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            let numbered = || captures.unnamed.get(name.parse::<usize>().ok()?);
            named.or_else(numbered).map(|value| value.clone().into_bytes())
        }
    }
}

fn query_arg(name: &str, exchange: &Exchange) -> Option<Vec<u8>> {
    let query = exchange.request.query.as_deref()?;
    let mut values = query
        .split('&')
        .filter_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (decode(key) == name).then(|| decode(value)),
            None => (decode(pair) == name).then(|| "true".to_owned()),
        })
        .collect::<Vec<_>>();
    values.sort_unstable();
    (!values.is_empty()).then(|| values.join(",").into_bytes())
}

/// The cookie's value; a client without one is given it.
fn cookie(name: &str, path: &str, exchange: &mut Exchange) -> Vec<u8> {
    for header in exchange.request.headers.get_all(header::COOKIE) {
        let pairs = header.to_str().unwrap_or_default().split(';');
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        if let Some((_, value)) = pairs.find(|(other, _)| *other == name) {
            return value.as_bytes().to_vec();
        }
    }
    let value = uuid::Uuid::new_v4().to_string();
    let cookie = format!("{name}={value}; Path={path}; Same-Site=Lax; HttpOnly");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        exchange.early.append(header::SET_COOKIE, cookie);
    }
    value.into_bytes()
}
