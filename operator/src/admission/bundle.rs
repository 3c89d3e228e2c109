//! Keeps the authority of the webhook's certificate in the ValidatingWebhookConfiguration, so that the API server
//! trusts the webhook however often the authority is replaced. Steps with IO.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use operator_api::FIELD_MANAGER;
use runtime::Shutdown;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::trust::BuiltIn;

/// The pause after a failed write.
const RETRY: Duration = Duration::from_secs(5);

/// What is kept where.
pub struct Bundle {
    /// The way to the API server.
    pub client: Client,
    /// The name of the ValidatingWebhookConfiguration; it may be missing, and come later.
    pub configuration: String,
    /// The authorities; `None` until they are settled.
    pub authorities: watch::Receiver<Option<Arc<BuiltIn>>>,
}

/// Keeps it until shutdown.
///
/// # Errors
/// Never: what fails is tried again.
pub async fn keep(bundle: Bundle, shutdown: Shutdown) -> anyhow::Result<()> {
    let Bundle { client, configuration, mut authorities } = bundle;
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
    let only = watcher::Config::default().fields(&format!("metadata.name={configuration}"));
    let mut seen = Box::pin(watcher(api.clone(), only).default_backoff().applied_objects());
    let mut held: Option<ValidatingWebhookConfiguration> = None;
    let mut failed = false;
    loop {
        // Biased: the end first; the others each only begin the next round.
        tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(()),
            Some(event) = seen.next() => match event {
                Ok(object) => held = Some(object),
                Err(error) => {
                    warn!(configuration, %error, "webhook configuration not seen, trying again");
                    continue;
                }
            },
            Ok(()) = authorities.changed() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
        let authority = authorities.borrow_and_update().clone();
        let (Some(object), Some(authority)) = (&held, authority) else { continue };
        let pem = authority.server.bundle();
        let Some(patch) = patch(object, &configuration, pem.as_bytes()) else {
            failed = false;
            continue;
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        failed = match api.patch(&configuration, &params, &Patch::Apply(&patch)).await {
            Ok(object) => {
                info!(configuration, "webhook's authority published");
                held = Some(object);
                false
            }
            Err(error) => {
                warn!(configuration, %error, "webhook's authority not published, trying again");
                true
            }
        };
    }
}

/// The change that gives every webhook of `object` the authority; `None` when all have it.
fn patch(object: &ValidatingWebhookConfiguration, name: &str, pem: &[u8]) -> Option<Value> {
    let webhooks = object.webhooks.as_deref().unwrap_or_default();
    let bundle = ByteString(pem.to_vec());
    if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle)) {
        return None;
    }
    let webhooks: Vec<Value> = webhooks
        .iter()
        .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": webhooks,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(bundles: [Option<&str>; 2]) -> ValidatingWebhookConfiguration {
        let webhooks: Vec<Value> = bundles
            .iter()
            .enumerate()
            .map(|(at, bundle)| {
                let bundle = bundle.map(|text| ByteString(text.as_bytes().to_vec()));
                json!({
                    "name": format!("{at}.flotilla.dev"), "sideEffects": "None",
                    "admissionReviewVersions": ["v1"], "clientConfig": {"caBundle": bundle},
                })
            })
            .collect();
        serde_json::from_value(json!({ "metadata": {}, "webhooks": webhooks })).unwrap()
    }

    #[test]
    fn every_webhook_gets_the_authority_and_nothing_is_written_twice() {
        let stale = configuration([Some("new"), Some("old")]);
        let patch = patch(&stale, "flotilla", b"new").unwrap();
        assert_eq!(patch["webhooks"][1]["name"], "1.flotilla.dev");
        assert_eq!(patch["webhooks"][0]["clientConfig"]["caBundle"], "bmV3");
        assert_eq!(super::patch(&configuration([Some("new"); 2]), "flotilla", b"new"), None);
    }
}
