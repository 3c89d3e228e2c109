//! Which object depends on which: the edges of the fallback.
//!
//! Where the translation itself copes with an absent object (TLS Secrets, authorities, default
//! backends, consumer groups) there is no edge: what would be left out with it can go on without.
//! Nor is there one to what never becomes an entity, and so is never refused (grants, parameters of classes).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use serde_json::Value;

use crate::annotations;
use crate::gateway_api as gateway;
use crate::object::{Kind, Object, ObjectRef};
use crate::snapshot::Snapshot;

/// An object and everything that depends on it directly.
pub(super) type Dependants = BTreeMap<ObjectRef, BTreeSet<ObjectRef>>;

/// Collects edges.
struct Edges<'a> {
    snapshot: &'a Snapshot,
    all: Dependants,
}

impl Edges<'_> {
    /// Notes that `object` depends on the named one.
    fn on<K: Object>(&mut self, object: &K, kind: Kind, namespace: &str, name: &str) {
        let dependency = ObjectRef::new(kind, namespace, name);
        self.all.entry(dependency).or_default().insert(object.reference());
    }

    /// Notes that `object` depends on a plugin: that of the namespace, else that of the cluster.
    fn on_plugin<K: Object>(&mut self, object: &K, namespace: &str, name: &str) {
        if self.snapshot.kong_plugins.get(namespace, name).is_some() {
            self.on(object, Kind::KongPlugin, namespace, name);
        } else {
            self.on(object, Kind::KongClusterPlugin, "", name);
        }
    }

    /// Notes the plugins that filters of a route name.
    fn filters<'f, K: Object>(
        &mut self,
        route: &K,
        filters: impl Iterator<Item = &'f gateway::HttpFilter>,
    ) {
        for named in filters.filter_map(|filter| filter.extension_ref.as_ref()) {
            if named.kind == Kind::KongPlugin.name() {
                self.on_plugin(route, route.namespace(), &named.name);
            }
        }
    }

    /// Notes the vaults that a plugin's configuration refers to.
    fn vaults<K: Object>(&mut self, plugin: &K, config: Option<&Value>) {
        let references = config.map(kong::vault::references).unwrap_or_default();
        for vault in &self.snapshot.kong_vaults {
            if references.iter().any(|one| one.vault == vault.spec.prefix) {
                self.on(plugin, Kind::KongVault, "", vault.name());
            }
        }
    }

    /// Notes what the annotations of `object` name.
    fn annotated<K: Object>(&mut self, object: &K) {
        if object.meta().annotations.is_none() {
            return;
        }
        let value = |key: &str| object.annotation(key).unwrap_or_default().to_owned();
        for item in annotations::list(&value("konghq.com/plugins")) {
            let (namespace, name) = item.split_once(':').unwrap_or((object.namespace(), item));
            self.on_plugin(object, namespace, name);
        }
        let own = [
            ("konghq.com/upstream-policy", Kind::KongUpstreamPolicy),
            ("konghq.com/override", Kind::KongIngress),
        ];
        for (key, kind) in own {
            for name in annotations::list(&value(key)) {
                self.on(object, kind, object.namespace(), name);
            }
        }
    }

    fn ingress(&mut self, ingress: &Ingress) {
        self.annotated(ingress);
        let namespace = ingress.namespace();
        let Some(spec) = &ingress.spec else { return };
        if let Some(class) = &spec.ingress_class_name {
            self.on(ingress, Kind::IngressClass, "", class);
        }
        let rules = spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref());
        let backends: Vec<&IngressBackend> =
            rules.flat_map(|http| http.paths.iter().map(|path| &path.backend)).collect();
        for backend in backends {
            if let Some(service) = &backend.service {
                self.on(ingress, Kind::Service, namespace, &service.name);
            }
            if let Some(resource) = &backend.resource
                && resource.kind == Kind::KongServiceFacade.name()
            {
                self.on(ingress, Kind::KongServiceFacade, namespace, &resource.name);
            }
        }
    }

    fn backends<'b, K: Object, F: 'b>(
        &mut self,
        route: &K,
        backends: impl Iterator<Item = &'b gateway::BackendRef<F>>,
    ) {
        self.annotated(route);
        for backend in backends.filter(|backend| backend.is_service()) {
            let namespace = backend.namespace_or(route.namespace());
            self.on(route, Kind::Service, namespace, &backend.name);
        }
    }
}

/// All edges of a snapshot.
pub(super) fn dependants(snapshot: &Snapshot) -> Dependants {
    let mut edges = Edges { snapshot, all: Dependants::new() };
    snapshot.ingresses.iter().for_each(|ingress| edges.ingress(ingress));
    snapshot.services.iter().for_each(|service| edges.annotated(&**service));
    plugins(&mut edges);
    consumers(&mut edges);
    kong(&mut edges);
    routes(&mut edges);
    edges.all
}

