//! What the cluster holds, kept up to date: one task per kind, each the only writer of its store.
//!
//! Objects are decoded leniently: one that cannot be decoded is kept as *unreadable*, with its name
//! and the error, and never stops its neighbors. Kinds that are defined by a CustomResourceDefinition
//! come and go with it while the operator runs. Nothing is deleted because a list failed or came back
//! empty by mistake. This module knows nothing of Kong and decides nothing.

mod catalog;
mod follow;
mod guarded;
mod secrets;
mod store;

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Resource};
use operator_api::{ProxyFleet, ProxyInstance, kong as kinds};
use operator_core::gateway_api as gateway;
use operator_core::object::Kind;
use operator_core::snapshot::{Snapshot, Sources, Stored, Unreadable};
use runtime::{Gate, Tasks};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use catalog::{Catalog, CustomKind};
use follow::{Attention, Follow, Served};
use secrets::Sealed;
pub use secrets::{Read, Secrets};
pub use store::Store;

/// Secrets of these types are of no use to a gateway, or none of its business.
const SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=bootstrap.kubernetes.io/token,type!=kubernetes.io/dockerconfigjson,\
    type!=kubernetes.io/dockercfg,type!=kubernetes.io/ssh-auth,type!=flotilla.dev/authority";

/// The ConfigMap that every namespace has and no object names.
const CONFIG_MAPS: &str = "metadata.name!=kube-root-ca.crt";

/// A store of any kind that a snapshot is made from.
trait Part: Send + Sync {
    fn pour(&self, sources: &mut Sources);
    fn name(&self) -> &str;
    fn is_listed(&self) -> bool;
    fn len(&self) -> usize;
}

impl<K: Stored + Send + Sync + 'static> Part for Store<K> {
    fn pour(&self, sources: &mut Sources) {
        let (objects, unreadable) = self.all();
        K::stored(sources).extend(objects);
        sources.unreadable.extend(unreadable.into_iter().map(|(namespace, name, message)| {
            let object = operator_core::object::ObjectRef::new(K::KIND, &namespace, &name);
            Unreadable { object, source: String::new(), message }
        }));
    }

    fn name(&self) -> &str {
        Self::name(self)
    }

    fn is_listed(&self) -> bool {
        Self::is_listed(self)
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

/// Everything that is watched. Clones share it.
#[derive(Clone)]
pub struct Stores {
    parts: Arc<Vec<Arc<dyn Part>>>,
    last: Arc<Mutex<Snapshot>>,
    /// The Secrets, of which only those are read that something refers to.
    pub secrets: Arc<Secrets>,
    /// The Services, which are also part of every snapshot.
    pub services: Arc<Store<core::Service>>,
    /// The fleets that people asked for.
    pub fleets: Arc<Store<ProxyFleet>>,
    /// The instances as the API server has them, for the status writer.
    pub instances: Arc<Store<ProxyInstance>>,
    /// Grows with each change that may matter to a translation or to discovery.
    pub dirty: watch::Receiver<u64>,
    /// Whether every required kind has completed its first list. Never turns false again.
    pub ready: watch::Receiver<bool>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stores").field("missing", &self.missing()).finish_non_exhaustive()
    }
}

impl Stores {
    /// Freezes what the stores hold now, and shares with the snapshot before what is still the same.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sources = Sources::default();
        for part in self.parts.iter() {
            part.pour(&mut sources);
        }
        // Whole after every statement, so a panic elsewhere cannot leave it torn.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.after(sources);
        last.clone()
    }

    /// The kinds whose first list is awaited.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let parts = self.parts.iter().filter(|part| !part.is_listed());
        let mut missing: Vec<String> = parts.map(|part| part.name().to_owned()).collect();
        if !self.fleets.is_listed() {
            missing.push(self.fleets.name().to_owned());
        }
        if !self.instances.is_listed() {
            missing.push(self.instances.name().to_owned());
        }
        missing
    }

    /// How many objects of each kind there are, by the kind's name.
    #[must_use]
    pub fn census(&self) -> Vec<(String, usize)> {
        self.parts.iter().map(|part| (part.name().to_owned(), part.len())).collect()
    }
}

/// Starts one task per kind. `gate` opens when every required kind has completed its first list.
pub fn spawn(tasks: &mut Tasks, client: &Client, gate: Gate) -> Stores {
    let catalog = Arc::new(Catalog::new());
    let mut plan = Plan { client: client.clone(), kinds: catalog.watch(), starts: Vec::new() };
    let services = plan.part::<core::Service>();
    let known = plan.sealed(Kind::Secret, SECRETS, || Sealed {});
    let secrets = Arc::new(Secrets::new(client.clone(), known));
    let mut parts = plan.parts();
    parts.push(services.clone());
    parts.push(secrets.clone());
    let fleets = plan.store(own::<ProxyFleet>(), None, Attention::Spec);
    let instances = plan.store(own::<ProxyInstance>(), None, Attention::Spec);

    let definitions = Arc::new(Store::<CustomKind>::new("CustomResourceDefinition"));
    let read = definitions.clone();
    let follow = Follow {
        client: client.clone(),
        served: Served::Always(catalog::definitions()),
        fields: None,
        attention: Attention::All,
        sealed: None,
        store: definitions,
        changed: Arc::new(move || catalog.refresh(&read)),
    };
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("watch CustomResourceDefinition", follow.run(shutdown));

    // The stores must all exist before the first one reports: readiness asks each of them.
    let (dirty, dirty_seen) = watch::channel(0);
    let (ready, ready_seen) = watch::channel(false);
    let parts = Arc::new(parts);
    let stores = Stores {
        parts,
        last: Arc::default(),
        secrets,
        services,
        fleets,
        instances,
        dirty: dirty_seen,
        ready: ready_seen,
    };
    let seen = stores.clone();
    let changed: Changed = Arc::new(move || {
        dirty.send_modify(|tick| *tick += 1);
        if !*ready.borrow() && seen.missing().is_empty() {
            tracing::info!("first lists complete");
            gate.open();
            ready.send_replace(true);
        }
    });
    for start in plan.starts {
        start(tasks, changed.clone());
    }
    stores
}

