//! TCPRoutes, UDPRoutes and TLSRoutes: a Kong service and route a rule, by port or by server name.

use kong::model::{Endpoint, Route};

use super::super::Context;
use super::super::rules::{Origin, RouteRule, Rules};
use super::attach::{Entry, Gateways, Slot};
use super::frame::Frame;
use super::matcher::{self, Matcher};
use super::{Served, backend, tags};
use crate::gateway_api::{RouteSpec, StreamRule};
use crate::object::Object;
use crate::options::Engine;
use crate::outcome::Reason;

/// Priority of every stream route in the expressions dialect.
const PRIORITY: u64 = 1;
/// Bits that order the routes of our own proxies that take the same connections.
const ORDER_BITS: u32 = 12;

/// What tells the kinds of stream routes apart.
#[derive(Clone, Copy)]
struct Flavor {
    /// The kind's name.
    kind: &'static str,
    /// What names of entities begin with.
    prefix: &'static str,
    /// The protocol of listeners that count.
    listener: &'static str,
    /// The protocol of the Kong service.
    service: &'static str,
    /// Connections are told apart by server name and not by port.
    by_name: bool,
}

const TCP: Flavor = Flavor {
    kind: "TCPRoute",
    prefix: "tcproute",
    listener: "TCP",
    service: "tcp",
    by_name: false,
};
const UDP: Flavor = Flavor {
    kind: "UDPRoute",
    prefix: "udproute",
    listener: "UDP",
    service: "udp",
    by_name: false,
};
const TLS: Flavor =
    Flavor { kind: "TLSRoute", prefix: "tlsroute", listener: "TLS", service: "tcp", by_name: true };

/// Adds the rules of all stream routes.
pub(super) fn rules<'a>(ctx: &mut Context<'a>, gateways: &Gateways<'a>, rules: &mut Rules<'a>) {
    let snapshot = ctx.snapshot;
    for (age, route) in snapshot.udp_routes.oldest_first().into_iter().enumerate() {
        add(ctx, gateways, UDP, (&**route, &route.spec, age), rules);
    }
    for (age, route) in snapshot.tcp_routes.oldest_first().into_iter().enumerate() {
        add(ctx, gateways, TCP, (&**route, &route.spec, age), rules);
    }
    for (age, route) in snapshot.tls_routes.oldest_first().into_iter().enumerate() {
        add(ctx, gateways, TLS, (&**route, &route.spec, age), rules);
    }
    if ctx.options.engine == Engine::Flotilla && ctx.options.expressions() {
        for entry in gateways.entries.values() {
            close(ctx, entry, rules);
        }
    }
}

/// Closes the ports of a Gateway that carry streams of TLS only to names that no route takes: nobody ends TLS for them.
fn close<'a>(ctx: &mut Context<'a>, entry: &Entry<'a>, rules: &mut Rules<'a>) {
    let serving = || entry.slots.iter().filter(|slot| slot.programmed);
    let mut entrances: Vec<u16> = serving()
        .filter(|slot| slot.listener.protocol == TLS.listener)
        .filter_map(|slot| slot.entrance)
        .filter(|entrance| {
            let beside = serving().filter(|slot| slot.entrance == Some(*entrance));
            beside.into_iter().all(|slot| slot.listener.protocol == TLS.listener)
        })
        .collect();
    entrances.dedup();
    let origin = Origin::of(entry.gateway);
    for entrance in entrances {
        let name = format!("gateway.{}.{}.{entrance}", origin.namespace(), origin.name());
        let mut service = backend::service::<()>(ctx, origin, &name, TLS.service, &[]);
        let route = Route {
            name: Some(name.clone()),
            protocols: Some(vec!["tls_passthrough".to_owned()]),
            expression: Some(Matcher::number("net.dst.port", "==", entrance.into()).print()),
            priority: Some(0),
            tags: Some(tags(origin, None)),
            ..Route::default()
        };
        let (plugins, extensions) = (Vec::new(), Vec::new());
        service.routes.push(RouteRule { route, origin, plugins, extensions, settled: true });
        rules.services.insert(name, service);
    }
}

/// Adds one stream route.
fn add<'a, K: Object>(
    ctx: &mut Context<'a>,
    gateways: &Gateways<'a>,
    flavor: Flavor,
    (object, spec, age): (&'a K, &'a RouteSpec<StreamRule>, usize),
    rules: &mut Rules<'a>,
) {
    let origin = Origin::of(object);
    let hostnames = flavor.by_name.then_some(spec.hostnames.as_slice());
    let Some(served) = super::serve(ctx, gateways, origin, &spec.parent_refs, hostnames) else {
        return;
    };
    if let Some(problem) = problem(flavor, spec) {
        let message = format!("{} can't be routed: {problem}", flavor.kind);
        ctx.outcomes.fail(origin.reference(), Reason::Invalid, message);
        return;
    }
    let hosts = match ctx.options.engine {
        Engine::Flotilla if flavor.by_name => served.hostnames(&spec.hostnames),
        Engine::Flotilla | Engine::Kong => spec.hostnames.clone(),
    };
    for (index, rule) in spec.rules.iter().enumerate() {
        let name = format!("{}.{}.{}.{index}", flavor.prefix, origin.namespace(), origin.name());
        let mut service = backend::service(ctx, origin, &name, flavor.service, &rule.backend_refs);
        let ours = ctx.options.engine == Engine::Flotilla && ctx.options.expressions();
        let routes = match ours {
            true => framed(flavor, &served, &spec.hostnames, age),
            false => vec![matching(flavor, &served, &hosts, ctx.options.expressions())],
        };
        for (number, mut route) in routes.into_iter().enumerate() {
            route.name = Some(format!("{name}.{number}"));
            route.tags = Some(tags(origin, rule.name.as_deref()));
            let (plugins, extensions) = (Vec::new(), Vec::new());
            service.routes.push(RouteRule { route, origin, plugins, extensions, settled: true });
        }
        rules.services.insert(name, service);
    }
    ctx.outcomes.configured(origin);
}

