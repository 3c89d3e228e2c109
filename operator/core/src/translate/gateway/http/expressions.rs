//! HTTPRoutes in the expressions dialect: one Kong route for each hostname and match, with a priority.

use std::cmp::Reverse;

use super::super::filter::Abilities;
use super::super::matcher::{self, Matcher};
use super::super::priority::{self, HttpTraits};
use super::super::{path, tags};
use super::{Admitted, Drafted, RouteRule, Unroutable, extensions, filters, route};
use crate::annotations;
use crate::gateway_api::{HttpMatch, HttpRule, ValueMatch};

/// Bits that order matches of equal traits.
const ORDER_BITS: u32 = 12;
/// What a route without any condition says, because Kong takes no empty expression.
pub(in super::super) const ANYTHING: &str =
    r#"(net.protocol == "http") || (net.protocol == "https")"#;

/// A match under one hostname with its place.
struct Split<'r, 'a> {
    admitted: &'r Admitted<'a>,
    route_index: usize,
    host_index: usize,
    host: &'r str,
    rule_index: usize,
    match_index: usize,
    rule: &'a HttpRule,
    matched: Option<&'a HttpMatch>,
}

/// Drafts the Kong routes of all HTTPRoutes; one result an HTTPRoute, in their order.
pub(super) fn draft<'a>(
    admitted: &[Admitted<'a>],
    abilities: Abilities,
) -> Vec<Result<Vec<Drafted<'a>>, Unroutable>> {
    let splits: Vec<Split<'_, 'a>> =
        admitted.iter().enumerate().flat_map(|(index, route)| split(index, route)).collect();
    let bases: Vec<u64> = splits.iter().map(|split| traits(split).encode()).collect();
    let priorities = priority::assign(&bases, |index| order(&splits[index]), ORDER_BITS);
    let mut results: Vec<Result<Vec<Drafted<'a>>, Unroutable>> = admitted
        .iter()
        .map(|route| match route.route.spec.rules.is_empty() {
            true => Err(Unroutable::NoRules),
            false => Ok(Vec::new()),
        })
        .collect();
    for (split, priority) in splits.iter().zip(priorities) {
        let result = &mut results[split.route_index];
        if let Ok(routes) = result {
            match kong_route(split, priority, abilities) {
                Ok(route) => routes.push(route),
                Err(error) => *result = Err(error),
            }
        }
    }
    results
}

/// Every match of an HTTPRoute under every hostname; a rule without matches counts as one that matches all.
fn split<'r, 'a>(route_index: usize, admitted: &'r Admitted<'a>) -> Vec<Split<'r, 'a>> {
    let hosts: Vec<&'r str> = match admitted.hosts.as_slice() {
        [] => vec![""],
        hosts => hosts.iter().map(String::as_str).collect(),
    };
    let mut splits = Vec::new();
    for (host_index, host) in hosts.into_iter().enumerate() {
        for (rule_index, rule) in admitted.route.spec.rules.iter().enumerate() {
            let matches: Vec<Option<&'a HttpMatch>> = match rule.matches.as_slice() {
                [] => vec![None],
                matches => matches.iter().map(Some).collect(),
            };
            for (match_index, matched) in matches.into_iter().enumerate() {
                splits.push(Split {
                    admitted,
                    route_index,
                    host_index,
                    host,
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

/// The place among matches of equal traits: oldest HTTPRoute first, then by name, rule and match; of hostnames of one
/// match the last first, as Kong Ingress Controller's sort leaves them.
fn order<'s>(split: &'s Split<'_, '_>) -> impl Ord + use<'s> {
    let meta = split.admitted.origin.meta;
    (
        meta.creation_timestamp.as_ref().map(|time| time.0),
        meta.namespace.as_deref(),
        meta.name.as_deref(),
        split.rule_index,
        split.match_index,
        Reverse(split.host_index),
    )
}

fn traits(split: &Split<'_, '_>) -> HttpTraits {
    let matched = split.matched;
    let path = matched.and_then(|matched| matched.path.as_ref());
    HttpTraits {
        precise_host: !split.host.is_empty() && !split.host.starts_with('*'),
        host_length: split.host.len(),
        exact_path: path.is_some_and(|path| path.kind() == "Exact"),
        regex_path: path.is_some_and(|path| path.kind() == "RegularExpression"),
        path_length: path.map_or(0, |path| path.value().len()),
        method: matched.is_some_and(|matched| matched.method.is_some()),
        headers: matched.map_or(0, |matched| matched.headers.len()),
        query_params: matched.map_or(0, |matched| matched.query_params.len()),
    }
}

fn kong_route<'a>(
    split: &Split<'_, 'a>,
    priority: u64,
    abilities: Abilities,
) -> Result<Drafted<'a>, Unroutable> {
    let admitted = split.admitted;
    let none = HttpMatch::default();
    let matched = split.matched.unwrap_or(&none);
    let filters = filters(split.rule, matched, abilities)?;
    let host = if split.host.is_empty() { "_".to_owned() } else { crate::names::host(split.host) };
    let name = format!(
        "httproute.{}.{}.{host}.{}.{}",
        admitted.origin.namespace(),
        admitted.origin.name(),
        split.rule_index,
        split.match_index
    );
    let tags = tags(admitted.origin, split.rule.name.as_deref());
    let mut route = route(admitted, name, tags.clone());
    route.strip_path = Some(false);
    let snis = admitted.origin.annotation("konghq.com/snis").unwrap_or_default();
    let expression = Matcher::All(vec![
        matcher::hosts([split.host]),
        matcher::snis(annotations::list(snis)),
        condition(matched, filters.capture),
    ])
    .print();
    let anything = || ANYTHING.to_owned();
    route.expression =
        Some(Some(expression).filter(|text| !text.is_empty()).unwrap_or_else(anything));
    route.priority = Some(priority);
    let plugins = filters.plugins(&tags);
    let extensions = extensions(split.rule);
    let route = RouteRule { route, origin: admitted.origin, plugins, extensions, settled: true };
    Ok(Drafted { rule: split.rule_index, route })
}

/// Everything that a match demands of a request.
fn condition(matched: &HttpMatch, capture: bool) -> Matcher {
    let path = matched.path.as_ref().map(|path| match capture {
        true => path::expression_capture(path.value()),
        false => path::expression(path),
    });
    let headers = values(&matched.headers, matcher::header);
    let queries = values(&matched.query_params, matcher::query);
    let method = matched.method.as_deref().map(|method| Matcher::text("http.method", "==", method));
    Matcher::All(path.into_iter().chain([headers, queries]).chain(method).collect())
}

/// Conditions on several headers or query parameters, ordered by name.
fn values(matches: &[ValueMatch], condition: fn(&str, bool, &str) -> Matcher) -> Matcher {
    let mut matches: Vec<&ValueMatch> = matches.iter().collect();
    matches.sort_by(|a, b| a.name.cmp(&b.name));
    let condition = |value: &ValueMatch| condition(&value.name, value.is_regex(), &value.value);
    Matcher::All(matches.into_iter().map(condition).collect())
}
