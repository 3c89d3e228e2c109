//! Laws of the translation: a function of the objects, and each object's own affair.

use std::collections::{BTreeMap, BTreeSet};

use operator_core::options::{Options, RouterFlavor};
use operator_core::snapshot::{Loader, Snapshot};
use operator_core::translate::translate;
use proptest::prelude::*;
use serde_json::Value;

/// One Ingress with its Service, in a tiny world of names.
#[derive(Clone, Debug)]
struct Web {
    name: u8,
    host: u8,
    path: &'static str,
    path_type: &'static str,
    service: u8,
    plugin: Option<u8>,
}

fn web() -> impl Strategy<Value = Web> {
    let path = prop::sample::select(vec!["/", "/a", "/a.b/c", "/~/x(.*)", "//y//"]);
    let kind = prop::sample::select(vec!["Prefix", "Exact", "ImplementationSpecific"]);
    (0..6u8, 0..3u8, path, kind, 0..4u8, prop::option::of(0..3u8)).prop_map(
        |(name, host, path, path_type, service, plugin)| Web {
            name,
            host,
            path,
            path_type,
            service,
            plugin,
        },
    )
}

fn manifest(web: &Web) -> String {
    let Web { name, host, path, path_type, service, plugin } = web;
    let annotations = plugin.map(|p| format!("konghq.com/plugins: p{p}")).unwrap_or_default();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{name}, namespace: ns, uid: u{name}, annotations: {{{annotations}}}}}\nspec:\n  ingressClassName: kong\n  rules:\n  - host: h{host}.example.com\n    http: {{paths: [{{path: '{path}', pathType: {path_type}, backend: {{service: {{name: s{service}, port: {{number: 80}}}}}}}}]}}\n"
    )
}

fn world(webs: &[Web], more: &str) -> Vec<String> {
    let mut documents: Vec<String> = webs.iter().map(manifest).collect();
    for n in 0..3 {
        documents.push(format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: ns}}\nspec: {{ports: [{{port: 80}}]}}\n"));
    }
    for n in 0..2 {
        documents.push(format!("apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {{name: p{n}, namespace: ns}}\nplugin: key-auth\n"));
    }
    if !more.is_empty() {
        documents.push(more.to_owned());
    }
    documents
}

fn snapshot(documents: &[String]) -> Snapshot {
    let mut loader = Loader::new();
    documents.iter().for_each(|document| loader.add("", document));
    loader.finish().0
}

fn options(expressions: bool) -> Options {
    let flavor = if expressions { RouterFlavor::Expressions } else { RouterFlavor::Traditional };
    Options { flavor, ..Options::default() }
}

/// Every entity with an id, printed.
fn entities(value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(id) = map.get("id").and_then(Value::as_str) {
                let own: BTreeMap<_, _> = map.iter().filter(|(_, v)| !v.is_array()).collect();
                found.insert(id.to_owned(), format!("{own:?}"));
            }
            map.values().for_each(|child| entities(child, found));
        }
        Value::Array(items) => items.iter().for_each(|child| entities(child, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn order_of_objects_does_not_matter(webs in prop::collection::vec(web(), 0..6), expressions: bool) {
        let mut seen = BTreeSet::new();
        let webs: Vec<Web> = webs.into_iter().filter(|web| seen.insert(web.name)).collect();
        let mut documents = world(&webs, "");
        let one = translate(&snapshot(&documents), &options(expressions));
        documents.reverse();
        let other = translate(&snapshot(&documents), &options(expressions));
        prop_assert_eq!(serde_json::to_string(&one.config).unwrap(), serde_json::to_string(&other.config).unwrap());
        prop_assert_eq!(one.outcomes, other.outcomes);
    }

    #[test]
    fn an_unrelated_object_changes_no_entity(webs in prop::collection::vec(web(), 1..6), expressions: bool) {
        let stranger = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: stranger, namespace: elsewhere}\nspec: {ingressClassName: kong, rules: [{host: z.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: z, port: {number: 80}}}}]}}]}\n";
        let print = |more: &str| {
            let translation = translate(&snapshot(&world(&webs, more)), &options(expressions));
            let mut found = BTreeMap::new();
            entities(&serde_json::to_value(&translation.config).unwrap(), &mut found);
            found
        };
        let (before, after) = (print(""), print(stranger));
        for (id, entity) in before {
            prop_assert_eq!(after.get(&id), Some(&entity));
        }
    }
}
