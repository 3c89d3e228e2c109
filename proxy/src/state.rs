//! The current generation of the configuration, and the last good one on disk.
//!
//! A new configuration is compiled aside, its upstreams are started, and then it takes the place of the old one in one
//! store. Requests in flight end with the generation that they began with. On disk the last good configuration stands
//! with a checksum; it is written beside the old one and renamed over it, so that a torn write leaves the old one.

mod disk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use kong::declarative::Declared;
use proxy_core::compile::CompileError;
use proxy_core::plugin::Context;
use proxy_core::route::Flavor;
use proxy_core::table::Table;
use tokio::sync::Mutex;

use crate::dns::Dns;
use crate::live::{LiveMap, advance};
use crate::tls::{Basics, Store};

pub use disk::{Disk, DiskError};

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
}

impl State {
    /// A state without configuration.
    pub fn new(
        flavor: Flavor,
        context: Context,
        basics: Basics,
        dns: Arc<Dns>,
    ) -> Result<Self, CompileError> {
        let table = Table::compile(&Declared::default(), flavor, &context)?;
        let tls = Arc::new(Store::new(&table, &basics));
        let generation = Generation {
            number: 0,
            hash: NO_HASH.into(),
            table,
            entities: Arc::default(),
            live: LiveMap::new(),
            tls,
        };
        let current = ArcSwap::from_pointee(generation);
        let (change, numbers) = (Mutex::new(()), AtomicU64::new(0));
        Ok(Self { current, change, numbers, flavor, context, basics, dns })
    }

    /// The generation that a request reads.
    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Compiles entities and puts them to work; the old configuration stays where that fails.
    pub async fn apply(
        &self,
        entities: Arc<Declared>,
        hash: &str,
    ) -> Result<Arc<Generation>, CompileError> {
        let _one_at_a_time = self.change.lock().await;
        let table = Table::compile(entities.as_ref(), self.flavor, &self.context)?;
        let tls = Arc::new(Store::new(&table, &self.basics));
        let old = self.current();
        let live = advance(&old.live, &table, &self.dns, &tls).await;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let generation =
            Arc::new(Generation { number, hash: hash.into(), table, entities, live, tls });
        self.current.store(Arc::clone(&generation));
        Ok(generation)
    }
}
