//! The entities of a configuration out of their nests, each with its place and its id.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Context, Declared, Entity, Harvest, Rejection};
use crate::{
    id,
    path::{looks_like_regex, normalize},
    schema::{EntitySchema, Fault, Flavor, Kind},
};

/// One entity and where it stood.
pub(super) struct Item {
    pub(super) schema: &'static EntitySchema,
    pub(super) entity: Map<String, Value>,
    /// The place of the parent in the arena, and the field that would name it.
    pub(super) parent: Option<(usize, &'static str)>,
    /// Place in its list, from one.
    pub(super) position: usize,
    /// Whether the configuration gave the id.
    pub(super) id_given: bool,
    pub(super) faults: BTreeMap<String, Fault>,
}

impl Item {
    pub(super) fn id(&self) -> Option<&str> {
        self.entity.get("id").and_then(Value::as_str)
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.entity.get(field).and_then(Value::as_str)
    }
}

/// A configuration as a list of entities.
pub(super) struct Arena {
    pub(super) items: Vec<Item>,
    /// Faults outside any entity, by top-level key.
    pub(super) top: BTreeMap<String, Fault>,
    /// Whether secrets are to be hashed.
    pub(super) transform: bool,
    /// Lists and entities that are none, with the parent's place and the kind.
    pub(super) misplaced: Vec<(Option<usize>, &'static str, Option<usize>, Fault)>,
    randoms: Randoms,
}

/// How many random values were made: ids and keys apart, so that neither depends on when the other is made.
#[derive(Default)]
pub(super) struct Randoms {
    ids: u64,
    keys: u64,
}

impl Randoms {
    /// A random id.
    pub(super) fn id(&mut self, context: &Context<'_>) -> Uuid {
        self.ids += 1;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&random_bytes(context, b"id", self.ids)[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A random key of 32 letters and digits.
    pub(super) fn key(&mut self, context: &Context<'_>) -> String {
        const LETTERS: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        self.keys += 1;
        random_bytes(context, b"key", self.keys)
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }
}

fn random_bytes(context: &Context<'_>, purpose: &[u8], count: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(context.seed.to_be_bytes());
    hash.update(purpose);
    hash.update(count.to_be_bytes());
    hash.finalize().into()
}

impl Arena {
    /// Takes the entities out of the document.
    pub(super) fn gather(document: Value, context: &Context<'_>) -> Result<Self, Rejection> {
        let Value::Object(mut top) = document else {
            return Err(Rejection::unreadable("expected an object"));
        };
        let mut arena = Self {
            items: Vec::new(),
            top: BTreeMap::new(),
            transform: true,
            misplaced: Vec::new(),
            randoms: Randoms::default(),
        };
        let version = arena.read_header(&mut top);
        for schema in crate::schema::entity::all() {
            if let Some(list) = top.remove(schema.name) {
                arena.take_list(schema, list, None);
            }
        }
        for name in top.into_iter().map(|(name, _)| name) {
            arena.top.insert(name, "unknown field".into());
        }
        if version.is_some_and(|version| version != "3.0") {
            arena.items.iter_mut().for_each(migrate_paths);
        }
        arena.identify(context);
        Ok(arena)
    }

    fn read_header(&mut self, top: &mut Map<String, Value>) -> Option<String> {
        let mut refuse = |name: &str, message: &str| {
            self.top.insert(name.to_owned(), message.into());
        };
        match top.remove("_transform") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(transform)) => self.transform = transform,
            Some(_) => refuse("_transform", "expected a boolean"),
        }
        match top.remove("_comment") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => refuse("_comment", "expected a string"),
        }
        match top.remove("_ignore") {
            None | Some(Value::Null | Value::Array(_)) => {}
            Some(Value::Object(map)) if map.is_empty() => {}
            Some(_) => refuse("_ignore", "expected an array"),
        }
        match top.remove("_format_version") {
            None | Some(Value::Null) => refuse("_format_version", "required field missing"),
            Some(Value::String(version)) if ["1.1", "2.1", "3.0"].contains(&version.as_str()) => {
                return Some(version);
            }
            Some(Value::String(_)) => {
                refuse("_format_version", "expected one of: 1.1, 2.1, 3.0");
            }
            Some(_) => refuse("_format_version", "expected a string"),
        }
        None
    }

    fn take_list(&mut self, schema: &'static EntitySchema, list: Value, parent: Option<usize>) {
        let list = match list {
            Value::Null => return,
            Value::Array(list) => list,
            Value::Object(map) if map.is_empty() => return,
            _ => {
                self.misplaced.push((parent, schema.name, None, "expected an array".into()));
                return;
            }
        };
        for (at, value) in list.into_iter().enumerate() {
            match value {
                Value::Object(entity) => self.take(schema, entity, parent, at + 1),
                Value::Array(all) if all.is_empty() => {
                    self.take(schema, Map::new(), parent, at + 1);
                }
                _ => {
                    let fault = "expected a record".into();
                    self.misplaced.push((parent, schema.name, Some(at + 1), fault));
                }
            }
        }
    }

