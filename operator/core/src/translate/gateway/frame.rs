//! Frames: under which hostname and through which listeners a route is served, and its matches within them.
//!
//! A listener takes the requests of its port that name its hostname, but for those that a narrower listener of that port
//! takes: a route sees only what the listeners it is attached to take.

use std::cmp::Reverse;

use super::super::rules::Origin;
use super::Served;
use super::attach::{Entry, Slot};
use super::hostname;
use super::matcher::{self, Matcher};
use super::priority::Order;
use super::service::door;
use crate::gateway_api::{GrpcMatch, GrpcRule, HttpMatch, HttpRule};
use crate::options::Engine;

/// A hostname under which a route is served.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    /// The hostname; empty for every one.
    pub(super) host: String,
    /// What else tells the requests of its listeners from those of others.
    pub(super) gate: Matcher,
}

/// A listener that admits a route, among its neighbors.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The listener.
    pub(super) slot: Slot<'a>,
    /// Hostnames of the same port that other listeners take away from it.
    narrower: Vec<&'a str>,
    /// Its Gateway has ports of its own, and this listener's leads nowhere yet.
    closed: bool,
}

impl<'a> Place<'a> {
    /// The place of one of a Gateway's listeners.
    pub(super) fn of(entry: &Entry<'a>, slot: Slot<'a>) -> Self {
        let own = slot.listener.hostname();
        let beside = entry
            .slots
            .iter()
            .filter(|other| other.programmed && door(other.listener) == door(slot.listener));
        let names = beside.filter_map(|other| other.listener.hostname());
        let narrower = names.filter(|name| {
            own.is_none_or(|own| !own.eq_ignore_ascii_case(name) && hostname::covers(own, name))
        });
        let closed = entry.doors.is_some() && slot.entrance.is_none();
        Self { slot, narrower: narrower.collect(), closed }
    }

    /// What tells its requests for `host` from those of other listeners; nothing when it gets none.
    fn gate(&self, host: &str, field: &str) -> Option<Matcher> {
        let whole = |name: &&str| !host.is_empty() && hostname::covers(name, host);
        if self.closed || self.narrower.iter().any(whole) {
            return None;
        }
        let parts = self.narrower.iter().copied();
        let parts = parts.filter(|name| host.is_empty() || hostname::covers(host, name));
        let parts = matcher::names(field, parts);
        let port =
            self.slot.entrance.map(|port| Matcher::number("net.dst.port", "==", port.into()));
        let others = (!parts.print().is_empty()).then(|| Matcher::Not(Box::new(parts)));
        Some(Matcher::All(port.into_iter().chain(others).collect()))
    }
}

impl<'a> Served<'a> {
    /// The listeners that admit the route and that something can come in at.
    pub(super) fn open_slots(&self) -> impl Iterator<Item = &Slot<'a>> {
        self.places.iter().filter(|place| !place.closed).map(|place| &place.slot)
    }

    /// The frames of an HTTP route with `own` hostnames. Kong's own controller knows neither ports nor narrower listeners.
    pub(super) fn frames(&self, own: &[String], engine: Engine) -> Vec<Frame> {
        let frame = |host: String| Frame { host, gate: Matcher::All(Vec::new()) };
        if engine == Engine::Kong {
            let hosts = self.hostnames(own);
            let any = hosts.is_empty().then(String::new);
            return any.into_iter().chain(hosts).map(frame).collect();
        }
        self.framed(own, "http.host", |_| true)
    }

    /// The frames of a route within the listeners that `of` takes; `field` holds the hostname of what comes in.
    pub(super) fn framed(
        &self,
        own: &[String],
        field: &str,
        of: impl Fn(&Slot<'_>) -> bool,
    ) -> Vec<Frame> {
        let mut found: Vec<(String, Vec<Matcher>)> = Vec::new();
        let any = [String::new()];
        for host in if own.is_empty() { &any } else { own } {
            for place in self.places.iter().filter(|place| of(&place.slot)) {
                let listener = place.slot.listener.hostname();
                let shared = match host.as_str() {
                    "" => Some(listener.unwrap_or_default()),
                    host => hostname::common(listener, host),
                };
                let Some(shared) = shared else { continue };
                let Some(gate) = place.gate(shared, field) else { continue };
                match found.iter_mut().find(|(host, _)| host == shared) {
                    Some((_, gates)) if gates.contains(&gate) => {}
                    Some((_, gates)) => gates.push(gate),
                    None => found.push((shared.to_owned(), vec![gate])),
                }
            }
        }
        let frames = found.into_iter().map(|(host, gates)| {
            let open = gates.iter().any(|gate| gate.print().is_empty());
            let gate = if open { Matcher::All(Vec::new()) } else { Matcher::Any(gates) };
            Frame { host, gate }
        });
        frames.collect()
    }
}

/// A rule of a route, whatever its kind.
pub(super) trait Rule {
    /// What its matches are.
    type Match;

