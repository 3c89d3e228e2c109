//! What an entity or a plugin may hold: data that validates, fills defaults and prints itself.
//!
//! A schema is written once with the builders of [`Field`] and serves three ends: `POST /config`
//! refuses with Kong's own messages, absent fields get Kong's defaults, and
//! `GET /schemas/…` prints Kong's JSON. `plugin` holds one file per plugin.

mod check;
mod complete;
pub mod entity;
mod entity_check;
mod fault;
mod field;
pub mod plugin;
mod print;
pub mod typedef;
mod validate;

pub use check::Check;
pub use entity::{EntitySchema, Flavor, entity};
pub use entity_check::{Condition, EntityCheck};
pub use fault::Fault;
pub use field::{Custom, Field, Kind, Record, Shorthand};
pub use plugin::{PluginSchema, plugin};
pub use validate::References;

/// Whether the text is a regular expression that the gateway can run.
#[must_use]
pub fn is_regex(text: &str) -> bool {
    crate::pcre::Pattern::new(text).is_ok()
}

/// Whether the text is a UUID in the usual form.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    check::is_uuid(text)
}
