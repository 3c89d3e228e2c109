//! What changed between two configurations, as a document of entities in and out.
//!
//! A document is what `POST /config` takes with all entities at the top level, each with its `id`.
//! The law: `diff(a, b).apply(a) == b`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A change of the configuration with the hash `base` into that with the hash `result`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The hash of what it changes.
    pub base: String,
    /// The hash of what comes out.
    pub result: String,
    /// Entities to add or replace, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub put: BTreeMap<String, Vec<Value>>,
    /// Ids of entities to remove, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remove: BTreeMap<String, Vec<String>>,
}

fn id(entity: &Value) -> Option<&str> {
    entity.get("id").and_then(Value::as_str)
}

fn by_id(document: &Value, kind: &str) -> BTreeMap<String, Value> {
    let all = document.get(kind).and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|entity| Some((id(entity)?.to_owned(), entity.clone())))
        .collect()
}

fn kinds(document: &Value) -> impl Iterator<Item = &String> {
    let map = document.as_object();
    map.into_iter().flat_map(Map::keys).filter(|name| !name.starts_with('_'))
}

/// What turns the document `from` into `to`; hashes are the caller's.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Delta {
    let mut delta = Delta::default();
    let mut names: Vec<&String> = kinds(from).chain(kinds(to)).collect();
    names.sort();
    names.dedup();
    for kind in names {
        let (old, new) = (by_id(from, kind), by_id(to, kind));
        let put: Vec<Value> = new
            .iter()
            .filter(|(id, entity)| old.get(*id) != Some(entity))
            .map(|(_, entity)| entity.clone())
            .collect();
        let removed: Vec<String> = old.into_keys().filter(|id| !new.contains_key(id)).collect();
        if !put.is_empty() {
            delta.put.insert(kind.clone(), put);
        }
        if !removed.is_empty() {
            delta.remove.insert(kind.clone(), removed);
        }
    }
    delta
}

impl Delta {
    /// The document with the change made; entities come in the order of their ids.
    #[must_use]
    pub fn apply(&self, document: &Value) -> Value {
        let mut out = document.as_object().cloned().unwrap_or_default();
        let touched = self.put.keys().chain(self.remove.keys());
        for kind in touched {
            let mut all = by_id(document, kind);
            for id in self.remove.get(kind).into_iter().flatten() {
                all.remove(id);
            }
            for entity in self.put.get(kind).into_iter().flatten() {
                if let Some(id) = id(entity) {
                    all.insert(id.to_owned(), entity.clone());
                }
            }
            if all.is_empty() {
                out.remove(kind);
            } else {
                out.insert(kind.clone(), all.into_values().collect());
            }
        }
        Value::Object(out)
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.remove.is_empty()
    }
}
