//! HTTPRoutes in the expressions dialect: one Kong route for each hostname and match, with a priority.

use super::super::filter::Abilities;
use super::super::frame::Split;
use super::super::matcher::{self, Matcher};
use super::super::priority::{self, HttpTraits, Rank, Ranks};
use super::super::{path, tags};
use super::{Admitted, Drafted, RouteRule, Unroutable, extensions, filters, route};
use crate::annotations;
use crate::gateway_api::{HttpMatch, HttpRule, ValueMatch};

/// Bits that order matches of equal traits.
const ORDER_BITS: u32 = 12;
/// What a route without any condition says, because Kong takes no empty expression.
pub(in super::super) const ANYTHING: &str =
    r#"(net.protocol == "http") || (net.protocol == "https")"#;

/// Drafts the Kong routes of all HTTPRoutes; one result an HTTPRoute, in their order.
pub(super) fn draft<'a>(
    admitted: &[Admitted<'a>],
    abilities: Abilities,
    ranks: &mut Ranks,
) -> Vec<Result<Vec<Drafted<'a>>, Unroutable>> {
    let splits = splits(admitted);
    let bases: Vec<u64> = splits.iter().map(|split| traits(split).encode()).collect();
    let origin = |split: &Split<'_, 'a, HttpRule>| admitted[split.route_index].origin;
    let order = |index: usize| splits[index].order(origin(&splits[index]));
    let priorities = match ranks {
        Ranks::Unknown => priority::assign(&bases, order, ORDER_BITS),
        Ranks::Wanted => {
            *ranks = Ranks::of(places(admitted));
            priority::assign(&bases, order, ORDER_BITS)
        }
        Ranks::Known(known) => {
            let places = places(admitted);
            places.iter().map(|place| known.priority(place, ORDER_BITS)).collect()
        }
    };
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
            match kong_route(&admitted[split.route_index], split, priority, abilities) {
                Ok(route) => routes.push(route),
                Err(error) => *result = Err(error),
            }
        }
    }
    results
}

/// Every match of HTTPRoutes.
fn splits<'r, 'a>(admitted: &'r [Admitted<'a>]) -> Vec<Split<'r, 'a, HttpRule>> {
    let of = |(index, route): (usize, &'r Admitted<'a>)| {
        Split::all(index, &route.frames, &route.route.spec.rules)
    };
    admitted.iter().enumerate().flat_map(of).collect()
}

/// The priority of each match with empty order bits, and its place among equals.
pub(super) fn places(admitted: &[Admitted<'_>]) -> Vec<(u64, Rank)> {
    let splits = splits(admitted);
    let place = |split: &Split<'_, '_, HttpRule>| {
        (traits(split).encode(), split.order(admitted[split.route_index].origin).into())
    };
    splits.iter().map(place).collect()
}

fn traits(split: &Split<'_, '_, HttpRule>) -> HttpTraits {
    let matched = split.matched;
    let path = matched.and_then(|matched| matched.path.as_ref());
    HttpTraits {
        precise_host: split.precise_host(),
        host_length: split.frame.host.len(),
        exact_path: path.is_some_and(|path| path.kind() == "Exact"),
        regex_path: path.is_some_and(|path| path.kind() == "RegularExpression"),
        path_length: path.map_or(0, |path| path.value().len()),
        method: matched.is_some_and(|matched| matched.method.is_some()),
        headers: matched.map_or(0, |matched| matched.headers.len()),
        query_params: matched.map_or(0, |matched| matched.query_params.len()),
    }
}

fn kong_route<'a>(
    admitted: &Admitted<'a>,
    split: &Split<'_, 'a, HttpRule>,
    priority: u64,
    abilities: Abilities,
) -> Result<Drafted<'a>, Unroutable> {
    let none = HttpMatch::default();
    let matched = split.matched.unwrap_or(&none);
    let filters = filters(admitted, (split.rule_index, split.rule), matched, abilities)?;
    let host = split.host_in_names();
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
        matcher::hosts([split.frame.host.as_str()]),
        split.frame.gate.clone(),
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
