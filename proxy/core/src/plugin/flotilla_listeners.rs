//! flotilla-listeners: what listeners of Gateways say of TLS. It runs for no request; the table holds what it says
//! ([`crate::entrances`]).

use super::{BuildError, Config, Plugin};

struct Listeners;

impl Plugin for Listeners {}

pub(super) fn build(_: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(Listeners))
}
