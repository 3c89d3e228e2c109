//! Validation of all entities: fields, references, uniqueness; then what remains to be filled.
//!
//! Kong looks twice. At first it wants references as text and nested entities without their
//! parent's name. Only when that fails it puts ids in and looks again, and what is still wrong then
//! is reported; so one fault changes what is said of others.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};
use sha1::{Digest, Sha1};

use super::{
    Context,
    amend::Base,
    gather::{Arena, Item, time},
};
use crate::schema::{Fault, Kind, References};

/// Faults by the path of lists and places from the top.
pub(super) enum Faults {
    /// Entities are wrong in themselves.
    Invalid,
    /// Entities contradict each other: their places in the arena, or a list and a place in it.
    Repeated(Vec<Repeat>),
    /// References to what is not there, by kind and name.
    Dangling(BTreeMap<String, BTreeMap<String, Vec<String>>>),
    /// Values that must be unique, by kind and name.
    Shared(BTreeMap<String, BTreeMap<String, String>>),
}

/// A repeated name or id.
pub(super) struct Repeat {
    /// The entity.
    pub(super) item: usize,
    /// Whether it is found by its list alone, without its parents.
    pub(super) by_name: bool,
    /// What is wrong.
    pub(super) message: String,
}

/// Who is called what: the entities at hand, and behind them those that they come to.
struct Directory<'a> {
    ids: HashMap<&'static str, HashSet<String>>,
    names: HashMap<&'static str, HashMap<String, String>>,
    base: Option<&'a Base<'a>>,
}

impl<'a> Directory<'a> {
    fn of(arena: &Arena, base: Option<&'a Base<'a>>) -> Self {
        let mut directory = Self { ids: HashMap::new(), names: HashMap::new(), base };
        let named = named_kinds(arena);
        for item in arena.items.iter().filter(|item| named.contains(item.schema.name)) {
            let Some(id) = item.id() else { continue };
            directory.ids.entry(item.schema.name).or_default().insert(id.to_owned());
            if let Some(name) = item.schema.endpoint_key.and_then(|key| item.text(key)) {
                let names = directory.names.entry(item.schema.name).or_default();
                names.entry(name.to_owned()).or_insert_with(|| id.to_owned());
            }
        }
        directory
    }

    /// The id of the entity whose id or name this is.
    fn find(&self, kind: &str, key: &str) -> Option<String> {
        if let Some(id) = self.names.get(kind).and_then(|names| names.get(key)) {
            return Some(id.clone());
        }
        let own = self.ids.get(kind).and_then(|ids| ids.get(key)).cloned();
        own.or_else(|| self.base?.find(kind, key))
    }
}

/// The kinds that some entity names: nobody asks for others.
fn named_kinds(arena: &Arena) -> HashSet<&'static str> {
    let mut named = HashSet::new();
    for item in &arena.items {
        for (field, kind) in item.schema.references() {
            if !named.contains(kind) && item.entity.get(field).is_some_and(|value| !value.is_null())
            {
                named.insert(kind);
            }
        }
    }
    named
}

/// Validates and fills all entities; references may go to entities of the base too.
pub(super) fn run(
    arena: &mut Arena,
    context: &Context<'_>,
    base: Option<&Base<'_>>,
) -> Result<(), Faults> {
    let directory = Directory::of(arena, base);
    let mut again = !arena.top.is_empty() || !arena.misplaced.is_empty();
    for at in 0..arena.items.len() {
        again |= judge_fields(&mut arena.items[at], context);
        again |= first_look(arena, at);
    }
    if again {
        let mut wrong = !arena.top.is_empty() || !arena.misplaced.is_empty();
        for at in 0..arena.items.len() {
            second_look(arena, at, &directory);
        }
        wrong |= arena.items.iter().any(|item| !item.faults.is_empty());
        if wrong {
            restore_first_look(arena);
            return Err(Faults::Invalid);
        }
    }
    refuse_repeats(arena)?;
    refuse_dangling(arena, &directory)?;
    for at in 0..arena.items.len() {
        fill(arena, at, &directory, context);
    }
    refuse_shared(arena)
}

