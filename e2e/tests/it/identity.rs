//! Who receives a configuration, and who never does.
use anyhow::Result;
use e2e::product::Product;

pub(crate) fn stolen_certificate(_product: &Product) -> Result<()> {
    Ok(())
}
