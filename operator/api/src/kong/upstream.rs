//! KongUpstreamPolicy and KongIngress: how requests spread over the targets of a Service.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::CustomResource;
use kube::core::{NamespaceResourceScope, Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::root_kind;

/// Load balancing, hashing and health checking of the Services that name it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1beta1",
    kind = "KongUpstreamPolicy",
    plural = "kongupstreampolicies",
    shortname = "kup",
    category = "kong-ingress-controller",
    namespaced,
    status = "PolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    validation = at_most_one("hashOn"),
    validation = at_most_one("hashOnFallback"),
    validation = Rule::new("!has(self.spec.hashOn) || has(self.spec.hashOn.cookie) == has(self.spec.hashOn.cookiePath)").message("hashOn.cookie and hashOn.cookiePath are set together or not at all"),
    validation = Rule::new("!has(self.spec.hashOnFallback) || !has(self.spec.hashOnFallback.cookie) && !has(self.spec.hashOnFallback.cookiePath)").message("a cookie cannot be the fallback: set it in hashOn"),
    validation = Rule::new("!has(self.spec.hashOnFallback) || !has(self.spec.hashOn) || !has(self.spec.hashOn.cookie)").message("hashOn.cookie needs no fallback: a cookie that is missing is set"),
    validation = Rule::new("!has(self.spec.hashOn) && !has(self.spec.hashOnFallback) || has(self.spec.algorithm) && self.spec.algorithm in ['consistent-hashing', 'sticky-sessions']").message("hashOn and hashOnFallback need the algorithm consistent-hashing"),
    validation = no_interval("healthy"),
    validation = no_interval("unhealthy")
)]
#[serde(rename_all = "camelCase")]
pub struct KongUpstreamPolicySpec {
    /// The balancing algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["round-robin", "consistent-hashing", "least-connections", "latency", "sticky-sessions"]))]
    pub algorithm: Option<String>,
    /// The number of slots of the balancer's ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 10, "maximum" = 65536))]
    pub slots: Option<i64>,
    /// What consistent hashing hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<HashOn>,
    /// What is hashed when the first input is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_fallback: Option<HashOn>,
    /// Active and passive health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthchecks: Option<Healthchecks>,
    /// The cookie of sticky sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_sessions: Option<StickySessions>,
}

/// One input is hashed, not several.
fn at_most_one(field: &str) -> Rule {
    let inputs = ["input", "header", "cookie", "queryArg", "uriCapture"];
    let set = inputs.map(|input| format!("has(self.spec.{field}.{input})")).join(", ");
    Rule::new(format!("!has(self.spec.{field}) || [{set}].filter(set, set).size() < 2"))
        .message(&*format!("{field} takes one of input, header, cookie, queryArg and uriCapture"))
}

/// Judgments from traffic happen when there is traffic.
fn no_interval(state: &str) -> Rule {
    let path = format!("self.spec.healthchecks.passive.{state}");
    Rule::new(format!(
        "!has(self.spec.healthchecks) || !has(self.spec.healthchecks.passive) || !has({path}) || !has({path}.interval)"
    ))
    .message(&*format!("healthchecks.passive.{state}.interval means nothing: only active checks have one"))
}

/// An input of consistent hashing: one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HashOn {
    /// A property of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["ip", "consumer", "path", "none"]))]
    pub input: Option<String>,
    /// A header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie's name; it is set if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The path of the cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie_path: Option<String>,
    /// A query argument's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_arg: Option<String>,
    /// A named capture of the route's path.
    #[serde(rename = "uriCapture", default, skip_serializing_if = "Option::is_none")]
    pub uri_capture: Option<String>,
}

/// The cookie of sticky sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StickySessions {
    /// The cookie's name.
    #[schemars(extend("minLength" = 1))]
    pub cookie: String,
    /// The cookie's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie_path: Option<String>,
}

