//! The Gateway API kinds as the translator reads them.
//!
//! Own structs and not generated ones, for three reasons: every version of a kind that Kong Ingress Controller
//! or a cluster serves (`v1alpha2` to `v1`) decodes into the same type; a value from a newer channel stays
//! readable (enumerations are open strings, unknown fields are skipped), so one new word never makes an object
//! unreadable; and what several kinds share (parents, backends, header lists) is one type here.
//! Nothing in this file decides anything; decisions live in `translate::gateway` and `status::gateway`.

mod gateway;
mod policy;
mod route;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

pub use gateway::{
    Address, AllowedListeners, AllowedRoutes, BackendTls, ClientValidation, FrontendTls,
    GatewayClassSpec, GatewayClassStatus, GatewaySpec, GatewayStatus, GatewayTls, Infrastructure,
    Listener, ListenerSetSpec, ListenerSetStatus, ListenerStatus, ListenerTls, NamespacePolicy,
    ParametersRef, PerPortTls, PortTls, RouteKind, SecretRef, SupportedFeature,
};
pub use policy::{
    BackendTlsPolicySpec, BackendTlsValidation, GrantFrom, GrantTo, LocalRef, PolicyAncestor,
    PolicyStatus, PolicyTargetRef, ReferenceGrantSpec, SubjectAltName,
};
pub use route::{
    BackendRef, CookieConfig, Cors, Fraction, GrpcMatch, GrpcMethod, GrpcRule, HeaderModifier,
    HeaderValue, HttpFilter, HttpMatch, HttpRule, ParentRef, PathMatch, PathModifier,
    RequestMirror, RequestRedirect, RouteParentStatus, RouteSpec, RouteStatus, SessionPersistence,
    StreamRule, Timeouts, UrlRewrite, ValueMatch,
};

/// The API group of every kind in this module.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Declares the kinds: type, name, plural, version that is asked for, scope, spec and status.
macro_rules! kinds {
    ($($(#[$doc:meta])* $type:ident, $kind:literal, $plural:literal, $version:literal, $scope:ty, $spec:ty, $status:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $type {
            /// The group and version that the object was read in.
            pub api_version: String,
            /// The kind's name.
            pub kind: String,
            /// Name, namespace, annotations and the rest.
            pub metadata: ObjectMeta,
            /// What the user wants.
            pub spec: $spec,
            /// What controllers wrote last, if anything.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub status: Option<$status>,
        }

        impl Resource for $type {
            const API_VERSION: &'static str = concat!("gateway.networking.k8s.io/", $version);
            const GROUP: &'static str = GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kinds! {
    /// A class of Gateways and the controller behind it.
    GatewayClass, "GatewayClass", "gatewayclasses", "v1", ClusterResourceScope, GatewayClassSpec, GatewayClassStatus;
    /// An entry point with its listeners.
    Gateway, "Gateway", "gateways", "v1", NamespaceResourceScope, GatewaySpec, GatewayStatus;
    /// Listeners that another object adds to a Gateway.
    ListenerSet, "ListenerSet", "listenersets", "v1", NamespaceResourceScope, ListenerSetSpec, ListenerSetStatus;
    /// Permission for references from other namespaces.
    ReferenceGrant, "ReferenceGrant", "referencegrants", "v1beta1", NamespaceResourceScope, ReferenceGrantSpec, NoStatus;
    /// How the proxy speaks TLS to a Service.
    BackendTlsPolicy, "BackendTLSPolicy", "backendtlspolicies", "v1", NamespaceResourceScope, BackendTlsPolicySpec, PolicyStatus;
    /// Routing of HTTP requests.
    HttpRoute, "HTTPRoute", "httproutes", "v1", NamespaceResourceScope, RouteSpec<HttpRule>, RouteStatus;
    /// Routing of gRPC calls.
    GrpcRoute, "GRPCRoute", "grpcroutes", "v1", NamespaceResourceScope, RouteSpec<GrpcRule>, RouteStatus;
    /// Routing of TLS connections by server name.
    TlsRoute, "TLSRoute", "tlsroutes", "v1", NamespaceResourceScope, RouteSpec<StreamRule>, RouteStatus;
    /// Routing of TCP connections by port.
    TcpRoute, "TCPRoute", "tcproutes", "v1alpha2", NamespaceResourceScope, RouteSpec<StreamRule>, RouteStatus;
    /// Routing of UDP datagrams by port.
    UdpRoute, "UDPRoute", "udproutes", "v1alpha2", NamespaceResourceScope, RouteSpec<StreamRule>, RouteStatus;
}

/// The status of a kind that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoStatus {}
