//! What is wrong with a configuration, as Kong tells it: by path, or entity by entity.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    check::Faults,
    gather::{Arena, Item},
};
use crate::schema::Fault;

/// A refused configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// All faults by path.
    pub fields: Fault,
    /// The faults that entity-by-entity reports cannot attribute, by path.
    remaining: Fault,
    /// The faulty entities in Kong's order; none when the text could not be read.
    flattened: Option<Vec<Violations>>,
}

/// One entity and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Violations {
    /// Kind in the singular (`service`).
    pub entity_type: String,
    /// Its name, when it is text.
    pub entity_name: Option<String>,
    /// Its id, when it is one.
    pub entity_id: Option<String>,
    /// Its tags, when they are all text.
    pub entity_tags: Option<Vec<String>>,
    /// The entity as it was sent, without nested entities.
    pub entity: Value,
    /// Faults of fields (dotted path and message) and of the whole (no path).
    pub errors: Vec<(Option<String>, String)>,
}

impl Rejection {
    /// The text is no configuration at all.
    #[must_use]
    pub fn unreadable(reason: &str) -> Self {
        let message = format!("failed parsing declarative configuration: {reason}");
        let fields = Fault::Fields(BTreeMap::from([("error".to_owned(), message.into())]));
        Self { remaining: fields.clone(), fields, flattened: None }
    }

    /// The faulty entities; empty when the text could not be read.
    #[must_use]
    pub fn violations(&self) -> &[Violations] {
        self.flattened.as_deref().unwrap_or_default()
    }

    /// The body of the answer, by path or (`flatten`) entity by entity.
    #[must_use]
    pub fn to_json(&self, flatten: bool) -> Value {
        let fields = if flatten { &self.remaining } else { &self.fields };
        let mut out = json!({
            "code": 14,
            "name": "invalid declarative configuration",
            "message": format!("declarative config is invalid: {}", pretty(fields)),
            "fields": fields.to_json(),
        });
        if let (true, Some(all)) = (flatten, &self.flattened) {
            // An empty list is an empty object to Kong.
            out["flattened_errors"] = if all.is_empty() {
                json!({})
            } else {
                all.iter().map(Violations::to_json).collect()
            };
        }
        out
    }
}

impl Violations {
    fn to_json(&self) -> Value {
        let errors: Vec<Value> = self
            .errors
            .iter()
            .map(|(field, message)| match field {
                Some(field) => json!({ "type": "field", "field": field, "message": message }),
                None => json!({ "type": "entity", "message": message }),
            })
            .collect();
        let mut out =
            json!({ "entity_type": self.entity_type, "entity": self.entity, "errors": errors });
        if let Some(name) = &self.entity_name {
            out["entity_name"] = json!(name);
        }
        if let Some(id) = &self.entity_id {
            out["entity_id"] = json!(id);
        }
        if let Some(tags) = &self.entity_tags {
            out["entity_tags"] = json!(tags);
        }
        out
    }
}

/// A value as the texts of errors show it: sorted keys, as little space as possible.
#[must_use]
pub fn pretty(fault: &Fault) -> String {
    match fault {
        Fault::Message(text) => quote(text),
        Fault::Fields(map) => {
            let all: Vec<String> = map
                .iter()
                .map(|(name, fault)| {
                    let plain = !name.is_empty()
                        && !name.as_bytes()[0].is_ascii_digit()
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                    let name = if plain { name.clone() } else { format!("[{}]", quote(name)) };
                    format!("{name}={}", pretty(fault))
                })
                .collect();
            format!("{{{}}}", all.join(","))
        }
        Fault::Items(items) => {
            let mut next = 1;
            let all: Vec<String> = items
                .iter()
                .map(|(at, fault)| {
                    let text = pretty(fault);
                    if *at == next {
                        next += 1;
                        text
                    } else {
                        format!("[{at}]={text}")
                    }
                })
                .collect();
            format!("{{{}}}", all.join(","))
        }
    }
}

fn quote(text: &str) -> String {
    if text.contains(['"', '\n']) {
        return format!("[[{text}]]");
    }
    format!("\"{}\"", text.replace('\\', "\\\\"))
}

