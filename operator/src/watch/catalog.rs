//! Which of the optional kinds the cluster serves, and in which version: read from the
//! CustomResourceDefinitions, so that kinds may appear and vanish while the operator runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::core::{ApiResource, GroupVersion, GroupVersionKind, Version};
use serde::Deserialize;
use tokio::sync::watch;

use super::store::Store;

/// The part of a CustomResourceDefinition that says what is served.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct CustomKind {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    group: String,
    names: Names,
    versions: Vec<Served>,
}

#[derive(Clone, Debug, Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Served {
    name: String,
    #[serde(default)]
    served: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl CustomKind {
    /// How the kind is asked for, in the most stable version that is served.
    fn resource(&self) -> Option<ApiResource> {
        let Self { spec: Spec { group, names, versions }, status } = self;
        let established =
            |wanted: &Condition| wanted.kind == "Established" && wanted.status == "True";
        if !status.conditions.iter().any(established) {
            return None;
        }
        let served = versions.iter().filter(|version| version.served);
        let best = served.max_by_key(|version| Version::parse(&version.name).priority())?;
        let kind = GroupVersionKind::gvk(group, &best.name, &names.kind);
        Some(ApiResource::from_gvk_with_plural(&kind, &names.plural))
    }
}

/// The kinds that are served, by group and kind. `None` until the first list is complete.
pub(super) type Kinds = Option<Arc<BTreeMap<(String, String), ApiResource>>>;

/// Publishes which kinds are served.
pub(super) struct Catalog {
    kinds: watch::Sender<Kinds>,
}

impl Catalog {
    /// A catalog of which nothing is known yet.
    pub(super) fn new() -> Self {
        Self { kinds: watch::Sender::new(None) }
    }

    /// Follows what is served.
    pub(super) fn watch(&self) -> watch::Receiver<Kinds> {
        self.kinds.subscribe()
    }

    /// Reads the definitions again.
    pub(super) fn refresh(&self, definitions: &Store<CustomKind>) {
        let served = definitions.list().into_iter().filter_map(|definition| {
            let resource = definition.resource()?;
            Some(((resource.group.clone(), resource.kind.clone()), resource))
        });
        let served = Some(Arc::new(served.collect::<BTreeMap<_, _>>()));
        self.kinds.send_if_modified(|kinds| {
            let news = *kinds != served;
            *kinds = served;
            news
        });
    }
}

/// How CustomResourceDefinitions themselves are asked for.
pub(super) fn definitions() -> ApiResource {
    let kind = GroupVersion::gv("apiextensions.k8s.io", "v1").with_kind("CustomResourceDefinition");
    ApiResource::from_gvk(&kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(versions: &[(&str, bool)], established: &str) -> CustomKind {
        let versions: Vec<_> = versions
            .iter()
            .map(|(name, served)| json!({ "name": name, "served": served }))
            .collect();
        serde_json::from_value(json!({
            "spec": {
                "group": "gateway.networking.k8s.io",
                "names": { "kind": "HTTPRoute", "plural": "httproutes" },
                "versions": versions,
            },
            "status": { "conditions": [{ "type": "Established", "status": established }] },
        }))
        .unwrap()
    }

    #[test]
    fn most_stable_served_version_is_asked_for() {
        let versions = [("v1alpha2", true), ("v1beta1", true), ("v1", true), ("v2", false)];
        let resource = definition(&versions, "True").resource().unwrap();
        assert_eq!((resource.version.as_str(), resource.plural.as_str()), ("v1", "httproutes"));
    }

    #[test]
    fn definition_that_is_not_established_is_not_served() {
        assert_eq!(definition(&[("v1", true)], "False").resource(), None);
    }

    #[test]
    fn definition_without_a_served_version_is_not_served() {
        assert_eq!(definition(&[("v1", false)], "True").resource(), None);
    }
}