    /// Its matches; none means one that takes everything.
    fn matches(&self) -> &[Self::Match];
}

impl Rule for HttpRule {
    type Match = HttpMatch;

    fn matches(&self) -> &[HttpMatch] {
        &self.matches
    }
}

impl Rule for GrpcRule {
    type Match = GrpcMatch;

    fn matches(&self) -> &[GrpcMatch] {
        &self.matches
    }
}

/// A match in one frame with its place.
pub(super) struct Split<'r, 'a, R: Rule> {
    /// The number of its route.
    pub(super) route_index: usize,
    /// The frame.
    pub(super) frame: &'r Frame,
    frame_index: usize,
    /// The number of its rule.
    pub(super) rule_index: usize,
    /// The number of the match.
    pub(super) match_index: usize,
    /// The rule.
    pub(super) rule: &'a R,
    /// The match; nothing for a rule without any, which takes everything.
    pub(super) matched: Option<&'a R::Match>,
}

impl<'r, 'a, R: Rule> Split<'r, 'a, R> {
    /// Every match of a route in every frame.
    pub(super) fn all(route_index: usize, frames: &'r [Frame], rules: &'a [R]) -> Vec<Self> {
        let mut splits = Vec::new();
        for (frame_index, frame) in frames.iter().enumerate() {
            for (rule_index, rule) in rules.iter().enumerate() {
                let matches: Vec<Option<&'a R::Match>> = match rule.matches() {
                    [] => vec![None],
                    matches => matches.iter().map(Some).collect(),
                };
                for (match_index, matched) in matches.into_iter().enumerate() {
                    splits.push(Self {
                        route_index,
                        frame,
                        frame_index,
                        rule_index,
                        match_index,
                        rule,
                        matched,
                    });
                }
            }
        }
        splits
    }

    /// The hostname in names of entities.
    pub(super) fn host_in_names(&self) -> String {
        match self.frame.host.as_str() {
            "" => "_".to_owned(),
            host => crate::names::host(host),
        }
    }

    /// Whether the hostname is one without a wildcard.
    pub(super) fn precise_host(&self) -> bool {
        !self.frame.host.is_empty() && !self.frame.host.starts_with('*')
    }

    /// The place among matches of equal traits: oldest route first, then by name, rule and match; of hostnames of one
    /// match the last first, as Kong Ingress Controller's sort leaves them.
    pub(super) fn order<'o>(&self, origin: Origin<'o>) -> Order<'o> {
        let meta = origin.meta;
        (
            meta.creation_timestamp.as_ref().map(|time| time.0),
            meta.namespace.as_deref(),
            meta.name.as_deref(),
            self.rule_index,
            self.match_index,
            Reverse(self.frame_index),
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::options::{Engine, Entrances, GatewayStatusSource, Options, RouterFlavor};
    use crate::snapshot::Loader;
    use crate::translate::translate;

    const OBJECTS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: flotilla.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: ours
  listeners:
  - {name: wide, port: 80, protocol: HTTP}
  - {name: narrow, port: 80, protocol: HTTP, hostname: "*.example.com"}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge, sectionName: wide}]
  rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: web, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata:
  name: SERVICE
  namespace: gateways
  labels: {flotilla.dev/fleet: edge}
spec: {ports: [{port: 80, protocol: TCP, targetPort: 9107}]}
"#;

    fn expressions(entrances: Option<Entrances>) -> Vec<String> {
        let gateway = serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "shop", "name": "edge" },
        }));
        let name = super::super::service::name(&gateway.unwrap());
        let mut loader = Loader::new();
        loader.add("in.yaml", &OBJECTS.replace("SERVICE", &name));
        let options = Options {
            engine: Engine::Flotilla,
            flavor: RouterFlavor::Expressions,
            gateway_status: GatewayStatusSource::Derived,
            entrances,
            ..Options::default()
        };
        let config = translate(&loader.finish().0, &options).config;
        let routes = config.services.iter().flat_map(|service| &service.routes);
        routes.filter_map(|route| route.expression.clone()).collect()
    }

    #[test]
    fn a_listener_leaves_to_a_narrower_one_what_is_its() {
        assert_eq!(
            expressions(None),
            [r#"(!(http.host =^ ".example.com")) && (http.path ^= "/")"#]
        );
    }

    #[test]
    fn a_gateway_with_ports_of_its_own_is_served_at_them_alone() {
        let entrances = |ports| Entrances {
            namespace: "gateways".to_owned(),
            fleet: "edge".to_owned(),
            service: "proxy".to_owned(),
            ports,
        };
        let found = expressions(Some(entrances(9100..=9110)));
        let gate = r#"(net.dst.port == 9107) && (!(http.host =^ ".example.com"))"#;
        assert_eq!(found, [format!(r#"({gate}) && (http.path ^= "/")"#)]);
    }
}
