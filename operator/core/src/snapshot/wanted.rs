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
pub type Wanted<'s> = BTreeSet<(&'s str, &'s str)>;

/// Whether a Secret with these labels is read though nothing may refer to it yet.
#[must_use]
pub fn is_offered(meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    labels.is_some_and(|labels| OFFERS.iter().any(|offer| labels.contains_key(*offer)))
}

impl Snapshot {
    /// The Secrets that objects refer to, whether they exist or not.
    #[must_use]
    pub fn wanted_secrets(&self) -> Wanted<'_> {
        let mut all = Wanted::new();
        self.of_ingresses(&mut all);
        self.of_gateways(&mut all);
        self.of_plugins(&mut all);
        for consumer in &self.kong_consumers {
            let names = consumer.credentials.iter().flatten().map(String::as_str);
            all.extend(names.map(|name| (consumer.namespace(), name)));
        }
        for service in &self.services {
            annotated(&**service, &mut all);
        }
        for facade in &self.kong_service_facades {
            annotated(&**facade, &mut all);
        }
        all
    }

    fn of_ingresses<'s>(&'s self, all: &mut Wanted<'s>) {
        for ingress in &self.ingresses {
            let tls = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
            let names = tls.filter_map(|tls| tls.secret_name.as_deref());
            all.extend(names.map(|name| (ingress.namespace(), name)));
        }
        for ingress in &self.tcp_ingresses {
            let names =
                ingress.spec.tls.iter().flatten().filter_map(|it| it.secret_name.as_deref());
            all.extend(names.map(|name| (ingress.namespace(), name)));
        }
    }

    fn of_gateways<'s>(&'s self, all: &mut Wanted<'s>) {
        let own = self.gateways.iter().map(|it| (it.namespace(), &it.spec.listeners));
        let added = self.listener_sets.iter().map(|it| (it.namespace(), &it.spec.listeners));
        for (namespace, listeners) in own.chain(added) {
            let tls = listeners.iter().filter_map(|listener| listener.tls.as_ref());
            for named in tls.flat_map(|tls| &tls.certificate_refs) {
                all.insert((named.namespace.as_deref().unwrap_or(namespace), &*named.name));
            }
        }
        for gateway in &self.gateways {
            let tls = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
            if let Some(named) = tls.and_then(|tls| tls.client_certificate_ref.as_ref()) {
                let namespace = named.namespace.as_deref().unwrap_or(gateway.namespace());
                all.insert((namespace, &*named.name));
            }
        }
        for gateway in &self.gateways {
            let frontend = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
            let ports = frontend.into_iter().flat_map(|frontend| {
                frontend.per_port.iter().map(|one| &one.tls).chain([&frontend.default])
            });
            let validations = ports.filter_map(|tls| tls.validation.as_ref());
            let named = validations.flat_map(|validation| &validation.ca_certificate_refs);
            all.extend(named.filter(|named| named.kind.as_deref() == Some("Secret")).map(
                |named| (named.namespace.as_deref().unwrap_or(gateway.namespace()), &*named.name),
            ));
        }
        for policy in &self.backend_tls_policies {
            let authorities = policy.spec.validation.ca_certificate_refs.iter();
            let secrets = authorities.filter(|authority| authority.kind == "Secret");
            all.extend(secrets.map(|secret| (policy.namespace(), &*secret.name)));
        }
    }

    fn of_plugins<'s>(&'s self, all: &mut Wanted<'s>) {
        for plugin in &self.kong_plugins {
            all.extend(plugin.secret_keys().map(|key| (plugin.namespace(), key.name.as_str())));
        }
        for plugin in &self.kong_cluster_plugins {
            all.extend(plugin.secret_keys().map(|key| (&*key.namespace, &*key.name)));
        }
    }
}

fn annotated<'s, K: Object>(object: &'s K, all: &mut Wanted<'s>) {
    for naming in NAMING {
        let names = object.annotation(naming).into_iter().flat_map(annotations::list);
        all.extend(names.map(|name| (object.namespace(), name)));
    }
}
