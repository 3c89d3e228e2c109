//! GRPCRoutes as Kong services and routes: a service a rule (and hostname, in expressions), a route a match.

use std::collections::BTreeMap;

use kong::model::{Plugin, Route};

use super::super::Context;
use super::super::rules::{Origin, RouteRule, Rules};
use super::attach::Gateways;
use super::beyond::{self, Demands, Ends};
use super::filter::{self, Abilities, FilterError};
use super::frame::{Frame, Split};
use super::matcher::{self, Matcher};
use super::priority::{self, GrpcTraits};
use super::{Served, backend, tags};
use crate::annotations;
use crate::gateway_api::{GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, ValueMatch};
use crate::options::{Engine, Options};
use crate::outcome::Reason;

/// Bits that order matches of equal traits.
const ORDER_BITS: u32 = 8;

/// A GRPCRoute that is served.
struct Admitted<'a> {
    route: &'a GrpcRoute,
    served: Served<'a>,
    /// Hostnames under which it is served; empty means all.
    hosts: Vec<String>,
    frames: Vec<Frame>,
    /// Plugins of each rule's filters.
    filters: Vec<Vec<Plugin>>,
    /// Where each rule leads.
    ends: Vec<Ends>,
}

/// What a rule asks for beyond Kong's model: the choice among its backends.
fn demands<'r, 'a>(
    origin: Origin<'_>,
    (index, rule): (usize, &'a GrpcRule),
    ends: &'r Ends,
) -> Demands<'r, 'a> {
    let name = format!("grpcroute.{}.{}.{index}", origin.namespace(), origin.name());
    let (filters, backends) = (&[][..], rule.backend_refs.as_slice());
    Demands { filters, backends, timeouts: None, retry: None, name, ends }
}

impl<'a> Admitted<'a> {
    fn origin(&self) -> Origin<'a> {
        self.served.origin
    }

    /// Backends speak cleartext when some listener does; the annotation of the Service has the last word.
    fn service_protocol(&self) -> &'static str {
        let clear = self.served.sections.iter().any(|slot| slot.listener.protocol == "HTTP");
        if clear { "grpc" } else { "grpcs" }
    }

    fn name(&self, parts: &[&dyn std::fmt::Display]) -> String {
        let mut name = format!("grpcroute.{}.{}", self.origin().namespace(), self.origin().name());
        for part in parts {
            name.push_str(&format!(".{part}"));
        }
        name
    }
}

/// Adds the rules of all GRPCRoutes.
pub(super) fn rules<'a>(ctx: &mut Context<'a>, gateways: &Gateways<'a>, rules: &mut Rules<'a>) {
    let snapshot = ctx.snapshot;
    let mut admitted = Vec::new();
    for route in &snapshot.grpc_routes {
        let (origin, spec) = (Origin::of(&**route), &route.spec);
        let hostnames = Some(spec.hostnames.as_slice());
        let served = super::serve(ctx, gateways, origin, &spec.parent_refs, hostnames);
        let Some(served) = served else { continue };
        if spec.rules.iter().any(|rule| rule.session_persistence.is_some()) {
            let message = "GRPCRoute can't be routed: sessionPersistence is not supported";
            ctx.outcomes.fail(origin.reference(), Reason::UnsupportedValue, message);
            continue;
        }
        let ends = spec.rules.iter();
        let ends = ends.map(|rule| {
            Ends::of(ctx, &rules.backend_tls, origin, (&rule.filters, &rule.backend_refs))
        });
        let ends: Vec<Ends> = ends.collect();
        match filters(origin, &spec.rules, &ends) {
            Ok(filters) => {
                ctx.outcomes.configured(origin);
                let hosts = hosts(ctx.options, route, &served);
                let frames = frames(ctx.options, &hosts, &spec.hostnames, &served);
                admitted.push(Admitted { route, served, hosts, frames, filters, ends });
            }
            Err(error) => {
                let message = format!("GRPCRoute can't be routed: {error}");
                ctx.outcomes.fail(origin.reference(), Reason::UnsupportedValue, message);
            }
        }
    }
    for route in admitted.iter().filter(|_| ctx.options.engine == Engine::Flotilla) {
        for (index, (rule, ends)) in route.route.spec.rules.iter().zip(&route.ends).enumerate() {
            let demands = demands(route.origin(), (index, rule), ends);
            beyond::upstreams(ctx, route.origin(), &demands, rules);
        }
    }
    if ctx.options.expressions() {
        expressions(ctx, &admitted, rules);
    } else {
        for route in &admitted {
            traditional(ctx, route, rules);
        }
    }
}

