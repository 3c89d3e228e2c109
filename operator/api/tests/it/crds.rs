//! The custom resource definitions: committed, complete, and as Kubernetes wants them.

use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// The folders that hold a copy of every definition: for `kubectl apply -f`, and for the chart.
const FOLDERS: [&str; 2] = ["../../crds", "../../charts/flotilla-crds/files"];

fn folder(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let version = &crd.spec.versions[0];
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

#[test]
fn committed_definitions_are_those_of_the_types() {
    let update = std::env::var_os("UPDATE").is_some();
    for folder in FOLDERS.map(folder) {
        for crd in operator_api::crds() {
            let path = folder.join(operator_api::crd_file(&crd));
            let wanted = operator_api::crd_yaml(&crd).unwrap();
            if update {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &wanted).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, wanted, "{} is stale: run the test with UPDATE=1", path.display());
        }
    }
}

#[test]
fn printed_definitions_read_back_as_themselves() {
    for crd in operator_api::crds() {
        let text = operator_api::crd_yaml(&crd).unwrap();
        let read: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, crd);
    }
}

#[test]
fn every_field_is_documented() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property["description"].as_str().is_none_or(str::is_empty) {
                missing.push(path.clone());
            }
            walk(&path, property, missing);
            walk(&path, &property["items"], missing);
        }
    }
    let mut missing = Vec::new();
    for crd in operator_api::crds() {
        let schema = schema(&crd);
        for part in ["spec", "status"] {
            walk(
                &format!("{}.{part}", crd.spec.names.kind),
                &schema["properties"][part],
                &mut missing,
            );
        }
    }
    assert!(missing.is_empty(), "without a description: {missing:?}");
}

#[test]
fn conditions_are_merged_by_type() {
    for crd in operator_api::crds() {
        let conditions = &schema(&crd)["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{}", crd.spec.names.kind);
        assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]));
    }
}

#[test]
fn proxy_instances_print_the_columns_of_the_design() {
    let crds = operator_api::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == "ProxyInstance").unwrap();
    let columns = crd.spec.versions[0].additional_printer_columns.as_ref().unwrap();
    let names = |wide: bool| -> Vec<String> {
        let wanted = columns.iter().filter(|column| (column.priority.unwrap_or(0) > 0) == wide);
        wanted.map(|column| column.name.to_uppercase()).collect()
    };
    assert_eq!(names(false), ["FLEET", "READY", "SYNC", "MTLS", "CONFIG", "VERSION", "AGE"]);
    assert_eq!(names(true), ["POD-IP", "NODE", "DESIRED", "CERT-EXPIRES", "MESSAGE"]);
}

#[test]
fn insecure_sentence_of_the_rule_is_the_constant() {
    let text = serde_json::to_string(&operator_api::crds()).unwrap();
    assert!(
        text.contains(&format!("self.acknowledge == '{}'", operator_api::ACKNOWLEDGE_INSECURE))
    );
}
