//! HTTPRoutes in the traditional dialect: one Kong route for all matches of rules with the same backends and filters that
//! differ in their path only.

use std::collections::BTreeMap;

use super::super::filter::{self, Abilities};
use super::super::{backend, path, tags};
use super::{Admitted, Drafted, RouteRule, Unroutable, extensions, filters, route};
use crate::gateway_api::{HttpMatch, HttpRule, ValueMatch};

/// A match with its place.
#[derive(Clone, Copy)]
struct Place<'a> {
    rule_index: usize,
    match_index: usize,
    rule: &'a HttpRule,
    matched: &'a HttpMatch,
}

/// Drafts the Kong routes of one HTTPRoute.
pub(super) fn draft<'a>(
    admitted: &Admitted<'a>,
    abilities: Abilities,
) -> Result<Vec<Drafted<'a>>, Unroutable> {
    let rules = &admitted.route.spec.rules;
    if rules.is_empty() {
        return Err(Unroutable::NoRules);
    }
    let mut drafted = Vec::new();
    let mut groups: Vec<Vec<Place<'a>>> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (rule_index, rule) in rules.iter().enumerate() {
        if rule.matches.is_empty() {
            drafted.push(catch_all(admitted, rule_index, rule, abilities)?);
        }
        for (match_index, matched) in rule.matches.iter().enumerate() {
            if !matched.query_params.is_empty() {
                return Err(Unroutable::QueryParams);
            }
            let place = Place { rule_index, match_index, rule, matched };
            let group = *known.entry(key(admitted, place, abilities.own)).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(place);
        }
    }
    for group in &groups {
        drafted.push(shared(admitted, group, abilities)?);
    }
    Ok(drafted)
}

/// What matches must have in common to share a Kong route.
fn key(admitted: &Admitted<'_>, place: Place<'_>, own: bool) -> String {
    let Place { rule_index, match_index, rule, matched } = place;
    let mut filters: Vec<String> = rule
        .filters
        .iter()
        .map(|filter| serde_json::to_string(filter).unwrap_or_default())
        .collect();
    filters.sort();
    let mut headers: Vec<String> = matched.headers.iter().map(header_key).collect();
    headers.sort();
    let alone = filter::depend_on_path(&rule.filters).then_some((rule_index, match_index));
    let backends = backend::fingerprint(admitted.origin.namespace(), &rule.backend_refs);
    let method = matched.method.as_deref().unwrap_or_default();
    let limits = own.then_some((&rule.timeouts, &rule.retry));
    let session = &rule.session_persistence;
    format!("{backends}\n{filters:?}\n{method}\n{headers:?}\n{alone:?}\n{limits:?}\n{session:?}")
}

fn header_key(header: &ValueMatch) -> String {
    format!("{}|{}|{}", header.name.to_lowercase(), header.is_regex(), header.value)
}

/// The Kong route of a rule without matches: everything under the hostnames.
fn catch_all<'a>(
    admitted: &Admitted<'a>,
    index: usize,
    rule: &'a HttpRule,
    abilities: Abilities,
) -> Result<Drafted<'a>, Unroutable> {
    let filters = filters(admitted, (index, rule), &HttpMatch::default(), abilities)?;
    let tags = tags(admitted.origin, None);
    let mut route = route(admitted, name(admitted, index, 0), tags.clone());
    route.hosts = hosts(admitted);
    let plugins = filters.plugins(&tags);
    let extensions = extensions(rule);
    let route = RouteRule { route, origin: admitted.origin, plugins, extensions, settled: false };
    Ok(Drafted { rule: index, route })
}

/// The Kong route of matches that share one.
fn shared<'a>(
    admitted: &Admitted<'a>,
    group: &[Place<'a>],
    abilities: Abilities,
) -> Result<Drafted<'a>, Unroutable> {
    let first = group[0];
    let filters = filters(admitted, (first.rule_index, first.rule), first.matched, abilities)?;
    let names = group.iter().filter_map(|place| place.rule.name.as_deref());
    let tags = tags(admitted.origin, names);
    let mut route =
        route(admitted, name(admitted, first.rule_index, first.match_index), tags.clone());
    route.hosts = hosts(admitted);
    route.strip_path = Some(false);
    route.methods = first.matched.method.clone().map(|method| vec![method]);
    route.headers = headers(&first.matched.headers)?;
    let own_paths = || {
        let paths = group.iter().filter_map(|place| place.matched.path.as_ref());
        paths.flat_map(path::traditional).collect::<Vec<String>>()
    };
    let prefix = first.matched.path.as_ref().map_or("/", |path| path.value());
    let paths = if filters.capture { path::traditional_capture(prefix) } else { own_paths() };
    route.paths = Some(paths).filter(|paths| !paths.is_empty());
    let plugins = filters.plugins(&tags);
    let extensions = extensions(first.rule);
    let route = RouteRule { route, origin: admitted.origin, plugins, extensions, settled: false };
    Ok(Drafted { rule: first.rule_index, route })
}

fn name(admitted: &Admitted<'_>, rule: usize, matched: usize) -> String {
    let (namespace, name) = (admitted.origin.namespace(), admitted.origin.name());
    format!("httproute.{namespace}.{name}.{rule}.{matched}")
}

fn hosts(admitted: &Admitted<'_>) -> Option<Vec<String>> {
    Some(admitted.hosts.clone()).filter(|hosts| !hosts.is_empty())
}

/// Header conditions as Kong's map, which has room for each name once.
fn headers(matches: &[ValueMatch]) -> Result<Option<BTreeMap<String, Vec<String>>>, Unroutable> {
    let mut headers = BTreeMap::new();
    for header in matches {
        let prefix = if header.is_regex() { "~*" } else { "" };
        let values = vec![format!("{prefix}{}", header.value)];
        if headers.insert(header.name.clone(), values).is_some() {
            return Err(Unroutable::RepeatedHeader(header.name.clone()));
        }
    }
    Ok(Some(headers).filter(|headers| !headers.is_empty()))
}