/// Builds the report; `original` has the entities as they were sent.
pub(super) fn build(faults: Faults, original: &Arena, judged: &Arena) -> Rejection {
    let mut tree = Tree::default();
    for (name, fault) in &judged.top {
        tree.put(&[Step::Key(name.clone())], fault.clone());
    }
    let mut remaining = tree.clone();
    let mut flattened = Vec::new();
    match faults {
        Faults::Invalid => {
            let top_level = judged
                .misplaced
                .iter()
                .filter(|(parent, _, at, _)| parent.is_none() && at.is_none());
            for (_, kind, _, fault) in top_level {
                remaining.put(&[Step::Key((*kind).to_owned())], fault.clone());
            }
            for (parent, kind, at, fault) in &judged.misplaced {
                let mut path = parent.map(|parent| path_of(judged, parent)).unwrap_or_default();
                path.push(Step::Key((*kind).to_owned()));
                path.extend(at.map(Step::Place));
                tree.put(&path, fault.clone());
            }
            for at in order(judged) {
                let item = &judged.items[at];
                if item.faults.is_empty() {
                    continue;
                }
                tree.put(&path_of(judged, at), Fault::Fields(item.faults.clone()));
                violations(&original.items[at], &item.faults, original, false, &mut flattened);
            }
        }
        Faults::Repeated(repeats) => {
            let mut found = BTreeMap::new();
            for repeat in repeats {
                let item = &judged.items[repeat.item];
                let path = if repeat.by_name && item.parent.is_some() {
                    let list = Step::Key(item.schema.name.to_owned());
                    let path = vec![list, Step::Place(item.position)];
                    remaining.put(&path, repeat.message.clone().into());
                    path
                } else {
                    found.insert(repeat.item, repeat.message.clone());
                    path_of(judged, repeat.item)
                };
                tree.put(&path, repeat.message.into());
            }
            for at in order(judged) {
                if let Some(message) = found.remove(&at) {
                    let mut one = describe(&original.items[at], original, true);
                    one.errors.push((None, message));
                    flattened.push(one);
                }
            }
        }
        Faults::Dangling(all) => {
            for (kind, names) in all {
                for (name, messages) in names {
                    let messages = messages.into_iter().enumerate();
                    let items = messages.map(|(at, text)| (at + 1, Fault::Message(text)));
                    let path = [Step::Key(kind.clone()), Step::Key(name)];
                    tree.put(&path, Fault::Items(items.collect()));
                }
            }
        }
        Faults::Shared(all) => {
            for (kind, names) in all {
                for (name, message) in names {
                    tree.put(&[Step::Key(kind.clone()), Step::Key(name)], message.into());
                }
            }
        }
    }
    Rejection { fields: tree.0, remaining: remaining.0, flattened: Some(flattened) }
}

/// A step of a path.
#[derive(Clone)]
enum Step {
    Key(String),
    Place(usize),
}

/// Faults under construction.
#[derive(Clone)]
struct Tree(Fault);

impl Default for Tree {
    fn default() -> Self {
        Self(Fault::Fields(BTreeMap::new()))
    }
}

impl Tree {
    /// Puts a fault at a path; faults of fields join those that are there.
    fn put(&mut self, path: &[Step], fault: Fault) {
        let mut place = &mut self.0;
        for (at, step) in path.iter().enumerate() {
            let empty = match path.get(at + 1) {
                Some(Step::Place(_)) => Fault::Items(BTreeMap::new()),
                Some(Step::Key(_)) | None => Fault::Fields(BTreeMap::new()),
            };
            place = match (step, place) {
                (Step::Key(key), Fault::Fields(map)) => map.entry(key.clone()).or_insert(empty),
                (Step::Place(at), Fault::Items(map)) => map.entry(*at).or_insert(empty),
                _ => return,
            };
        }
        match (place, fault) {
            (Fault::Fields(there), Fault::Fields(more)) => there.extend(more),
            (place, fault) => *place = fault,
        }
    }
}

fn path_of(arena: &Arena, at: usize) -> Vec<Step> {
    let item = &arena.items[at];
    let mut path = item.parent.map(|(parent, _)| path_of(arena, parent)).unwrap_or_default();
    path.push(Step::Key(item.schema.name.to_owned()));
    path.push(Step::Place(item.position));
    path
}

/// Kong's order: kinds backwards by name, entities from the last to the first, and inside an entity
/// its nested ones before itself, in the order in which they were given.
fn order(arena: &Arena) -> Vec<usize> {
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut top = Vec::new();
    for (at, item) in arena.items.iter().enumerate() {
        match item.parent {
            Some((parent, _)) => children.entry(parent).or_default().push(at),
            None => top.push(at),
        }
    }
    let key = |at: &usize| (arena.items[*at].schema.name, arena.items[*at].position);
    top.sort_by_key(key);
    let mut out = Vec::with_capacity(arena.items.len());
    for at in top.into_iter().rev() {
        visit(arena, at, &children, &mut out);
    }
    out
}

