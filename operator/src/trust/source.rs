//! Identities that somebody else issues: read from Secrets of the fleet's namespace. Steps with IO.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use operator_api::ProxyFleet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::ClientIdentity;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Why a fleet's own identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The spec names no Secrets.
    #[error("tls.secret is missing")]
    Unnamed,
    /// The API server refused or failed.
    #[error("failed to read Secret {0}")]
    Api(String, #[source] Box<kube::Error>),
    /// The API server did not answer.
    #[error("failed to read Secret {0}: no answer in time")]
    Slow(String),
    /// There is no such Secret.
    #[error("Secret {0} does not exist")]
    Absent(String),
    /// The Secret has no such key, or its value is not text.
    #[error("Secret {0} has no key {1}")]
    Key(String, &'static str),
    /// The parts do not make an identity.
    #[error("the certificates of the fleet cannot be used")]
    Unusable(#[from] runtime::tls::TlsError),
}

/// Reads the identity that the Secrets of a fleet make.
///
/// # Errors
/// When a Secret or a key is missing, or the parts do not fit.
pub(super) async fn from_secrets(
    client: &Client,
    fleet: &ProxyFleet,
) -> Result<ClientIdentity, SourceError> {
    let names = fleet.spec.tls.secret.as_ref().ok_or(SourceError::Unnamed)?;
    let namespace = fleet.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let server = read(&api, &names.server_ca).await?;
    let own = read(&api, &names.client).await?;
    let roots = text(&server, &names.server_ca, "ca.crt")?;
    let chain = text(&own, &names.client, "tls.crt")?;
    let key = text(&own, &names.client, "tls.key")?;
    Ok(ClientIdentity::from_pem(&chain, &key, &roots)?)
}

async fn read(api: &Api<Secret>, name: &str) -> Result<Secret, SourceError> {
    match timeout(REQUEST, api.get_opt(name)).await {
        Ok(Ok(Some(secret))) => Ok(secret),
        Ok(Ok(None)) => Err(SourceError::Absent(name.to_owned())),
        Ok(Err(error)) => Err(SourceError::Api(name.to_owned(), Box::new(error))),
        Err(_) => Err(SourceError::Slow(name.to_owned())),
    }
}

fn text(secret: &Secret, name: &str, key: &'static str) -> Result<Zeroizing<String>, SourceError> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let text = value.and_then(|value| String::from_utf8(value.0.clone()).ok());
    text.map(Zeroizing::new).ok_or_else(|| SourceError::Key(name.to_owned(), key))
}
