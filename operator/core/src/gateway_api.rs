//! The Gateway API kinds as the translator reads them.
//!
//! Own structs and not generated ones, for three reasons: every version of a kind that Kong Ingress Controller
//! or a cluster serves (`v1alpha2` to `v1`) decodes into the same type; a value from a newer channel stays
//! readable (enumerations are open strings, unknown fields are skipped), so one new word never makes an object
//! unreadable; and what several kinds share (parents, backends, header lists) is one type here.
//! Nothing in this file decides anything; decisions live in `translate::gateway` and `status::gateway`.

mod route;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};

pub use route::{
    BackendRef, Cors, Fraction, GrpcMatch, GrpcMethod, GrpcRule, HeaderModifier, HeaderValue,
    HttpFilter, HttpMatch, HttpRule, ParentRef, PathMatch, PathModifier, RequestMirror,
    RequestRedirect, RouteParentStatus, RouteSpec, RouteStatus, StreamRule, Timeouts, UrlRewrite,
    ValueMatch,
};

/// The API group of every kind in this module.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// A Kubernetes object of a Gateway API kind: the envelope that all of them share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object<S: Default, T = ()> {
    /// The group and version that the object was read in.
    pub api_version: String,
    /// The kind's name.
    pub kind: String,
    /// Name, namespace, annotations and the rest.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: S,
    /// What a controller wrote last, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<T>,
}

impl<S: Default, T> Object<S, T> {
    /// The object's namespace; empty for cluster-wide kinds.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

/// A class of Gateways and the controller behind it.
pub type GatewayClass = Object<GatewayClassSpec, GatewayClassStatus>;
/// An entry point with its listeners.
pub type Gateway = Object<GatewaySpec, GatewayStatus>;
/// Listeners that another object adds to a Gateway.
pub type ListenerSet = Object<ListenerSetSpec, ListenerSetStatus>;
/// Permission for references from other namespaces.
pub type ReferenceGrant = Object<ReferenceGrantSpec>;
/// How the proxy speaks TLS to a Service.
pub type BackendTlsPolicy = Object<BackendTlsPolicySpec, PolicyStatus>;
/// Routing of HTTP requests.
pub type HttpRoute = Object<RouteSpec<HttpRule>, RouteStatus>;
/// Routing of gRPC calls.
pub type GrpcRoute = Object<RouteSpec<GrpcRule>, RouteStatus>;
/// Routing of TLS connections by server name.
pub type TlsRoute = Object<RouteSpec<StreamRule>, RouteStatus>;
/// Routing of TCP connections by port.
pub type TcpRoute = Object<RouteSpec<StreamRule>, RouteStatus>;
/// Routing of UDP datagrams by port.
pub type UdpRoute = Object<RouteSpec<StreamRule>, RouteStatus>;

/// Spec of a [`GatewayClass`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassSpec {
    /// Who serves Gateways of this class.
    pub controller_name: String,
    /// Parameters of the class; none are understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<ParametersRef>,
}

/// Reference to parameters of a class or of a Gateway's infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParametersRef {
    /// Group of the parameters.
    pub group: String,
    /// Kind of the parameters.
    pub kind: String,
    /// Name of the parameters.
    pub name: String,
    /// Namespace of the parameters; absent for cluster-wide kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Status of a [`GatewayClass`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassStatus {
    /// `Accepted` and what follows from it.
    pub conditions: Vec<Condition>,
    /// Names of the features that Gateways of this class have, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_features: Vec<SupportedFeature>,
}

/// A Gateway API feature by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SupportedFeature {
    /// The feature's name in the specification.
    pub name: String,
}

/// Spec of a [`Gateway`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// The class, which names the controller.
    pub gateway_class_name: String,
    /// Ports, protocols and hostnames that the Gateway accepts.
    pub listeners: Vec<Listener>,
    /// Addresses that the user asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Labels, annotations and parameters of generated resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<Infrastructure>,
    /// Which ListenerSets may attach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS of the whole Gateway: client validation and the certificate towards backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<GatewayTls>,
}

/// What the user says about generated resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Infrastructure {
    /// Parameters; none are understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_ref: Option<ParametersRef>,
}

/// Which ListenerSets may attach to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedListeners {
    /// From which namespaces; absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacePolicy>,
}

/// TLS of a whole Gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTls {
    /// The proxy's own certificate towards backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendTls>,
    /// Validation of clients' certificates; kept as written, the translator has no use for it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontend: Option<serde_json::Value>,
}

/// The proxy's own certificate towards backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTls {
    /// Secret with certificate and key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
}