fn plugins(edges: &mut Edges<'_>) {
    for plugin in &edges.snapshot.kong_plugins {
        edges.vaults(&**plugin, plugin.config.as_ref());
        for key in plugin.secret_keys() {
            edges.on(&**plugin, Kind::Secret, plugin.namespace(), &key.name);
        }
    }
    for plugin in &edges.snapshot.kong_cluster_plugins {
        edges.vaults(&**plugin, plugin.config.as_ref());
        for key in plugin.secret_keys() {
            edges.on(&**plugin, Kind::Secret, &key.namespace, &key.name);
        }
    }
}

fn consumers(edges: &mut Edges<'_>) {
    for consumer in &edges.snapshot.kong_consumers {
        edges.annotated(&**consumer);
        for name in consumer.credentials.iter().flatten() {
            edges.on(&**consumer, Kind::Secret, consumer.namespace(), name);
        }
    }
    for group in &edges.snapshot.kong_consumer_groups {
        edges.annotated(&**group);
    }
}

fn kong(edges: &mut Edges<'_>) {
    for facade in &edges.snapshot.kong_service_facades {
        edges.annotated(&**facade);
        edges.on(&**facade, Kind::Service, facade.namespace(), &facade.spec.backend_ref.name);
    }
    for ingress in &edges.snapshot.tcp_ingresses {
        edges.annotated(&**ingress);
        for rule in ingress.spec.rules.iter().flatten() {
            edges.on(&**ingress, Kind::Service, ingress.namespace(), &rule.backend.service_name);
        }
    }
    for ingress in &edges.snapshot.udp_ingresses {
        edges.annotated(&**ingress);
        for rule in ingress.spec.rules.iter().flatten() {
            edges.on(&**ingress, Kind::Service, ingress.namespace(), &rule.backend.service_name);
        }
    }
    for entity in &edges.snapshot.kong_custom_entities {
        let Some(parent) = &entity.spec.parent_ref else { continue };
        if parent.kind.as_deref() == Some(Kind::KongClusterPlugin.name()) {
            edges.on(&**entity, Kind::KongClusterPlugin, "", &parent.name);
        } else {
            let namespace = parent.namespace.as_deref().unwrap_or(entity.namespace());
            edges.on(&**entity, Kind::KongPlugin, namespace, &parent.name);
        }
    }
}

fn routes(edges: &mut Edges<'_>) {
    for route in &edges.snapshot.http_routes {
        let rules = route.spec.rules.iter();
        edges.filters(&**route, rules.flat_map(|rule| &rule.filters));
        edges.backends(&**route, route.spec.rules.iter().flat_map(|rule| &rule.backend_refs));
    }
    for route in &edges.snapshot.grpc_routes {
        let rules = route.spec.rules.iter();
        edges.filters(&**route, rules.flat_map(|rule| &rule.filters));
        edges.backends(&**route, route.spec.rules.iter().flat_map(|rule| &rule.backend_refs));
    }
    for route in &edges.snapshot.tcp_routes {
        edges.backends(&**route, route.spec.rules.iter().flat_map(|rule| &rule.backend_refs));
    }
    for route in &edges.snapshot.udp_routes {
        edges.backends(&**route, route.spec.rules.iter().flat_map(|rule| &rule.backend_refs));
    }
    for route in &edges.snapshot.tls_routes {
        edges.backends(&**route, route.spec.rules.iter().flat_map(|rule| &rule.backend_refs));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::snapshot::Loader;

    #[test]
    fn plugins_depend_on_their_vaults_and_routes_on_the_plugins_of_their_filters() {
        let mut loader = Loader::new();
        for object in [
            json!({
                "apiVersion": "configuration.konghq.com/v1alpha1", "kind": "KongVault",
                "metadata": {"name": "house"}, "spec": {"backend": "env", "prefix": "our-house"},
            }),
            json!({
                "apiVersion": "configuration.konghq.com/v1", "kind": "KongPlugin",
                "metadata": {"name": "session", "namespace": "shop"}, "plugin": "session",
                "config": {"secret": "{vault://our-house/secret}", "other": ["{vault://env/x}"]},
            }),
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"rules": [{"filters": [{
                    "type": "ExtensionRef",
                    "extensionRef": {
                        "group": "configuration.konghq.com", "kind": "KongPlugin", "name": "session",
                    },
                }]}]},
            }),
        ] {
            loader.document("test", object);
        }
        let all = dependants(&loader.finish().0);
        let vault = ObjectRef::new(Kind::KongVault, "", "house");
        let plugin = ObjectRef::new(Kind::KongPlugin, "shop", "session");
        let route = ObjectRef::new(Kind::HttpRoute, "shop", "web");
        assert_eq!(all.get(&vault), Some(&BTreeSet::from([plugin.clone()])));
        assert_eq!(all.get(&plugin), Some(&BTreeSet::from([route])));
    }
}
