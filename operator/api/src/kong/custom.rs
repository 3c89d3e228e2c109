//! KongVault, KongCustomEntity and KongLicense.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::CustomResource;
use kube::core::ClusterResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Conditions, root_kind};

/// A vault from which secrets are referenced as `{vault://prefix/…}`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1alpha1",
    kind = "KongVault",
    plural = "kongvaults",
    shortname = "kv",
    category = "kong-ingress-controller",
    status = "Conditions",
    derive = "Default",
    derive = "PartialEq",
    validation = Rule::new("self.spec.prefix == oldSelf.spec.prefix").message("The spec.prefix field is immutable"),
    printcolumn = r#"{"name":"Backend Type","type":"string","jsonPath":".spec.backend","description":"Name of the backend of the vault"}"#,
    printcolumn = r#"{"name":"Prefix","type":"string","jsonPath":".spec.prefix","description":"Prefix of vault URI to reference the values in the vault"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Age"}"#,
    printcolumn = r#"{"name":"Description","type":"string","jsonPath":".spec.description","description":"Description","priority":1}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#
)]
pub struct KongVaultSpec {
    /// The kind of vault, such as `env` or `hcv`.
    #[schemars(extend("minLength" = 1))]
    pub backend: String,
    /// The first segment of references to this vault.
    #[schemars(extend("minLength" = 1))]
    pub prefix: String,
    /// What the vault is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The vault's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub config: Option<Value>,
    /// Tags of the Kong entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// An entity of a type that a custom plugin brings along.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1alpha1",
    kind = "KongCustomEntity",
    plural = "kongcustomentities",
    shortname = "kce",
    category = "kong-ingress-controller",
    namespaced,
    status = "Conditions",
    derive = "Default",
    derive = "PartialEq",
    validation = Rule::new("self.spec.type == oldSelf.spec.type").message("The spec.type field is immutable"),
    validation = Rule::new("!(self.spec.type in ['services','routes','upstreams','targets','plugins','consumers','consumer_groups'])").message("The spec.type field cannot be known Kong entity types"),
    printcolumn = r#"{"name":"Entity Type","type":"string","jsonPath":".spec.type","description":"type of the Kong entity"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Age"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct KongCustomEntitySpec {
    /// The entity type, as in Kong's declarative configuration.
    #[serde(rename = "type")]
    #[schemars(extend("minLength" = 1))]
    pub entity_type: String,
    /// The entity's fields.
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub fields: Value,
    /// The ingress class that the entity belongs to.
    pub controller_name: String,
    /// The plugin from whose attachments the foreign keys are filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ParentRef>,
}

/// A reference to a KongPlugin or KongClusterPlugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentRef {
    /// The group of the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["configuration.konghq.com"]))]
    pub group: Option<String>,
    /// The kind of the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["KongPlugin", "KongClusterPlugin"]))]
    pub kind: Option<String>,
    /// The parent's namespace; the entity's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The parent's name.
    #[schemars(extend("minLength" = 1))]
    pub name: String,
}

/// An Enterprise licence; the newest enabled one is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongLicense {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The licence as Kong handed it out.
    #[serde(rename = "rawLicenseString", default)]
    pub raw_license_string: String,
    /// Whether the licence may be used.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// What the controllers observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<KongLicenseStatus>,
}

fn enabled() -> bool {
    true
}

root_kind!(KongLicense, "KongLicense", "v1alpha1", "konglicenses", ClusterResourceScope);

/// The status of a KongLicense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongLicenseStatus {
    /// One entry for each controller that looks at the licence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["controllerName"]))]
    pub controllers: Vec<KongLicenseController>,
}

/// What one controller says about a KongLicense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KongLicenseController {
    /// The controller.
    pub controller_name: String,
    /// The object that represents the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_ref: Option<KongLicenseControllerRef>,
    /// What is known about the licence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A reference to a controller's object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KongLicenseControllerRef {
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}