/// Judges the fields of one entity but its references; says whether something is wrong.
pub(super) fn judge_fields(item: &mut Item, context: &Context<'_>) -> bool {
    if item.schema.name == "upstreams" {
        settle_algorithm(&mut item.entity);
    }
    let record = match item.schema.record_for(&item.entity, context.flavor) {
        Ok(record) => record,
        Err(faults) => {
            item.faults.extend(faults);
            return true;
        }
    };
    // The parent stands in for a reference that may be required; whether it may be there is
    // looked at apart.
    let parent = item.parent.map(|(_, field)| field);
    let own = parent.map(|field| item.entity.remove(field));
    let ttl = (item.schema.name == "keyauth_credentials").then(|| item.entity.remove("ttl"));
    let mut faults = if item.schema.is_plain {
        record.judge(&mut item.entity, References::Deferred)
    } else {
        record.accept(&mut item.entity, References::Deferred)
    };
    if let Some(ttl) = ttl.flatten() {
        item.entity.insert("ttl".into(), ttl);
    }
    if let (Some(field), Some(own)) = (parent, own) {
        if faults.get(field).is_some_and(|fault| *fault == "required field missing".into()) {
            faults.remove(field);
        }
        match own {
            Some(own) => item.entity.insert(field.to_owned(), own),
            None => item.entity.remove(field),
        };
    }
    if faults.is_empty() || item.schema.name != "ca_certificates" {
        context.judge.judge(item.schema.name, &item.entity, &mut faults);
    }
    item.faults.extend(faults);
    !item.faults.is_empty()
}

/// The references of the entity: field, kind, whether it must be there.
fn references(arena: &Arena, at: usize) -> &'static [(&'static str, &'static str, bool)] {
    &arena.items[at].schema.links
}

/// Whether references are not as Kong first wants them.
fn first_look(arena: &Arena, at: usize) -> bool {
    let item = &arena.items[at];
    // Hashing a password needs the consumer's id, which is not there at first.
    if item.schema.name == "basicauth_credentials" {
        return true;
    }
    references(arena, at).iter().any(|(field, _, _)| {
        let value = item.entity.get(*field).unwrap_or(&Value::Null);
        match item.parent {
            Some(_) => !value.is_null(),
            None => !matches!(value, Value::Null) && value.as_str().is_none_or(str::is_empty),
        }
    })
}

/// Puts ids in and judges references.
fn second_look(arena: &mut Arena, at: usize, directory: &Directory<'_>) {
    for &(field, kind, required) in references(arena, at) {
        let parent = arena.items[at].parent.filter(|(_, name)| *name == field);
        let item = &arena.items[at];
        let nested_sni = item.schema.name == "snis" && parent.is_some();
        let fault = match item.entity.get(field) {
            None | Some(Value::Null) if parent.is_some() && !nested_sni => None,
            None | Some(Value::Null) if required => Some("required field missing".into()),
            None | Some(Value::Null) => None,
            Some(Value::String(key)) => match directory.find(kind, key) {
                Some(_) => None,
                None => Some(missing_key()),
            },
            Some(Value::Object(reference)) => judge_id(reference),
            Some(_) => Some(missing_key()),
        };
        let Some(fault) = fault else { continue };
        let item = &mut arena.items[at];
        item.faults.insert(field.to_owned(), fault);
    }
    let item = &mut arena.items[at];
    let consumer = item.faults.contains_key("consumer");
    if item.schema.name == "basicauth_credentials" && item.text("password").is_some() && consumer {
        let fault =
            Fault::message("all or none of these fields must be set: 'password', 'consumer.id'");
        let all = item.faults.entry("@entity".into()).or_insert(Fault::Items(BTreeMap::new()));
        if let Fault::Items(all) = all {
            all.insert(all.len() + 1, fault);
        }
    }
}

/// A nested entity that names its parent too is refused when anything else is.
fn restore_first_look(arena: &mut Arena) {
    for item in &mut arena.items {
        if let Some((_, field)) = item.parent
            && item.entity.get(field).is_some_and(|value| !value.is_null())
            && item.schema.name != "snis"
        {
            item.faults.insert(field.to_owned(), "value must be null".into());
        }
    }
}

