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
    pub build: Build,
}

/// Makes an instance of a validated configuration.
pub type Build = fn(&Config<'_>) -> Result<Box<dyn Plugin>, BuildError>;

/// The plugin of this name, where the gateway runs it.
#[must_use]
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name)
}

const A: Phases = Phases::ACCESS;
const H: Phases = Phases::HEADER_FILTER;
const L: Phases = Phases::LOG;

const fn define(name: &'static str, priority: i64, phases: Phases, build: Build) -> Definition {
    Definition { name, priority, phases, build }
}

/// By descending priority.
static DEFINITIONS: &[Definition] = &[
    define("jwt", 1_450, A, super::jwt::build),
    define("key-auth", 1_250, A, super::key_auth::build),
    define("basic-auth", 1_100, A, super::basic_auth::build),
    define("hmac-auth", 1_030, A, super::hmac_auth::build),
    define("acl", 950, A, super::acl::build),
    define("rate-limiting", 910, A, super::rate_limiting::build),
    define("request-termination", 2, A, super::request_termination::build),
];
