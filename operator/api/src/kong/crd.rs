//! The custom resource definitions of Kong's kinds: for clusters that never ran Kong's controller.
//!
//! Where that controller's own definitions are installed already, they stay: nothing here replaces
//! them, and every object that they admit is readable with these types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use kube::core::schema::{OptionalEnum, OptionalIntOrString, StructuralSchemaRewriter};
use kube::{CustomResourceExt as _, Resource};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::{Value, json};

use super::{
    IngressClassParameters, KongClusterPlugin, KongConsumer, KongConsumerGroup, KongCustomEntity,
    KongIngress, KongLicense, KongPlugin, KongServiceFacade, KongUpstreamPolicy, KongVault,
    TcpIngress, UdpIngress,
};

/// What a definition says beside the schema.
#[derive(Clone, Copy)]
struct Names {
    singular: &'static str,
    short: &'static str,
    namespaced: bool,
    /// Name, type and path of each column.
    columns: &'static [(&'static str, &'static str, &'static str)],
    /// Each rule in CEL with its message.
    rules: &'static [(&'static str, &'static str)],
}

const PROGRAMMED: (&str, &str, &str) =
    ("Programmed", "string", r#".status.conditions[?(@.type=="Programmed")].status"#);
const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");
const PLUGIN_COLUMNS: &[(&str, &str, &str)] =
    &[("Plugin-Type", "string", ".plugin"), AGE, ("Disabled", "boolean", ".disabled"), PROGRAMMED];
const PLUGIN_RULES: &[(&str, &str)] = &[
    (
        "!(has(self.config) && has(self.configFrom))",
        "Using both config and configFrom fields is not allowed.",
    ),
    (
        "!(has(self.configFrom) && has(self.configPatches))",
        "Using both configFrom and configPatches fields is not allowed.",
    ),
    ("self.plugin == oldSelf.plugin", "The plugin field is immutable"),
];

/// The definitions of all of Kong's kinds that Flotilla reads, in the order in which they are printed.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let beside = [
        beside::<KongPlugin>(Names {
            singular: "kongplugin",
            short: "kp",
            namespaced: true,
            columns: PLUGIN_COLUMNS,
            rules: PLUGIN_RULES,
        }),
        beside::<KongClusterPlugin>(Names {
            singular: "kongclusterplugin",
            short: "kcp",
            namespaced: false,
            columns: PLUGIN_COLUMNS,
            rules: PLUGIN_RULES,
        }),
        beside::<KongConsumer>(Names {
            singular: "kongconsumer",
            short: "kc",
            namespaced: true,
            columns: &[("Username", "string", ".username"), AGE, PROGRAMMED],
            rules: &[(
                "has(self.username) || has(self.custom_id)",
                "Need to provide either username or custom_id",
            )],
        }),
        beside::<KongConsumerGroup>(Names {
            singular: "kongconsumergroup",
            short: "kcg",
            namespaced: true,
            columns: &[AGE, PROGRAMMED],
            rules: &[],
        }),
        beside::<KongIngress>(Names {
            singular: "kongingress",
            short: "ki",
            namespaced: true,
            columns: &[],
            rules: &[
                (
                    "!has(self.proxy)",
                    "'proxy' field is no longer supported, use Service's annotations instead",
                ),
                (
                    "!has(self.route)",
                    "'route' field is no longer supported, use Ingress' annotations instead",
                ),
            ],
        }),
        beside::<KongLicense>(Names {
            singular: "konglicense",
            short: "kl",
            namespaced: false,
            columns: &[AGE, ("Enabled", "boolean", ".enabled")],
            rules: &[],
        }),
    ];
    let mut all: Vec<CustomResourceDefinition> = beside.into_iter().flatten().collect();
    all.extend([
        KongUpstreamPolicy::crd(),
        KongVault::crd(),
        KongCustomEntity::crd(),
        TcpIngress::crd(),
        UdpIngress::crd(),
        KongServiceFacade::crd(),
        IngressClassParameters::crd(),
    ]);
    all
}

/// The definition of a kind whose fields stand beside `metadata`.
fn beside<K: Resource<DynamicType = ()> + JsonSchema>(
    names: Names,
) -> Option<CustomResourceDefinition> {
    let Names { singular, short, namespaced, columns, rules } = names;
    let columns: Vec<Value> = columns
        .iter()
        .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
        .collect();
    let definition = json!({
        "metadata": {"name": format!("{}.{}", K::plural(&()), K::group(&()))},
        "spec": {
            "group": K::group(&()),
            "names": {
                "kind": K::kind(&()),
                "plural": K::plural(&()),
                "singular": singular,
                "shortNames": [short],
                "categories": ["kong-ingress-controller"],
            },
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": K::version(&()),
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": schema::<K>(rules)?},
            }],
        },
    });
    serde_json::from_value(definition).ok()
}

/// The structural schema of a kind, with its rules.
fn schema<K: JsonSchema>(rules: &[(&str, &str)]) -> Option<JSONSchemaProps> {
    let generator = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(OptionalEnum)
        .with_transform(OptionalIntOrString)
        .into_generator();
    let mut schema = serde_json::to_value(generator.into_root_schema_for::<K>()).ok()?;
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
        if !rules.is_empty() {
            let rules: Vec<Value> = rules
                .iter()
                .map(|(rule, message)| json!({"rule": rule, "message": message}))
                .collect();
            schema.insert("x-kubernetes-validations".into(), rules.into());
        }
    }
    serde_json::from_value(schema).ok()
}
