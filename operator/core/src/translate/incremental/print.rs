//! Entities as JSON, each printed once, and the configuration that is made of them.

use bytes::Bytes;
use kong::model::{Document, Plugin, Service, Upstream};
use serde::Serialize;

use super::super::fill_empty;
use super::state::{Counts, Printed, State};
use crate::revision::Census;

fn json<T: Serialize>(entity: &T) -> String {
    // Only a map without text keys could fail, and the model has none.
    serde_json::to_string(entity).unwrap_or_default()
}

/// A Kong service with its routes.
pub(super) fn service(service: &Service) -> Printed {
    let on_routes: usize = service.routes.iter().map(|route| route.plugins.len()).sum();
    let counts = Counts {
        routes: service.routes.len(),
        plugins: service.plugins.len() + on_routes,
        targets: 0,
    };
    Printed { json: json(service).into(), counts }
}

/// An upstream with its targets.
pub(super) fn upstream(upstream: &Upstream) -> Printed {
    let counts = Counts { targets: upstream.targets.len(), ..Counts::default() };
    Printed { json: json(upstream).into(), counts }
}

/// Plugins, separated by commas.
pub(super) fn plugins(plugins: &[Plugin]) -> Printed {
    let all: Vec<String> = plugins.iter().map(json).collect();
    let counts = Counts { plugins: plugins.len(), ..Counts::default() };
    Printed { json: all.join(",").into(), counts }
}

/// All plugins, in their order.
fn plugins_of(state: &State) -> impl Iterator<Item = &Printed> {
    state.plugins.values().map(|emitted| &emitted.printed).chain([&state.of_listeners])
}

/// The whole configuration: the bytes of a printed [`Document`].
pub(super) fn configuration(state: &State) -> Bytes {
    let units = || state.units.values();
    let services = || units().filter_map(|unit| unit.service.as_ref());
    let upstreams = || units().filter_map(|unit| unit.upstream.as_ref());
    let plugins = || plugins_of(state);
    let length = |all: &mut dyn Iterator<Item = &Printed>| -> usize {
        all.map(|printed| printed.json.len() + 1).sum()
    };
    // The lists stand between the head of a document and its rest, which is printed each time.
    let (head, rest) = (json(&Document::default()), json(&state.others));
    let head = head.strip_suffix('}').unwrap_or(&head);
    let rest = rest.strip_prefix(head).unwrap_or("}");
    let room = length(&mut services()) + length(&mut upstreams()) + length(&mut plugins());
    let mut text = String::with_capacity(head.len() + rest.len() + room + 64);
    text.push_str(head);
    list(&mut text, "services", services());
    list(&mut text, "upstreams", upstreams());
    list(&mut text, "plugins", plugins());
    if text.len() == head.len() && rest == "}" {
        return json(&stub()).into();
    }
    text.push_str(rest);
    text.into()
}

fn list<'p>(text: &mut String, key: &str, all: impl Iterator<Item = &'p Printed>) {
    let begin = text.len();
    for printed in all.filter(|printed| !printed.json.is_empty()) {
        if text.len() == begin {
            text.extend([",\"", key, "\":["]);
        } else {
            text.push(',');
        }
        text.push_str(&printed.json);
    }
    if text.len() > begin {
        text.push(']');
    }
}

/// How many entities of each kind there are.
pub(super) fn census(state: &State) -> Census {
    let mut all = Counts::default();
    let (mut services, mut upstreams) = (0, 0);
    let mut add = |Counts { routes, plugins, targets }: Counts| {
        all.routes += routes;
        all.plugins += plugins;
        all.targets += targets;
    };
    for unit in state.units.values() {
        services += usize::from(unit.service.is_some());
        upstreams += usize::from(unit.upstream.is_some());
        unit.service.iter().chain(&unit.upstream).for_each(|printed| add(printed.counts));
    }
    plugins_of(state).for_each(|printed| add(printed.counts));
    let Counts { routes, plugins, targets } = all;
    let counts = [
        ("services", services),
        ("routes", routes),
        ("upstreams", upstreams),
        ("targets", targets),
        ("plugins", plugins),
    ];
    let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count));
    let others = Census::of_document(&state.others);
    let others = others.iter().map(|(kind, count)| (kind.to_owned(), count));
    let census = Census::new(counts.chain(others));
    if census.total() == 0 { Census::of_document(&stub()) } else { census }
}

/// What stands for a configuration without entities.
fn stub() -> Document {
    let mut document = Document::default();
    fill_empty(&mut document);
    document
}
