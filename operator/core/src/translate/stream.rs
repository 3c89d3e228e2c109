//! TCPIngress and UDPIngress: ports of the proxy become Kong services and routes.

use kong::model::{Endpoint, Route, Service};
use operator_api::kong::{TcpIngress, UdpIngress, ingress::IngressBackend};

use super::Context;
use super::expression::Matcher;
use super::ingress::{RETRIES, TIMEOUT};
use super::rules::{Backend, BackendKind, Origin, Port, RouteRule, Rules, ServiceRule, TlsClaim};
use crate::names;
use crate::object::Object;

/// Adds the rules of all TCPIngresses and UDPIngresses of the class, the oldest first.
///
/// A Kong service of an Ingress that has the same name gives way, as it does in Kong Ingress Controller.
pub(super) fn rules<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>) {
    let mut own = Rules::default();
    for ingress in ctx.snapshot.tcp_ingresses.oldest_first() {
        let ingress: &'a TcpIngress = ingress;
        if admitted(ctx, ingress) {
            tcp(ctx, &mut own, ingress);
        }
    }
    for ingress in ctx.snapshot.udp_ingresses.oldest_first() {
        let ingress: &'a UdpIngress = ingress;
        if admitted(ctx, ingress) {
            udp(ctx, &mut own, ingress);
        }
    }
    rules.services.extend(own.services);
    rules.tls.extend(own.tls);
}

fn admitted<'a, K: Object>(ctx: &mut Context<'a>, ingress: &'a K) -> bool {
    let ours = ctx.class.serves(ingress);
    if ours {
        ctx.outcomes.configured(Origin::of(ingress));
    } else {
        let why = ctx.class.unserved("its class");
        ctx.outcomes.ignore(ingress.reference(), why);
    }
    ours
}

fn tcp<'a>(ctx: &Context<'a>, rules: &mut Rules<'a>, ingress: &'a TcpIngress) {
    for entry in ingress.spec.tls.iter().flatten() {
        let secret = entry.secret_name.as_deref().filter(|name| !name.is_empty());
        let hosts: Vec<&str> = entry.hosts.iter().flatten().map(String::as_str).collect();
        if let Some(secret) = secret.filter(|_| !hosts.is_empty()) {
            rules.tls.push(TlsClaim { secret, hosts, parent: Origin::of(ingress) });
        }
    }
    for (index, rule) in ingress.spec.rules.iter().flatten().enumerate() {
        let host = rule.host.as_deref().filter(|host| !host.is_empty());
        let stream = Stream {
            origin: Origin::of(ingress),
            name: format!("{}.{}.{index}", ingress.namespace(), ingress.name()),
            protocols: &["tcp", "tls"],
            host,
            port: rule.port,
            backend: &rule.backend,
        };
        stream.add(ctx, rules, "tcp");
    }
}

fn udp<'a>(ctx: &Context<'a>, rules: &mut Rules<'a>, ingress: &'a UdpIngress) {
    for (index, rule) in ingress.spec.rules.iter().flatten().enumerate() {
        let stream = Stream {
            origin: Origin::of(ingress),
            name: format!("{}.{}.{index}.udp", ingress.namespace(), ingress.name()),
            protocols: &["udp"],
            host: None,
            port: rule.port,
            backend: &rule.backend,
        };
        stream.add(ctx, rules, "udp");
    }
}

/// One rule of either kind.
struct Stream<'a> {
    origin: Origin<'a>,
    name: String,
    protocols: &'static [&'static str],
    host: Option<&'a str>,
    port: i32,
    backend: &'a IngressBackend,
}

impl<'a> Stream<'a> {
    fn add(self, ctx: &Context<'a>, rules: &mut Rules<'a>, protocol: &'static str) {
        let route = self.route(ctx);
        let Self { origin, backend, .. } = self;
        let namespace = origin.namespace();
        let IngressBackend { service_name, service_port } = backend;
        let udp = protocol == "udp";
        let suffix = if udp { ".udp" } else { "" };
        let name = format!("{namespace}.{service_name}.{service_port}{suffix}");
        let service = rules.services.entry(name.clone()).or_insert_with(|| ServiceRule {
            service: Service {
                name: Some(name),
                host: Some(format!("{service_name}.{namespace}.{service_port}.svc")),
                port: if udp { u16::try_from(*service_port).ok() } else { Some(80) },
                protocol: Some(protocol.into()),
                connect_timeout: (!udp).then_some(TIMEOUT),
                read_timeout: (!udp).then_some(TIMEOUT),
                write_timeout: (!udp).then_some(TIMEOUT),
                retries: (!udp).then_some(RETRIES),
                ..Service::default()
            },
            backends: vec![Backend {
                kind: BackendKind::Service,
                namespace,
                name: service_name,
                port: Port::Number(*service_port),
                weight: None,
            }],
            parent: origin,
            routes: Vec::new(),
            plugins: Vec::new(),
            cookie: None,
        });
        service.routes.push(RouteRule {
            route,
            origin,
            plugins: Vec::new(),
            extensions: Vec::new(),
            settled: false,
        });
    }

    fn route(&self, ctx: &Context<'_>) -> Route {
        let mut route = Route {
            name: Some(self.name.clone()),
            protocols: Some(self.protocols.iter().map(|&name| name.to_owned()).collect()),
            tags: Some(names::tags(self.origin)),
            ..Route::default()
        };
        if ctx.options.expressions() {
            let sni = self.host.map(Matcher::sni);
            let port = Matcher::number("net.dst.port", "==", self.port.into());
            let matcher = Matcher::all(sni.into_iter().chain([port]));
            route.expression = matcher.map(|matcher| matcher.expression());
            route.priority = Some(1);
        } else {
            route.snis = self.host.map(|host| vec![host.to_owned()]);
            let port = u16::try_from(self.port).ok();
            route.destinations = Some(vec![Endpoint { port, ..Endpoint::default() }]);
        }
        route
    }
}
