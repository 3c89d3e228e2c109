//! Proposals, and what is answered to them.

use serde_json::{Value, json};

use super::*;

fn world(manifests: &str) -> Snapshot {
    let mut loader = Loader::new();
    loader.add("world", manifests);
    loader.finish().0
}

fn propose(world: &Snapshot, document: &Value) -> Review {
    let kind = Kind::named(document["kind"].as_str().unwrap_or_default()).expect("known kind");
    let meta = |key: &str| document["metadata"][key].as_str().unwrap_or_default();
    let object = ObjectRef::new(kind, meta("namespace"), meta("name"));
    review(world, &Proposal::read(object, document.clone()), &[Options::live()])
}

fn plugin(config: &Value) -> Value {
    json!({
        "apiVersion": "configuration.konghq.com/v1", "kind": "KongPlugin",
        "metadata": {"name": "limit", "namespace": "shop"},
        "plugin": "rate-limiting", "config": config,
    })
}

fn consumer(name: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "configuration.konghq.com/v1", "kind": "KongConsumer",
        "metadata": {
            "name": name, "namespace": "shop",
            "annotations": {"kubernetes.io/ingress.class": "kong"},
        },
        "username": name, "credentials": [secret],
    })
}

fn key(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name, "namespace": "shop", "labels": {"konghq.com/credential": "key-auth"},
        },
        "stringData": {"key": key},
    })
}

fn documents(all: &[Value]) -> Snapshot {
    let texts: Vec<String> = all.iter().map(Value::to_string).collect();
    world(&texts.join("\n---\n"))
}

#[test]
fn plugin_outside_its_schema_is_denied_and_named() {
    let review = propose(&documents(&[]), &plugin(&json!({"minute": "many"})));
    let denied = review.denied.expect("denied");
    assert!(denied.contains("config.minute: expected a number"), "{denied}");
    assert_eq!(propose(&documents(&[]), &plugin(&json!({"minute": 5}))), Review::default());
}

#[test]
fn what_was_wrong_before_may_be_edited() {
    let held = documents(&[plugin(&json!({"minute": "many"}))]);
    let mut edited = plugin(&json!({"minute": "many"}));
    edited["metadata"]["labels"] = json!({"team": "a"});
    let review = propose(&held, &edited);
    assert_eq!(review.denied, None);
    assert_eq!(review.warnings.len(), 1);
}

#[test]
fn a_reference_to_nothing_yet_is_a_warning() {
    let review = propose(&documents(&[]), &consumer("anna", "key-of-anna"));
    assert_eq!(review.denied, None);
    assert!(review.warnings[0].contains("shop/key-of-anna not found"), "{:?}", review.warnings);
}

#[test]
fn a_credential_is_given_once() {
    let held = documents(&[
        consumer("anna", "key-of-anna"),
        key("key-of-anna", "open"),
        key("key-of-bert", "open"),
    ]);
    let denied = propose(&held, &consumer("bert", "key-of-bert")).denied.expect("denied");
    assert!(denied.contains("conflicting credential"), "{denied}");
    assert!(!denied.contains("open"), "a key in a message: {denied}");

    let held = documents(&[
        consumer("anna", "key-of-anna"),
        consumer("bert", "key-of-bert"),
        key("key-of-anna", "open"),
        key("key-of-bert", "own"),
    ]);
    let denied = propose(&held, &key("key-of-bert", "open")).denied.expect("denied");
    assert!(denied.contains("conflicting credential"), "{denied}");
    assert_eq!(propose(&held, &key("key-of-bert", "another")).denied, None);
}

#[test]
fn a_credential_without_its_key_is_denied_once_a_consumer_has_it() {
    let held = documents(&[consumer("anna", "key-of-anna"), key("key-of-anna", "open")]);
    let mut empty = key("key-of-anna", "");
    empty["stringData"] = json!({});
    let denied = propose(&held, &empty).denied.expect("denied");
    assert!(denied.contains("KongConsumer shop/anna"), "{denied}");
}

#[test]
fn the_secret_behind_a_plugin_must_hold_its_configuration() {
    let mut limit = plugin(&Value::Null);
    limit["configFrom"] = json!({"secretKeyRef": {"name": "limits", "key": "config"}});
    let secret = |config: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "limits", "namespace": "shop"},
            "stringData": {"config": config},
        })
    };
    let held = documents(&[limit, secret("{minute: 5}")]);
    let denied = propose(&held, &secret("{minute: many}")).denied.expect("denied");
    assert!(denied.starts_with("KongPlugin shop/limit: "), "{denied}");
    assert_eq!(propose(&held, &secret("{minute: 6}")), Review::default());
}

#[test]
fn a_prefix_is_one_vaults_alone() {
    let vault = |name: &str| {
        json!({
            "apiVersion": "configuration.konghq.com/v1alpha1", "kind": "KongVault",
            "metadata": {"name": name, "annotations": {"kubernetes.io/ingress.class": "kong"}},
            "spec": {"backend": "env", "prefix": "house", "config": {"prefix": "A_"}},
        })
    };
    let denied = propose(&documents(&[vault("first")]), &vault("second")).denied.expect("denied");
    assert!(denied.contains("\"house\""), "{denied}");
}

#[test]
fn a_certificate_that_is_none_is_mended_in_its_secret() {
    let garbled = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "garbled", "namespace": "shop"},
        "stringData": {"tls.crt": "none", "tls.key": "none"},
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "ingressClassName": "kong",
            "tls": [{"hosts": ["shop.example"], "secretName": "garbled"}],
        },
    });
    let review = propose(&documents(&[garbled]), &ingress);
    assert_eq!(review.denied, None);
    assert!(review.warnings.join("\n").contains("certificate"), "{:?}", review.warnings);
}

#[test]
fn an_annotation_that_is_not_understood_is_a_warning() {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": "web", "namespace": "shop", "annotations": {"konghq.com/strip-path": "maybe"},
        },
        "spec": {
            "ingressClassName": "kong",
            "rules": [{"http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "echo", "port": {"number": 80}}},
            }]}}],
        },
    });
    let review = propose(&documents(&[]), &ingress);
    assert_eq!(review.denied, None);
    let all = review.warnings.join("\n");
    assert!(all.contains("konghq.com/strip-path") && all.contains("maybe"), "{all}");
    assert!(all.contains("shop/echo"), "{all}");
}

#[test]
fn objects_of_other_classes_are_nobodys_business() {
    let mut other = consumer("anna", "nowhere");
    other["metadata"]["annotations"]["kubernetes.io/ingress.class"] = json!("nginx");
    assert_eq!(propose(&documents(&[]), &other), Review::default());
}
