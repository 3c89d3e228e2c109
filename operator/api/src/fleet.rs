//! `ProxyFleet`: one fleet of proxies that serve the same configuration.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives repeat each struct inside a function, and printer columns repeat their keys"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Conditions;
use crate::instance::RevisionRef;

/// What [`Tls::acknowledge`] must say, word for word, before a fleet may do without verification.
pub const ACKNOWLEDGE_INSECURE: &str =
    "anyone who can reach the Admin API may read and change the configuration";

/// A fleet of gateway proxies that all serve the same configuration. The operator finds its proxies
/// through EndpointSlices, proves who each one is, and pushes the configuration to all of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "flotilla.dev",
    version = "v1alpha1",
    kind = "ProxyFleet",
    plural = "proxyfleets",
    shortname = "pxf",
    category = "flotilla",
    namespaced,
    status = "ProxyFleetStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A fleet of gateway proxies that all serve the same configuration.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Synced", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Config", type_ = "string", json_path = ".status.desired.short"),
    printcolumn(name = "Identity", type_ = "string", json_path = ".spec.tls.identity"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Unreachable",
        type_ = "integer",
        json_path = ".status.instances.unreachable",
        priority = "1"
    ),
    printcolumn(
        name = "Rejected",
        type_ = "integer",
        json_path = ".status.instances.rejected",
        priority = "1"
    ),
    printcolumn(
        name = "Drifted",
        type_ = "integer",
        json_path = ".status.instances.drifted",
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
pub struct ProxyFleetSpec {
    /// Which Services' EndpointSlices list the proxies of this fleet.
    pub discovery: Discovery,

    /// The names of the IngressClasses that this fleet serves. An Ingress of any other class is left
    /// alone; one without a class is served when a class named here is the cluster's default.
    #[serde(default = "default_ingress_classes")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32))]
    pub ingress_classes: Vec<String>,

    /// The names of the GatewayClasses that this fleet serves; `*` stands for every class of our
    /// controllers. Empty: no Gateway is served.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32))]
    pub gateway_classes: Vec<String>,

    /// Whether the proxies hold their configuration in memory (`DbLess`, each is pushed to) or in a
    /// shared database (`Postgres`, one of them is written to).
    #[serde(default)]
    pub database: Database,

    /// How the operator and the proxies prove to each other who they are.
    #[serde(default)]
    pub tls: Tls,

    /// What is done about a proxy whose configuration somebody else changed.
    #[serde(default)]
    pub drift: Drift,

    /// Limits that hold a suspicious configuration back until a person allows it.
    #[serde(default)]
    pub guards: Guards,

    /// Which addresses are written into the status of the Ingresses and Gateways that this fleet
    /// serves. Without it the addresses of the discovered Services' proxies are not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,

    /// The ports that every proxy keeps for Gateways. With them, and with a Service in `publish`, each
    /// Gateway gets a Service of its own, of the same type, in the namespace of the fleet: its ports are
    /// then the Gateway's, and no other Gateway's routes are served there. Without them all Gateways
    /// share the fleet's Service. For Flotilla's own proxy with the router flavor `expressions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ports: Option<GatewayPorts>,
}

/// A range of ports.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.first <= self.last").message("the first port is behind the last"))]
pub struct GatewayPorts {
    /// The first port.
    #[schemars(range(min = 1024, max = 65535))]
    pub first: i32,
    /// The last port.
    #[schemars(range(min = 1024, max = 65535))]
    pub last: i32,
}

/// Where the proxies of a fleet are found.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.services) && size(self.services) > 0 || has(self.selector)")
    .message("discovery needs services, by name, or a selector"))]
#[x_kube(validation = Rule::new("!(has(self.services) && size(self.services) > 0 && has(self.selector))")
    .message("discovery takes services or a selector, not both"))]
pub struct Discovery {
    /// The names of Services, in the namespace of the fleet, whose EndpointSlices list the proxies'
    /// Admin API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 32))]
    pub services: Vec<String>,

    /// Selects Services, in the namespace of the fleet, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,

    /// The name of the Admin API's port in the EndpointSlices.
    #[serde(default = "default_admin_port")]
    #[schemars(length(min = 1, max = 63))]
    pub port: String,

