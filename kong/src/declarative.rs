//! From the text of a configuration to its entities, or to what is wrong with it.
//!
//! Decoding is strict and complete: every entity is validated, filled with defaults, given its id,
//! and its references are resolved, before any of it is used. What only the gateway's engines can
//! judge (certificates, router expressions) is asked of a [`Judge`].

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    canonical::{ConfigHash, EMPTY_HASH},
    schema::{Fault, Flavor},
};

mod amend;
mod check;
mod document;
mod entities;
mod gather;
mod printed;
mod report;
mod stream;
mod text;

pub use amend::{Amended, amend, patch};
pub use entities::{Entities, Entity};
pub use report::{Rejection, Violations, pretty};
pub use text::yaml;

/// What decoding needs from outside.
pub struct Context<'a> {
    /// The time for `created_at` and `updated_at`, in seconds.
    pub now: f64,
    /// Source of the ids and keys that have to be random.
    pub seed: u128,
    /// Which language routes are written in.
    pub flavor: Flavor,
    /// Judges what needs an engine.
    pub judge: &'a dyn Judge,
}

/// Judges what only the gateway's engines can.
pub trait Judge {
    /// Adds the faults of a valid-looking entity of this kind to those already found.
    fn judge(&self, kind: &str, entity: &Map<String, Value>, faults: &mut BTreeMap<String, Fault>);
}

/// Finds no fault.
pub struct Lenient;

impl Judge for Lenient {
    fn judge(&self, _: &str, _: &Map<String, Value>, _: &mut BTreeMap<String, Fault>) {}
}

/// The entities of a configuration, each complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    kinds: BTreeMap<&'static str, Entities>,
    hash: Option<ConfigHash>,
}

impl Declared {
    /// The entities of a kind (`services`) in the order of their ids.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Entity> + use<'_> {
        self.kinds.get(kind).into_iter().flat_map(Entities::values)
    }

    /// The entities of a kind as values.
    pub fn values(&self, kind: &str) -> impl Iterator<Item = Value> + use<'_> {
        self.of(kind).map(Entity::value)
    }

    /// The entities of a kind in the order of their ids, with the ids.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Option<&Entities> {
        self.kinds.get(kind)
    }

    /// All kinds that have entities.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &Entities)> {
        self.kinds.iter().map(|(kind, entities)| (*kind, entities))
    }

    /// The entity of this kind and id.
    #[must_use]
    pub fn get(&self, kind: &str, id: &str) -> Option<Value> {
        self.kinds.get(kind)?.get(id).map(Entity::value)
    }

    /// The entity of this kind whose id or name this is.
    #[must_use]
    pub fn find(&self, kind: &str, key: &str) -> Option<Value> {
        if let Some(entity) = self.get(kind, key) {
            return Some(entity);
        }
        let name = crate::schema::entity(kind)?.endpoint_key?;
        self.having(kind, name, key)
    }

    /// The entity of this kind whose field has this text.
    fn having(&self, kind: &str, field: &str, text: &str) -> Option<Value> {
        // Few texts hold the words at all: only those are read.
        let words = Value::from(text).to_string();
        self.of(kind)
            .filter(|entity| entity.json().contains(&words))
            .map(Entity::value)
            .find(|entity| entity.get(field).and_then(Value::as_str) == Some(text))
    }

    /// Whether there are no entities.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(|(kind, all)| *kind == "workspaces" || all.is_empty())
    }

    /// The hash that the gateway reports: of the bytes, or zeros when there are no entities.
    #[must_use]
    pub fn hash(&self) -> ConfigHash {
        match self.hash {
            Some(hash) if !self.is_empty() => hash,
            _ => EMPTY_HASH,
        }
    }

    /// Puts another hash in place, for configurations that were not sent as one text.
    pub fn set_hash(&mut self, hash: ConfigHash) {
        self.hash = Some(hash);
    }

    /// All entities by kind and id in JSON, as `POST /config` answers.
    #[must_use]
    pub fn to_json(&self) -> String {
        let kinds = || self.kinds.iter().filter(|(kind, _)| **kind != "workspaces");
        let size = kinds().flat_map(|(_, all)| all.iter()).map(|(_, one)| one.json().len() + 48);
        let mut out = String::with_capacity(size.sum::<usize>() + 256);
        let mut between = '{';
        for (kind, all) in kinds() {
            out.push(between);
            out.push_str(&Value::from(*kind).to_string());
            out.push(':');
            let mut open = '{';
            for (id, entity) in all.iter() {
                out.push(open);
                if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                    out.push('"');
                    out.push_str(id);
                    out.push('"');
                } else {
                    out.push_str(&Value::from(id).to_string());
                }
                out.push(':');
                out.push_str(entity.json());
                open = ',';
            }
            out.push('}');
            between = ',';
        }
        out.push_str(if between == '{' { "{}" } else { "}" });
        out
    }

    /// Adds or replaces an entity that is already complete; says whether there was none of that id.
    fn insert(&mut self, kind: &'static str, id: &str, entity: Entity) -> bool {
        self.kinds.entry(kind).or_default().insert(id, entity)
    }

    /// Removes an entity.
    fn remove(&mut self, kind: &str, id: &str) {
        let Some(all) = self.kinds.get_mut(kind) else { return };
        all.remove(id);
        if all.is_empty() {
            self.kinds.remove(kind);
        }
    }
}

/// Takes entities as they become complete, before their values are gone.
pub trait Harvest {
    /// Takes an entity of a kind: its given fields as they were judged, its id, references and times; a field that is
    /// absent has its default.
    fn reap(&mut self, kind: &'static str, entity: Map<String, Value>);

    /// Forgets what was taken: all entities come again.
    fn start_over(&mut self);
}

/// Takes nothing.
pub struct NoHarvest;

impl Harvest for NoHarvest {
    fn reap(&mut self, _: &'static str, _: Map<String, Value>) {}

    fn start_over(&mut self) {}
}

/// Decodes the text of a configuration, JSON or YAML.
///
/// # Errors
/// What is wrong with it, entity by entity.
pub fn decode(text: &[u8], context: &Context<'_>) -> Result<Declared, Rejection> {
    decode_into(text, context, &mut NoHarvest)
}

/// Decodes the text of a configuration and hands its entities on as it makes them, in no particular order.
///
/// # Errors
/// What is wrong with it, entity by entity.
pub fn decode_into(
    text: &[u8],
    context: &Context<'_>,
    harvest: &mut dyn Harvest,
) -> Result<Declared, Rejection> {
    let mut declared = match stream::decode(text, context, harvest) {
        Some(declared) => declared,
        None => {
            harvest.start_over();
            thorough(text, context, harvest)?
        }
    };
    declared.hash = Some(ConfigHash::of(text));
    Ok(declared)
}

/// Decodes with all entities at hand.
fn thorough(
    text: &[u8],
    context: &Context<'_>,
    harvest: &mut dyn Harvest,
) -> Result<Declared, Rejection> {
    let parse = || text::parse(text).map_err(|reason| Rejection::unreadable(&reason));
    let mut arena = gather::Arena::gather(parse()?, context)?;
    if let Err(faults) = check::run(&mut arena, context, None) {
        // Filling changed the entities; the report shows them as they were sent.
        let original = gather::Arena::gather(parse()?, context)?;
        return Err(report::build(faults, &original, &arena));
    }
    Ok(arena.finish(context.flavor, harvest))
}

#[cfg(test)]
mod tests;
