//! Decoding in one pass over the text, one entity at a time.
//!
//! An entity is read, judged, completed, printed and forgotten before the next one is read, so that the values of a
//! large configuration are never in memory together. Only what is in JSON, in today's format and without any fault
//! comes through here; whatever is unclear is left to the thorough way, which looks at everything twice and says what
//! is wrong. What comes through is what the thorough way would have made of it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use super::{
    Context, Declared, Harvest,
    check::{complete, judge_fields, judge_id},
    gather::{Item, Randoms, children_of, derived_id, print},
};
use crate::schema::{self, EntitySchema};

/// The entities of a configuration; none where only the thorough way can tell.
pub(super) fn decode(
    text: &[u8],
    context: &Context<'_>,
    harvest: &mut dyn Harvest,
) -> Option<Declared> {
    let mut stream = Stream {
        context,
        harvest,
        transform: true,
        declared: Declared::default(),
        names: HashMap::new(),
        customs: HashSet::new(),
        randoms: Randoms::default(),
        waiting: Vec::new(),
        named: Vec::new(),
        looks_again: false,
        nests_snis: false,
    };
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(text).ok()?);
    reader.deserialize_map(TopVisitor(&mut stream)).ok()?;
    reader.end().ok()?;
    stream.finish()
}

/// A key that is looked at where it stands.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is known of the entity that a list stands in.
struct Parent<'a> {
    id: &'a str,
    /// Whether nothing but chance made the id.
    random: bool,
    /// The field by which the list's entities would name it.
    field: &'static str,
}

/// A list of entities of one kind.
struct List<'a> {
    schema: &'static EntitySchema,
    parent: Option<Parent<'a>>,
}

/// An entity's own fields, and the lists in it as they stand.
struct Raw<'a> {
    fields: Map<String, Value>,
    lists: Vec<(&'static EntitySchema, &'a RawValue)>,
}

struct Stream<'a> {
    context: &'a Context<'a>,
    harvest: &'a mut dyn Harvest,
    transform: bool,
    declared: Declared,
    /// Ids by kind and name.
    names: HashMap<&'static str, HashMap<String, String>>,
    /// Unique fields of consumers that are no names.
    customs: HashSet<String>,
    randoms: Randoms,
    /// Entities that name others which did not come yet.
    waiting: Vec<Item>,
    /// Ids that some entity gives for another one, by kind.
    named: Vec<(&'static str, String)>,
    /// Whether something makes the thorough way look a second time.
    looks_again: bool,
    /// Whether there is a nested SNI, of which the second look thinks otherwise.
    nests_snis: bool,
}

/// Something that is not plainly right.
struct Unclear;

type Plain = Result<(), Unclear>;

impl Stream<'_> {
    fn list(&mut self, list: &List<'_>, text: &RawValue) -> Plain {
        let children = children_of(list.schema.name);
        let seed = ListSeed { stream: self, list, children };
        let mut reader = serde_json::Deserializer::from_str(text.get());
        seed.deserialize(&mut reader).map_err(|_| Unclear)
    }

    fn take(&mut self, list: &List<'_>, raw: Raw<'_>) -> Plain {
        let schema = list.schema;
        let parent = list.parent.as_ref();
        let mut item = Item {
            schema,
            entity: raw.fields,
            parent: parent.map(|parent| (0, parent.field)),
            position: 0,
            id_given: false,
            faults: BTreeMap::new(),
        };
        let random = self.identify(&mut item, parent)?;
        if judge_fields(&mut item, self.context) {
            return Err(Unclear);
        }
        let Some(id) = item.id().map(str::to_owned) else { return Err(Unclear) };
        self.introduce(&item, &id)?;
        let waits = self.link(&mut item, parent)?;
        if waits {
            self.waiting.push(item);
        } else {
            self.put(item, &id)?;
        }
        for (child, text) in raw.lists {
            let field = child.references().find(|(_, target)| *target == schema.name);
            let field = field.ok_or(Unclear)?.0;
            let parent = Some(Parent { id: &id, random, field });
            self.list(&List { schema: child, parent }, text)?;
        }
        Ok(())
    }

    /// Gives an entity its id; says whether nothing but chance made it.
    fn identify(&mut self, item: &mut Item, parent: Option<&Parent<'_>>) -> Result<bool, Unclear> {
        item.id_given = item.entity.get("id").is_some_and(|id| !id.is_null());
        if item.id_given {
            return Ok(false);
        }
        item.schema.record.field("id").ok_or(Unclear)?;
        let known = parent.filter(|parent| !parent.random).map(|parent| parent.id);
        let (id, random) = match derived_id(item, known) {
            Some(id) => (id, false),
            None => (self.randoms.id(self.context), true),
        };
        item.entity.insert("id".into(), Value::String(id.to_string()));
        Ok(random)
    }

    /// Remembers an entity's names, which must be its own.
    fn introduce(&mut self, item: &Item, id: &str) -> Plain {
        if let Some(name) = item.schema.endpoint_key.and_then(|key| item.text(key)) {
            let names = self.names.entry(item.schema.name).or_default();
            if names.insert(name.to_owned(), id.to_owned()).is_some() {
                return Err(Unclear);
            }
        }
        match item.schema.name {
            "consumers" => {
                let custom = item.text("custom_id");
                if custom.is_some_and(|custom| !self.customs.insert(custom.to_owned())) {
                    return Err(Unclear);
                }
            }
            "basicauth_credentials" => self.looks_again = true,
            "snis" => self.nests_snis |= item.parent.is_some(),
            _ => {}
        }
        Ok(())
    }

    /// Puts the ids of other entities in; says whether one did not come yet.
    fn link(&mut self, item: &mut Item, parent: Option<&Parent<'_>>) -> Result<bool, Unclear> {
        let mut waits = false;
        for &(field, kind, _) in &item.schema.links {
            let own = item.entity.get(field).filter(|value| !value.is_null());
            let id = match (parent.filter(|parent| parent.field == field), own) {
                (Some(parent), None) => Some(parent.id.to_owned()),
                (None, None) => None,
                (None, Some(Value::String(key))) if !key.is_empty() => {
                    match self.names.get(kind).and_then(|names| names.get(key)) {
                        Some(id) => Some(id.clone()),
                        None => {
                            waits = true;
                            continue;
                        }
                    }
                }
                (None, Some(Value::Object(reference))) if judge_id(reference).is_none() => {
                    self.looks_again = true;
                    let id = reference.get("id").and_then(Value::as_str).ok_or(Unclear)?;
                    self.named.push((kind, id.to_owned()));
                    Some(id.to_owned())
                }
                _ => return Err(Unclear),
            };
            item.entity.insert(field.to_owned(), reference(id));
        }
        Ok(waits)
    }

    /// Completes an entity all of whose references are there.
    fn put(&mut self, mut item: Item, id: &str) -> Plain {
        let (randoms, context) = (&mut self.randoms, self.context);
        complete(&mut item, self.transform, context, &mut || randoms.key(context));
        if item.entity.get("ttl").is_some_and(|ttl| !ttl.is_null()) {
            return Err(Unclear);
        }
        let entity = print(&item, context.flavor);
        if !self.declared.insert(item.schema.name, id, entity) {
            return Err(Unclear);
        }
        self.harvest.reap(item.schema.name, item.entity);
        Ok(())
    }

    fn finish(mut self) -> Option<Declared> {
        if self.looks_again && self.nests_snis {
            return None;
        }
        for mut item in std::mem::take(&mut self.waiting) {
            for &(field, kind, _) in &item.schema.links {
                let Some(Value::String(key)) = item.entity.get(field) else { continue };
                let id = match self.names.get(kind).and_then(|names| names.get(key)) {
                    Some(id) => id.clone(),
                    None => {
                        self.named.push((kind, key.clone()));
                        key.clone()
                    }
                };
                item.entity.insert(field.to_owned(), reference(Some(id)));
            }
            let id = item.id()?.to_owned();
            self.put(item, &id).ok()?;
        }
        let is_there = |kind: &str, id: &str| {
            self.declared.kind(kind).is_some_and(|all| all.get(id).is_some())
        };
        // Kong looks for names before it looks for ids.
        let is_name =
            |kind: &str, id: &str| self.names.get(kind).is_some_and(|n| n.contains_key(id));
        let plain = self.named.iter().all(|(kind, id)| is_there(kind, id) && !is_name(kind, id));
        plain.then_some(self.declared)
    }
}

