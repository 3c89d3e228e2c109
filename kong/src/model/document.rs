//! A whole configuration as it is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CaCertificate, Certificate, Consumer, ConsumerGroup, ConsumerGroupConsumer, Key, KeySet,
    Plugin, Route, Service, Sni, Upstream, Vault,
};

/// The version of the format that documents declare.
const FORMAT_VERSION: &str = "3.0";

/// A whole configuration: lists of entities, children nested or beside their parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Document {
    /// Version of the format.
    #[serde(rename = "_format_version")]
    pub format_version: String,
    /// Whether secrets are hashed on arrival.
    #[serde(rename = "_transform", skip_serializing_if = "Option::is_none")]
    pub transform: Option<bool>,
    /// Services with their routes and plugins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Routes beside services.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Upstreams with their targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<Upstream>,
    /// Plugins beside what they name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Plugin>,
    /// Consumers with their credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<Consumer>,
    /// Consumer groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumer_groups: Vec<ConsumerGroup>,
    /// Who is in which consumer group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumer_group_consumers: Vec<ConsumerGroupConsumer>,
    /// Certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Server names beside certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snis: Vec<Sni>,
    /// Authorities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_certificates: Vec<CaCertificate>,
    /// Vaults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vaults: Vec<Vault>,
    /// Sets of keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_sets: Vec<KeySet>,
    /// Keys beside sets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// Entities of other kinds (KongCustomEntity, licenses), as they are.
    #[serde(flatten)]
    pub custom: BTreeMap<String, Vec<Map<String, Value>>>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            transform: None,
            services: Vec::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            plugins: Vec::new(),
            consumers: Vec::new(),
            consumer_groups: Vec::new(),
            consumer_group_consumers: Vec::new(),
            certificates: Vec::new(),
            snis: Vec::new(),
            ca_certificates: Vec::new(),
            vaults: Vec::new(),
            key_sets: Vec::new(),
            keys: Vec::new(),
            custom: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_not_written() {
        let service = Service { name: Some("a".into()), ..Service::default() };
        let document = Document { services: vec![service], ..Document::default() };
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(text, r#"{"_format_version":"3.0","services":[{"name":"a"}]}"#);
        assert_eq!(serde_json::from_str::<Document>(&text).unwrap(), document);
    }
}
