//! Ingress: rules and default backends become Kong services and routes.
//!
//! All paths of one Ingress that share host and backend make one route; all routes to one port of a
//! Service share one Kong service, whichever Ingress they come from.

mod path;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressServiceBackend,
};
use kong::model::{Plugin, Route, Service};

use super::expression::{Matcher, Traits};
use super::rules::{Backend, BackendKind, Origin, Port, RouteRule, Rules, ServiceRule, TlsClaim};
use super::{Context, overrides, rewrite};
use crate::names;
use crate::object::{Kind, Object, by_age};
use crate::options::Gate;
use crate::outcome::Reason;
use path::Dialect;

/// Milliseconds that connecting, writing and reading may take each.
pub(crate) const TIMEOUT: u32 = 60_000;
/// How often a request is tried again.
pub(crate) const RETRIES: u16 = 5;

/// Adds the rules of every Ingress of the class, the oldest first.
pub(super) fn rules<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>) {
    for ingress in ctx.snapshot.ingresses.oldest_first() {
        one(ctx, ingress, rules);
    }
    defaults(ctx, rules);
}

/// Adds the rules of one Ingress, if it is of the class; all but its default backend.
pub(super) fn one<'a>(ctx: &mut Context<'a>, ingress: &'a Ingress, rules: &mut Rules<'a>) {
    if !ctx.class.serves_ingress(ingress) {
        ctx.outcomes.ignore(ingress.reference(), ctx.class.unserved("its class"));
    } else if ingress.spec.is_some() {
        claim_certificates(ctx, ingress, rules);
        translate(ctx, rules, ingress);
        ctx.outcomes.configured(Origin::of(ingress));
    }
}

/// Whether an Ingress says where requests go that no rule matches.
pub(super) fn has_default(ingress: &Ingress) -> bool {
    ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some())
}

/// Adds the default backend: that of the oldest Ingress that has one. The others are told.
pub(super) fn defaults<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>) {
    let all = ctx.snapshot.ingresses.iter().map(|ingress| &**ingress);
    let mut all: Vec<&'a Ingress> =
        all.filter(|one| has_default(one) && ctx.class.serves_ingress(one)).collect();
    all.sort_by(|a, b| by_age(*a, *b));
    let Some((winner, losers)) = all.split_first() else { return };
    for loser in losers {
        let message = format!("its default backend has no effect: {} is older", winner.reference());
        ctx.outcomes.warn(loser.reference(), Reason::Conflicted, message);
    }
    default_backend(ctx, rules, winner);
}

/// Adds the certificates that an Ingress claims.
pub(super) fn claim_certificates<'a>(
    ctx: &mut Context<'a>,
    ingress: &'a Ingress,
    rules: &mut Rules<'a>,
) {
    let tls = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    for entry in tls {
        let Some(secret) = entry.secret_name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        let hosts: Vec<&str> = entry.hosts.iter().flatten().map(String::as_str).collect();
        if hosts.is_empty() {
            let message =
                format!("tls: Secret {secret:?} is not served, for its entry names no hosts");
            ctx.outcomes.warn(ingress.reference(), Reason::Invalid, message);
            continue;
        }
        rules.tls.push(TlsClaim { secret, hosts, parent: Origin::of(ingress) });
    }
}

/// What one route is made of: host and backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Target<'a> {
    host: &'a str,
    facade: bool,
    name: &'a str,
    port: Port<'a>,
}

fn translate<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>, ingress: &'a Ingress) {
    let rewrite = match rewrite::plugin(ctx, ingress) {
        Ok(rewrite) => rewrite,
        Err(message) => {
            ctx.outcomes.fail(ingress.reference(), Reason::Invalid, message);
            return;
        }
    };
    let mut order: Vec<Target<'a>> = Vec::new();
    let mut paths: BTreeMap<Target<'a>, Vec<&'a HTTPIngressPath>> = BTreeMap::new();
    for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
        let host = rule.host.as_deref().unwrap_or_default();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            match target(ctx, ingress, host, &path.backend) {
                Ok(target) => {
                    let known = paths.entry(target).or_insert_with(|| {
                        order.push(target);
                        Vec::new()
                    });
                    known.push(path);
                }
                Err((reason, message)) => {
                    let text = path.path.as_deref().unwrap_or_default();
                    let message =
                        format!("failed to get backend for ingress path {text:?}: {message}");
                    ctx.outcomes.fail(ingress.reference(), reason, message);
                }
            }
        }
    }
    for target in order {
        let paths = paths.remove(&target).unwrap_or_default();
        let route = route(ctx, ingress, target, &paths);
        let service = service(rules, ingress, target);
        if service.service.path.is_none() {
            service.service.path = Some("/".into());
        }
        service.routes.push(rule(route, ingress, rewrite.clone()));
    }
}

