//! The kinds of Kong Ingress Controller, with its groups, versions and names.
//!
//! Objects that exist in a cluster keep their meaning: Flotilla reads them as they are. Two of the
//! older kinds carry their fields beside `metadata` instead of under `spec`; for those
//! [`kube::Resource`] is written out by the macro below, the others derive it.

pub mod consumer;
mod crd;
pub mod custom;
pub mod ingress;
pub mod plugin;
pub mod upstream;

pub use consumer::{KongConsumer, KongConsumerGroup};
pub use crd::crds;
pub use custom::{KongCustomEntity, KongCustomEntitySpec, KongLicense, KongVault, KongVaultSpec};
pub use ingress::{
    IngressClassParameters, IngressClassParametersSpec, KongServiceFacade, KongServiceFacadeSpec,
    TcpIngress, TcpIngressSpec, UdpIngress, UdpIngressSpec,
};
pub use plugin::{KongClusterPlugin, KongPlugin};
pub use upstream::{KongIngress, KongUpstreamPolicy, KongUpstreamPolicySpec};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The group of most of Kong's kinds.
pub const GROUP: &str = "configuration.konghq.com";

/// The status of a kind that only has conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conditions {
    /// What is known about the object; `Programmed` says whether proxies hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Implements [`kube::Resource`] for a kind whose fields stand beside `metadata`.
macro_rules! root_kind {
    ($type:ty, $kind:literal, $version:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;
            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::kong::GROUP.into()
            }
            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(
                &mut self,
            ) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use root_kind;
