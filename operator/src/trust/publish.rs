//! Publishes what others need in order to trust: the public bundles, in a ConfigMap of each
//! namespace that holds a fleet, and the certificate that the proxies of a `Shared` fleet read.
//! Steps with IO.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, Resource as _};
use operator_api::{FIELD_MANAGER, ProxyFleet};
use operator_core::trust::{LeafStep, leaf_step};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::timeout;

use super::authority::Purpose;
use super::inspect;
use super::keyring::{BuiltIn, IdentityError};

/// The ConfigMap with the public bundles.
pub const CONFIG_MAP: &str = "flotilla-trust";

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Why something could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The API server refused or failed.
    #[error("failed to publish {0}")]
    Api(String, #[source] Box<kube::Error>),
    /// The API server did not answer.
    #[error("failed to publish {0}: no answer in time")]
    Slow(String),
    /// The certificate could not be made.
    #[error("failed to issue the shared certificate of {0}")]
    Issue(String, #[source] Box<IdentityError>),
}

/// Publishes the bundles in `namespace`. A write that changes nothing is not made.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn bundles(
    client: &Client,
    namespace: &str,
    built_in: &BuiltIn,
) -> Result<(), PublishError> {
    let what = || format!("ConfigMap {namespace}/{CONFIG_MAP}");
    let server = built_in.server.bundle();
    let data: BTreeMap<String, String> = [
        ("enrollment-ca.crt", server.clone()),
        ("server-ca.crt", server),
        ("client-ca.crt", built_in.client.bundle()),
    ]
    .map(|(key, bundle)| (key.to_owned(), bundle))
    .into();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = call(what(), api.get_opt(CONFIG_MAP)).await?;
    if found.and_then(|map| map.data).as_ref() == Some(&data) {
        return Ok(());
    }
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(CONFIG_MAP.to_owned()), ..ObjectMeta::default() },
        data: Some(data),
        ..ConfigMap::default()
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    call(what(), api.patch(CONFIG_MAP, &params, &Patch::Apply(&map))).await?;
    Ok(())
}

/// The Secret that the proxies of a `Shared` fleet read their certificate from.
#[must_use]
pub fn shared_secret(fleet: &str) -> String {
    format!("{fleet}-proxy-tls")
}

/// Keeps the shared certificate of `fleet` fresh. Returns when it wants to be looked at again.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn shared(
    client: &Client,
    fleet: &ProxyFleet,
    server_name: &str,
    built_in: &BuiltIn,
    now: i64,
) -> Result<i64, PublishError> {
    let meta = fleet.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let owner = meta.name.as_deref().unwrap_or_default();
    let name = shared_secret(owner);
    let what = || format!("Secret {namespace}/{name}");
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let clients = built_in.client.bundle();
    let found = call(what(), api.get_opt(&name)).await?;
    if let Some(until) =
        found.as_ref().and_then(|held| good_until(held, server_name, &clients, now))
    {
        return Ok(until);
    }
    let purpose = Purpose { dns_names: vec![server_name.to_owned()], ..Purpose::default() };
    let issued = built_in.shared_leaf(&purpose, now);
    let issued = issued.map_err(|error| PublishError::Issue(what(), Box::new(error.into())))?;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data = [
        ("tls.crt", bytes(&issued.chain)),
        ("tls.key", bytes(&issued.key)),
        ("ca.crt", bytes(&clients)),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(vec![owned_by(fleet)]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..Secret::default()
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    call(what(), api.patch(&name, &params, &Patch::Apply(&secret))).await?;
    Ok(built_in.shared_validity(now).renew_at())
}

/// Until when the certificate in `held` may stay, if it may.
fn good_until(held: &Secret, server_name: &str, clients: &str, now: i64) -> Option<i64> {
    let data = held.data.as_ref()?;
    let leaf = CertificateDer::from_pem_slice(&data.get("tls.crt")?.0).ok()?;
    let leaf = inspect::certificate(&leaf).ok()?;
    let fits = leaf.dns_names.iter().any(|name| name == server_name)
        && data.get("ca.crt").is_some_and(|ca| ca.0 == clients.as_bytes());
    match leaf_step(now, leaf.validity(), fits) {
        LeafStep::Keep { until } => Some(until),
        LeafStep::Renew => None,
    }
}

fn owned_by(fleet: &ProxyFleet) -> OwnerReference {
    OwnerReference {
        api_version: ProxyFleet::api_version(&()).into_owned(),
        kind: ProxyFleet::kind(&()).into_owned(),
        name: fleet.metadata.name.clone().unwrap_or_default(),
        uid: fleet.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

async fn call<T>(
    what: String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, PublishError> {
    match timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(PublishError::Api(what, Box::new(error))),
        Err(_) => Err(PublishError::Slow(what)),
    }
}
