//! The objects of one kind, as the cluster has them. One task writes, everybody reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::follow::Attention;
use super::guarded::Guarded;

/// Namespace and name.
type Key = (String, String);

struct Entry<K> {
    meta: ObjectMeta,
    object: Result<Arc<K>, Arc<str>>,
}

/// The objects of one kind. Readers take `Arc`s and hold no lock while they use them.
pub struct Store<K> {
    name: String,
    listed: AtomicBool,
    entries: Mutex<BTreeMap<Key, Entry<K>>>,
}

impl<K> std::fmt::Debug for Store<K> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K> Store<K> {
    /// An empty store whose first list is awaited.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), listed: AtomicBool::new(false), entries: Mutex::default() }
    }

    /// The name of the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the first list is complete, or the cluster does not know the kind.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Finds an object that could be decoded.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let entries = self.lock();
        entries.get(&(namespace.to_owned(), name.to_owned()))?.object.as_ref().ok().cloned()
    }

    /// All objects that could be decoded, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.all().0
    }

    /// All objects, and the namespace, name and error of those that could not be decoded.
    pub(super) fn all(&self) -> (Vec<Arc<K>>, Vec<(String, String, String)>) {
        let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
        for ((namespace, name), entry) in self.lock().iter() {
            match &entry.object {
                Ok(object) => objects.push(object.clone()),
                Err(error) => unreadable.push((namespace.clone(), name.clone(), error.to_string())),
            }
        }
        (objects, unreadable)
    }

    /// What `look` makes of the metadata of all objects.
    pub(super) fn metadata<T>(&self, mut look: impl FnMut(&ObjectMeta) -> Option<T>) -> Vec<T> {
        self.lock().values().filter_map(|entry| look(&entry.meta)).collect()
    }

    /// Takes in one object. Returns whether somebody should look again.
    pub(super) fn apply(&self, object: Guarded<K>, attention: Attention) -> bool {
        let (key, entry) = split(object);
        let mut entries = self.lock();
        let matters = entries.get(&key).is_none_or(|old| attention.differs(&old.meta, &entry.meta));
        entries.insert(key, entry);
        matters
    }

    /// Removes one object. Returns whether it was there.
    pub(super) fn delete(&self, object: Guarded<K>) -> bool {
        let (key, gone) = split(object);
        let mut entries = self.lock();
        // A new object may have taken the name before the old one's deletion was told.
        let same = entries.get(&key).is_some_and(|held| held.meta.uid == gone.meta.uid);
        same && entries.remove(&key).is_some()
    }

    /// Replaces everything by a complete list.
    pub(super) fn replace(&self, objects: Vec<Guarded<K>>) {
        *self.lock() = objects.into_iter().map(split).collect();
        self.listed.store(true, Ordering::Release);
    }

    /// Forgets everything, since the cluster does not know the kind (any more). Returns whether that
    /// is news.
    pub(super) fn vanish(&self) -> bool {
        let held = !std::mem::take(&mut *self.lock()).is_empty();
        !self.listed.swap(true, Ordering::AcqRel) || held
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry<K>>> {
        // The map is whole after every statement, so a panic elsewhere cannot leave it torn.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn split<K>(object: Guarded<K>) -> (Key, Entry<K>) {
    let (meta, object) = object.into_parts();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ((text(&meta.namespace), text(&meta.name)), Entry { meta, object })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;
    use serde_json::{Value, json};

    use super::*;

    fn ingress(name: &str, uid: &str, generation: i64, spec: &Value) -> Guarded<Ingress> {
        let metadata =
            json!({ "name": name, "namespace": "shop", "uid": uid, "generation": generation });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    fn store() -> Store<Ingress> {
        let store = Store::new("Ingress");
        store.replace(vec![ingress("web", "1", 1, &json!({}))]);
        store
    }

    #[test]
    fn unreadable_object_is_kept_and_its_deletion_applies() {
        let store = store();
        assert!(store.apply(ingress("web", "1", 2, &json!({ "rules": 7 })), Attention::Spec));
        let (objects, unreadable) = store.all();
        assert_eq!((objects.len(), unreadable.len()), (0, 1));
        assert!(store.delete(ingress("web", "1", 2, &json!({ "rules": 7 }))));
        assert!(store.is_empty());
    }

    #[test]
    fn late_deletion_does_not_remove_the_successor_of_the_name() {
        let store = store();
        store.apply(ingress("web", "2", 1, &json!({})), Attention::Spec);
        assert!(!store.delete(ingress("web", "1", 1, &json!({}))));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn change_of_the_status_alone_wakes_nobody() {
        let store = store();
        assert!(!store.apply(ingress("web", "1", 1, &json!({})), Attention::Spec));
        assert!(store.apply(ingress("web", "1", 1, &json!({})), Attention::All));
        assert!(store.apply(ingress("web", "1", 2, &json!({})), Attention::Spec));
    }

    #[test]
    fn store_is_listed_after_its_first_list_or_when_the_kind_is_unknown() {
        let listed = store();
        assert!(listed.is_listed());
        let unknown = Store::<Ingress>::new("Ingress");
        assert!(!unknown.is_listed());
        assert!(unknown.vanish());
        assert!(unknown.is_listed() && !unknown.vanish());
    }
}