/// What is wrong with a stream route as a whole.
fn problem(flavor: Flavor, spec: &RouteSpec<StreamRule>) -> Option<String> {
    if flavor.by_name {
        return spec.hostnames.is_empty().then(|| "no hostnames provided".to_owned());
    }
    let empty = spec.rules.iter().any(|rule| rule.backend_refs.is_empty());
    empty.then(|| format!("{} rules must include at least one backendRef", flavor.kind))
}

/// The part of a Kong route that tells which connections it takes.
fn matching(flavor: Flavor, served: &Served<'_>, hosts: &[String], expressions: bool) -> Route {
    let listeners: Vec<_> = served
        .sections
        .iter()
        .map(|slot| slot.listener)
        .filter(|listener| listener.protocol == flavor.listener)
        .collect();
    let ports: Vec<i32> =
        if flavor.by_name { Vec::new() } else { listeners.iter().map(|l| l.port).collect() };
    let protocol = match flavor.by_name {
        true if listeners.iter().any(|listener| listener.is_passthrough()) => "tls_passthrough",
        true => "tls",
        false => flavor.service,
    };
    let mut route = Route { protocols: Some(vec![protocol.to_owned()]), ..Route::default() };
    let hosts = if flavor.by_name { hosts } else { &[] };
    if expressions {
        let ports = ports.iter().map(|port| Matcher::number("net.dst.port", "==", (*port).into()));
        let conditions =
            vec![matcher::snis(hosts.iter().map(String::as_str)), Matcher::Any(ports.collect())];
        route.expression = Some(Matcher::All(conditions).print());
        route.priority = Some(PRIORITY);
    } else if flavor.by_name {
        route.snis = Some(hosts.to_vec());
    } else {
        let ports = ports.iter().filter_map(|port| u16::try_from(*port).ok());
        route.destinations =
            Some(ports.map(|port| Endpoint { port: Some(port), ..Endpoint::default() }).collect());
    }
    route
}

/// The Kong routes of a rule for our own proxies: one for each hostname, and for each way to end TLS, with narrower
/// hostnames before wider ones and older routes before newer ones.
fn framed(flavor: Flavor, served: &Served<'_>, own: &[String], age: usize) -> Vec<Route> {
    let youngest = (1 << ORDER_BITS) - 1;
    let order = youngest - u64::try_from(age).unwrap_or(youngest).min(youngest);
    let modes: &[(&str, Option<bool>)] = match flavor.by_name {
        true => &[("tls_passthrough", Some(true)), ("tls", Some(false))],
        false => &[(flavor.service, None)],
    };
    let mut routes = Vec::new();
    for (protocol, passthrough) in modes {
        let speaks = |slot: &Slot<'_>| {
            slot.listener.protocol == flavor.listener
                && passthrough.is_none_or(|mode| mode == slot.listener.is_passthrough())
        };
        let frames = match flavor.by_name {
            true => served.framed(own, "tls.sni", speaks),
            false => by_port(served, speaks).into_iter().collect(),
        };
        for Frame { host, gate } in frames {
            let precise = u64::from(!host.starts_with('*') && !host.is_empty());
            let names = matcher::snis([host.as_str()]);
            routes.push(Route {
                protocols: Some(vec![(*protocol).to_owned()]),
                expression: Some(Matcher::All(vec![names, gate]).print()),
                priority: Some(
                    PRIORITY + (((precise << 9) + host.len() as u64) << ORDER_BITS) + order,
                ),
                ..Route::default()
            });
        }
    }
    routes
}

/// The frame of a route that is told by ports alone: the entrances of its listeners, or their own ports where the fleet
/// shares them.
fn by_port(served: &Served<'_>, speaks: impl Fn(&Slot<'_>) -> bool) -> Option<Frame> {
    let slots = served.open_slots().filter(|slot| speaks(slot));
    let port = |slot: &Slot<'_>| slot.entrance.map_or(slot.listener.port, i32::from);
    let ports = slots.map(|slot| Matcher::number("net.dst.port", "==", port(slot).into()));
    let ports: Vec<Matcher> = ports.collect();
    (!ports.is_empty()).then(|| Frame { host: String::new(), gate: Matcher::Any(ports) })
}
