//! Which Secrets the objects of a cluster refer to: only the contents of these are ever read.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Snapshot;
use crate::annotations;
use crate::object::Object;

/// Labels by which a Secret offers itself: as a credential, as an authority, as a plugin's configuration.
const OFFERS: [&str; 3] = ["konghq.com/credential", "konghq.com/ca-cert", "konghq.com/validate"];

/// Annotations that name Secrets.
const NAMING: [&str; 2] = ["konghq.com/client-cert", "konghq.com/ca-certificates-secrets"];

/// Secrets by namespace and name.
pub type Wanted = BTreeSet<(String, String)>;

/// Whether a Secret with these labels is read though nothing may refer to it yet.
#[must_use]
pub fn is_offered(meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    labels.is_some_and(|labels| OFFERS.iter().any(|offer| labels.contains_key(*offer)))
}

impl Snapshot {
    /// The Secrets that objects refer to, whether they exist or not.
    #[must_use]
    pub fn wanted_secrets(&self) -> Wanted {
        let mut all = Wanted::new();
        self.of_ingresses(&mut all);
        self.of_gateways(&mut all);
        self.of_plugins(&mut all);
        for consumer in &self.kong_consumers {
            let names = consumer.credentials.iter().flatten();
            all.extend(names.map(|name| key(consumer.namespace(), name)));
        }
        for service in &self.services {
            annotated(&**service, &mut all);
        }
        for facade in &self.kong_service_facades {
            annotated(&**facade, &mut all);
        }
        all
    }

    fn of_ingresses(&self, all: &mut Wanted) {
        for ingress in &self.ingresses {
            let tls = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
            let names = tls.filter_map(|tls| tls.secret_name.as_deref());
            all.extend(names.map(|name| key(ingress.namespace(), name)));
        }
        for ingress in &self.tcp_ingresses {
            let names =
                ingress.spec.tls.iter().flatten().filter_map(|it| it.secret_name.as_deref());
            all.extend(names.map(|name| key(ingress.namespace(), name)));
        }
    }

    fn of_gateways(&self, all: &mut Wanted) {
        let own = self.gateways.iter().map(|it| (it.namespace(), &it.spec.listeners));
        let added = self.listener_sets.iter().map(|it| (it.namespace(), &it.spec.listeners));
        for (namespace, listeners) in own.chain(added) {
            let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
            for named in tls.flat_map(|tls| &tls.certificate_refs) {
                all.insert(key(named.namespace.as_deref().unwrap_or(namespace), &named.name));
            }
        }
        for gateway in &self.gateways {
            let tls = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
            if let Some(named) = tls.and_then(|tls| tls.client_certificate_ref.as_ref()) {
                let namespace = named.namespace.as_deref().unwrap_or(gateway.namespace());
                all.insert(key(namespace, &named.name));
            }
        }
        for policy in &self.backend_tls_policies {
            let authorities = policy.spec.validation.ca_certificate_refs.iter();
            let secrets = authorities.filter(|authority| authority.kind == "Secret");
            all.extend(secrets.map(|secret| key(policy.namespace(), &secret.name)));
        }
    }

    fn of_plugins(&self, all: &mut Wanted) {
        for plugin in &self.kong_plugins {
            let whole = plugin.config_from.iter();
            let parts = plugin.config_patches.iter().map(|patch| &patch.value_from);
            let names = whole.chain(parts).map(|from| from.secret_key_ref.name.as_str());
            all.extend(names.map(|name| key(plugin.namespace(), name)));
        }
        for plugin in &self.kong_cluster_plugins {
            let whole = plugin.config_from.iter();
            let parts = plugin.config_patches.iter().map(|patch| &patch.value_from);
            let refs = whole.chain(parts).map(|from| &from.secret_key_ref);
            all.extend(refs.map(|secret| key(&secret.namespace, &secret.name)));
        }
    }
}

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

fn annotated<K: Object>(object: &K, all: &mut Wanted) {
    for naming in NAMING {
        let names = object.annotation(naming).into_iter().flat_map(annotations::list);
        all.extend(names.map(|name| key(object.namespace(), name)));
    }
}
