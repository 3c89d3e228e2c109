//! HTTPRoutes as Kong services and routes.
//!
//! Rules with the same backends share a Kong service. In the traditional dialect matches that differ in their path only
//! share a Kong route; in the expressions dialect each hostname and match has a route of its own with a priority, so that
//! Gateway API's order of precedence holds over all HTTPRoutes together.

mod expressions;
mod traditional;

pub(super) use expressions::ANYTHING;

use std::collections::BTreeMap;

use kong::model::{Route, Tags};

use super::super::Context;
use super::super::rules::{Origin, RouteRule, Rules, ServiceRule};
use super::attach::Gateways;
use super::beyond::{self, Demands, Ends, Ports};
use super::filter::{self, Abilities, FilterError, Filters};
use super::frame::Frame;
use super::priority::Rank;
use super::{Policies, Served, backend, session};
use crate::gateway_api::{HttpMatch, HttpRoute, HttpRule, PathModifier};
use crate::options::{Engine, Gate};
use crate::outcome::Reason;

/// An HTTPRoute that is served, with what its listeners made of it.
#[derive(Debug)]
struct Admitted<'a> {
    route: &'a HttpRoute,
    origin: Origin<'a>,
    /// Hostnames under which it is served; empty means all.
    hosts: Vec<String>,
    frames: Vec<Frame>,
    ports: Ports,
    protocols: Vec<String>,
    /// The cookie that keeps a client with its backend, by rule.
    cookies: Vec<Option<String>>,
    /// Where each rule leads.
    ends: Vec<Ends>,
}

/// Why an HTTPRoute as a whole cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unroutable {
    #[error("no rules provided")]
    NoRules,
    #[error("query param matches are not yet supported")]
    QueryParams,
    #[error("multiple header matches for the same header are not allowed: {0}")]
    RepeatedHeader(String),
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Unroutable {
    fn reason(&self) -> Reason {
        match self {
            Self::NoRules | Self::RepeatedHeader(_) => Reason::Invalid,
            Self::QueryParams | Self::Filter(_) => Reason::UnsupportedValue,
        }
    }
}

/// A Kong route, and the rule of its HTTPRoute that decides about its service.
struct Drafted<'a> {
    rule: usize,
    route: RouteRule<'a>,
}

/// The places of an HTTPRoute's matches among those of equal traits, where no policy is on TLS to backends; lists of paths
/// have none.
pub(in super::super) fn places<'a>(
    ctx: &mut Context<'a>,
    route: &'a HttpRoute,
) -> Vec<(u64, Rank)> {
    let gateways = ctx.gateways();
    match admit(ctx, &gateways, route, &Policies::default()) {
        Some(admitted) if ctx.options.expressions() => expressions::places(&[admitted]),
        Some(_) | None => Vec::new(),
    }
}

/// Adds the rules of HTTPRoutes.
pub(super) fn rules<'a>(
    ctx: &mut Context<'a>,
    gateways: &Gateways<'a>,
    routes: Vec<&'a HttpRoute>,
    rules: &mut Rules<'a>,
) {
    let mut admitted = Vec::new();
    for route in routes {
        let since = ctx.reads.count();
        let one = admit(ctx, gateways, route, &rules.backend_tls);
        ctx.reads.on_behalf_of(Origin::of(route), since);
        if let Some(route) = one {
            admitted.push(route);
        }
    }
    let abilities = Abilities {
        redirect_plugin: ctx.options.redirect_plugin(),
        own: ctx.options.engine == Engine::Flotilla,
    };
    let drafts = if ctx.options.expressions() {
        expressions::draft(&admitted, abilities, &mut ctx.ranks)
    } else {
        admitted.iter().map(|route| traditional::draft(route, abilities)).collect()
    };
    for (route, draft) in admitted.iter().zip(drafts) {
        match draft {
            Ok(routes) => {
                let since = ctx.reads.count();
                add(ctx, route, routes, rules);
                ctx.reads.on_behalf_of(route.origin, since);
                ctx.outcomes.configured(route.origin);
                if ctx.options.engine == Engine::Kong {
                    tell_what_kong_lacks(ctx, route);
                }
            }
            Err(error) => {
                let message = format!("HTTPRoute can't be routed: {error}");
                ctx.outcomes.fail(route.origin.reference(), error.reason(), message);
            }
        }
    }
}