fn reference(id: Option<String>) -> Value {
    id.map_or(Value::Null, |id| {
        Value::Object(Map::from_iter([("id".to_owned(), Value::String(id))]))
    })
}

/// Reads the document. Hashing of secrets must be settled before the first of them comes.
struct TopVisitor<'s, 'a>(&'s mut Stream<'a>);

impl<'de> Visitor<'de> for TopVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self(stream) = self;
        let unclear = || A::Error::custom("unclear");
        let (mut seen, mut version) = (HashSet::new(), false);
        while let Some(Key(name)) = entries.next_key()? {
            match (&*name, schema::entity(&name)) {
                ("_format_version", _) if !version => {
                    version = entries.next_value::<Key<'_>>()?.0 == "3.0";
                    if !version {
                        return Err(unclear());
                    }
                }
                ("_transform", _) if seen.is_empty() => stream.transform = entries.next_value()?,
                (_, Some(schema)) if seen.insert(schema.name) => {
                    let (list, children) =
                        (List { schema, parent: None }, children_of(schema.name));
                    entries.next_value_seed(ListSeed {
                        stream: &mut *stream,
                        list: &list,
                        children,
                    })?;
                }
                _ => return Err(unclear()),
            }
        }
        version.then_some(()).ok_or_else(unclear)
    }
}

/// Reads a list and hands its entities on, one by one.
struct ListSeed<'s, 'a, 'l> {
    stream: &'s mut Stream<'a>,
    list: &'s List<'l>,
    children: &'static [&'static EntitySchema],
}

impl<'de> DeserializeSeed<'de> for ListSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entities")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entities: A) -> Result<(), A::Error> {
        while let Some(raw) = entities.next_element_seed(EntitySeed(self.children))? {
            self.stream.take(self.list, raw).map_err(|Unclear| A::Error::custom("unclear"))?;
        }
        Ok(())
    }
}

/// Reads an entity whose lists may be of these kinds.
struct EntitySeed(&'static [&'static EntitySchema]);

impl<'de> DeserializeSeed<'de> for EntitySeed {
    type Value = Raw<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Raw<'de>, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntitySeed {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entity")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw<'de>, A::Error> {
        let mut raw = Raw { fields: Map::new(), lists: Vec::new() };
        while let Some(Key(name)) = entries.next_key()? {
            if matches!(&*name, "_comment" | "_ignore") {
                return Err(A::Error::custom("unclear"));
            }
            let Some(at) = self.0.iter().position(|child| child.name == name) else {
                raw.fields.insert(name.into_owned(), entries.next_value()?);
                continue;
            };
            raw.lists.push((self.0[at], entries.next_value()?));
        }
        // The thorough way takes them in the order of their kinds; of two lists it takes the last.
        raw.lists.sort_by_key(|(child, _)| self.0.iter().position(|one| one.name == child.name));
        match raw.lists.windows(2).any(|pair| pair[0].0.name == pair[1].0.name) {
            true => Err(A::Error::custom("unclear")),
            false => Ok(raw),
        }
    }
}
