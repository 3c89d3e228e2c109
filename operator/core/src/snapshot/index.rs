//! Lookups that would otherwise scan: EndpointSlices by Service.

use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Snapshot;
use super::directory::Directory;
use crate::object::Object;

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What has been looked up beforehand.
#[derive(Clone, Debug, Default)]
pub struct Index(Arc<Spans>);

#[derive(Debug, Default)]
struct Spans {
    /// The slices of one Service after another's, each ordered by name.
    slices: Vec<Arc<EndpointSlice>>,
    /// Where the slices of each Service begin and end.
    spans: Vec<(usize, usize)>,
    /// The spans by Service.
    services: Directory,
}

/// Namespace and name of the Service of a slice.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    Some((slice.namespace(), slice.label(SERVICE_NAME)?))
}

impl Index {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let named = snapshot.endpoint_slices.iter().filter(|slice| service_of(slice).is_some());
        let mut slices: Vec<Arc<EndpointSlice>> = named.cloned().collect();
        slices.sort_by(|a, b| service_of(a).cmp(&service_of(b)));
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for group in slices.chunk_by(|a, b| service_of(a) == service_of(b)) {
            let begin = spans.last().map_or(0, |(_, end)| *end);
            spans.push((begin, begin + group.len()));
        }
        let key = |span: &(usize, usize)| slices.get(span.0).and_then(|slice| service_of(slice));
        let services = Directory::of(spans.iter().map(|span| key(span).unwrap_or_default()));
        Self(Arc::new(Spans { slices, spans, services }))
    }

    /// The EndpointSlices of a Service, ordered by name.
    #[must_use]
    pub fn slices_of(&self, namespace: &str, name: &str) -> &[Arc<EndpointSlice>] {
        let Spans { slices, spans, services } = &*self.0;
        let at = |place: usize| {
            let (begin, end) = *spans.get(place)?;
            slices.get(begin..end)
        };
        let wanted = Some((namespace, name));
        let is = |place: usize| {
            at(place).and_then(<[_]>::first).and_then(|slice| service_of(slice)) == wanted
        };
        services.find((namespace, name), is).and_then(at).unwrap_or_default()
    }
}