/// Warns of what Kong Ingress Controller lets pass and stock Kong does otherwise than it is written.
fn tell_what_kong_lacks(ctx: &mut Context<'_>, admitted: &Admitted<'_>) {
    let mut tell = |message: &str| {
        let object = admitted.origin.reference();
        ctx.outcomes.warn(object, Reason::UnsupportedValue, message);
    };
    for rule in &admitted.route.spec.rules {
        if rule.timeouts.as_ref().is_some_and(|timeouts| timeouts.request.is_some()) {
            tell("timeouts.request has no effect on stock Kong; allowed: timeouts.backendRequest");
        }
        for redirect in rule.filters.iter().filter_map(|filter| filter.request_redirect.as_ref()) {
            let prefix = |path: &PathModifier| path.kind == "ReplacePrefixMatch";
            if redirect.path.as_ref().is_some_and(prefix) {
                tell(
                    "a redirect with ReplacePrefixMatch leads to / on stock Kong; allowed: ReplaceFullPath",
                );
            } else if redirect.hostname.is_none() && redirect.path.is_none() {
                tell("a redirect with neither hostname nor path leads to / on stock Kong");
            }
        }
    }
}

/// Attaches an HTTPRoute and narrows its hostnames to those of its listeners.
fn admit<'a>(
    ctx: &mut Context<'a>,
    gateways: &Gateways<'a>,
    route: &'a HttpRoute,
    policies: &Policies<'a>,
) -> Option<Admitted<'a>> {
    let origin = Origin::of(route);
    let spec = &route.spec;
    let served: Served<'a> =
        super::serve(ctx, gateways, origin, &spec.parent_refs, Some(&spec.hostnames))?;
    let hosts = served.hostnames(&spec.hostnames);
    let frames = served.frames(&spec.hostnames, ctx.options.engine);
    let protocols = served.protocols(&[("HTTP", "http"), ("HTTPS", "https")]);
    let ports = beyond::ports(served.open_slots());
    let cookies: Result<_, String> =
        spec.rules.iter().enumerate().map(|rule| cookie(origin, rule)).collect();
    let ends = spec.rules.iter().map(|rule| {
        let leads = (rule.filters.as_slice(), rule.backend_refs.as_slice());
        let ends = Ends::of(ctx, policies, origin, leads);
        if rule.session_persistence.is_some() { ends.kept_together() } else { Ok(ends) }
    });
    let ends: Result<_, String> = ends.collect();
    match cookies.and_then(|cookies| Ok((cookies, ends?))) {
        Ok((cookies, ends)) => {
            Some(Admitted { route, origin, hosts, frames, ports, protocols, cookies, ends })
        }
        Err(error) => {
            let message = format!("HTTPRoute can't be routed: {error}");
            ctx.outcomes.fail(origin.reference(), Reason::UnsupportedValue, message);
            None
        }
    }
}

/// The cookie that keeps a client with the backend of a rule.
fn cookie(origin: Origin<'_>, (index, rule): (usize, &HttpRule)) -> Result<Option<String>, String> {
    let Some(wanted) = &rule.session_persistence else { return Ok(None) };
    if rule.backend_refs.iter().any(|backend| !backend.filters.is_empty()) {
        return Err("sessionPersistence does not go with filters of backends".to_owned());
    }
    let name = format!("session.{}.{}.{index}", origin.namespace(), origin.name());
    session::cookie(wanted, name).map(Some)
}

/// Gives each drafted route its Kong service, which rules with the same backends share.
fn add<'a>(
    ctx: &mut Context<'a>,
    admitted: &Admitted<'a>,
    routes: Vec<Drafted<'a>>,
    rules: &mut Rules<'a>,
) {
    let services = services(ctx, admitted, rules);
    if ctx.options.engine == Engine::Flotilla {
        for (index, rule) in admitted.route.spec.rules.iter().enumerate() {
            beyond::upstreams(ctx, admitted.origin, &demands(admitted, index, rule), rules);
        }
    }
    for Drafted { rule, route } in routes {
        let service = services.get(rule).and_then(|name| rules.services.get_mut(name));
        if let Some(service) = service {
            service.routes.push(route);
        }
    }
}

