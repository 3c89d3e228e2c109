//! Laws: what holds for every configuration.

use kong::{
    canonical::{self, ConfigHash},
    declarative::{Context, Declared, Lenient, decode},
    diff::diff,
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

fn load(text: &[u8]) -> Declared {
    let context =
        Context { now: 1.0, seed: 1, flavor: Flavor::TraditionalCompatible, judge: &Lenient };
    match decode(text, &context) {
        Ok(declared) => declared,
        Err(rejection) => panic!("{}", rejection.to_json(true)),
    }
}

/// The entities at the top level, as deltas see them.
fn flat(declared: &Declared) -> Value {
    declared
        .kinds()
        .map(|(kind, all)| (kind.to_owned(), all.values().cloned().collect::<Value>()))
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
