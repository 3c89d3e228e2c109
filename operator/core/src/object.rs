//! Names of Kubernetes objects: the kinds that are read, and references to objects of them.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::gateway_api as gateway;
use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use operator_api::kong as kinds;

use crate::secret::Secret;
use serde::{Serialize, Serializer};

/// Declares every kind that is read: variant, group, version, name, namespaced.
macro_rules! kinds {
    ($($variant:ident, $group:literal, $version:literal, $name:literal, $namespaced:literal;)*) => {
        /// A kind that the translation reads, in the version whose name entities are tagged with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = $name] $variant,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The API group; empty for the core group.
            #[must_use]
            pub const fn group(self) -> &'static str {
                match self { $(Self::$variant => $group,)* }
            }

            /// The version.
            #[must_use]
            pub const fn version(self) -> &'static str {
                match self { $(Self::$variant => $version,)* }
            }

            /// The name, as in manifests.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The tags of entities that come from an object of the kind: for the kind, the group and the version.
            #[must_use]
            pub(crate) const fn tags(self) -> [&'static str; 3] {
                match self {
                    $(Self::$variant => [
                        concat!("k8s-kind:", $name),
                        concat!("k8s-group:", $group),
                        concat!("k8s-version:", $version),
                    ],)*
                }
            }

            /// Whether objects of the kind live in namespaces.
            #[must_use]
            pub const fn namespaced(self) -> bool {
                match self { $(Self::$variant => $namespaced,)* }
            }
        }
    };
}

kinds! {
    Namespace, "", "v1", "Namespace", false;
    Service, "", "v1", "Service", true;
    Secret, "", "v1", "Secret", true;
    ConfigMap, "", "v1", "ConfigMap", true;
    EndpointSlice, "discovery.k8s.io", "v1", "EndpointSlice", true;
    IngressClass, "networking.k8s.io", "v1", "IngressClass", false;
    Ingress, "networking.k8s.io", "v1", "Ingress", true;
    GatewayClass, "gateway.networking.k8s.io", "v1", "GatewayClass", false;
    Gateway, "gateway.networking.k8s.io", "v1", "Gateway", true;
    ListenerSet, "gateway.networking.k8s.io", "v1", "ListenerSet", true;
    HttpRoute, "gateway.networking.k8s.io", "v1", "HTTPRoute", true;
    GrpcRoute, "gateway.networking.k8s.io", "v1", "GRPCRoute", true;
    TlsRoute, "gateway.networking.k8s.io", "v1alpha2", "TLSRoute", true;
    TcpRoute, "gateway.networking.k8s.io", "v1alpha2", "TCPRoute", true;
    UdpRoute, "gateway.networking.k8s.io", "v1alpha2", "UDPRoute", true;
    ReferenceGrant, "gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", true;
    BackendTlsPolicy, "gateway.networking.k8s.io", "v1alpha3", "BackendTLSPolicy", true;
    KongPlugin, "configuration.konghq.com", "v1", "KongPlugin", true;
    KongClusterPlugin, "configuration.konghq.com", "v1", "KongClusterPlugin", false;
    KongConsumer, "configuration.konghq.com", "v1", "KongConsumer", true;
    KongConsumerGroup, "configuration.konghq.com", "v1beta1", "KongConsumerGroup", true;
    KongUpstreamPolicy, "configuration.konghq.com", "v1beta1", "KongUpstreamPolicy", true;
    KongIngress, "configuration.konghq.com", "v1", "KongIngress", true;
    KongVault, "configuration.konghq.com", "v1alpha1", "KongVault", false;
    KongCustomEntity, "configuration.konghq.com", "v1alpha1", "KongCustomEntity", true;
    KongLicense, "configuration.konghq.com", "v1alpha1", "KongLicense", false;
    TcpIngress, "configuration.konghq.com", "v1beta1", "TCPIngress", true;
    UdpIngress, "configuration.konghq.com", "v1beta1", "UDPIngress", true;
    IngressClassParameters, "configuration.konghq.com", "v1alpha1", "IngressClassParameters", true;
    KongServiceFacade, "incubator.ingress-controller.konghq.com", "v1alpha1", "KongServiceFacade", true;
}