/// Makes the Kong services of an HTTPRoute; their names by rule.
fn services<'a>(
    ctx: &mut Context<'a>,
    admitted: &Admitted<'a>,
    rules: &mut Rules<'a>,
) -> Vec<String> {
    let own = admitted.origin.namespace();
    let combined = ctx.options.on(Gate::CombinedServices);
    let mut names: Vec<String> = Vec::new();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (index, rule) in admitted.route.spec.rules.iter().enumerate() {
        let cookie = admitted.cookies.get(index).cloned().flatten();
        let name = if combined && cookie.is_none() {
            backend::combined_name(own, &rule.backend_refs)
        } else {
            let first = || format!("httproute.{own}.{}.{index}", admitted.origin.name());
            let mut fingerprint = backend::fingerprint(own, &rule.backend_refs);
            fingerprint.extend(cookie.iter().flat_map(|cookie| ["\n", cookie]));
            known.entry(fingerprint).or_insert_with(first).clone()
        };
        if !rules.services.contains_key(&name) {
            let protocol = match ctx.options.engine {
                Engine::Flotilla => backend::protocol(ctx.snapshot, own, &rule.backend_refs),
                Engine::Kong => "http",
            };
            let mut service =
                backend::service(ctx, admitted.origin, &name, protocol, &rule.backend_refs);
            let redirects = rule.filters.iter().any(|filter| filter.kind == "RequestRedirect");
            if ctx.options.engine == Engine::Flotilla && rule.backend_refs.is_empty() && !redirects
            {
                service.plugins.push(backend::termination());
            }
            service.cookie = cookie;
            rules.services.insert(name.clone(), service);
        }
        if let Some(service) = rules.services.get_mut(&name)
            && ctx.options.engine == Engine::Kong
        {
            set_timeouts(service, rule);
        }
        rules.shares.push((admitted.origin, name.clone()));
        names.push(name);
    }
    names
}

/// Kong has timeouts of services, not of routes: of the rules that share one, the last that says something counts.
fn set_timeouts(service: &mut ServiceRule<'_>, rule: &HttpRule) {
    let timeouts = rule.timeouts.as_ref();
    let wanted = timeouts.and_then(|timeouts| timeouts.backend_request.as_deref());
    let Some(wanted) = wanted.and_then(milliseconds).filter(|ms| *ms != backend::DEFAULT_TIMEOUT)
    else {
        return;
    };
    service.service.connect_timeout = Some(wanted);
    service.service.read_timeout = Some(wanted);
    service.service.write_timeout = Some(wanted);
}

/// Reads a Gateway API duration such as `1m30s`.
pub(super) fn milliseconds(text: &str) -> Option<u32> {
    let mut total: u32 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u32>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    Some(total)
}

/// What a rule asks for beyond Kong's model.
fn demands<'r, 'a>(
    admitted: &'r Admitted<'a>,
    index: usize,
    rule: &'a HttpRule,
) -> Demands<'r, 'a> {
    Demands {
        ends: &admitted.ends[index],
        filters: &rule.filters,
        backends: &rule.backend_refs,
        timeouts: rule.timeouts.as_ref(),
        retry: rule.retry.as_ref(),
        name: format!(
            "httproute.{}.{}.{index}",
            admitted.origin.namespace(),
            admitted.origin.name()
        ),
    }
}

/// The filters of a rule for one match.
fn filters<'a>(
    admitted: &Admitted<'a>,
    (index, rule): (usize, &'a HttpRule),
    matched: &HttpMatch,
    abilities: Abilities,
) -> Result<Filters, FilterError> {
    let path = matched.path.as_ref().map_or("", |path| path.value());
    if !abilities.own {
        let all = filter::of_rule(&rule.filters, &rule.backend_refs)?;
        return filter::translate(&all, path, abilities);
    }
    let all = match rule.backend_refs.as_slice() {
        [only] => beyond::rest(&rule.filters).into_iter().chain(only.filters.clone()).collect(),
        _ => beyond::rest(&rule.filters),
    };
    let mut filters = filter::translate(&all, path, abilities)?;
    filters.plugins.extend(demands(admitted, index, rule).plugin(path, &admitted.ports)?);
    Ok(filters)
}

/// Names of KongPlugins that a rule's filters attach.
fn extensions(rule: &HttpRule) -> Vec<&str> {
    let only = rule.backend_refs.iter().flat_map(|backend| &backend.filters);
    filter::extensions(rule.filters.iter().chain(only))
}

/// A route with what every HTTPRoute's routes have.
fn route(admitted: &Admitted<'_>, name: String, tags: Tags) -> Route {
    Route {
        name: Some(name),
        protocols: Some(admitted.protocols.clone()),
        preserve_host: Some(true),
        tags: Some(tags),
        ..Route::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_milliseconds() {
        assert_eq!(milliseconds("1m30s"), Some(90_000));
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(milliseconds("0s"), Some(0));
        assert_eq!(milliseconds("2h0m1s5ms"), Some(7_201_005));
        assert_eq!(milliseconds("10"), None);
        assert_eq!(milliseconds("ms"), None);
        assert_eq!(milliseconds("1.5s"), None);
    }
}