fn rule<'a>(route: Route, ingress: &'a Ingress, rewrite: Option<Plugin>) -> RouteRule<'a> {
    RouteRule {
        route,
        origin: Origin::of(ingress),
        plugins: rewrite.into_iter().collect(),
        extensions: Vec::new(),
        settled: false,
    }
}

fn default_backend<'a>(ctx: &mut Context<'a>, rules: &mut Rules<'a>, ingress: &'a Ingress) {
    let backend = ingress.spec.as_ref().and_then(|spec| spec.default_backend.as_ref());
    let Some(backend) = backend else { return };
    let target = match default_target(ctx, ingress, backend) {
        Ok(target) => target,
        Err((reason, message)) => {
            let message = format!("default backend: {message}");
            return ctx.outcomes.fail(ingress.reference(), reason, message);
        }
    };
    let mut route = base(ctx, ingress, format!("{}.{}", ingress.namespace(), ingress.name()));
    if ctx.options.expressions() {
        route.expression = Some(Matcher::text("http.path", "^=", "/").expression());
        route.priority = Some(0);
    } else {
        route.paths = Some(vec!["/".into()]);
    }
    service(rules, ingress, target).routes.push(rule(route, ingress, None));
}

type Refused = (Reason, String);

fn target<'a>(
    ctx: &Context<'a>,
    ingress: &'a Ingress,
    host: &'a str,
    backend: &'a IngressBackend,
) -> Result<Target<'a>, Refused> {
    match (&backend.service, &backend.resource) {
        (Some(service), _) => Ok(to_service(host, service)),
        (None, Some(resource)) => to_facade(ctx, ingress, host, resource),
        (None, None) => Err((Reason::Invalid, "it names neither a service nor a resource".into())),
    }
}

fn default_target<'a>(
    ctx: &Context<'a>,
    ingress: &'a Ingress,
    backend: &'a IngressBackend,
) -> Result<Target<'a>, Refused> {
    target(ctx, ingress, "", backend)
        .map_err(|(reason, message)| (reason, message.replacen("unknown", "unsupported", 1)))
}

fn to_service<'a>(host: &'a str, service: &'a IngressServiceBackend) -> Target<'a> {
    let port = service.port.as_ref();
    let named = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
    let port = match (named, port.and_then(|port| port.number)) {
        (Some(name), _) => Port::Name(name),
        (None, Some(number)) => Port::Number(number),
        (None, None) => Port::Number(0),
    };
    Target { host, facade: false, name: &service.name, port }
}

fn to_facade<'a>(
    ctx: &Context<'a>,
    ingress: &'a Ingress,
    host: &'a str,
    resource: &'a TypedLocalObjectReference,
) -> Result<Target<'a>, Refused> {
    let group = resource.api_group.as_deref().unwrap_or_default();
    let kind = Kind::KongServiceFacade;
    if group != kind.group() || resource.kind != kind.name() {
        let message = format!("unknown resource type {group}/{}", resource.kind);
        return Err((Reason::UnsupportedValue, message));
    }
    if !ctx.options.on(Gate::KongServiceFacade) {
        let gate = Gate::KongServiceFacade.name();
        let message = format!(
            "KongServiceFacade is not enabled, please set the {gate:?} feature gate to 'true' to enable it"
        );
        return Err((Reason::UnsupportedValue, message));
    }
    let (namespace, name) = (ingress.namespace(), resource.name.as_str());
    let facade = ctx.snapshot.kong_service_facades.get(namespace, name);
    let Some(facade) = facade.filter(|facade| ctx.class.serves(&***facade)) else {
        let message = format!(
            "failed to get KongServiceFacade {name:?}: KongServiceFacade {namespace}/{name} not found"
        );
        return Err((Reason::RefNotFound, message));
    };
    Ok(Target { host, facade: true, name, port: Port::Number(facade.spec.backend_ref.port) })
}

/// The Kong service of a target, made when it is first needed.
fn service<'a, 'r>(
    rules: &'r mut Rules<'a>,
    ingress: &'a Ingress,
    target: Target<'a>,
) -> &'r mut ServiceRule<'a> {
    let Target { host: _, facade, name, port } = target;
    let namespace = ingress.namespace();
    let (key, host) = if facade {
        let key = format!("{namespace}.{name}.svc.facade");
        (key.clone(), key)
    } else {
        (format!("{namespace}.{name}.{port}"), format!("{name}.{namespace}.{port}.svc"))
    };
    rules.services.entry(key.clone()).or_insert_with(|| ServiceRule {
        service: Service {
            name: Some(key),
            host: Some(host),
            port: Some(80),
            protocol: Some("http".into()),
            connect_timeout: Some(TIMEOUT),
            read_timeout: Some(TIMEOUT),
            write_timeout: Some(TIMEOUT),
            retries: Some(RETRIES),
            ..Service::default()
        },
        backends: vec![Backend {
            kind: if facade { BackendKind::Facade } else { BackendKind::Service },
            namespace,
            name,
            port,
            weight: None,
        }],
        parent: Origin::of(ingress),
        // Most have one, and it is large.
        routes: Vec::with_capacity(1),
        plugins: Vec::new(),
        cookie: None,
    })
}