impl Kind {
    /// Finds a kind by group and name; the version is not asked for.
    #[must_use]
    pub fn find(group: &str, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name && kind.group() == group)
    }

    /// Finds a kind by its name alone, as on a command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Which object is meant: kind, namespace (empty where the kind has none), name and uid.
///
/// References order and compare without the uid, which is empty for an object that exists only in a file.
#[derive(Clone, Debug, Eq)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// The namespace, or nothing.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid, or nothing.
    pub uid: String,
}

impl ObjectRef {
    /// Names an object that may not exist.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into(), uid: String::new() }
    }

    /// Names `object`.
    #[must_use]
    pub fn of<K: Object>(object: &K) -> Self {
        Self::of_meta(K::KIND, object.meta())
    }

    /// Names the object of a kind with this metadata.
    #[must_use]
    pub fn of_meta(kind: Kind, meta: &ObjectMeta) -> Self {
        Self {
            kind,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// What it is compared by.
    pub(crate) fn key(&self) -> (Kind, &str, &str) {
        (self.kind, &self.namespace, &self.name)
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Ord for ObjectRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for ObjectRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for ObjectRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An object of a kind that is read.
pub trait Object {
    /// The kind.
    const KIND: Kind;

    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;

    /// The name; empty if absent, which the API server forbids.
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// The namespace; empty for objects outside namespaces.
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// The uid; empty for an object that exists only in a file.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// The value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }

    /// A reference to the object.
    fn reference(&self) -> ObjectRef
    where
        Self: Sized,
    {
        ObjectRef::of(self)
    }
}

impl<K: Object> Object for Arc<K> {
    const KIND: Kind = K::KIND;

    fn meta(&self) -> &ObjectMeta {
        (**self).meta()
    }
}

/// Orders objects by Kubernetes' custom: oldest first, then namespace and name.
///
/// An object without a creation time exists only in a file and counts as the oldest.
#[must_use]
pub fn by_age<K: Object>(a: &K, b: &K) -> Ordering {
    let key = |object: &K| object.meta().creation_timestamp.as_ref().map(|time| time.0);
    key(a)
        .cmp(&key(b))
        .then_with(|| a.namespace().cmp(b.namespace()))
        .then_with(|| a.name().cmp(b.name()))
}

macro_rules! objects {
    ($($variant:ident => $type:ty;)*) => {
        $(impl Object for $type {
            const KIND: Kind = Kind::$variant;
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
        })*
    };
}

objects! {
    Namespace => core::Namespace;
    Service => core::Service;
    Secret => Secret;
    ConfigMap => core::ConfigMap;
    EndpointSlice => discovery::EndpointSlice;
    IngressClass => networking::IngressClass;
    Ingress => networking::Ingress;
    GatewayClass => gateway::GatewayClass;
    Gateway => gateway::Gateway;
    ListenerSet => gateway::ListenerSet;
    HttpRoute => gateway::HttpRoute;
    GrpcRoute => gateway::GrpcRoute;
    TlsRoute => gateway::TlsRoute;
    TcpRoute => gateway::TcpRoute;
    UdpRoute => gateway::UdpRoute;
    ReferenceGrant => gateway::ReferenceGrant;
    BackendTlsPolicy => gateway::BackendTlsPolicy;
    KongPlugin => kinds::KongPlugin;
    KongClusterPlugin => kinds::KongClusterPlugin;
    KongConsumer => kinds::KongConsumer;
    KongConsumerGroup => kinds::KongConsumerGroup;
    KongUpstreamPolicy => kinds::KongUpstreamPolicy;
    KongIngress => kinds::KongIngress;
    KongVault => kinds::KongVault;
    KongCustomEntity => kinds::KongCustomEntity;
    KongLicense => kinds::KongLicense;
    TcpIngress => kinds::TcpIngress;
    UdpIngress => kinds::UdpIngress;
    IngressClassParameters => kinds::IngressClassParameters;
    KongServiceFacade => kinds::KongServiceFacade;
}
