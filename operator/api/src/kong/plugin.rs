//! KongPlugin and KongClusterPlugin: one plugin with its configuration, attached by annotation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Conditions, root_kind};

/// A plugin usable by the objects of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongPlugin {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The name of the plugin in Kong, such as `key-auth`.
    #[schemars(extend("minLength" = 1))]
    pub plugin: String,
    /// Kept for the schema's sake: KIC refuses objects that set it.
    #[serde(rename = "consumerRef", default, skip_serializing_if = "Option::is_none")]
    pub consumer_ref: Option<String>,
    /// Whether the plugin is switched off where it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The plugin's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub config: Option<Value>,
    /// A Secret that holds the whole configuration.
    #[serde(rename = "configFrom", default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<ConfigSource>,
    /// Values from Secrets, placed into the configuration one after the other.
    #[serde(rename = "configPatches", default, skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<ConfigPatch>,
    /// The traffic phase of run_on, from Kong's mesh days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["first", "second", "all"]))]
    pub run_on: Option<String>,
    /// The protocols on which the plugin runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<String>>,
    /// Execution order relative to other plugins (Enterprise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// A name for this use of the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// What the controller observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Conditions>,
}

/// A plugin usable by objects of every namespace, or by all traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongClusterPlugin {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The name of the plugin in Kong, such as `key-auth`.
    #[schemars(extend("minLength" = 1))]
    pub plugin: String,
    /// Kept for the schema's sake: KIC refuses objects that set it.
    #[serde(rename = "consumerRef", default, skip_serializing_if = "Option::is_none")]
    pub consumer_ref: Option<String>,
    /// Whether the plugin is switched off where it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The plugin's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub config: Option<Value>,
    /// A Secret that holds the whole configuration.
    #[serde(rename = "configFrom", default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<NamespacedConfigSource>,
    /// Values from Secrets, placed into the configuration one after the other.
    #[serde(rename = "configPatches", default, skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<NamespacedConfigPatch>,
    /// The traffic phase of run_on, from Kong's mesh days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["first", "second", "all"]))]
    pub run_on: Option<String>,
    /// The protocols on which the plugin runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<String>>,
    /// Execution order relative to other plugins (Enterprise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// A name for this use of the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// What the controller observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Conditions>,
}

impl KongPlugin {
    /// The keys of Secrets that the configuration comes from, as a whole and in parts.
    pub fn secret_keys(&self) -> impl Iterator<Item = &SecretKey> {
        let parts = self.config_patches.iter().map(|patch| &patch.value_from);
        self.config_from.iter().chain(parts).map(|from| &from.secret_key_ref)
    }
}

impl KongClusterPlugin {
    /// The keys of Secrets that the configuration comes from, as a whole and in parts.
    pub fn secret_keys(&self) -> impl Iterator<Item = &NamespacedSecretKey> {
        let parts = self.config_patches.iter().map(|patch| &patch.value_from);
        self.config_from.iter().chain(parts).map(|from| &from.secret_key_ref)
    }
}

/// Where a namespaced plugin's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSource {
    /// A key of a Secret in the plugin's namespace.
    pub secret_key_ref: SecretKey,
}

/// Where a cluster plugin's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedConfigSource {
    /// A key of a Secret in a namespace.
    pub secret_key_ref: NamespacedSecretKey,
}

/// One value placed at a JSON pointer of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    /// The JSON pointer.
    pub path: String,
    /// The value.
    pub value_from: ConfigSource,
}

/// One value placed at a JSON pointer of a cluster plugin's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespacedConfigPatch {
    /// The JSON pointer.
    pub path: String,
    /// The value.
    pub value_from: NamespacedConfigSource,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// The Secret.
    #[schemars(extend("minLength" = 1))]
    pub name: String,
    /// The key in its data.
    #[schemars(extend("minLength" = 1))]
    pub key: String,
}

/// A key of a Secret in a named namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespacedSecretKey {
    /// The Secret's namespace.
    #[schemars(extend("minLength" = 1))]
    pub namespace: String,
    /// The Secret.
    #[schemars(extend("minLength" = 1))]
    pub name: String,
    /// The key in its data.
    #[schemars(extend("minLength" = 1))]
    pub key: String,
}

/// Plugins to run before and after, by phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ordering {
    /// Names of plugins before which this one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<std::collections::BTreeMap<String, Vec<String>>>,
    /// Names of plugins after which this one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<std::collections::BTreeMap<String, Vec<String>>>,
}

root_kind!(KongPlugin, "KongPlugin", "v1", "kongplugins", NamespaceResourceScope);
root_kind!(
    KongClusterPlugin,
    "KongClusterPlugin",
    "v1",
    "kongclusterplugins",
    ClusterResourceScope
);
