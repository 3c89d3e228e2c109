//! Laws: what holds for every configuration.

use kong::{
    canonical::{self, ConfigHash},
    declarative::{Context, Declared, Entity, Lenient, amend, decode, patch},
    diff::diff,
    id,
    model::{Document, Plugin, Route, Service, Target, Upstream},
    schema::Flavor,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}[a-z0-9]"
}

fn route() -> impl Strategy<Value = Route> {
    (proptest::option::of(name()), proptest::collection::vec("/[a-z]{1,6}", 1..3), any::<bool>())
        .prop_map(|(host, paths, strip)| Route {
            hosts: host.map(|host| vec![format!("{host}.test")]),
            paths: Some(paths),
            strip_path: Some(strip),
            ..Route::default()
        })
}

prop_compose! {
    fn service()(
        host in name(),
        port in 1_u16..,
        retries in proptest::option::of(0_u16..100),
        routes in proptest::collection::vec(route(), 0..3),
        key_auth in any::<bool>(),
    ) -> Service {
        let plugin = Plugin { name: Some("key-auth".into()), ..Plugin::default() };
        Service {
            host: Some(host),
            port: Some(port),
            retries,
            routes,
            plugins: if key_auth { vec![plugin] } else { Vec::new() },
            ..Service::default()
        }
    }
}

prop_compose! {
    fn document()(
        services in proptest::collection::btree_map(name(), service(), 0..5),
        upstreams in proptest::collection::btree_map(
            name(),
            proptest::collection::btree_set(1_u8.., 0..4),
            0..4,
        ),
    ) -> Document {
        let services = services
            .into_iter()
            .map(|(name, service)| Service { name: Some(name), ..service })
            .collect();
        let upstreams = upstreams
            .into_iter()
            .map(|(name, targets)| Upstream {
                name: Some(name),
                targets: targets
                    .into_iter()
                    .map(|at| Target { target: Some(format!("10.0.0.{at}:80")), ..Target::default() })
                    .collect(),
                ..Upstream::default()
            })
            .collect();
        Document { services, upstreams, ..Document::default() }
    }
}

fn context() -> Context<'static> {
    Context { now: 1.5, seed: 1, flavor: Flavor::TraditionalCompatible, judge: &Lenient }
}

fn load(text: &[u8]) -> Declared {
    match decode(text, &context()) {
        Ok(declared) => declared,
        Err(rejection) => panic!("{}", rejection.to_json(true)),
    }
}

/// The entities at the top level, as deltas see them.
fn flat(declared: &Declared) -> Value {
    declared
        .kinds()
        .map(|(kind, all)| (kind.to_owned(), all.values().map(Entity::value).collect::<Value>()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(document in document()) {
        let text = serde_json::to_string(&document).unwrap();
        prop_assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point(document in document()) {
        let once = canonical::bytes(&document).unwrap();
        let value: Value = serde_json::from_slice(&once).unwrap();
        prop_assert_eq!(canonical::bytes(&value).unwrap(), once);
    }

    #[test]
    fn the_hash_ignores_the_order_of_fields(document in document()) {
        let value = serde_json::to_value(&document).unwrap();
        let Value::Object(map) = &value else { unreachable!("a document is an object") };
        let turned: Vec<String> =
            map.iter().rev().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let turned: Value = serde_json::from_str(&format!("{{{}}}", turned.join(","))).unwrap();
        let hash = |value: &Value| ConfigHash::of(&canonical::bytes(value).unwrap());
        prop_assert_eq!(hash(&turned), hash(&value));
    }

    #[test]
    fn decoding_is_a_function(document in document()) {
        let text = serde_json::to_vec(&document).unwrap();
        prop_assert_eq!(load(&text), load(&text));
    }

    #[test]
    fn a_difference_applied_gives_the_other(one in document(), other in document()) {
        let (one, other) = (
            flat(&load(&serde_json::to_vec(&one).unwrap())),
            flat(&load(&serde_json::to_vec(&other).unwrap())),
        );
        prop_assert_eq!(diff(&one, &other).apply(&one), other);
        prop_assert!(diff(&one, &one).is_empty());
    }

    #[test]
    fn a_patch_gives_what_the_whole_changed_document_gives(
        one in document(),
        other in document(),
        with in any::<prop::sample::Index>(),
    ) {
        let base = load(&serde_json::to_vec(&one).unwrap());
        let other = load(&serde_json::to_vec(&other).unwrap());
        let mut delta = diff(&base.document(), &other.document());
        // Half of a difference is a change too, and not always a valid one.
        let mut removals: Vec<String> = delta.remove.keys().cloned().collect();
        if with.index(3) > 0 && !removals.is_empty() {
            removals.swap_remove(with.index(removals.len()));
            delta.remove.retain(|kind, _| !removals.contains(kind));
        }
        delta.result = "00000000000000000000000000000001".into();
        let whole = delta.apply(&base.document()).to_string();
        let whole = decode(whole.as_bytes(), &context()).map(|mut whole| {
            whole.set_hash(ConfigHash::parse(&delta.result).unwrap());
            whole
        });
        match (patch(&base, &delta, &context()), whole) {
            (Ok(patched), Ok(whole)) => prop_assert_eq!(patched.declared.to_json(), whole.to_json()),
            (Err(short), Err(long)) => prop_assert_eq!(short.to_json(true), long.to_json(true)),
            (Ok(_), Err(long)) => prop_assert!(false, "refused whole: {}", long.to_json(true)),
            (Err(short), Ok(_)) => prop_assert!(false, "refused in part: {}", short.to_json(true)),
        }
    }
}

#[test]
fn a_changed_target_goes_the_short_way() {
    let text = json!({
        "_format_version": "3.0",
        "upstreams": [{ "name": "u", "targets": [{ "target": "10.0.0.1:80" }] }],
    });
    let base = load(text.to_string().as_bytes());
    let target = base.values("targets").next().unwrap();
    let mut delta = kong::diff::Delta {
        result: "00000000000000000000000000000001".into(),
        ..kong::diff::Delta::default()
    };
    let mut other = target.clone();
    other["target"] = json!("10.0.0.2:80");
    other["id"] = json!(id::derive("targets", "another").to_string());
    delta.put.insert("targets".into(), vec![other]);
    delta.remove.insert("targets".into(), vec![target["id"].as_str().unwrap().to_owned()]);
    let amended = amend(&base, &delta, &context()).unwrap();
    let shown: Vec<Value> = amended.declared.values("targets").collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["target"], "10.0.0.2:80");
    assert_eq!(amended.ids.unwrap().into_keys().collect::<Vec<_>>(), ["targets"]);

    let mut dangling = delta.clone();
    dangling.remove.insert(
        "upstreams".into(),
        base.values("upstreams").map(|one| one["id"].as_str().unwrap().to_owned()).collect(),
    );
    assert!(amend(&base, &dangling, &context()).is_none());
    assert!(patch(&base, &dangling, &context()).is_err());
}

#[test]
fn json_and_yaml_load_to_the_same_entities() {
    let yaml = "_format_version: '3.0'\nservices:\n- name: a\n  host: b\n  routes:\n  - paths: [/x]\n    name: r\n";
    let json = json!({
        "_format_version": "3.0",
        "services": [{ "name": "a", "host": "b", "routes": [{ "paths": ["/x"], "name": "r" }] }],
    });
    let (yaml, json) = (load(yaml.as_bytes()), load(json.to_string().as_bytes()));
    assert_eq!(yaml.to_json(), json.to_json());
}