fn visit(arena: &Arena, at: usize, children: &BTreeMap<usize, Vec<usize>>, out: &mut Vec<usize>) {
    let mut nested = children.get(&at).cloned().unwrap_or_default();
    nested.sort_by_key(|child| {
        (std::cmp::Reverse(arena.items[*child].schema.name), arena.items[*child].position)
    });
    for child in nested {
        visit(arena, child, children, out);
    }
    out.push(at);
}

/// Adds the faults of one entity, and of references that are objects as entities of their own.
fn violations(
    item: &Item,
    faults: &BTreeMap<String, Fault>,
    original: &Arena,
    keep_id: bool,
    out: &mut Vec<Violations>,
) {
    let mut one = describe(item, original, keep_id);
    for (name, fault) in faults.iter().rev() {
        let target = item.schema.references().find(|(field, _)| field == name);
        if let (Some((parent, "certificate")), "certificate", Fault::Message(message)) =
            (item.parent, name.as_str(), fault)
            && original.items[parent].id_given
        {
            // Kong tells the missing parent of a nested name as the parent's own fault.
            let id = original.items[parent].id().map(str::to_owned);
            out.push(Violations {
                entity_type: singular("certificates"),
                entity: json!({ "id": id }),
                entity_id: id,
                errors: vec![(None, message.clone())],
                ..Violations::default()
            });
            continue;
        }
        if let (Some((_, kind)), Some(Value::Object(reference)), Fault::Fields(inner)) =
            (target, item.entity.get(name), fault)
        {
            let mut apart = Violations {
                entity_type: singular(kind),
                entity_name: reference.get("name").and_then(Value::as_str).map(str::to_owned),
                entity: echo(&Value::Object(reference.clone())),
                ..Violations::default()
            };
            for (field, fault) in inner.iter().rev() {
                flatten(field, fault, &mut apart.errors);
            }
            out.push(apart);
            continue;
        }
        flatten(name, fault, &mut one.errors);
    }
    if !one.errors.is_empty() {
        out.push(one);
    }
}

fn flatten(path: &str, fault: &Fault, out: &mut Vec<(Option<String>, String)>) {
    let whole = path == "@entity" || path.ends_with(".@entity");
    match fault {
        Fault::Message(text) if whole => out.push((None, text.clone())),
        Fault::Message(text) => out.push((Some(path.to_owned()), text.clone())),
        Fault::Fields(map) => {
            for (name, fault) in map.iter().rev() {
                flatten(&format!("{path}.{name}"), fault, out);
            }
        }
        Fault::Items(items) if whole => {
            items.values().for_each(|fault| flatten("@entity", fault, out));
        }
        Fault::Items(items) => {
            for (at, fault) in items {
                flatten(&format!("{path}.{at}"), fault, out);
            }
        }
    }
}

fn singular(kind: &str) -> String {
    kind.strip_suffix('s').unwrap_or(kind).to_owned()
}

/// Who the entity is, as far as it says so itself.
fn describe(item: &Item, arena: &Arena, keep_id: bool) -> Violations {
    let mut entity = item.entity.clone();
    if !item.id_given && !keep_id {
        entity.remove("id");
    }
    if let Some((parent, field)) = item.parent {
        let parent = &arena.items[parent];
        if let Some(id) = parent.id().filter(|_| parent.id_given || keep_id)
            && entity.get(field).is_none_or(Value::is_null)
        {
            entity.insert(field.to_owned(), json!({ "id": id }));
        }
    }
    let text = |field: &str| entity.get(field).and_then(Value::as_str).map(str::to_owned);
    let tags = match entity.get("tags") {
        Some(Value::Array(all)) if !all.is_empty() => {
            all.iter().map(|tag| tag.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    Violations {
        entity_type: singular(item.schema.name),
        entity_name: text("name").filter(|name| !name.is_empty()),
        entity_id: text("id").filter(|id| crate::schema::is_uuid(id)),
        entity_tags: tags,
        entity: echo(&Value::Object(entity)),
        errors: Vec::new(),
    }
}

/// A value as Kong gives it back: empty lists are empty objects.
fn echo(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.is_empty() => json!({}),
        Value::Array(all) => all.iter().map(echo).collect(),
        Value::Object(map) => {
            map.iter().map(|(k, v)| (k.clone(), echo(v))).collect::<Map<_, _>>().into()
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}
