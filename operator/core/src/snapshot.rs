//! The cluster as it is at one moment: every object that a translation may read, and indices.
//!
//! A snapshot never changes. It shares its objects with whoever read them, so making one costs
//! pointers and the sorting of them, and two translations of one snapshot see the same world.

mod directory;
mod grants;
mod index;
mod load;
#[cfg(test)]
mod tests;
mod wanted;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::gateway_api as gateway;
use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use operator_api::kong as kinds;

use crate::object::{Object, ObjectRef};
use crate::outcome::Reason;
use crate::secret::Secret;
use directory::Directory;
pub(crate) use directory::hash_of;
pub use grants::GrantFrom;
pub use index::Index;
pub(crate) use index::service_of;
pub use load::{Ignored, Loader};
pub use wanted::{Wanted, is_offered};

/// The objects of one kind, ordered by namespace and name.
#[derive(Debug)]
pub struct Objects<K>(Arc<Ordered<K>>);

#[derive(Debug)]
struct Ordered<K> {
    all: Vec<Arc<K>>,
    directory: Directory,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self(Arc::new(Ordered { all: Vec::new(), directory: Directory::default() }))
    }
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Object> Objects<K> {
    /// Orders `objects`; of two with one name the later stays.
    #[must_use]
    pub fn new(mut objects: Vec<Arc<K>>) -> Self {
        objects.sort_by(|a, b| key(&**a).cmp(&key(&**b)));
        objects.reverse();
        objects.dedup_by(|a, b| key(&**a) == key(&**b));
        objects.reverse();
        Self::of_sorted(objects)
    }

    /// These objects, if they are the ones of a list; else a new order of the list.
    fn or_of(&self, objects: Vec<Arc<K>>) -> Self {
        let same = self.len() == objects.len()
            && self.iter().zip(&objects).all(|(held, object)| Arc::ptr_eq(held, object));
        if same { self.clone() } else { Self::new(objects) }
    }

    /// Whether both are one and the same list.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn of_sorted(all: Vec<Arc<K>>) -> Self {
        let directory = Directory::of(all.iter().map(|object| key(&**object)));
        Self(Arc::new(Ordered { all, directory }))
    }

    /// Finds an object; the namespace is empty for kinds without namespaces.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.0.all.get(self.place(namespace, name)?)
    }

    fn place(&self, namespace: &str, name: &str) -> Option<usize> {
        let is = |place: usize| {
            self.0.all.get(place).is_some_and(|object| key(&**object) == (namespace, name))
        };
        self.0.directory.find((namespace, name), is)
    }

    /// The objects of one namespace, ordered by name.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> &[Arc<K>] {
        let begin = self.0.all.partition_point(|object| object.namespace() < namespace);
        let end = self.0.all.partition_point(|object| object.namespace() <= namespace);
        self.0.all.get(begin..end).unwrap_or_default()
    }

    /// All objects, ordered by namespace and name.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<K>> {
        self.0.all.iter()
    }

    /// All objects, the oldest first.
    #[must_use]
    pub fn oldest_first(&self) -> Vec<&Arc<K>> {
        let mut all: Vec<&Arc<K>> = self.0.all.iter().collect();
        all.sort_by(|a, b| crate::object::by_age(&***a, &***b));
        all
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.all.is_empty()
    }

    /// Takes the version of an object from `other`, where both hold it.
    fn take_version(&mut self, other: &Self, object: &ObjectRef) {
        let at = self.place(&object.namespace, &object.name);
        let version = other.get(&object.namespace, &object.name);
        if let (Some(at), Some(version)) = (at, version) {
            let mut all = self.0.all.clone();
            if let Some(place) = all.get_mut(at) {
                *place = Arc::clone(version);
                *self = Self::of_sorted(all);
            }
        }
    }

    /// The objects that are not the same as in `older`, from either side: as they were, and as they are.
    pub(crate) fn differences<'o>(
        &'o self,
        older: &'o Self,
    ) -> Vec<(Option<&'o Arc<K>>, Option<&'o Arc<K>>)> {
        let mut found = Vec::new();
        if self.is(older) {
            return found;
        }
        let (mut before, mut after) = (older.0.all.as_slice(), self.0.all.as_slice());
        loop {
            match (before, after) {
                ([], []) => return found,
                ([old, olds @ ..], [new, news @ ..]) if Arc::ptr_eq(old, new) => {
                    (before, after) = (olds, news);
                }
                ([old, olds @ ..], [new, news @ ..]) => match key(&**old).cmp(&key(&**new)) {
                    Ordering::Equal => {
                        found.push((Some(old), Some(new)));
                        (before, after) = (olds, news);
                    }
                    Ordering::Less => {
                        found.push((Some(old), None));
                        before = olds;
                    }
                    Ordering::Greater => {
                        found.push((None, Some(new)));
                        after = news;
                    }
                },
                ([old, olds @ ..], []) => {
                    found.push((Some(old), None));
                    before = olds;
                }
                ([], [new, news @ ..]) => {
                    found.push((None, Some(new)));
                    after = news;
                }
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(&ObjectRef) -> bool) {
        let kept: Vec<Arc<K>> =
            self.iter().filter(|object| keep(&object.reference())).cloned().collect();
        if kept.len() < self.len() {
            *self = Self::of_sorted(kept);
        }
    }
}

impl<K: Object + serde::Serialize> Objects<K> {
    /// The [`differences`](Self::differences) that people made.
    pub(crate) fn edits_since<'o>(
        &'o self,
        older: &'o Self,
    ) -> impl Iterator<Item = (Option<&'o Arc<K>>, Option<&'o Arc<K>>)> {
        let is_edit = |(old, new): &(Option<&'o Arc<K>>, Option<&'o Arc<K>>)| match (old, new) {
            (Some(old), Some(new)) => edited(&***old) != edited(&***new),
            (Some(_) | None, _) => true,
        };
        self.differences(older).into_iter().filter(is_edit)
    }
}

