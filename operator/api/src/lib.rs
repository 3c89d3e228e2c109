//! The Kubernetes kinds that Flotilla defines.
//!
//! [`ProxyFleet`] is what a person asks for: one fleet of proxies that all serve the same
//! configuration. [`ProxyInstance`] is what the operator answers with: one object per proxy pod that
//! says what this proxy holds and serves. The custom resource definitions under `crds/` are generated
//! from these types (`flotilla crds`), and a test fails when they are stale.
//!
//! This crate knows types only: it never talks to a cluster and knows nothing of Kong.

mod condition;
mod fleet;
mod instance;
pub mod kong;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use crate::condition::{Conditions, condition};
pub use crate::fleet::{
    ACKNOWLEDGE_INSECURE, CertManager, Database, Discovery, Drift, FleetCounts, Guards,
    IdentityMode, Issuer, IssuerRef, ProxyFleet, ProxyFleetSpec, ProxyFleetStatus, Publish,
    SecretSource, Tls, Vault,
};
pub use crate::instance::{
    Endpoint, IdentityProof, InstanceIdentity, LastApply, ObjectRef, PodRef, ProxyInfo,
    ProxyInstance, ProxyInstanceSpec, ProxyInstanceStatus, RejectedEntity, Reported, RevisionRef,
    SyncState, Verified,
};

/// The API group of every kind here.
pub const GROUP: &str = "flotilla.dev";

/// The version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// The name under which the operator applies objects and statuses.
pub const FIELD_MANAGER: &str = "flotilla";

/// Returns the custom resource definitions of all kinds, in the order in which they are printed.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![ProxyFleet::crd(), ProxyInstance::crd()]
}

/// Returns the name of the file that holds `crd`.
#[must_use]
pub fn crd_file(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// Prints `crd` as YAML.
///
/// # Errors
/// Never for a definition of [`crds`].
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!(
        "# Generated from the types in operator/api; `UPDATE=1 cargo test -p operator-api` rewrites it.\n{}",
        serde_saphyr::to_string(crd)?
    ))
}
