//! What discovery makes of slices, as claims.

use serde_json::{Value, json};

use super::*;

fn discovery() -> Discovery {
    Discovery {
        namespace: "gateways".into(),
        services: vec!["admin".into()],
        admin_port: "admin".into(),
        data_port: Some("proxy".into()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
fn slice(name: &str, family: &str, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "gateways", "labels": {SERVICE_NAME_LABEL: "admin"}},
        "addressType": family,
        "ports": [{"name": "proxy", "port": 8000}, {"name": "admin", "port": 8444}],
        "endpoints": endpoints,
    }))
    .unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
fn pod(uid: &str, address: &str, conditions: Value) -> Value {
    json!({
        "addresses": [address],
        "conditions": conditions,
        "nodeName": "node-1",
        "targetRef": {"kind": "Pod", "name": format!("pod-{uid}"), "namespace": "gateways", "uid": uid},
    })
}

fn found(slices: &[EndpointSlice]) -> Vec<Member> {
    discovery().discover(slices).members.into_values().collect()
}

#[test]
fn pod_is_keyed_by_uid_and_keeps_its_address_as_attribute() {
    let members =
        found(&[slice("a", "IPv4", json!([pod("u1", "10.0.0.7", json!({"ready": true}))]))]);
    assert_eq!(members[0].id, InstanceId::Pod("u1".into()));
    assert_eq!(&*members[0].name, "pod-u1");
    assert_eq!(members[0].admin, "10.0.0.7:8444".parse().unwrap());
    assert_eq!(members[0].data, Some("10.0.0.7:8000".parse().unwrap()));
    assert_eq!(members[0].node.as_deref(), Some("node-1"));
}

#[test]
fn reused_address_is_another_member() {
    let at =
        |uid| found(&[slice("a", "IPv4", json!([pod(uid, "10.0.0.7", json!({}))]))]).remove(0).id;
    assert_ne!(at("u1"), at("u2"));
}

#[test]
fn endpoint_that_is_not_ready_counts() {
    let members =
        found(&[slice("a", "IPv4", json!([pod("u1", "10.0.0.7", json!({"ready": false}))]))]);
    assert_eq!(members[0].presence, Presence::NotReady);
}

#[test]
fn terminating_endpoint_drains_even_when_another_slice_calls_it_ready() {
    let terminating = json!({"ready": false, "serving": true, "terminating": true});
    let members = found(&[
        slice("a", "IPv4", json!([pod("u1", "10.0.0.7", json!({"ready": true}))])),
        slice("b", "IPv4", json!([pod("u1", "10.0.0.7", terminating)])),
    ]);
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].presence, Presence::Draining);
}

#[test]
fn dual_stack_pod_is_one_member_at_its_ipv4_address_whatever_the_order() {
    let six = slice("a", "IPv6", json!([pod("u1", "fd00::7", json!({"ready": true}))]));
    let four = slice("b", "IPv4", json!([pod("u1", "10.0.0.7", json!({"ready": true}))]));
    for slices in [[six.clone(), four.clone()], [four, six]] {
        let members = found(&slices);
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].admin, "10.0.0.7:8444".parse().unwrap());
    }
}

#[test]
fn ipv6_only_pod_is_found() {
    let members =
        found(&[slice("a", "IPv6", json!([pod("u1", "fd00::7", json!({"ready": true}))]))]);
    assert_eq!(members[0].admin, "[fd00::7]:8444".parse().unwrap());
}

#[test]
fn endpoint_without_pod_is_keyed_by_slice_and_address() {
    let members = found(&[slice("edge", "IPv4", json!([{"addresses": ["192.0.2.1"]}]))]);
    let id = InstanceId::Endpoint {
        slice: "gateways/edge".into(),
        address: "192.0.2.1".parse().unwrap(),
    };
    assert_eq!(members[0].id, id);
    assert_eq!(&*members[0].name, "edge-192-0-2-1");
    assert_eq!(members[0].presence, Presence::Ready);
}

#[test]
fn label_makes_a_slice_belong_and_its_absence_does_not() {
    let mut slice = slice("hand-made", "IPv4", json!([pod("u1", "10.0.0.7", json!({}))]));
    assert!(slice.metadata.owner_references.is_none());
    assert_eq!(found(std::slice::from_ref(&slice)).len(), 1);
    slice.metadata.labels = None;
    assert_eq!(
        discovery().discover([&slice]).problems,
        [Problem::NoSlices { service: "admin".into() }]
    );
}

#[test]
fn slice_without_the_named_port_is_a_problem_and_a_lone_nameless_port_is_not() {
    let mut slice = slice("a", "IPv4", json!([pod("u1", "10.0.0.7", json!({}))]));
    slice.ports = serde_json::from_value(json!([{"name": "other", "port": 1}])).unwrap();
    let discovered = discovery().discover([&slice]);
    assert!(discovered.members.is_empty());
    assert_eq!(
        discovered.problems,
        [Problem::NoAdminPort { slice: "gateways/a".into(), wanted: "admin".into() }]
    );
    slice.ports = serde_json::from_value(json!([{"port": 8444}])).unwrap();
    assert_eq!(found(&[slice]).len(), 1);
}

#[test]
fn host_name_is_a_problem_not_a_member() {
    let slice = slice("a", "FQDN", json!([{"addresses": ["proxy.example.com"]}]));
    let discovered = discovery().discover([&slice]);
    assert!(discovered.members.is_empty());
    assert_eq!(discovered.problems.len(), 1);
}
