//! Complete entities, kept as their JSON.
//!
//! A tree of values takes five times the memory of its text, and most entities are never looked at
//! again once they were compiled. Entities of a kind stand on shelves by the beginning of their
//! ids: a copy of them shares every shelf that is not changed afterwards.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

/// One complete entity.
#[derive(Clone, PartialEq, Eq)]
pub struct Entity(Arc<str>);

impl Entity {
    /// The entity whose JSON this is, as its schema completed it.
    pub(super) fn new(json: &str) -> Self {
        Self(json.into())
    }

    /// An entity of these fields.
    pub(super) fn print(fields: &Map<String, Value>) -> Self {
        // A map of values is always JSON.
        Self::new(&serde_json::to_string(fields).unwrap_or_default())
    }

    /// Its JSON, keys sorted.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Its fields.
    #[must_use]
    pub fn value(&self) -> Value {
        // Only what was printed is kept, so it can be read.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The entity as a type of `model`, or as any other that has its fields.
    ///
    /// # Errors
    /// When the entity is not what its schema promises.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl From<&Value> for Entity {
    fn from(value: &Value) -> Self {
        Self::new(&value.to_string())
    }
}

impl fmt::Debug for Entity {
    /// Entities hold secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Entity({} bytes)", self.0.len())
    }
}

type Shelf = BTreeMap<Box<str>, Entity>;

/// The entities of one kind in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entities {
    shelves: BTreeMap<[u8; 2], Arc<Shelf>>,
}

/// Ids that begin alike stand together, and shelves stand in the order of ids.
fn shelf_of(id: &str) -> [u8; 2] {
    let mut bytes = id.bytes();
    [bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()]
}

impl Entities {
    /// All of them with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entity)> {
        let shelves = self.shelves.values();
        shelves.flat_map(|shelf| shelf.iter().map(|(id, entity)| (id.as_ref(), entity)))
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Entity> {
        self.shelves.values().flat_map(|shelf| shelf.values())
    }

    /// The entity of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Entity> {
        self.shelves.get(&shelf_of(id))?.get(id)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shelves.is_empty()
    }

    /// Says whether there was none of that id.
    pub(super) fn insert(&mut self, id: &str, entity: Entity) -> bool {
        let shelf = self.shelves.entry(shelf_of(id)).or_default();
        Arc::make_mut(shelf).insert(id.into(), entity).is_none()
    }

    pub(super) fn remove(&mut self, id: &str) {
        let place = shelf_of(id);
        let Some(shelf) = self.shelves.get_mut(&place) else { return };
        if shelf.contains_key(id) {
            Arc::make_mut(shelf).remove(id);
        }
        if shelf.is_empty() {
            self.shelves.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_original() {
        let mut one = Entities::default();
        for id in ["b1", "a2", "a1", ""] {
            one.insert(id, Entity::from(&json!({ "id": id })));
        }
        let mut other = one.clone();
        other.remove("a1");
        other.remove("b1");
        other.remove("nobody");
        let ids = |all: &Entities| all.iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>();
        assert_eq!(ids(&one), ["", "a1", "a2", "b1"]);
        assert_eq!(ids(&other), ["", "a2"]);
        assert_eq!(one.get("a1").unwrap().value(), json!({ "id": "a1" }));
    }
}