/// The fields that every route of an Ingress begins with; annotations come later.
fn base(ctx: &Context<'_>, ingress: &Ingress, name: String) -> Route {
    let traditional = !ctx.options.expressions();
    Route {
        name: Some(name),
        strip_path: Some(false),
        preserve_host: Some(true),
        request_buffering: Some(true),
        response_buffering: Some(true),
        regex_priority: traditional.then_some(0),
        tags: Some(names::tags_of(ingress)),
        ..Route::default()
    }
}

fn route<'a>(
    ctx: &mut Context<'a>,
    ingress: &'a Ingress,
    target: Target<'a>,
    paths: &[&'a HTTPIngressPath],
) -> Route {
    let Target { host, facade, name, port } = target;
    let (namespace, own, named) = (ingress.namespace(), ingress.name(), names::host(host));
    let name = if facade {
        format!("{namespace}.{own}.{named}.{name}.svc.facade")
    } else {
        format!("{namespace}.{own}.{name}.{named}.{port}")
    };
    let mut route = base(ctx, ingress, name);
    let dialect = Dialect {
        regex_prefix: overrides::regex_prefix(ingress),
        legacy_detection: ctx.class.parameters(ingress).enable_legacy_regex_detection,
    };
    if ctx.options.expressions() {
        expression(ctx, &mut route, ingress, Hosted { host, paths, dialect });
    } else {
        if !host.is_empty() {
            route.hosts = Some(vec![host.to_owned()]);
        }
        route.paths =
            Some(paths.iter().flat_map(|path| path::traditional(path, &dialect)).collect());
    }
    route
}

/// What an expression compares: a host and paths.
#[derive(Clone, Copy)]
struct Hosted<'a, 'p> {
    host: &'a str,
    paths: &'p [&'a HTTPIngressPath],
    dialect: Dialect<'a>,
}

/// Writes the conditions of an Ingress, its annotations included, as one expression.
fn expression<'a>(
    ctx: &mut Context<'a>,
    route: &mut Route,
    ingress: &'a Ingress,
    hosted: Hosted<'a, '_>,
) {
    let origin = Origin::of(ingress);
    let own = Some(hosted.host).filter(|host| !host.is_empty());
    let aliases = overrides::asked(origin, overrides::HOST_ALIASES);
    let headers = overrides::headers(origin);
    let matched: Vec<path::Matched> =
        hosted.paths.iter().map(|path| path::expression(path, &hosted.dialect)).collect();
    let asked_hosts: Vec<&str> = own.into_iter().chain(aliases).collect();
    let traits = Traits {
        fields: [
            !matched.is_empty(),
            !asked_hosts.is_empty(),
            !headers.is_empty(),
            overrides::asked(origin, overrides::METHODS).next().is_some(),
            overrides::asked(origin, overrides::SNIS).next().is_some(),
        ]
        .into_iter()
        .map(u64::from)
        .sum(),
        headers: headers.len(),
        plain_host: !asked_hosts.is_empty() && asked_hosts.iter().all(|h| !h.starts_with('*')),
        regex: matched.iter().any(|path| path.regex),
        path_length: matched.iter().map(|path| path.length).max().unwrap_or(0),
    };
    let hosts = own.into_iter().chain(overrides::host_aliases(ctx, origin));
    let headers = headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
        .filter_map(|(name, values)| Matcher::any(values.iter().map(|v| Matcher::header(name, v))));
    let methods = overrides::methods(ctx, origin);
    let snis = overrides::snis(ctx, origin);
    let parts = [
        Matcher::any(hosts.map(Matcher::host)),
        Matcher::any(matched.into_iter().map(|path| path.matcher)),
        Matcher::all(headers),
        Matcher::any(methods.iter().map(|method| Matcher::text("http.method", "==", method))),
        Matcher::any(snis.iter().map(|sni| Matcher::text("tls.sni", "==", sni))),
    ];
    let matcher = Matcher::all(parts.into_iter().flatten());
    route.expression = matcher.map(|matcher| matcher.expression());
    route.priority = Some(traits.priority());
}