/// One port of a Gateway with its protocol, hostname, TLS and admission rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// Name, unique in the Gateway or ListenerSet.
    pub name: String,
    /// Hostname, with an optional leading `*.`; absent or empty means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Port that clients use.
    pub port: i32,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP` or an implementation's own.
    pub protocol: String,
    /// Certificates and mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
}

impl Listener {
    /// The hostname, unless it means any.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref().filter(|host| !host.is_empty() && *host != "*")
    }

    /// Whether TLS passes through unopened.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.mode.as_deref() == Some("Passthrough"))
    }
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// `Terminate` (the default) or `Passthrough`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Secrets with certificate and key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretRef>,
}

/// Reference to a Secret, possibly in another namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretRef {
    /// Group; absent means the core group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind; absent means `Secret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace; absent means that of the referrer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl SecretRef {
    /// Whether the reference is to a core Secret at all.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.group.as_deref().unwrap_or_default().is_empty()
            && self.kind.as_deref().is_none_or(|kind| kind == "Secret")
    }
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// From which namespaces; absent means the Gateway's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacePolicy>,
    /// Of which kinds; empty means all that the protocol can carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteKind>,
}

/// A set of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacePolicy {
    /// `All`, `Same`, `Selector` or `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Labels of the namespaces, for `Selector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteKind {
    /// Group; absent means Gateway API's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    pub kind: String,
}

/// An address of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `IPAddress`, `Hostname` or an implementation's own; absent means `IPAddress`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The address; empty in a spec means any of that type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Status of a [`Gateway`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// Addresses under which the Gateway is reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// `Accepted`, `Programmed`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
    /// One entry a listener of the spec.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets are attached; absent when the Gateway allows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<i32>,
}

/// Status of one listener.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// Kinds of routes that may attach, after validation.
    pub supported_kinds: Vec<RouteKind>,
    /// How many routes are attached.
    pub attached_routes: i32,
    /// `Accepted`, `Programmed`, `ResolvedRefs`, `Conflicted`.
    pub conditions: Vec<Condition>,
}

/// Spec of a [`ListenerSet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerSetSpec {
    /// The Gateway to add listeners to.
    pub parent_ref: ParentRef,
    /// The listeners.
    pub listeners: Vec<Listener>,
}

/// Status of a [`ListenerSet`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerSetStatus {
    /// `Accepted`, `Programmed`.
    pub conditions: Vec<Condition>,
    /// One entry a listener of the spec.
    pub listeners: Vec<ListenerStatus>,
}

/// Spec of a [`ReferenceGrant`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    pub from: Vec<GrantFrom>,
    /// To what, in the grant's own namespace.
    pub to: Vec<GrantTo>,
}

/// Kind and namespace that may refer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantFrom {
    /// Group of the referrer.
    pub group: String,
    /// Kind of the referrer.
    pub kind: String,
    /// Namespace of the referrer.
    pub namespace: String,
}

/// Kind, and maybe name, that may be referred to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantTo {
    /// Group of the target.
    pub group: String,
    /// Kind of the target.
    pub kind: String,
    /// Name of the target; absent means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Spec of a [`BackendTlsPolicy`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsPolicySpec {
    /// The Services that the policy is for, in its own namespace.
    pub target_refs: Vec<PolicyTargetRef>,
    /// What the backend's certificate must satisfy.
    pub validation: BackendTlsValidation,
    /// Implementation-specific settings.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub options: std::collections::BTreeMap<String, String>,
}

/// A local target of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyTargetRef {
    /// Group of the target.
    pub group: String,
    /// Kind of the target.
    pub kind: String,
    /// Name of the target.
    pub name: String,
    /// Part of the target, for a Service its port's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// What a backend's certificate must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsValidation {
    /// Server name to send and to verify.
    pub hostname: String,
    /// Secrets or ConfigMaps with the certificate authorities, in the policy's namespace.
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "caCertificateRefs")]
    pub ca_certificate_refs: Vec<LocalRef>,
    /// `System`: the authorities that the proxy's machine trusts.
    #[serde(skip_serializing_if = "Option::is_none", rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    /// Further names that the certificate may carry instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<serde_json::Value>,
}

/// Reference to an object in the referrer's namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalRef {
    /// Group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Status of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyStatus {
    /// One entry an object through which the policy has effect.
    pub ancestors: Vec<PolicyAncestor>,
}

/// Status of a policy with regard to one ancestor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyAncestor {
    /// The ancestor, usually a Gateway.
    pub ancestor_ref: ParentRef,
    /// Who wrote this entry.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}
