//! Secrets: all of their metadata is watched, and the contents are read only of those that an object refers to or a label
//! offers. What nobody refers to never enters this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use kube::{Api, Client};
use operator_core::object::{Kind, Object as _, ObjectRef};
use operator_core::secret::Secret;
use operator_core::snapshot::{Snapshot, Sources, Stored as _, Unreadable, Wanted, is_offered};
use serde::Deserialize;
use tokio::time::timeout;
use tracing::warn;

use super::Part;
use super::guarded::Guarded;
use super::store::Store;

/// How many are read at once, and how long one may take.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// A Secret of which only the metadata is known.
#[derive(Debug, Deserialize)]
pub(super) struct Sealed {}

/// Namespace and name.
type Key = (String, String);

/// A Secret as it was read.
struct Opened {
    version: Option<String>,
    /// Or what is wrong with it.
    secret: Result<Arc<Secret>, Arc<str>>,
}

/// What is known of all Secrets, and the contents of some.
pub struct Secrets {
    client: Client,
    known: Arc<Store<Sealed>>,
    opened: Mutex<BTreeMap<Key, Opened>>,
}

impl Secrets {
    pub(super) fn new(client: Client, known: Arc<Store<Sealed>>) -> Self {
        Self { client, known, opened: Mutex::default() }
    }

    /// Reads what `snapshot` refers to and was not read at its newest version, and forgets what nothing refers to.
    pub async fn read(&self, snapshot: &Snapshot) -> Read {
        let due = self.due(&snapshot.wanted_secrets());
        let mut read = Read { changed: due.forgotten, complete: true };
        let gets = due.unread.into_iter().map(|(key, version)| self.get(key, version));
        let mut gets = futures::stream::iter(gets).buffer_unordered(AT_ONCE);
        while let Some(done) = gets.next().await {
            read.changed |= done;
            read.complete &= done;
        }
        read
    }

    /// What is to be read, with the version that is known; everything that is due no more is forgotten.
    fn due(&self, wanted: &Wanted<'_>) -> Due {
        let known = self.known.metadata(|meta| {
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            let name = meta.name.as_deref().unwrap_or_default();
            let due = wanted.contains(&(namespace, name)) || is_offered(meta);
            let key = || (namespace.to_owned(), name.to_owned());
            due.then(|| (key(), meta.resource_version.clone()))
        });
        let known: BTreeMap<Key, Option<String>> = known.into_iter().collect();
        let mut opened = self.lock();
        let before = opened.len();
        opened.retain(|key, _| known.contains_key(key));
        let forgotten = opened.len() < before;
        let stale = |(key, version): &(Key, Option<String>)| {
            opened.get(key).is_none_or(|held| held.version != *version)
        };
        Due { unread: known.into_iter().filter(stale).collect(), forgotten }
    }

    /// Reads one Secret. `false`: it is still as it was.
    async fn get(&self, key: Key, version: Option<String>) -> bool {
        let (namespace, name) = &key;
        let resource = super::resource(Kind::Secret);
        let api: Api<Guarded<Secret>> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        match timeout(PATIENCE, api.get_opt(name)).await {
            Ok(Ok(found)) => {
                let opened = found.map(|found| {
                    // A newer version than the one that is known makes another read once it is told, and no harm.
                    let (_, secret) = found.into_parts();
                    Opened { version, secret }
                });
                match opened {
                    Some(opened) => drop(self.lock().insert(key, opened)),
                    // Its deletion is about to be told.
                    None => drop(self.lock().remove(&key)),
                }
                true
            }
            Ok(Err(error)) => {
                warn!(namespace, name, %error, "Secret not read, trying again");
                false
            }
            Err(_) => {
                warn!(namespace, name, "Secret not read in time, trying again");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Opened>> {
        // The map is whole after every statement, so a panic elsewhere cannot leave it torn.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a round of reading came to.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Whether contents are others now.
    pub changed: bool,
    /// Whether everything was read.
    pub complete: bool,
}

struct Due {
    unread: Vec<(Key, Option<String>)>,
    forgotten: bool,
}

impl Part for Secrets {
    fn pour(&self, sources: &mut Sources) {
        for ((namespace, name), opened) in self.lock().iter() {
            match &opened.secret {
                Ok(secret) => Secret::stored(sources).push(Arc::clone(secret)),
                Err(error) => sources.unreadable.push(Unreadable {
                    object: ObjectRef::new(Secret::KIND, namespace, name),
                    source: String::new(),
                    message: error.to_string(),
                }),
            }
        }
    }

    fn name(&self) -> &str {
        self.known.name()
    }

    fn is_listed(&self) -> bool {
        self.known.is_listed()
    }

    fn len(&self) -> usize {
        self.lock().len()
    }
}