/// Adds one GRPCRoute in the traditional dialect.
fn traditional<'a>(ctx: &mut Context<'a>, admitted: &Admitted<'a>, rules: &mut Rules<'a>) {
    let origin = admitted.origin();
    let hosts = &admitted.hosts;
    for (index, rule) in admitted.route.spec.rules.iter().enumerate() {
        let name = admitted.name(&[&index]);
        let protocol = admitted.service_protocol();
        let mut service = backend::service(ctx, origin, &name, protocol, &rule.backend_refs);
        let none = [GrpcMatch::default()];
        let matches = if rule.matches.is_empty() { &none } else { rule.matches.as_slice() };
        for (number, matched) in matches.iter().enumerate() {
            let mut route = Route {
                name: Some(admitted.name(&[&index, &number])),
                protocols: Some(vec!["grpc".to_owned(), "grpcs".to_owned()]),
                hosts: Some(hosts.clone()).filter(|hosts| !hosts.is_empty()),
                headers: headers(&matched.headers),
                paths: matched.method.as_ref().map(|method| vec![traditional_path(method)]),
                tags: Some(tags(origin, rule.name.as_deref())),
                ..Route::default()
            };
            if rule.matches.is_empty() && hosts.is_empty() {
                route.paths = Some(vec!["/".to_owned()]);
            }
            service.routes.push(RouteRule {
                route,
                origin,
                plugins: admitted.filters.get(index).cloned().unwrap_or_default(),
                extensions: extensions(rule),
                settled: false,
            });
        }
        rules.services.insert(name, service);
    }
}

/// The hostnames under which a GRPCRoute is served. Our own proxy follows the specification; with Kong a GRPCRoute keeps
/// all of its hostnames and takes those of its listeners, where it has none, in the traditional dialect only.
fn hosts(options: &Options, route: &GrpcRoute, served: &Served<'_>) -> Vec<String> {
    let own = &route.spec.hostnames;
    match options.engine {
        Engine::Flotilla => served.hostnames(own),
        Engine::Kong if !own.is_empty() || options.expressions() => own.clone(),
        Engine::Kong => {
            let inherited = served.sections.iter().filter_map(|slot| slot.listener.hostname());
            inherited.map(str::to_owned).collect()
        }
    }
}

fn frames(options: &Options, hosts: &[String], own: &[String], served: &Served<'_>) -> Vec<Frame> {
    match options.engine {
        Engine::Flotilla => served.frames(own, options.engine),
        Engine::Kong => {
            let any = hosts.is_empty().then(String::new);
            let hosts = any.into_iter().chain(hosts.iter().cloned());
            hosts.map(|host| Frame { host, gate: Matcher::All(Vec::new()) }).collect()
        }
    }
}

/// The plugins that the filters of each rule become.
fn filters(
    origin: Origin<'_>,
    rules: &[GrpcRule],
    ends: &[Ends],
) -> Result<Vec<Vec<Plugin>>, FilterError> {
    let of_rule = |(index, (rule, ends)): (usize, (&GrpcRule, &Ends))| {
        let all = filter::of_rule(&rule.filters, &rule.backend_refs)?;
        let abilities = Abilities { redirect_plugin: true, own: false };
        let mut filters = filter::translate(&all, "", abilities)?;
        let demands = demands(origin, (index, rule), ends);
        filters.plugins.extend(demands.plugin("", &beyond::Ports::new())?);
        Ok(filters.plugins(&tags(origin, rule.name.as_deref())))
    };
    rules.iter().zip(ends).enumerate().map(of_rule).collect()
}

/// Names of KongPlugins that a rule's filters attach.
fn extensions(rule: &GrpcRule) -> Vec<&str> {
    let only = rule.backend_refs.iter().flat_map(|backend| &backend.filters);
    filter::extensions(rule.filters.iter().chain(only))
}

/// A method as a regular expression on the path; what is absent matches anything.
fn traditional_path(method: &GrpcMethod) -> String {
    let service = method.service.as_deref().unwrap_or(".+");
    let rest = if method.is_regex() { ".+" } else { "" };
    format!("~/{service}/{}", method.method.as_deref().unwrap_or(rest))
}