    /// The name of a port in the EndpointSlices that serves plain HTTP traffic. When it is given,
    /// an instance is synced only once that port serves the configuration, beyond the Admin API
    /// saying so. Gateways that do not know the question (stock Kong) are believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub data_port: Option<String>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { services: Vec::new(), selector: None, port: default_admin_port(), data_port: None }
    }
}

/// Where the proxies of a fleet keep their configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Database {
    /// In each proxy's memory. Every proxy is pushed to.
    #[default]
    DbLess,
    /// In a Postgres database that the proxies share. One of them is written to.
    Postgres,
}

/// What is done about a proxy whose configuration somebody else changed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Drift {
    /// The fleet's configuration is pushed again.
    #[default]
    Correct,
    /// The drift is reported and the proxy is left as it is.
    Report,
}

/// How the operator and the proxies prove to each other who they are.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.identity != 'InsecureNone' || has(self.acknowledge) && self.acknowledge == 'anyone who can reach the Admin API may read and change the configuration'")
    .message("identity InsecureNone must be acknowledged: set tls.acknowledge to 'anyone who can reach the Admin API may read and change the configuration'"))]
#[x_kube(validation = Rule::new("(self.issuer == 'CertManager') == has(self.certManager)")
    .message("tls.certManager is required with issuer CertManager, and only with it"))]
#[x_kube(validation = Rule::new("(self.issuer == 'Vault') == has(self.vault)")
    .message("tls.vault is required with issuer Vault, and only with it"))]
#[x_kube(validation = Rule::new("(self.issuer == 'Secret') == has(self.secret)")
    .message("tls.secret is required with issuer Secret, and only with it"))]
#[x_kube(validation = Rule::new("self.identity != 'Pod' || self.issuer == 'BuiltIn'")
    .message("identity Pod needs the issuer BuiltIn: only it signs a certificate for each pod"))]
pub struct Tls {
    /// How strongly a proxy must prove who it is before it receives a byte of configuration.
    #[serde(default)]
    pub identity: IdentityMode,

    /// Who issues the certificates of both sides.
    #[serde(default)]
    pub issuer: Issuer,

    /// The name that a shared certificate must carry, when the identity is `Shared`. By default
    /// `<fleet>.<namespace>.flotilla.internal`, which is what the operator puts into the certificates
    /// that it issues itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,

    /// The cert-manager issuer, with the issuer `CertManager`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManager>,

    /// The Vault PKI engine, with the issuer `Vault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<Vault>,

    /// Your own certificates, with the issuer `Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSource>,

    /// Needed with the identity `InsecureNone` only: the sentence that says what is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub acknowledge: Option<String>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            identity: IdentityMode::Pod,
            issuer: Issuer::BuiltIn,
            server_name: None,
            cert_manager: None,
            vault: None,
            secret: None,
            acknowledge: None,
        }
    }
}

/// How strongly a proxy must prove who it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum IdentityMode {
    /// Mutual TLS, with a certificate that is bound to the pod: its UID is compared before the first
    /// byte of configuration leaves. For Flotilla's own proxy, which enrols with the operator.
    #[default]
    Pod,
    /// Mutual TLS, with a certificate that all proxies of the fleet share. For proxies that read
    /// their certificate from files, such as stock Kong.
    Shared,
    /// No verification of either side. Must be acknowledged.
    InsecureNone,
}

/// Who issues the certificates of a fleet.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Issuer {
    /// The operator's own two authorities: one for the proxies' certificates, one for its own.
    #[default]
    BuiltIn,
    /// cert-manager, through CertificateRequests.
    CertManager,
    /// HashiCorp Vault's PKI engine.
    Vault,
    /// Secrets that somebody else keeps up to date.
    Secret,
}

/// A cert-manager issuer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertManager {
    /// The issuer that signs the operator's client certificate, and whose authority signs the
    /// proxies' certificates.
    pub issuer_ref: IssuerRef,
}

/// The reference to a cert-manager issuer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// The name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The kind of the issuer.
    #[serde(default = "default_issuer_kind")]
    pub kind: String,
    /// The API group of the issuer.
    #[serde(default = "default_issuer_group")]
    pub group: String,
}

