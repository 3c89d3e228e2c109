//! `ProxyInstance`: what one proxy of a fleet holds and serves. Made by the operator.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives repeat each struct inside a function, and printer columns repeat their keys"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;

/// One proxy of a fleet, named after its pod. The operator makes, updates and removes it; its status
/// keeps apart what the proxy was offered (`desired`), what it says that it holds (`reported`) and
/// what was seen to work (`verified`).
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "flotilla.dev",
    version = "v1alpha1",
    kind = "ProxyInstance",
    plural = "proxyinstances",
    shortname = "pxi",
    category = "flotilla",
    namespaced,
    status = "ProxyInstanceStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "One proxy of a fleet: what it was offered, what it holds and what it serves.",
    selectable = ".spec.fleet",
    printcolumn(name = "Fleet", type_ = "string", json_path = ".spec.fleet"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Sync", type_ = "string", json_path = ".status.sync"),
    printcolumn(name = "MTLS", type_ = "string", json_path = ".status.identity.mode"),
    printcolumn(name = "Config", type_ = "string", json_path = ".status.reported.short"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.proxy.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Pod-IP",
        type_ = "string",
        json_path = ".status.proxy.address",
        priority = "1"
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.proxy.node", priority = "1"),
    printcolumn(
        name = "Desired",
        type_ = "string",
        json_path = ".status.desired.short",
        priority = "1"
    ),
    printcolumn(
        name = "Cert-Expires",
        type_ = "string",
        json_path = ".status.identity.notAfter",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("an instance never becomes another one"))]
#[x_kube(validation = Rule::new("has(self.pod) != has(self.endpoint)")
    .message("an instance is a pod or an endpoint without one"))]
pub struct ProxyInstanceSpec {
    /// The name of the ProxyFleet, in the same namespace, that the proxy belongs to.
    #[schemars(length(min = 1, max = 253))]
    pub fleet: String,
    /// The pod that the proxy runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// The address of a proxy that no pod stands behind: a hand-made EndpointSlice, or a proxy
    /// outside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

/// A pod, by name and UID.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct PodRef {
    /// The name of the pod.
    pub name: String,
    /// The UID of the pod.
    pub uid: String,
}

/// An endpoint that no pod stands behind.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Endpoint {
    /// The name of the EndpointSlice that lists it.
    pub slice: String,
    /// Its address.
    pub address: String,
}

/// What the operator knows of one proxy.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyInstanceStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far the proxy is with the desired configuration, in one word.
    #[serde(default)]
    pub sync: SyncState,
    /// The configuration that the proxy should serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<RevisionRef>,
    /// The configuration that the proxy says that it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
    /// The newest configuration that the proxy was seen to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// The last push to the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_apply: Option<LastApply>,
    /// How the proxy proved who it is.
    #[serde(default)]
    pub identity: InstanceIdentity,
    /// What the proxy says of itself.
    #[serde(default)]
    pub proxy: ProxyInfo,
    /// The entities that the proxy refused, with the objects behind them. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub rejected: Vec<RejectedEntity>,
    /// `Ready` (the summary), `Reachable`, `IdentityVerified`, `Programmed` and `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Conditions,
}

/// How far a proxy is with the desired configuration.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum SyncState {
    /// Nothing was pushed to it yet.
    #[default]
    Pending,
    /// A push is under way, or waits for its turn.
    Applying,
    /// It holds the desired configuration.
    Synced,
    /// A guard holds the desired configuration back.
    Held,
    /// It holds a configuration that is not the operator's.
    Drifted,
    /// It refused the desired configuration and keeps the one it had.
    Rejected,
    /// It cannot take the operator's configuration at all: another database mode or dialect.
    Incompatible,
    /// It does not answer.
    Unreachable,
    /// It did not prove that it is the pod that it should be. It receives nothing.
    IdentityMismatch,
    /// Its pod is being terminated.
    Draining,
}

impl SyncState {
    /// Returns the word as it stands in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Applying => "Applying",
            Self::Synced => "Synced",
            Self::Held => "Held",
            Self::Drifted => "Drifted",
            Self::Rejected => "Rejected",
            Self::Incompatible => "Incompatible",
            Self::Unreachable => "Unreachable",
            Self::IdentityMismatch => "IdentityMismatch",
            Self::Draining => "Draining",
        }
    }
}

/// A configuration, by its number and hash.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRef {
    /// The number of the revision. It grows as long as one operator leads.
    #[serde(default)]
    pub revision: i64,
    /// The hash of the configuration's bytes, as the proxy reports it.
    pub hash: String,
    /// The first characters of the hash, for tables.
    #[serde(default)]
    pub short: String,
}

/// The configuration that a proxy says that it holds.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reported {
    /// The hash that it reports.
    pub hash: String,
    /// The first characters of the hash, for tables.
    #[serde(default)]
    pub short: String,
    /// When this hash was first seen.
    pub observed_at: Time,
}

/// A configuration that a proxy was seen to serve.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The number of the revision.
    pub revision: i64,
    /// When it was first seen.
    pub at: Time,
    /// How long after the change in the cluster that was, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<i64>,
}

/// The last push to a proxy.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastApply {
    /// When it ended.
    pub at: Time,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub duration_ms: i64,
    /// The proxy's answer, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<i32>,
    /// How often this configuration was tried.
    #[serde(default)]
    pub attempts: i32,
    /// What went wrong, when something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a proxy proved who it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceIdentity {
    /// What was proved.
    #[serde(default)]
    pub mode: IdentityProof,
    /// The name in the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The serial number of the certificate, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When the certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

/// What a proxy proved about itself.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
pub enum IdentityProof {
    /// Nothing yet: it was not spoken to.
    #[default]
    Unknown,
    /// That it is this very pod.
    Pod,
    /// That it holds the certificate that the fleet shares.
    Shared,
    /// Nothing, and the fleet says that this is enough.
    None,
    /// It tried and failed.
    Failed,
}

impl IdentityProof {
    /// Returns the word as it stands in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Pod => "Pod",
            Self::Shared => "Shared",
            Self::None => "None",
            Self::Failed => "Failed",
        }
    }
}

/// What a proxy says of itself, and where it runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyInfo {
    /// The address of its Admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The node that it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The identifier that it took when it started.
    #[serde(default, rename = "nodeID", skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// When the operator first saw it with this identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
}

/// An entity that a proxy refused, and the object that it was made from.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedEntity {
    /// The type of the entity, such as `route`.
    pub entity_type: String,
    /// The name or identifier of the entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The proxy's own words.
    pub message: String,
    /// The object that the entity was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
}

/// A Kubernetes object.
#[derive(
    Clone, Debug, Default, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}
