//! The one cluster that all scenarios share, with the product installed in it.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use e2e::cluster::{self, Cluster};
use e2e::images;
use e2e::place::Place;
use e2e::product::Product;

static PRODUCT: OnceLock<Result<Product, String>> = OnceLock::new();

/// Where the scenarios play.
pub(crate) struct Stage;

impl Stage {
    /// The installed product; the first call brings everything up.
    pub(crate) fn product() -> Result<&'static Product> {
        let raised = PRODUCT.get_or_init(|| raise().map_err(|error| format!("{error:#}")));
        raised.as_ref().map_err(|error| anyhow!("the cluster is not up: {error}"))
    }

    /// Removes the cluster, unless nothing was brought up or it shall stay.
    pub(crate) fn strike() -> Result<()> {
        if PRODUCT.get().is_none() || keep() {
            return Ok(());
        }
        cluster::remove(&Place::test())
    }
}

fn keep() -> bool {
    std::env::var_os("FLOTILLA_E2E_KEEP").is_some()
}

fn raise() -> Result<Product> {
    // Cargo needs the machine's network, the cluster's clients need the cluster's.
    let built = images::build()?;
    let running = if keep() { Cluster::running(Place::test())? } else { None };
    let cluster = match running {
        Some(cluster) => cluster,
        None => Cluster::up(Place::test())?,
    };
    Product::install(&cluster, &built)
}
