//! Keeps the authorities in Secrets of the operator's namespace. Steps with IO; what to do is decided
//! by [`operator_core::trust`].
//!
//! Every write is a compare-and-swap: two operators that start at once end with one authority, and of
//! two that replace it at once one finds that the other did.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use operator_core::trust::AuthorityStep;
use tokio::time::timeout;
use tracing::{info, warn};

use super::authority::{AuthorityError, Role};
use super::keyring::Keyring;

/// The type of the Secrets: watches of ordinary Secrets leave it out, so that no Ingress can name an
/// authority as its certificate.
pub const SECRET_TYPE: &str = "flotilla.dev/authority";

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// How often a lost race is run again.
const RACES: usize = 8;

/// Why an authority could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The API server refused or failed.
    #[error("failed to reach Secret {name}")]
    Api {
        /// The Secret.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer.
    #[error("failed to reach Secret {0}: no answer in time")]
    Slow(&'static str),
    /// The Secret holds something else, or the machine yields no key. It is never overwritten.
    #[error("failed to use Secret {name}")]
    Authority {
        /// The Secret.
        name: &'static str,
        /// Why.
        #[source]
        source: AuthorityError,
    },
    /// Somebody else wrote first, again and again.
    #[error("failed to write Secret {0}: others keep writing it")]
    Contested(&'static str),
}

/// The name of the Secret of an authority.
#[must_use]
pub fn secret_name(role: Role) -> &'static str {
    match role {
        Role::Server => "flotilla-server-ca",
        Role::Client => "flotilla-client-ca",
    }
}

/// Reads the authority of `role`, makes it if there is none, and takes every step that is due.
///
/// # Errors
/// When the API server cannot be reached, or the Secret holds something else.
pub async fn settle(
    client: &Client,
    namespace: &str,
    role: Role,
    now: i64,
) -> Result<Keyring, CustodyError> {
    let name = secret_name(role);
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let wrong = |source| CustodyError::Authority { name, source };
    for _ in 0..RACES {
        let found = call(name, api.get_opt(name)).await?;
        let held = found.as_ref().and_then(|secret| secret.data.as_ref());
        let held = held.filter(|data| data.contains_key("tls.crt"));
        let (mut keyring, mut changed) = match held {
            Some(data) => {
                let data = data.iter().map(|(key, value)| (key.clone(), value.0.clone()));
                let data: BTreeMap<_, _> = data.collect();
                (Keyring::read(role, &data).map_err(wrong)?, false)
            }
            None => (Keyring::make(role, now).map_err(wrong)?, true),
        };
        loop {
            let step = keyring.step(now);
            if let AuthorityStep::Keep { until: _ } = step {
                break;
            }
            info!(authority = role.word(), step = ?step, "replacing authority");
            keyring = keyring.apply(step, now).map_err(wrong)?;
            changed = true;
        }
        if !changed || write(&api, name, found, &keyring).await? {
            return Ok(keyring);
        }
        warn!(authority = role.word(), "another operator wrote the authority first");
    }
    Err(CustodyError::Contested(name))
}

/// Writes a keyring over what was read. `false`: somebody else was first.
async fn write(
    api: &Api<Secret>,
    name: &'static str,
    found: Option<Secret>,
    keyring: &Keyring,
) -> Result<bool, CustodyError> {
    let data = keyring.write().into_iter().map(|(key, value)| (key, ByteString(value))).collect();
    let params = PostParams { field_manager: Some("flotilla".to_owned()), ..PostParams::default() };
    let written = match found {
        // The resource version that was read travels with the object: a newer one is refused.
        Some(mut secret) => {
            secret.data = Some(data);
            call(name, api.replace(name, &params, &secret)).await
        }
        None => {
            let secret = Secret {
                metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
                type_: Some(SECRET_TYPE.to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            call(name, api.create(&params, &secret)).await
        }
    };
    match written {
        Ok(_) => Ok(true),
        Err(CustodyError::Api { name: _, source }) if is_conflict(&source) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

async fn call<T>(
    name: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, CustodyError> {
    match timeout(REQUEST, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CustodyError::Api { name, source: Box::new(source) }),
        Err(_) => Err(CustodyError::Slow(name)),
    }
}

#[cfg(test)]
mod tests;