fn missing_key() -> Fault {
    Fault::Fields(BTreeMap::from([("id".to_owned(), "missing primary key".into())]))
}

pub(super) fn judge_id(reference: &Map<String, Value>) -> Option<Fault> {
    let message = match reference.get("id") {
        None | Some(Value::Null) => return Some(missing_key()),
        Some(Value::String(id)) if crate::schema::is_uuid(id) => return None,
        Some(Value::String(_)) => "expected a valid UUID",
        Some(_) => "expected a string",
    };
    Some(Fault::Fields(BTreeMap::from([("id".to_owned(), message.into())])))
}

fn refuse_repeats(arena: &Arena) -> Result<(), Faults> {
    let mut seen: HashSet<(&str, &str, &str)> = HashSet::with_capacity(arena.items.len() * 2);
    let mut repeats = Vec::new();
    for (at, item) in arena.items.iter().enumerate() {
        let kind = item.schema.name;
        let say = |field: &str, value: &str| {
            format!(
                "uniqueness violation: '{kind}' entity with {field} set to '{value}' already declared"
            )
        };
        if let Some(field) = item.schema.endpoint_key
            && let Some(name) = item.text(field)
            && !seen.insert((kind, field, name))
        {
            repeats.push(Repeat { item: at, by_name: true, message: say(field, name) });
            continue;
        }
        if let Some(id) = item.id()
            && !seen.insert((kind, "id", id))
        {
            repeats.push(Repeat { item: at, by_name: false, message: say("primary key", id) });
        }
    }
    if repeats.is_empty() { Ok(()) } else { Err(Faults::Repeated(repeats)) }
}

fn refuse_dangling(arena: &Arena, directory: &Directory<'_>) -> Result<(), Faults> {
    let mut dangling: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (at, item) in arena.items.iter().enumerate() {
        for &(field, kind, _) in references(arena, at) {
            if item.parent.is_some_and(|(_, name)| name == field) {
                continue;
            }
            let (key, shown) = match item.entity.get(field) {
                Some(Value::String(key)) => (key.clone(), key.clone()),
                Some(Value::Object(map)) => {
                    let id = map.get("id").and_then(Value::as_str).unwrap_or_default();
                    (id.to_owned(), Value::Object(map.clone()).to_string())
                }
                _ => continue,
            };
            if directory.find(kind, &key).is_some() {
                continue;
            }
            let name = item.schema.endpoint_key.and_then(|key| item.text(key)).or(item.id());
            dangling
                .entry(item.schema.name.to_owned())
                .or_default()
                .entry(name.unwrap_or_default().to_owned())
                .or_default()
                .push(format!("invalid reference '{field}: {shown}' (no such entry in '{kind}')"));
        }
    }
    if dangling.is_empty() { Ok(()) } else { Err(Faults::Dangling(dangling)) }
}

/// Unique fields that are no names: only a consumer's `custom_id`.
fn refuse_shared(arena: &Arena) -> Result<(), Faults> {
    let mut seen = HashSet::new();
    let mut shared: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for item in arena.items.iter().filter(|item| item.schema.name == "consumers") {
        let Some(custom_id) = item.text("custom_id") else { continue };
        if !seen.insert(custom_id) {
            let name = item.text("username").or(item.id()).unwrap_or_default().to_owned();
            let message = format!(
                "uniqueness violation: 'consumers' entity with custom_id set to '{custom_id}' already declared"
            );
            shared.entry("consumers".into()).or_default().insert(name, message);
        }
    }
    if shared.is_empty() { Ok(()) } else { Err(Faults::Shared(shared)) }
}

