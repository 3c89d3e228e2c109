//! Golden cases: `testdata/status/<case>/in.yaml` in, the wanted statuses in `status.yaml` out. `UPDATE=1` rewrites them.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::options::GatewayStatusSource;
use crate::snapshot::Loader;
use crate::translate::translate;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/status");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn options() -> Options {
    Options { gateway_status: GatewayStatusSource::Derived, ..Options::default() }
}

fn snapshot(case: &Path) -> Snapshot {
    let mut loader = Loader::new();
    loader.add("in.yaml", &fs::read_to_string(case.join("in.yaml")).unwrap());
    let (snapshot, ignored) = loader.finish();
    assert_eq!((&snapshot.unreadable[..], &ignored[..]), (&[][..], &[][..]), "{case:?}");
    snapshot
}

fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    wanted_with(snapshot, &options())
}

fn wanted_with(snapshot: &Snapshot, options: &Options) -> Vec<Wanted> {
    let translation = translate(snapshot, options);
    let outcomes: Vec<Arc<_>> = translation.outcomes.into_iter().map(Arc::new).collect();
    let address =
        Address { kind: Some("IPAddress".to_owned()), value: Some("203.0.113.10".to_owned()) };
    derive(&Scene {
        snapshot,
        options,
        outcomes: &outcomes,
        delivery: Delivery::Serving,
        refused: &BTreeMap::new(),
        addresses: &[address],
        features: &["HTTPRoute", "Gateway"],
        now: Time("2026-01-01T00:00:00Z".parse().unwrap()),
    })
}

#[test]
fn statuses_are_the_golden_ones() {
    for case in cases() {
        let found = wanted(&snapshot(&case));
        let found: Vec<Value> = found
            .iter()
            .map(|wanted| json!({"object": wanted.object.to_string(), "status": wanted.status}))
            .collect();
        let file = case.join("status.yaml");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, serde_saphyr::to_string(&found).unwrap()).unwrap();
        }
        let golden: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(Value::Array(found), golden, "{case:?}");
    }
}

#[test]
fn a_fleet_leaves_entries_of_another_fleet_alone() {
    for case in cases() {
        let before = snapshot(&case);
        let after = apply(&before, &wanted(&before));
        let options = Options { gateway_classes: Some(vec!["another".to_owned()]), ..options() };
        assert_eq!(wanted_with(&after, &options), [], "{case:?}");
    }
}

/// Writes statuses into a snapshot, as the API server would.
fn apply(snapshot: &Snapshot, wanted: &[Wanted]) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for Wanted { object, status } in wanted {
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        macro_rules! write {
            ($store:ident, $status:expr) => {{
                let found = snapshot.$store.get(namespace, name).cloned();
                if let Some(found) = found {
                    let mut object = (*found).clone();
                    object.status = Some($status.clone());
                    let rest = snapshot.$store.iter().filter(|other| ***other != *found).cloned();
                    let all = rest.chain([std::sync::Arc::new(object)]).collect();
                    snapshot.$store = crate::snapshot::Objects::new(all);
                }
            }};
        }
        match status {
            Status::Class(status) => write!(gateway_classes, status),
            Status::Gateway(status) => write!(gateways, status),
            Status::ListenerSet(status) => write!(listener_sets, status),
            Status::Policy(status) => write!(backend_tls_policies, status),
            Status::Route(status) => match object.kind.name() {
                "HTTPRoute" => write!(http_routes, status),
                "GRPCRoute" => write!(grpc_routes, status),
                "TLSRoute" => write!(tls_routes, status),
                "TCPRoute" => write!(tcp_routes, status),
                _ => write!(udp_routes, status),
            },
        }
    }
    snapshot
}

#[test]
fn nothing_is_wanted_once_it_is_written() {
    for case in cases() {
        let before = snapshot(&case);
        let after = apply(&before, &wanted(&before));
        assert_eq!(wanted(&after), [], "{case:?}");
    }
}