/// Header conditions as Kong's map.
fn headers(matches: &[ValueMatch]) -> Option<BTreeMap<String, Vec<String>>> {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in matches {
        let prefix = if header.is_regex() { "~*" } else { "" };
        let value = format!("{prefix}{}", header.value);
        headers.entry(header.name.clone()).or_default().push(value);
    }
    Some(headers).filter(|headers| !headers.is_empty())
}

/// Adds all GRPCRoutes in the expressions dialect.
fn expressions<'a>(ctx: &mut Context<'a>, admitted: &[Admitted<'a>], rules: &mut Rules<'a>) {
    let mut splits: Vec<Split<'_, 'a, GrpcRule>> = Vec::new();
    for (index, route) in admitted.iter().enumerate() {
        splits.extend(Split::all(index, &route.frames, &route.route.spec.rules));
    }
    let bases: Vec<u64> = splits.iter().map(|split| traits(split).encode()).collect();
    let origin = |split: &Split<'_, 'a, GrpcRule>| admitted[split.route_index].origin();
    let order = |index: usize| splits[index].order(origin(&splits[index]));
    let priorities = priority::assign(&bases, order, ORDER_BITS);
    for (split, priority) in splits.iter().zip(priorities) {
        let admitted = &admitted[split.route_index];
        let origin = admitted.origin();
        let host = split.host_in_names();
        let name = admitted.name(&[&host, &split.rule_index]);
        if !rules.services.contains_key(&name) {
            let protocol = admitted.service_protocol();
            let service = backend::service(ctx, origin, &name, protocol, &split.rule.backend_refs);
            rules.services.insert(name.clone(), service);
        }
        let route = Route {
            name: Some(admitted.name(&[&host, &split.rule_index, &split.match_index])),
            protocols: Some(admitted.served.protocols(&[("HTTP", "grpc"), ("HTTPS", "grpcs")])),
            expression: Some(condition(origin, split)),
            priority: Some(priority),
            preserve_host: Some(true),
            tags: Some(tags(origin, split.rule.name.as_deref())),
            ..Route::default()
        };
        if let Some(service) = rules.services.get_mut(&name) {
            let plugins = admitted.filters.get(split.rule_index).cloned().unwrap_or_default();
            let extensions = extensions(split.rule);
            service.routes.push(RouteRule { route, origin, plugins, extensions, settled: true });
        }
    }
}

fn traits(split: &Split<'_, '_, GrpcRule>) -> GrpcTraits {
    let method = split.matched.and_then(|matched| matched.method.as_ref());
    let length = |text: Option<&String>| text.map_or(0, String::len);
    GrpcTraits {
        precise_host: split.precise_host(),
        host_length: split.frame.host.len(),
        service_length: length(method.and_then(|method| method.service.as_ref())),
        method_length: length(method.and_then(|method| method.method.as_ref())),
        headers: split.matched.map_or(0, |matched| matched.headers.len()),
    }
}

/// Everything that a match demands of a call.
fn condition(origin: Origin<'_>, split: &Split<'_, '_, GrpcRule>) -> String {
    let matched = split.matched;
    let method = matched.and_then(|matched| matched.method.as_ref()).map(expression_path);
    let mut headers: Vec<&ValueMatch> =
        matched.map(|matched| matched.headers.iter().collect()).unwrap_or_default();
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    let header = |value: &ValueMatch| matcher::header(&value.name, value.is_regex(), &value.value);
    let headers = Matcher::All(headers.into_iter().map(header).collect());
    let snis =
        matcher::snis(annotations::list(origin.annotation("konghq.com/snis").unwrap_or_default()));
    let host = matcher::hosts([split.frame.host.as_str()]);
    let rest = [headers, host, split.frame.gate.clone(), snis];
    let text = Matcher::All(method.into_iter().chain(rest).collect()).print();
    if text.is_empty() { super::http::ANYTHING.to_owned() } else { text }
}

/// A method as a condition on the path.
fn expression_path(method: &GrpcMethod) -> Matcher {
    let (operator, value) = match (&method.service, &method.method, method.is_regex()) {
        (None, None, _) => ("^=", "/".to_owned()),
        (service, method, true) => {
            let part = |part: &Option<String>| part.clone().unwrap_or_else(|| ".+".to_owned());
            ("~", format!("^/{}/{}", part(service), part(method)))
        }
        (Some(service), None, false) => ("^=", format!("/{service}/")),
        (None, Some(method), false) => ("=^", format!("/{method}")),
        (Some(service), Some(method), false) => ("==", format!("/{service}/{method}")),
    };
    Matcher::text("http.path", operator, &value)
}
