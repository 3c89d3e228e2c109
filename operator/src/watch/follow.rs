//! The task that keeps one store up to date, whatever its kind.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use runtime::Shutdown;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::catalog::Kinds;
use super::guarded::Guarded;
use super::store::Store;

/// How long the store rests before it asks again after a list that is not believed.
const DISBELIEF: Duration = Duration::from_secs(1);

/// Which changes of an object others should look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attention {
    /// Every change.
    All,
    /// Changes of the specification, labels and annotations, not those of the status alone.
    Spec,
}

impl Attention {
    /// Whether the step from one version of an object to another deserves a look.
    pub(super) fn differs(self, old: &ObjectMeta, new: &ObjectMeta) -> bool {
        match self {
            Self::All => {
                old.resource_version != new.resource_version
                    || old.uid != new.uid
                    || new.resource_version.is_none()
            }
            Self::Spec => {
                new.generation.is_none()
                    || old.uid != new.uid
                    || old.generation != new.generation
                    || old.labels != new.labels
                    || old.annotations != new.annotations
                    || old.deletion_timestamp != new.deletion_timestamp
            }
        }
    }
}

/// Whether the cluster knows the kind.
#[derive(Clone)]
pub(super) enum Served {
    /// Always, as this resource.
    Always(ApiResource),
    /// When a definition says so.
    Defined {
        /// The kind's group.
        group: &'static str,
        /// The kind's name.
        kind: &'static str,
        /// What is defined now.
        catalog: watch::Receiver<Kinds>,
    },
}

impl Served {
    /// Waits until it is known whether the kind is served, and returns how to ask for it.
    async fn resource(&mut self) -> Option<ApiResource> {
        match self {
            Self::Always(resource) => Some(resource.clone()),
            Self::Defined { group, kind, catalog } => {
                let key = ((*group).to_owned(), (*kind).to_owned());
                let known = catalog.wait_for(Option::is_some).await.ok()?;
                known.as_ref().and_then(|kinds| kinds.get(&key).cloned())
            }
        }
    }

    /// Waits until the kind is not served as `held` any more.
    async fn changed(&mut self, held: Option<&ApiResource>) {
        match self {
            Self::Always(_) => std::future::pending().await,
            Self::Defined { group, kind, catalog } => {
                let key = ((*group).to_owned(), (*kind).to_owned());
                let other =
                    |kinds: &Kinds| kinds.as_ref().is_some_and(|kinds| kinds.get(&key) != held);
                if catalog.wait_for(other).await.is_err() {
                    // The catalog ends with the process.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// An event about metadata as one about objects.
fn seal<K>(event: Event<PartialObjectMeta<Guarded<K>>>, sealed: fn() -> K) -> Event<Guarded<K>> {
    let whole =
        |partial: PartialObjectMeta<Guarded<K>>| Guarded::sealed(partial.metadata, sealed());
    match event {
        Event::Apply(partial) => Event::Apply(whole(partial)),
        Event::Delete(partial) => Event::Delete(whole(partial)),
        Event::Init => Event::Init,
        Event::InitApply(partial) => Event::InitApply(whole(partial)),
        Event::InitDone => Event::InitDone,
    }
}

/// Keeps one store up to date.
pub(super) struct Follow<K> {
    /// The way to the API server.
    pub(super) client: Client,
    /// Whether and how the kind is served.
    pub(super) served: Served,
    /// Which objects of the kind are asked for, as a field selector.
    pub(super) fields: Option<&'static str>,
    /// Which changes are reported.
    pub(super) attention: Attention,
    /// What stands for an object of which only the metadata is asked for; whole objects are asked for without.
    pub(super) sealed: Option<fn() -> K>,
    /// Where the objects go.
    pub(super) store: Arc<Store<K>>,
    /// Called after each change that is worth a look.
    pub(super) changed: Arc<dyn Fn() + Send + Sync>,
}

impl<K: DeserializeOwned + Send + Sync + 'static> Follow<K> {
    /// Runs until shutdown.
    pub(super) async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut served = self.served.clone();
        loop {
            // Shutdown first: nothing that waits is worth more than ending in order.
            let resource = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                resource = self.served.resource() => resource,
            };
            let Some(held) = &resource else {
                if self.store.vanish() {
                    debug!(kind = self.store.name(), "kind is not served");
                    (self.changed)();
                }
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return Ok(()),
                    () = served.changed(None) => continue,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = served.changed(Some(held)) => {
                    info!(kind = self.store.name(), "kind is served differently");
                }
                () = self.stream(held) => {}
            }
        }
    }

    /// Fills the store until the stream must be started anew.
    async fn stream(&self, resource: &ApiResource) {
        let api: Api<Guarded<K>> = Api::all_with(self.client.clone(), resource);
        let mut config = watcher::Config::default();
        if let Some(fields) = self.fields {
            config = config.fields(fields);
        }
        let mut events = match self.sealed {
            None => watcher(api.clone(), config).default_backoff().boxed(),
            Some(sealed) => {
                // An interface of partial objects asks for nothing but metadata.
                let partial: Api<PartialObjectMeta<Guarded<K>>> =
                    Api::all_with(self.client.clone(), resource);
                let events = watcher(partial, config).default_backoff();
                events.map(move |event| event.map(|event| seal(event, sealed))).boxed()
            }
        };
        let (mut list, mut failing) = (Vec::new(), false);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.note_failure(&error, failing);
                    failing = true;
                    continue;
                }
            };
            if failing {
                info!(kind = self.store.name(), "watch recovered");
                failing = false;
            }
            match event {
                Event::Init => list = Vec::new(),
                Event::InitApply(object) => list.push(object),
                Event::InitDone => {
                    if list.is_empty() && !self.store.is_empty() && !self.is_empty(&api).await {
                        warn!(kind = self.store.name(), "empty list is not believed, asking again");
                        tokio::time::sleep(DISBELIEF).await;
                        return;
                    }
                    self.store.replace(std::mem::take(&mut list));
                    (self.changed)();
                }
                Event::Apply(object) => {
                    if self.store.apply(object, self.attention) {
                        (self.changed)();
                    }
                }
                Event::Delete(object) => {
                    if self.store.delete(object) {
                        (self.changed)();
                    }
                }
            }
        }
    }

    /// Asks for one object, at the newest state. An error counts as "not empty".
    async fn is_empty(&self, api: &Api<Guarded<K>>) -> bool {
        let mut params = ListParams::default().limit(1);
        params.field_selector = self.fields.map(str::to_owned);
        api.list_metadata(&params).await.is_ok_and(|list| list.items.is_empty())
    }

    fn note_failure(&self, error: &watcher::Error, again: bool) {
        if again {
            debug!(kind = self.store.name(), %error, "watch still fails");
        } else {
            warn!(kind = self.store.name(), %error, "watch failed, the store keeps what it has");
        }
    }
}
