//! Whether the router can run a route.

use kong::schema::Flavor;
use serde_json::{Map, Value};

/// Asks the engine, where the flavor has one.
///
/// # Errors
/// What the engine says.
pub(super) fn check(route: &Map<String, Value>, flavor: Flavor) -> Result<(), String> {
    match flavor {
        Flavor::Traditional => Ok(()),
        Flavor::TraditionalCompatible | Flavor::Expressions => proxy_core::route::judge(route),
    }
}
