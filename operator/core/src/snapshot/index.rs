//! Lookups that would otherwise scan: EndpointSlices by Service, the objects that grants admit.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Snapshot;
use crate::object::Object;

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What has been looked up beforehand.
#[derive(Clone, Debug, Default)]
pub struct Index {
    slices: BTreeMap<(String, String), Vec<Arc<EndpointSlice>>>,
}

impl Index {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut slices: BTreeMap<(String, String), Vec<Arc<EndpointSlice>>> = BTreeMap::new();
        for slice in &snapshot.endpoint_slices {
            let Some(service) = slice.label(SERVICE_NAME) else { continue };
            let key = (slice.namespace().to_owned(), service.to_owned());
            slices.entry(key).or_default().push(Arc::clone(slice));
        }
        Self { slices }
    }

    /// The EndpointSlices of a Service, ordered by name.
    #[must_use]
    pub fn slices_of(&self, namespace: &str, service: &str) -> &[Arc<EndpointSlice>] {
        self.slices.get(&(namespace.to_owned(), service.to_owned())).map_or(&[], Vec::as_slice)
    }
}
