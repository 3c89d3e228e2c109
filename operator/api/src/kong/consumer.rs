//! KongConsumer and KongConsumerGroup: who calls, and with what credentials.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Conditions, root_kind};

/// A consumer of the gateway's services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongConsumer {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The consumer's unique name in Kong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The consumer's id in a system of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<String>,
    /// Names of Secrets that each hold one credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub credentials: Option<Vec<String>>,
    /// Names of the KongConsumerGroups that the consumer belongs to.
    #[serde(rename = "consumerGroups", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub consumer_groups: Option<Vec<String>>,
    /// What the controller observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Conditions>,
}

root_kind!(KongConsumer, "KongConsumer", "v1", "kongconsumers", NamespaceResourceScope);

/// A group of consumers; plugins attach to it by annotation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongConsumerGroup {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// Used by Kong's own operator only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub spec: Option<serde_json::Value>,
    /// What the controller observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Conditions>,
}

root_kind!(
    KongConsumerGroup,
    "KongConsumerGroup",
    "v1beta1",
    "kongconsumergroups",
    NamespaceResourceScope
);