    fn take(
        &mut self,
        schema: &'static EntitySchema,
        mut entity: Map<String, Value>,
        parent: Option<usize>,
        position: usize,
    ) {
        let mut faults = BTreeMap::new();
        if entity.remove("_comment").is_some_and(|value| !value.is_string() && !value.is_null()) {
            faults.insert("_comment".to_owned(), "expected a string".into());
        }
        if entity.remove("_ignore").is_some_and(|value| !value.is_array() && !value.is_null()) {
            faults.insert("_ignore".to_owned(), "expected an array".into());
        }
        let nests: Vec<_> = children_of(schema.name)
            .iter()
            .filter_map(|child| Some((*child, entity.remove(child.name)?)))
            .collect();
        let parent = parent.and_then(|at| {
            let kind = self.items[at].schema.name;
            let field = schema.references().find(|(_, target)| *target == kind)?.0;
            Some((at, field))
        });
        let id_given = entity.get("id").is_some_and(|id| !id.is_null());
        let at = self.items.len();
        self.items.push(Item { schema, entity, parent, position, id_given, faults });
        for (child, list) in nests {
            self.take_list(child, list, Some(at));
        }
    }

    /// Gives every entity its id: the given one, or the one that its key determines, or a random one.
    fn identify(&mut self, context: &Context<'_>) {
        let mut random = vec![false; self.items.len()];
        for at in 0..self.items.len() {
            if self.items[at].id_given || self.items[at].schema.record.field("id").is_none() {
                continue;
            }
            let parent = self.items[at].parent.map(|(parent, _)| parent);
            let known = parent.filter(|parent| !random[*parent]);
            let parent_id = known.and_then(|parent| self.items[parent].id().map(str::to_owned));
            let id = match derived_id(&self.items[at], parent_id.as_deref()) {
                Some(id) => id,
                None => {
                    random[at] = true;
                    self.randoms.id(context)
                }
            };
            self.items[at].entity.insert("id".into(), Value::String(id.to_string()));
        }
    }

    /// The places of the entities, and what makes their keys.
    pub(super) fn parts(&mut self) -> (&mut [Item], &mut Randoms) {
        (&mut self.items, &mut self.randoms)
    }

    /// The entities, for use.
    pub(super) fn finish(self, flavor: Flavor, harvest: &mut dyn Harvest) -> Declared {
        let mut declared = Declared::default();
        for item in self.items {
            // A key that is to expire has expired already where no database counts its time.
            if item.entity.get("ttl").is_some_and(|ttl| !ttl.is_null()) {
                continue;
            }
            let key = item.id().or(item.text("key")).unwrap_or_default();
            declared.insert(item.schema.name, key, print(&item, flavor));
            harvest.reap(item.schema.name, item.entity);
        }
        declared
    }
}

/// A complete entity.
pub(super) fn print(item: &Item, flavor: Flavor) -> Entity {
    match item.schema.record_for(&item.entity, flavor) {
        Ok(record) if item.schema.is_plain => Entity::new(&record.print_complete(&item.entity)),
        Ok(_) | Err(_) => Entity::print(&item.entity),
    }
}

/// Which kinds may stand inside this one.
pub(super) fn children_of(kind: &str) -> &'static [&'static EntitySchema] {
    use std::sync::LazyLock;
    static CHILDREN: LazyLock<BTreeMap<&'static str, Vec<&'static EntitySchema>>> =
        LazyLock::new(|| {
            let mut all: BTreeMap<&'static str, Vec<_>> = BTreeMap::new();
            for schema in crate::schema::entity::all() {
                for (_, target) in schema.references() {
                    all.entry(target).or_default().push(schema);
                }
            }
            all
        });
    CHILDREN.get(kind).map(Vec::as_slice).unwrap_or_default()
}

/// The id that the entity's key determines; none when a part of the key is unknown.
pub(super) fn derived_id(item: &Item, parent_id: Option<&str>) -> Option<Uuid> {
    let schema = item.schema;
    let Some(parts) = schema.cache_key else {
        return item.text(schema.endpoint_key?).map(|key| id::derive(schema.name, key));
    };
    let mut key = format!("{}:*", schema.name);
    for part in parts {
        let field = schema.record.field(part)?;
        if field.auto {
            return None;
        }
        match item.entity.get(*part) {
            Some(Value::String(text)) => key = format!("{key}:{text}"),
            Some(Value::Null) | None => {
                if item.parent.is_some_and(|(_, name)| name == *part) {
                    key = format!("{key}:{}", parent_id?);
                } else if field.required == Some(true) {
                    return None;
                } else {
                    key.push(':');
                }
            }
            // A reference written as an object is left out of the key.
            Some(_) if matches!(field.kind, Kind::Foreign(_)) => {}
            Some(_) => return None,
        }
    }
    Some(id::derive(schema.name, &key))
}

/// Paths of old formats were regular expressions when they looked like one.
fn migrate_paths(item: &mut Item) {
    if item.schema.name != "routes" {
        return;
    }
    let Some(Value::Array(paths)) = item.entity.get_mut("paths") else { return };
    for path in paths {
        if let Value::String(text) = path
            && text.starts_with('/')
        {
            *text = if looks_like_regex(text) { format!("~{text}") } else { normalize(text) };
        }
    }
}

/// The time as the entity's field wants it: whole seconds, or with a fraction.
pub(super) fn time(now: f64, whole: bool) -> Value {
    if whole {
        return Value::from(now as i64);
    }
    Number::from_f64((now * 1000.0).round() / 1000.0).map_or(Value::Null, Value::Number)
}
