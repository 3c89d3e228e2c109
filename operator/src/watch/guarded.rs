//! An object that decodes whatever it holds: either as its type, or as what is wrong with it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The annotation in which `kubectl apply` repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of a kind that is named at run time, decoded as `K` if it can be.
pub(super) struct Guarded<K> {
    meta: ObjectMeta,
    object: Result<Arc<K>, Arc<str>>,
}

impl<K> Guarded<K> {
    /// An object of which only the metadata was asked for.
    pub(super) fn sealed(meta: ObjectMeta, object: K) -> Self {
        Self { meta, object: Ok(Arc::new(object)) }
    }

    /// The object, or what is wrong with it.
    pub(super) fn into_parts(self) -> (ObjectMeta, Result<Arc<K>, Arc<str>>) {
        (self.meta, self.object)
    }
}

impl<K> Clone for Guarded<K> {
    fn clone(&self) -> Self {
        Self { meta: self.meta.clone(), object: self.object.clone() }
    }
}

impl<K> fmt::Debug for Guarded<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the object itself: it may be a Secret.
        formatter.debug_struct("Guarded").field("name", &self.meta.name).finish_non_exhaustive()
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else {
            return Err(D::Error::missing_field("metadata"));
        };
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        let meta = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        let object = K::deserialize(value).map(Arc::new).map_err(|error| error.to_string().into());
        Ok(Self { meta, object })
    }
}

impl<K> Resource for Guarded<K> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::json;

    use super::*;

    #[test]
    fn object_that_cannot_be_decoded_keeps_its_name_and_the_error() {
        let object: Guarded<Ingress> = serde_json::from_value(json!({
            "metadata": { "name": "broken", "namespace": "shop" },
            "spec": { "rules": "none" },
        }))
        .unwrap();
        let (meta, object) = object.into_parts();
        assert_eq!(meta.name.as_deref(), Some("broken"));
        assert!(object.unwrap_err().contains("invalid type"));
    }

    #[test]
    fn copies_of_the_object_in_its_metadata_are_dropped() {
        let object: Guarded<Ingress> = serde_json::from_value(json!({
            "metadata": {
                "name": "web",
                "managedFields": [{ "manager": "kubectl" }],
                "annotations": { LAST_APPLIED: "{}", "kept": "yes" },
            },
        }))
        .unwrap();
        let (_, object) = object.into_parts();
        let meta = &object.unwrap().metadata;
        assert_eq!(meta.managed_fields, None);
        assert_eq!(meta.annotations.as_ref().unwrap().len(), 1);
    }
}