/// How an upstream balances follows from two fields of which each may contradict the other.
fn settle_algorithm(upstream: &mut Map<String, Value>) {
    let algorithm = upstream.get("algorithm").and_then(Value::as_str);
    let hashed = match upstream.get("hash_on").and_then(Value::as_str) {
        None | Some("none") => false,
        Some(_) => true,
    };
    let settled = match algorithm {
        Some("least-connections" | "latency") => {
            upstream.insert("hash_on".into(), "none".into());
            return;
        }
        None | Some("round-robin") if hashed => "consistent-hashing",
        Some("consistent-hashing") if !hashed && upstream.get("hash_on") != Some(&Value::Null) => {
            "round-robin"
        }
        _ => return,
    };
    upstream.insert("algorithm".into(), settled.into());
}

/// Puts in what is not a default: references as ids, times, keys, hashes.
fn fill(arena: &mut Arena, at: usize, directory: &Directory<'_>, context: &Context<'_>) {
    for &(field, kind, _) in references(arena, at) {
        let parent = arena.items[at].parent.filter(|(_, name)| *name == field);
        let id = match arena.items[at].entity.get(field) {
            _ if parent.is_some() => {
                parent.and_then(|(parent, _)| arena.items[parent].id().map(str::to_owned))
            }
            Some(Value::String(key)) => directory.find(kind, key),
            Some(Value::Object(map)) => map.get("id").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        let value = id.map_or(Value::Null, |id| {
            Value::Object(Map::from_iter([("id".to_owned(), Value::String(id))]))
        });
        arena.items[at].entity.insert(field.to_owned(), value);
    }
    let transform = arena.transform;
    let (items, randoms) = arena.parts();
    complete(&mut items[at], transform, context, &mut || randoms.key(context));
}

/// Puts in what the gateway fills once the references are there: times, keys, hashes.
pub(super) fn complete(
    item: &mut Item,
    transform: bool,
    context: &Context<'_>,
    random_key: &mut dyn FnMut() -> String,
) {
    let schema = item.schema;
    for (name, field) in schema.record.fields.iter().filter(|(_, field)| field.auto) {
        let absent = !item.entity.contains_key(*name);
        let value = match (*name, &field.kind) {
            ("id", _) => continue,
            ("updated_at", Kind::Integer | Kind::Number) => {
                time(context.now, matches!(field.kind, Kind::Integer))
            }
            ("created_at", Kind::Integer | Kind::Number) if absent => {
                time(context.now, matches!(field.kind, Kind::Integer))
            }
            (_, Kind::String) if absent => Value::String(random_key()),
            _ => continue,
        };
        item.entity.insert((*name).to_owned(), value);
    }
    match schema.name {
        "basicauth_credentials" if transform => hash_password(&mut item.entity),
        "targets" => normalize_target(&mut item.entity),
        "plugins" => {
            if let Ok(record) = schema.record_for(&item.entity, context.flavor) {
                record.show_shorthands(&mut item.entity);
            }
        }
        "ca_certificates" => digest_certificate(&mut item.entity),
        "certificates" => {
            item.entity.remove("snis");
        }
        _ => {}
    }
}

fn hash_password(credential: &mut Map<String, Value>) {
    let consumer = credential.get("consumer").and_then(|c| c.get("id")).and_then(Value::as_str);
    let Some(password) = credential.get("password").and_then(Value::as_str) else { return };
    let mut hash = Sha1::new();
    hash.update(password);
    hash.update(consumer.unwrap_or_default());
    let hash = hex::encode(hash.finalize());
    credential.insert("password".into(), hash.into());
}

fn normalize_target(target: &mut Map<String, Value>) {
    let text = target.get("target").and_then(Value::as_str).unwrap_or_default();
    if let Some(host) = crate::host::normalize(text) {
        let text = format!("{}:{}", host.host, host.port.unwrap_or(8000));
        target.insert("target".into(), text.into());
    }
}

/// The digest of a certificate is that of its DER bytes.
fn digest_certificate(authority: &mut Map<String, Value>) {
    use base64::Engine as _;
    let text = authority.get("cert").and_then(Value::as_str).unwrap_or_default();
    let body: String =
        text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    if let Ok(der) = base64::engine::general_purpose::STANDARD.decode(body) {
        authority.insert("cert_digest".into(), crate::canonical::sha256(&der).into());
    }
}