/// Health checks of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Healthchecks {
    /// Checks that the proxy makes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveHealthcheck>,
    /// Judgments from the traffic that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveHealthcheck>,
    /// The share of weight (percent) below which the whole upstream is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 100))]
    pub threshold: Option<i64>,
}

/// Checks that the proxy makes itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveHealthcheck {
    /// The kind of check.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["http", "https", "tcp", "grpc", "grpcs"]))]
    pub check_type: Option<String>,
    /// How many targets are checked at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1))]
    pub concurrency: Option<i64>,
    /// When a target counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Healthy>,
    /// When a target counts as unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<Unhealthy>,
    /// The path that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/.*$"))]
    pub http_path: Option<String>,
    /// The SNI of HTTPS checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_sni: Option<String>,
    /// Whether HTTPS checks verify the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_verify_certificate: Option<bool>,
    /// Seconds that a check may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub timeout: Option<i64>,
    /// Headers that are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, Vec<String>>>,
}

/// Judgments from the traffic that passes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PassiveHealthcheck {
    /// The kind of judgment.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["http", "https", "tcp", "grpc", "grpcs"]))]
    pub check_type: Option<String>,
    /// When a target counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Healthy>,
    /// When a target counts as unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<Unhealthy>,
}

/// When a target counts as healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Healthy {
    /// The statuses of success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_statuses: Option<Vec<i64>>,
    /// Seconds between checks of healthy targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub interval: Option<i64>,
    /// How many successes it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub successes: Option<i64>,
}

/// When a target counts as unhealthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unhealthy {
    /// How many HTTP failures it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub http_failures: Option<i64>,
    /// The statuses of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_statuses: Option<Vec<i64>>,
    /// Seconds between checks of unhealthy targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub interval: Option<i64>,
    /// How many refused connections it takes.
    #[serde(rename = "tcpFailures", default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub tcp_failures: Option<i64>,
    /// How many timeouts it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub timeouts: Option<i64>,
}

/// The status of a policy: what each controller made of it for each thing that it is attached to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyStatus {
    /// At most sixteen.
    #[serde(default)]
    #[schemars(extend("maxItems" = 16))]
    pub ancestors: Vec<PolicyAncestor>,
}

/// What one controller made of a policy for one ancestor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestor {
    /// What the policy is attached to.
    pub ancestor_ref: AncestorRef,
    /// The controller.
    pub controller_name: String,
    /// What it made of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A reference to what a policy is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
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
    /// The section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// Settings of an upstream, by Kong's own field names; older than KongUpstreamPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongIngress {
    /// Standard object metadata.
    #[serde(default)]
    #[schemars(skip)]
    pub metadata: ObjectMeta,
    /// The upstream's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<KongIngressUpstream>,
    /// No longer allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub proxy: Option<Value>,
    /// No longer allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub route: Option<Value>,
}

root_kind!(KongIngress, "KongIngress", "v1", "kongingresses", NamespaceResourceScope);

/// The upstream's fields in a KongIngress, named as in Kong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KongIngressUpstream {
    /// The Host header sent to targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// The balancing algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["round-robin", "consistent-hashing", "least-connections", "latency"]))]
    pub algorithm: Option<String>,
    /// The number of slots of the balancer's ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 10))]
    pub slots: Option<i64>,
    /// Active and passive health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub healthchecks: Option<Value>,
    /// What consistent hashing hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<String>,
    /// What is hashed when the first input is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_fallback: Option<String>,
    /// The header that is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_header: Option<String>,
    /// The header of the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_fallback_header: Option<String>,
    /// The cookie that is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_cookie: Option<String>,
    /// The path of that cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_cookie_path: Option<String>,
    /// The query argument that is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_query_arg: Option<String>,
    /// The query argument of the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_fallback_query_arg: Option<String>,
    /// The named capture that is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on_uri_capture: Option<String>,
    /// The named capture of the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_fallback_uri_capture: Option<String>,
}
