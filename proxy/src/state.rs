//! The current generation of the configuration, and the last good one on disk.
//!
//! A new configuration is compiled aside, its upstreams are started, and then it takes the place of the old one in one
//! store. Requests in flight end with the generation that they began with. On disk the last good configuration stands
//! with a checksum; it is written beside the old one and renamed over it, so that a torn write leaves the old one.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use kong::declarative::Declared;
use proxy_core::compile::{Change, CompileError, Harvested};
use proxy_core::plugin::Context;
use proxy_core::route::Flavor;
use proxy_core::table::Table;
use tokio::sync::Mutex;

use crate::dns::Dns;
use crate::live::{LiveMap, advance, advance_some};
use crate::tls::{Basics, Store};
use crate::vault::Vaults;

pub use disk::{Content, Disk, DiskError, Kept, Origin};

/// The hash of a gateway that has no configuration.
pub const NO_HASH: &str = "00000000000000000000000000000000";

/// One configuration at work.
pub struct Generation {
    /// Counts configurations since the start.
    pub number: u64,
    /// The hash that is reported.
    pub hash: Box<str>,
    /// The compiled configuration.
    pub table: Table,
    /// The entities that it was made from.
    pub entities: Arc<Declared>,
    /// Upstreams at work.
    pub live: LiveMap,
    /// Certificates.
    pub tls: Arc<Store>,
}

/// The configuration of the gateway.
pub struct State {
    current: ArcSwap<Generation>,
    change: Mutex<()>,
    numbers: AtomicU64,
    flavor: Flavor,
    context: Context,
    basics: Basics,
    dns: Arc<Dns>,
    vaults: Arc<Vaults>,
}

impl State {
    /// A state without configuration.
    pub fn new(
        flavor: Flavor,
        context: Context,
        basics: Basics,
        (dns, vaults): (Arc<Dns>, Arc<Vaults>),
    ) -> Result<Self, CompileError> {
        let table = Table::compile(&Declared::default(), flavor, &context)?;
        let tls = Arc::new(Store::new(&table, &basics));
        let generation = Generation {
            number: 0,
            hash: NO_HASH.into(),
            table,
            entities: Arc::default(),
            live: LiveMap::default(),
            tls,
        };
        let current = ArcSwap::from_pointee(generation);
        let (change, numbers) = (Mutex::new(()), AtomicU64::new(0));
        Ok(Self { current, change, numbers, flavor, context, basics, dns, vaults })
    }

    /// The generation that a request reads.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Puts a changed configuration to work at the cost of the change: `ids` are the entities that were put or
    /// removed; without them all of it is compiled.
    pub async fn amend(
        &self,
        entities: Arc<Declared>,
        ids: Option<&BTreeMap<&'static str, BTreeSet<String>>>,
    ) -> Result<(), CompileError> {
        let hash = entities.hash().to_string();
        let Some(ids) = ids else { return self.apply(entities, None, &hash).await.map(drop) };
        let secret = |kind: &&str| ids.contains_key(kind);
        if ["plugins", "certificates", "vaults"].iter().any(secret) {
            self.vaults.prepare(&entities).await;
        }
        let _one_at_a_time = self.change.lock().await;
        let old = self.current();
        let change = Change { from: &old.entities, to: &entities, ids };
        let (table, names) = old.table.amend(&change, &self.context)?;
        let tls = self.store(&table, &old);
        let live = match names {
            Some(names) => advance_some(&old.live, &table, &names, (&self.dns, &tls)).await,
            None => advance(&old.live, &table, &self.dns, &tls).await,
        };
        self.put(Generation { number: 0, hash: hash.into(), table, entities, live, tls });
        Ok(())
    }

    /// The certificates of a table: those of the old one where they did not change.
    fn store(&self, table: &Table, old: &Generation) -> Arc<Store> {
        let same = Arc::ptr_eq(&table.certificates, &old.table.certificates)
            && Arc::ptr_eq(&table.snis, &old.table.snis)
            && Arc::ptr_eq(&table.authorities, &old.table.authorities);
        if same {
            Arc::clone(&old.tls)
        } else {
            Arc::new(Store::after(&old.tls, table, &self.basics))
        }
    }

    fn put(&self, generation: Generation) -> Arc<Generation> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let generation = Arc::new(Generation { number, ..generation });
        self.current.store(Arc::clone(&generation));
        generation
    }

    /// Compiles entities, with what was harvested while they were decoded, and puts them to work; the old configuration
    /// stays where that fails.
    pub async fn apply(
        &self,
        entities: Arc<Declared>,
        harvested: Option<Harvested>,
        hash: &str,
    ) -> Result<Arc<Generation>, CompileError> {
        self.vaults.prepare(&entities).await;
        let _one_at_a_time = self.change.lock().await;
        self.compile(entities, harvested, hash).await
    }

    /// Asks the vaults again, and compiles what is at work anew where a secret changed.
    pub async fn refresh(&self) -> Result<(), CompileError> {
        if !self.vaults.prepare(&self.current().entities).await {
            return Ok(());
        }
        let _one_at_a_time = self.change.lock().await;
        let current = self.current();
        self.compile(Arc::clone(&current.entities), None, &current.hash).await.map(drop)
    }

    async fn compile(
        &self,
        entities: Arc<Declared>,
        harvested: Option<Harvested>,
        hash: &str,
    ) -> Result<Arc<Generation>, CompileError> {
        let old = self.current();
        let (flavor, context, source) = (self.flavor, self.context.clone(), Arc::clone(&entities));
        let compile = move || match harvested {
            Some(harvested) => {
                Table::compile_harvested(source.as_ref(), harvested, flavor, &context)
            }
            None => Table::compile(source.as_ref(), flavor, &context),
        };
        let table = aside(compile).await.unwrap_or(Err(CompileError::Stopped))?;
        let tls = self.store(&table, &old);
        let live = advance(&old.live, &table, &self.dns, &tls).await;
        let new = self.put(Generation { number: 0, hash: hash.into(), table, entities, live, tls });
        // Taking ten thousand routes apart takes its time too, and nobody waits for that.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(new)
    }
}

/// Works beside the threads that serve requests; no answer when the gateway ends before the work.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