type Changed = Arc<dyn Fn() + Send + Sync>;
type Start = Box<dyn FnOnce(&mut Tasks, Changed)>;

/// The tasks that will be started, once all stores exist.
struct Plan {
    client: Client,
    kinds: watch::Receiver<catalog::Kinds>,
    starts: Vec<Start>,
}

impl Plan {
    /// Plans one store and its task.
    fn store<K: DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        (served, name): (Served, &'static str),
        fields: Option<&'static str>,
        attention: Attention,
    ) -> Arc<Store<K>> {
        self.follow((served, name), fields, attention, None)
    }

    /// Plans the store of a kind of which only the metadata is read.
    fn sealed<K: DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        kind: Kind,
        fields: &'static str,
        sealed: fn() -> K,
    ) -> Arc<Store<K>> {
        let served = self.served(kind);
        self.follow((served, kind.name()), Some(fields), Attention::All, Some(sealed))
    }

    fn follow<K: DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        (served, name): (Served, &'static str),
        fields: Option<&'static str>,
        attention: Attention,
        sealed: Option<fn() -> K>,
    ) -> Arc<Store<K>> {
        let store = Arc::new(Store::new(name));
        let (client, kept) = (self.client.clone(), store.clone());
        self.starts.push(Box::new(move |tasks, changed| {
            let follow = Follow { client, served, fields, attention, sealed, store: kept, changed };
            let shutdown = tasks.shutdown().clone();
            tasks.spawn(format!("watch {name}"), follow.run(shutdown));
        }));
        store
    }

    /// Plans the store of a kind that a snapshot holds.
    fn part<K: Stored + DeserializeOwned + Send + Sync + 'static>(&mut self) -> Arc<Store<K>> {
        let kind = K::KIND;
        let fields = (kind == Kind::ConfigMap).then_some(CONFIG_MAPS);
        // The addresses of a load balancer stand in the status of its Service.
        let attention = if kind == Kind::Service { Attention::All } else { Attention::Spec };
        self.store::<K>((self.served(kind), kind.name()), fields, attention)
    }

    /// Built-in groups are always there; the others come with a definition.
    fn served(&self, kind: Kind) -> Served {
        match kind.group() {
            "" | "discovery.k8s.io" | "networking.k8s.io" => Served::Always(resource(kind)),
            group => Served::Defined { group, kind: kind.name(), catalog: self.kinds.clone() },
        }
    }

    /// Plans every kind that a snapshot holds.
    fn parts(&mut self) -> Vec<Arc<dyn Part>> {
        vec![
            self.part::<core::Namespace>(),
            self.part::<core::ConfigMap>(),
            self.part::<discovery::EndpointSlice>(),
            self.part::<networking::IngressClass>(),
            self.part::<networking::Ingress>(),
            self.part::<gateway::GatewayClass>(),
            self.part::<gateway::Gateway>(),
            self.part::<gateway::ListenerSet>(),
            self.part::<gateway::HttpRoute>(),
            self.part::<gateway::GrpcRoute>(),
            self.part::<gateway::TlsRoute>(),
            self.part::<gateway::TcpRoute>(),
            self.part::<gateway::UdpRoute>(),
            self.part::<gateway::ReferenceGrant>(),
            self.part::<gateway::BackendTlsPolicy>(),
            self.part::<kinds::KongPlugin>(),
            self.part::<kinds::KongClusterPlugin>(),
            self.part::<kinds::KongConsumer>(),
            self.part::<kinds::KongConsumerGroup>(),
            self.part::<kinds::KongUpstreamPolicy>(),
            self.part::<kinds::KongIngress>(),
            self.part::<kinds::KongVault>(),
            self.part::<kinds::KongCustomEntity>(),
            self.part::<kinds::KongLicense>(),
            self.part::<kinds::TcpIngress>(),
            self.part::<kinds::UdpIngress>(),
            self.part::<kinds::IngressClassParameters>(),
            self.part::<kinds::KongServiceFacade>(),
        ]
    }
}

/// How a built-in kind is asked for.
fn resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.name());
    ApiResource::from_gvk(&gvk)
}

/// How one of Flotilla's own kinds is asked for: the operator does not run without them.
fn own<K: Resource<DynamicType = ()>>() -> (Served, &'static str) {
    (Served::Always(ApiResource::erase::<K>(&())), kind_name::<K>())
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => "own kind",
    }
}

#[cfg(test)]
mod tests;
