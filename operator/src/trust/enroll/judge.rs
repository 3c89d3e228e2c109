//! Decides who an asking proxy is, with the API server's help.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::PostParams;
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, Client};
use operator_api::ProxyFleet;
use operator_core::trust::{ENROLLMENT_AUDIENCE, PodIdentity};
use tokio::time::timeout;

use super::Refusal;
use crate::trust::Purpose;
use crate::watch::{Store, Stores};

/// How long one question to the API server may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Labels of an object.
type Labels = BTreeMap<String, String>;

/// Reviews tokens and looks pods up.
#[derive(Clone)]
pub struct Judge {
    client: Client,
    fleets: Arc<Store<ProxyFleet>>,
    services: Arc<Store<Service>>,
    trust_domain: String,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Judge")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// What a good token says.
#[derive(Debug, Eq, PartialEq)]
struct Claims {
    namespace: String,
    service_account: String,
    pod_name: String,
    pod_uid: String,
}

impl Judge {
    /// A judge that believes the API server and knows the fleets from `stores`.
    #[must_use]
    pub fn new(client: Client, stores: &Stores, trust_domain: String) -> Self {
        let (fleets, services) = (stores.fleets.clone(), stores.services.clone());
        Self { client, fleets, services, trust_domain }
    }

    /// Says whom a certificate for the holder of `token` is for.
    ///
    /// # Errors
    /// When there is none for it, or nobody can tell now.
    pub async fn judge(&self, token: &str) -> Result<(PodIdentity, Purpose), Refusal> {
        let claims = self.review(token).await?;
        let pod = self.pod(&claims).await?;
        check_pod(&claims, &pod)?;
        let labels = pod.metadata.labels.unwrap_or_default();
        if !self.belongs(&claims.namespace, &labels) {
            let Claims { namespace, pod_name, .. } = &claims;
            return Err(Refusal::Forbidden(format!(
                "no ProxyFleet of namespace {namespace} discovers pod {pod_name}"
            )));
        }
        let Claims { namespace, service_account, pod_name: _, pod_uid } = claims;
        let trust_domain = self.trust_domain.clone();
        let identity = PodIdentity { trust_domain, namespace, service_account, pod_uid };
        let addresses = pod.status.and_then(|status| status.pod_ips).unwrap_or_default();
        let addresses: Vec<IpAddr> =
            addresses.iter().filter_map(|address| address.ip.parse().ok()).collect();
        let purpose =
            Purpose { uris: vec![identity.to_string()], addresses, dns_names: Vec::new() };
        Ok((identity, purpose))
    }

    async fn review(&self, token: &str) -> Result<Claims, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![ENROLLMENT_AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let review = ask(api.create(&PostParams::default(), &review)).await?;
        let status = review.status.unwrap_or_default();
        // A server that ignores audiences answers without them: that proves nothing.
        let bound =
            status.audiences.unwrap_or_default().iter().any(|one| one == ENROLLMENT_AUDIENCE);
        if status.authenticated != Some(true) || !bound {
            return Err(Refusal::Unauthenticated { audience: ENROLLMENT_AUDIENCE });
        }
        claims(&status.user.unwrap_or_default())
            .ok_or_else(|| Refusal::Forbidden("the token is not bound to a pod".to_owned()))
    }

    async fn pod(&self, claims: &Claims) -> Result<Pod, Refusal> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &claims.namespace);
        let pod = ask(api.get_opt(&claims.pod_name)).await?;
        pod.ok_or_else(|| Refusal::Forbidden(format!("pod {} does not exist", claims.pod_name)))
    }

    /// Whether a fleet of the namespace discovers pods with these labels.
    fn belongs(&self, namespace: &str, labels: &Labels) -> bool {
        let fleets = self.fleets.list();
        let mut here =
            fleets.iter().filter(|fleet| fleet.metadata.namespace.as_deref() == Some(namespace));
        here.any(|fleet| {
            let discovery = &fleet.spec.discovery;
            let services = self.services.list();
            let mut named = services.iter().filter(|service| {
                let meta = &service.metadata;
                meta.namespace.as_deref() == Some(namespace)
                    && (meta.name.as_ref().is_some_and(|name| discovery.services.contains(name))
                        || selects(discovery.selector.as_ref(), meta.labels.as_ref()))
            });
            named.any(|service| targets(service, labels))
        })
    }
}

fn selects(selector: Option<&LabelSelector>, labels: Option<&Labels>) -> bool {
    let selector = selector.map(|selector| Selector::try_from(selector.clone()));
    let Some(Ok(selector)) = selector else { return false };
    selector.matches(labels.unwrap_or(&Labels::new()))
}

/// Whether the selector of a Service takes pods with these labels.
fn targets(service: &Service, labels: &Labels) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// Reads the pod that a token is bound to.
fn claims(user: &UserInfo) -> Option<Claims> {
    let name = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?;
    let (namespace, service_account) = name.split_once(':')?;
    let extra = |what: &str| {
        let key = format!("authentication.kubernetes.io/{what}");
        user.extra.as_ref()?.get(&key)?.first().cloned()
    };
    Some(Claims {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod_name: extra("pod-name")?,
        pod_uid: extra("pod-uid")?,
    })
}

fn check_pod(claims: &Claims, pod: &Pod) -> Result<(), Refusal> {
    let Claims { namespace: _, service_account, pod_name, pod_uid } = claims;
    if pod.metadata.uid.as_ref() != Some(pod_uid) {
        return Err(Refusal::Forbidden(format!("pod {pod_name} is not the one of the token")));
    }
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_ref());
    if account != Some(service_account) {
        return Err(Refusal::Forbidden(format!("pod {pod_name} runs under another account")));
    }
    Ok(())
}

async fn ask<T>(question: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    match timeout(REQUEST, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Refusal::Unavailable(Some(Box::new(error)))),
        Err(_) => Err(Refusal::Unavailable(None)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(extra: &serde_json::Value) -> UserInfo {
        let name = "system:serviceaccount:gw:proxy";
        serde_json::from_value(json!({ "username": name, "extra": extra })).unwrap()
    }

    fn good() -> Claims {
        let extra = json!({
            "authentication.kubernetes.io/pod-name": ["proxy-0"],
            "authentication.kubernetes.io/pod-uid": ["uid-0"],
        });
        claims(&user(&extra)).unwrap()
    }

    fn pod(uid: &str, account: &str) -> Pod {
        let spec = json!({ "serviceAccountName": account, "containers": [] });
        serde_json::from_value(json!({ "metadata": { "uid": uid }, "spec": spec })).unwrap()
    }

    #[test]
    fn token_of_a_pod_names_its_pod() {
        let claims = good();
        assert_eq!((claims.namespace.as_str(), claims.pod_uid.as_str()), ("gw", "uid-0"));
    }

    #[test]
    fn token_that_is_bound_to_no_pod_is_refused() {
        assert_eq!(claims(&user(&json!({}))), None);
    }

    #[test]
    fn pod_that_took_the_name_of_the_tokens_pod_is_refused() {
        assert!(check_pod(&good(), &pod("uid-0", "proxy")).is_ok());
        assert!(check_pod(&good(), &pod("uid-1", "proxy")).is_err());
    }

    #[test]
    fn pod_of_another_account_is_refused() {
        assert!(check_pod(&good(), &pod("uid-0", "default")).is_err());
    }

    #[test]
    fn service_without_a_selector_targets_nobody() {
        let service: Service =
            serde_json::from_value(json!({ "metadata": {}, "spec": {} })).unwrap();
        assert!(!targets(&service, &Labels::new()));
    }
}