/// A PKI secrets engine of HashiCorp Vault.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Vault {
    /// The address of Vault, such as `https://vault.vault:8200`.
    #[schemars(length(min = 1, max = 2048))]
    pub address: String,
    /// The path at which the PKI engine is mounted.
    #[serde(default = "default_vault_mount")]
    pub mount: String,
    /// The PKI role that signs.
    #[schemars(length(min = 1, max = 253))]
    pub role: String,
    /// The role of the Kubernetes authentication method with which the operator logs in.
    #[schemars(length(min = 1, max = 253))]
    pub auth_role: String,
    /// The path at which the Kubernetes authentication method is mounted.
    #[serde(default = "default_vault_auth_mount")]
    pub auth_mount: String,
    /// The Secret, in the namespace of the fleet, whose key `ca.crt` verifies Vault's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
}

/// Certificates that somebody else keeps, in the namespace of the fleet.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret whose key `ca.crt` verifies the proxies' certificates.
    #[schemars(length(min = 1, max = 253))]
    pub server_ca: String,
    /// The Secret of type `kubernetes.io/tls` with the operator's client certificate (`tls.crt` and
    /// `tls.key`).
    #[schemars(length(min = 1, max = 253))]
    pub client: String,
}

/// Limits that hold a suspicious configuration back until a person allows it, by setting the
/// annotation `flotilla.dev/allow-shrink` of the fleet to the held configuration's hash.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// The share of routes, services and consumers, in percent, that one change may remove. 100
    /// allows everything.
    #[serde(default = "default_max_shrink")]
    #[schemars(range(min = 0, max = 100))]
    pub max_shrink_percent: i32,
    /// A configuration with fewer entities than this is never held.
    #[serde(default = "default_shrink_floor")]
    #[schemars(range(min = 0))]
    pub shrink_floor: i32,
}

impl Default for Guards {
    fn default() -> Self {
        Self { max_shrink_percent: default_max_shrink(), shrink_floor: default_shrink_floor() }
    }
}

/// Which addresses the objects that a fleet serves are reachable at.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.service) != (has(self.addresses) && size(self.addresses) > 0)")
    .message("publish takes a service or addresses, one of them"))]
pub struct Publish {
    /// A Service, in the namespace of the fleet, whose load-balancer addresses are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// IP addresses and host names that are published as they stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16))]
    pub addresses: Vec<String>,
}

/// What the operator knows of a fleet.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyFleetStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The configuration that every proxy of the fleet should serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<RevisionRef>,
    /// How many proxies serve it, of how many, such as `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// How many proxies there are, by state.
    #[serde(default)]
    pub instances: FleetCounts,
    /// `Ready` (the summary), `Accepted` (the spec can be followed), `Programmed` (every reachable
    /// proxy serves the desired configuration), `Secured` (every proxy proved its identity) and
    /// `Stalled` (only a person can help).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Conditions,
}

/// How many proxies of a fleet are in which state. Each is counted once, but for `total`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetCounts {
    /// All proxies of the fleet.
    #[serde(default)]
    pub total: i32,
    /// Those that serve the desired configuration.
    #[serde(default)]
    pub synced: i32,
    /// Those that wait for their push, or are being pushed to.
    #[serde(default)]
    pub applying: i32,
    /// Those whose configuration somebody else changed.
    #[serde(default)]
    pub drifted: i32,
    /// Those that refused the desired configuration.
    #[serde(default)]
    pub rejected: i32,
    /// Those that do not answer.
    #[serde(default)]
    pub unreachable: i32,
    /// Those that did not prove their identity.
    #[serde(default)]
    pub unidentified: i32,
    /// Those that are being terminated.
    #[serde(default)]
    pub draining: i32,
}

fn default_ingress_classes() -> Vec<String> {
    vec!["flotilla".to_owned()]
}

fn default_admin_port() -> String {
    "admin-tls".to_owned()
}

fn default_issuer_kind() -> String {
    "Issuer".to_owned()
}

fn default_issuer_group() -> String {
    "cert-manager.io".to_owned()
}

fn default_vault_mount() -> String {
    "pki".to_owned()
}

fn default_vault_auth_mount() -> String {
    "kubernetes".to_owned()
}

fn default_max_shrink() -> i32 {
    50
}

fn default_shrink_floor() -> i32 {
    20
}
