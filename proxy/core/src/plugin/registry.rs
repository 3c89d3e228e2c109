//! Every plugin that this gateway runs: its name, its place in the order, the phases it needs, how it is built.

use super::{BuildError, Config, Phases, Plugin};

/// A plugin that can be configured.
pub struct Definition {
    /// Kong's name of it.
    pub name: &'static str,
    /// Kong's priority: higher runs first.
    pub priority: i64,
    /// The phases in which it is called.
    pub phases: Phases,
    /// Builds an instance from its configuration.
    pub build: fn(&Config<'_>) -> Result<Box<dyn Plugin>, BuildError>,
}

/// The plugin of this name, where the gateway runs it.
#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

/// By descending priority.
static DEFINITIONS: &[Definition] = &[];
