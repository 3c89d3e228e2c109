//! `docs/reference/fields.md`: every field of our own kinds, from the types.

use std::fmt::Write as _;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

const HEAD: &str = "# Fields of ProxyFleet and ProxyInstance

Made from the types in `operator/api`; `make generate` writes it anew. `kubectl explain` says the same.
";

#[test]
fn page_of_fields_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fields.md");
    let mut wanted = HEAD.to_owned();
    for crd in operator_api::crds() {
        describe(&mut wanted, &crd);
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{} is stale: make generate", path.display());
}

fn describe(page: &mut String, crd: &CustomResourceDefinition) {
    let names = &crd.spec.names;
    let version = &crd.spec.versions[0];
    let short = names.short_names.clone().unwrap_or_default().join(", ");
    let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let schema = serde_json::to_value(schema).unwrap();
    writeln!(page, "\n## {}\n", names.kind).unwrap();
    writeln!(page, "`{}/{}`, short `{short}`.\n", crd.spec.group, version.name).unwrap();
    page.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
    for part in ["spec", "status"] {
        rows(page, part, &schema["properties"][part]);
    }
}

fn rows(page: &mut String, path: &str, schema: &Value) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null if required.iter().any(|it| it == name) => "required".to_owned(),
            Value::Null => String::new(),
            // What it holds has rows with defaults of their own.
            Value::Object(_) => String::new(),
            value => format!("`{value}`"),
        };
        let meaning = field["description"].as_str().unwrap_or_default();
        let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let kind = kind(field);
        writeln!(page, "| `{path}` | {kind} | {default} | {meaning} |").unwrap();
        rows(page, &path, field);
        rows(page, &format!("{path}[]"), &field["items"]);
    }
}

fn kind(field: &Value) -> String {
    let named = |field: &Value| field["type"].as_str().unwrap_or("object").to_owned();
    match (&field["enum"], field["items"].is_object()) {
        (Value::Array(words), _) => {
            let words = words.iter().filter_map(Value::as_str);
            words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
        }
        (_, true) => format!("list of {}", named(&field["items"])),
        (_, false) => named(field),
    }
}
