//! TCPIngress, UDPIngress, KongServiceFacade and IngressClassParameters.

use k8s_openapi::api::networking::v1::IngressLoadBalancerStatus;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Conditions;

/// Routes TCP and TLS streams by port and SNI.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1beta1",
    kind = "TCPIngress",
    root = "TcpIngress",
    plural = "tcpingresses",
    category = "kong-ingress-controller",
    namespaced,
    status = "LoadBalancerStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".status.loadBalancer.ingress[*].ip","description":"Address of the load balancer"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Age"}"#
)]
pub struct TcpIngressSpec {
    /// The streams to route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<TcpIngressRule>>,
    /// Certificates by host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Vec<IngressTls>>,
}

/// One stream of a TCPIngress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpIngressRule {
    /// The SNI; without it all connections to the port match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port on which the proxy listens.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub port: i32,
    /// Where matched connections go.
    pub backend: IngressBackend,
}

/// Routes UDP datagrams by port.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1beta1",
    kind = "UDPIngress",
    root = "UdpIngress",
    plural = "udpingresses",
    category = "kong-ingress-controller",
    namespaced,
    status = "LoadBalancerStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".status.loadBalancer.ingress[*].ip","description":"Address of the load balancer"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Age"}"#
)]
pub struct UdpIngressSpec {
    /// The ports to route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<UdpIngressRule>>,
}

/// One port of a UDPIngress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UdpIngressRule {
    /// The port on which the proxy listens.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub port: i32,
    /// Where datagrams go.
    pub backend: IngressBackend,
}

/// A Service and its port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressBackend {
    /// The Service, in the namespace of the ingress.
    #[schemars(extend("minLength" = 1))]
    pub service_name: String,
    /// The number of the Service's port.
    #[schemars(extend("minimum" = 1, "maximum" = 65535))]
    pub service_port: i32,
}

/// A certificate for hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressTls {
    /// The hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// The Secret with the certificate and its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// The status of TCPIngress and UDPIngress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// The addresses under which the ingress is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<IngressLoadBalancerStatus>,
}

/// A second face of a Service, with annotations of its own, usable as an Ingress backend.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "incubator.ingress-controller.konghq.com",
    version = "v1alpha1",
    kind = "KongServiceFacade",
    plural = "kongservicefacades",
    shortname = "ksf",
    namespaced,
    status = "Conditions",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp","description":"Age"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct KongServiceFacadeSpec {
    /// The Service behind the facade.
    pub backend_ref: FacadeBackend,
}

/// A Service and its port, in the facade's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FacadeBackend {
    /// The Service.
    pub name: String,
    /// The number of the Service's port.
    pub port: i32,
}

/// Settings of an IngressClass.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "configuration.konghq.com",
    version = "v1alpha1",
    kind = "IngressClassParameters",
    plural = "ingressclassparameterses",
    shortname = "icp",
    category = "kong-ingress-controller",
    namespaced,
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct IngressClassParametersSpec {
    /// Whether traffic goes to the Services' cluster addresses instead of their endpoints.
    #[serde(default)]
    pub service_upstream: bool,
    /// Whether a path with characters unusual in paths is taken for a regular expression.
    #[serde(default)]
    pub enable_legacy_regex_detection: bool,
}