impl<'a, K> IntoIterator for &'a Objects<K> {
    type Item = &'a Arc<K>;
    type IntoIter = std::slice::Iter<'a, Arc<K>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.all.iter()
    }
}

/// The part of an object that people write.
fn edited<K: serde::Serialize>(object: &K) -> Option<serde_json::Value> {
    let mut json = serde_json::to_value(object).ok()?;
    json.as_object_mut()?.remove("status");
    if let Some(meta) = json.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        meta.retain(|key, _| key != "resourceVersion" && key != "managedFields");
    }
    Some(json)
}

fn key<K: Object>(object: &K) -> (&str, &str) {
    (object.namespace(), object.name())
}

/// An object that exists but could not be decoded: never dropped in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The object, as far as it can be named.
    pub object: ObjectRef,
    /// Where it comes from, such as a file; empty for the API server.
    pub source: String,
    /// What is wrong with it.
    pub message: String,
}

impl Unreadable {
    /// The reason that goes with it.
    pub const REASON: Reason = Reason::Unreadable;
}

macro_rules! stores {
    ($($field:ident: $type:ty;)*) => {
        /// The objects of a snapshot before they are ordered: what stores or files hold.
        #[derive(Clone, Debug, Default)]
        pub struct Sources {
            $(#[doc = concat!("Objects of the kind behind `", stringify!($field), "`.")] pub $field: Vec<Arc<$type>>,)*
            /// Objects that could not be decoded.
            pub unreadable: Vec<Unreadable>,
        }

        /// Every object that a translation may read.
        #[derive(Clone, Debug, Default)]
        pub struct Snapshot {
            $(#[doc = concat!("Objects of the kind behind `", stringify!($field), "`.")] pub $field: Objects<$type>,)*
            /// Objects that could not be decoded.
            pub unreadable: Vec<Unreadable>,
            index: Index,
        }

        impl Snapshot {
            /// Orders and indexes what `sources` hold.
            #[must_use]
            pub fn new(sources: Sources) -> Self {
                Self::default().after(sources)
            }

            /// Orders and indexes what `sources` hold, and shares with this snapshot what is still the same.
            #[must_use]
            pub fn after(&self, sources: Sources) -> Self {
                let Sources { $($field,)* mut unreadable } = sources;
                unreadable.sort_by(|a, b| a.object.cmp(&b.object).then_with(|| a.source.cmp(&b.source)));
                let mut snapshot = Self {
                    $($field: self.$field.or_of($field),)*
                    unreadable,
                    index: Index::default(),
                };
                snapshot.index = match snapshot.endpoint_slices.is(&self.endpoint_slices) {
                    true => self.index.clone(),
                    false => Index::of(&snapshot),
                };
                snapshot
            }

            /// The same snapshot without the objects that `keep` refuses.
            #[must_use]
            pub fn filtered(&self, keep: impl Fn(&ObjectRef) -> bool) -> Self {
                let mut snapshot = self.clone();
                $(snapshot.$field.retain(&keep);)*
                snapshot.index = Index::of(&snapshot);
                snapshot
            }

            /// The same snapshot with all objects of `other` in it, in place of those of the same names.
            #[must_use]
            pub fn with(&self, other: &Self) -> Self {
                let mut sources = Sources::default();
                $(sources.$field = self.$field.iter().chain(&other.$field).cloned().collect();)*
                let replaced = other.references();
                let held = self.unreadable.iter().filter(|one| !replaced.contains(&one.object));
                sources.unreadable = held.chain(&other.unreadable).cloned().collect();
                Self::new(sources)
            }

            /// The same snapshot with the versions of `objects` that `other` holds, where it holds them.
            #[must_use]
            pub fn with_versions(&self, objects: &BTreeSet<ObjectRef>, other: &Self) -> Self {
                let mut snapshot = self.clone();
                for object in objects {
                    $(if <$type as Object>::KIND == object.kind {
                        snapshot.$field.take_version(&other.$field, object);
                    })*
                }
                snapshot.index = Index::of(&snapshot);
                snapshot
            }

            /// The objects that are not in `older`, or were edited since.
            #[must_use]
            pub fn changed_since(&self, older: &Self) -> Vec<ObjectRef> {
                let mut all = Vec::new();
                $({
                    let now = self.$field.edits_since(&older.$field).filter_map(|(_, now)| now);
                    all.extend(now.map(Object::reference));
                })*
                all
            }

            /// An object as JSON, without what the API server keeps about it: equal as long as
            /// nobody edits it.
            #[must_use]
            pub fn json_of(&self, object: &ObjectRef) -> Option<serde_json::Value> {
                $(if <$type as Object>::KIND == object.kind {
                    let found = self.$field.get(&object.namespace, &object.name)?;
                    return edited(&**found);
                })*
                None
            }

            /// The metadata of an object.
            pub(crate) fn meta_of(&self, object: &ObjectRef) -> Option<&ObjectMeta> {
                $(if <$type as Object>::KIND == object.kind {
                    return self.$field.get(&object.namespace, &object.name).map(|found| found.meta());
                })*
                None
            }

            /// Shows every object's name and metadata to `look`.
            pub fn visit(&self, mut look: impl FnMut(ObjectRef, &ObjectMeta)) {
                $(self.$field.iter().for_each(|object| look(object.reference(), object.meta()));)*
            }

            /// Names of all objects.
            #[must_use]
            pub fn references(&self) -> Vec<ObjectRef> {
                let mut all = Vec::new();
                $(all.extend(self.$field.iter().map(|object| object.reference()));)*
                all
            }
        }

        $(impl Stored for $type {
            fn stored(sources: &mut Sources) -> &mut Vec<Arc<Self>> {
                &mut sources.$field
            }
        })*
    };
}

/// A kind that has a place in [`Sources`].
pub trait Stored: Object + Sized {
    /// The place of this kind.
    fn stored(sources: &mut Sources) -> &mut Vec<Arc<Self>>;
}

stores! {
    namespaces: core::Namespace;
    services: core::Service;
    secrets: Secret;
    config_maps: core::ConfigMap;
    endpoint_slices: discovery::EndpointSlice;
    ingress_classes: networking::IngressClass;
    ingresses: networking::Ingress;
    gateway_classes: gateway::GatewayClass;
    gateways: gateway::Gateway;
    listener_sets: gateway::ListenerSet;
    http_routes: gateway::HttpRoute;
    grpc_routes: gateway::GrpcRoute;
    tls_routes: gateway::TlsRoute;
    tcp_routes: gateway::TcpRoute;
    udp_routes: gateway::UdpRoute;
    reference_grants: gateway::ReferenceGrant;
    backend_tls_policies: gateway::BackendTlsPolicy;
    kong_plugins: kinds::KongPlugin;
    kong_cluster_plugins: kinds::KongClusterPlugin;
    kong_consumers: kinds::KongConsumer;
    kong_consumer_groups: kinds::KongConsumerGroup;
    kong_upstream_policies: kinds::KongUpstreamPolicy;
    kong_ingresses: kinds::KongIngress;
    kong_vaults: kinds::KongVault;
    kong_custom_entities: kinds::KongCustomEntity;
    kong_licenses: kinds::KongLicense;
    tcp_ingresses: kinds::TcpIngress;
    udp_ingresses: kinds::UdpIngress;
    ingress_class_parameters: kinds::IngressClassParameters;
    kong_service_facades: kinds::KongServiceFacade;
}

impl Snapshot {
    /// What has been looked up beforehand.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }
}
