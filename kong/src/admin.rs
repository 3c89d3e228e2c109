//! What the Admin API says, as types for its clients.
//!
//! Answers are read leniently: fields that a gateway leaves out are absent, fields that it adds are
//! ignored, so that a stock Kong of any version can be spoken to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::ConfigHash;

/// The header that carries the leadership under which a configuration is pushed; our own proxy
/// refuses an older one with 409.
pub const TERM_HEADER: &str = "x-flotilla-term";
/// The media type of a [`crate::diff::Delta`] in `PATCH /config`.
pub const DELTA_TYPE: &str = "application/vnd.flotilla.delta+json";
/// The path of the marker on the proxy's own port: its body is the hash that is served.
pub const MARKER_PATH: &str = "/.flotilla/revision";
/// The header without which the marker's path is routed like any other.
pub const MARKER_HEADER: &str = "x-flotilla-probe";

/// `GET /`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeInfo {
    /// Kong's version, or the one whose behavior is imitated.
    pub version: String,
    /// The host.
    pub hostname: String,
    /// The process.
    pub node_id: String,
    /// How it is set up, as far as clients care.
    pub configuration: NodeConfiguration,
    /// Present on our own proxy.
    pub flotilla: Option<FlotillaInfo>,
}

/// The part of `configuration` that clients care about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeConfiguration {
    /// `off` or `postgres`.
    pub database: String,
    /// The router's flavor.
    pub router_flavor: String,
}

/// What our own proxy adds to `GET /`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FlotillaInfo {
    /// Its own version.
    pub version: String,
}

/// `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The hash of what is loaded; absent before the first load and with a database.
    pub configuration_hash: Option<String>,
    /// Present with a database.
    pub database: Option<Database>,
}

impl Status {
    /// The hash of what is loaded; none when nothing is.
    #[must_use]
    pub fn hash(&self) -> Option<ConfigHash> {
        self.configuration_hash
            .as_deref()
            .and_then(ConfigHash::parse)
            .filter(|hash| *hash != crate::canonical::EMPTY_HASH)
    }
}

/// The database, as `GET /status` tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Database {
    /// Whether it can be reached.
    pub reachable: bool,
}

/// The query of `POST /config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushQuery {
    /// Answer 304 when the same bytes are loaded already.
    pub check_hash: bool,
    /// Tell faults entity by entity.
    pub flatten_errors: bool,
}

impl PushQuery {
    /// The path with the query.
    #[must_use]
    pub fn path(self) -> String {
        let flags = [("check_hash=1", self.check_hash), ("flatten_errors=1", self.flatten_errors)];
        let set: Vec<&str> = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        if set.is_empty() { "/config".to_owned() } else { format!("/config?{}", set.join("&")) }
    }
}

/// The body of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// Kong's code; 14 for configurations.
    pub code: Option<u32>,
    /// Kong's name of the code.
    pub name: Option<String>,
    /// For people.
    pub message: String,
    /// Faults by path.
    pub fields: Value,
    /// The faulty entities.
    #[serde(deserialize_with = "list_or_nothing")]
    pub flattened_errors: Vec<EntityErrors>,
}

/// One faulty entity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityErrors {
    /// Kind in the singular.
    pub entity_type: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_name: Option<String>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// Its tags, which name the object behind it ([`crate::tag::ObjectRef::from_tags`]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entity_tags: Vec<String>,
    /// What is wrong.
    pub errors: Vec<EntityError>,
}

/// One fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityError {
    /// `field` or `entity`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Dotted path, for fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The message.
    pub message: String,
}

/// An empty list comes as an empty object.
fn list_or_nothing<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Vec<EntityErrors>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<EntityErrors>),
        Nothing {},
    }
    Ok(match Either::deserialize(from)? {
        Either::List(all) => all,
        Either::Nothing {} => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_read_with_and_without_entities() {
        let empty = json!({ "code": 14, "message": "m", "fields": {}, "flattened_errors": {} });
        let refusal: Refusal = serde_json::from_value(empty).unwrap();
        assert!(refusal.flattened_errors.is_empty());
        let one = json!({ "flattened_errors": [{
            "entity_type": "route", "entity_tags": ["k8s-name:a", "k8s-kind:Ingress"],
            "errors": [{ "type": "field", "field": "paths.1", "message": "no" }],
        }] });
        let refusal: Refusal = serde_json::from_value(one).unwrap();
        assert_eq!(refusal.flattened_errors[0].errors[0].field.as_deref(), Some("paths.1"));
    }

    #[test]
    fn zeros_are_no_configuration() {
        let status =
            |hash: &str| Status { configuration_hash: Some(hash.to_owned()), ..Status::default() };
        assert_eq!(status(&"0".repeat(32)).hash(), None);
        assert!(status(&"a".repeat(32)).hash().is_some());
    }
}
