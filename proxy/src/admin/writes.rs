//! Writes of single entities: validated, then refused, since there is no database.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use kong::{
    declarative::{Declared, pretty},
    schema::{self, Fault, Field, Flavor, Kind, References},
};
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Form, Reply},
    entities,
};

/// What a write is aimed at.
pub(super) struct Aim<'a> {
    /// The kind of the entity.
    pub(super) kind: &'static str,
    /// Its id or name.
    pub(super) key: Option<&'a str>,
    /// The reference that a nested path implies.
    pub(super) parent: Option<(&'static str, Value)>,
}

/// The answer to a write.
pub(super) fn refuse(declared: &Declared, call: &Call, aim: &Aim<'_>, flavor: Flavor) -> Reply {
    attempt(declared, call, aim, flavor).unwrap_or_else(|reply| reply)
}

fn attempt(
    declared: &Declared,
    call: &Call,
    aim: &Aim<'_>,
    flavor: Flavor,
) -> Result<Reply, Reply> {
    let by_name = aim
        .key
        .filter(|key| !schema::is_uuid(key))
        .and_then(|_| schema::entity(aim.kind).and_then(|schema| schema.endpoint_key));
    if call.method == Method::DELETE {
        return Ok(delete(declared, aim, by_name));
    }
    let mut entity = call.parameters()?;
    entity.extend(aim.parent.clone().map(|(field, value)| (field.to_owned(), value)));
    if let (Some(key), Some(name)) = (aim.key, by_name)
        && call.method == Method::PUT
    {
        entity.entry(name).or_insert_with(|| json!(key));
    }
    let verb = match call.method {
        Method::POST => "create",
        Method::PUT => "create or update",
        _ => "update",
    };
    if call.method == Method::PATCH {
        let key = aim.key.unwrap_or_default();
        let Ok(current) = entities::find(declared, aim.kind, key) else {
            let mut body = entities::not_there(key);
            if let Some(name) = by_name {
                body.insert("fields".into(), json!({ name: key }));
                let message = format!("could not find the entity with '{{{name}=\"{key}\"}}'");
                body.insert("message".into(), json!(message));
            }
            return Err(Reply::json(StatusCode::NOT_FOUND, body.into()));
        };
        entity = merge(&current, entity);
    }
    validate(aim.kind, entity, call.form(), flavor)?;
    Ok(unsupported(verb, aim.kind, by_name.filter(|_| aim.kind != "certificates")))
}

fn delete(declared: &Declared, aim: &Aim<'_>, by_name: Option<&str>) -> Reply {
    let key = aim.key.unwrap_or_default();
    if aim.kind == "certificates" && !schema::is_uuid(key) {
        return unsupported("remove", "snis", Some("name"));
    }
    if entities::find(declared, aim.kind, key).is_err() {
        return Reply::empty(StatusCode::NO_CONTENT);
    }
    unsupported("remove", aim.kind, by_name)
}

fn unsupported(verb: &str, kind: &str, by_name: Option<&str>) -> Reply {
    let by = by_name.map(|name| format!(" by '{name}'")).unwrap_or_default();
    let message = format!("cannot {verb} '{kind}' entities{by} when not using a database");
    Reply::json(
        StatusCode::METHOD_NOT_ALLOWED,
        json!({ "code": 12, "name": "operation unsupported", "message": message }),
    )
}

/// The entity as it would be after a partial update: records are merged, the rest replaced.
fn merge(current: &Value, update: Map<String, Value>) -> Map<String, Value> {
    let mut out = current.as_object().cloned().unwrap_or_default();
    for (name, value) in update {
        let merged = match (out.get(&name), value) {
            (Some(old @ Value::Object(_)), Value::Object(new)) => Value::Object(merge(old, new)),
            (_, value) => value,
        };
        out.insert(name, merged);
    }
    out
}

/// Validates one entity as `/schemas/<kind>/validate` does.
///
/// # Errors
/// The answer with what is wrong.
pub(super) fn validate(
    kind: &str,
    mut entity: Map<String, Value>,
    form: Form,
    flavor: Flavor,
) -> Result<(), Reply> {
    let Some(known) = schema::entity(kind) else {
        let message = format!("No entity named '{kind}'");
        return Err(Reply::message(StatusCode::NOT_FOUND, &message));
    };
    let mut faults = match known.record_for(&entity, flavor) {
        Err(faults) => faults,
        Ok(record) => {
            if matches!(form, Form::Urlencoded | Form::Multipart) {
                record.fields.iter().for_each(|(name, field)| infer(&mut entity, name, field));
            }
            record.accept(&mut entity, References::ById)
        }
    };
    if kind == "plugins" || kind == "certificates" {
        faults.remove("snis");
    }
    if faults.is_empty() { Ok(()) } else { Err(violation(faults)) }
}

/// Forms carry only text: numbers and truth values are read out of it.
fn infer(entity: &mut Map<String, Value>, name: &str, field: &Field) {
    let Some(value) = entity.get_mut(name) else { return };
    match (&field.kind, value) {
        (Kind::Record(record), Value::Object(map)) => {
            record.fields.iter().for_each(|(name, field)| infer(map, name, field));
        }
        (Kind::Integer | Kind::Number, value @ Value::String(_)) => {
            let number = value.as_str().and_then(|text| text.parse::<f64>().ok());
            if let Some(number) = number {
                *value = json!(number);
            }
        }
        (Kind::Boolean, value @ Value::String(_)) => match value.as_str() {
            Some("true") => *value = json!(true),
            Some("false") => *value = json!(false),
            _ => {}
        },
        (Kind::Array(_) | Kind::Set(_), value @ Value::String(_)) => {
            *value = json!([value.take()]);
        }
        _ => {}
    }
}

/// 400 code 2.
fn violation(faults: BTreeMap<String, Fault>) -> Reply {
    let mut messages = Vec::new();
    if let Some(Fault::Items(all)) = faults.get("@entity") {
        messages.extend(all.values().flat_map(|fault| text_of(fault, "")));
    }
    for (name, fault) in faults.iter().filter(|(name, _)| *name != "@entity") {
        messages.extend(text_of(fault, name));
    }
    let count = match messages.len() {
        1 => "schema violation".to_owned(),
        more => format!("{more} schema violations"),
    };
    let message = format!("{count} ({})", messages.join("; "));
    let fields = Fault::Fields(faults).to_json();
    Reply::json(
        StatusCode::BAD_REQUEST,
        json!({ "code": 2, "name": "schema violation", "message": message, "fields": fields }),
    )
}

/// `path: message` for a field and for the fields inside it; what lies deeper is written as a table.
fn text_of(fault: &Fault, path: &str) -> Vec<String> {
    let inner: Vec<(String, &Fault)> = match fault {
        Fault::Message(text) if path.is_empty() => return vec![text.clone()],
        Fault::Message(text) => return vec![format!("{path}: {text}")],
        Fault::Fields(map) => map.iter().map(|(name, fault)| (name.clone(), fault)).collect(),
        Fault::Items(map) => map.iter().map(|(at, fault)| (at.to_string(), fault)).collect(),
    };
    let one = |(name, fault): (String, &Fault)| match fault {
        Fault::Message(text) => format!("{path}.{name}: {text}"),
        Fault::Fields(map) => {
            let lines: Vec<String> =
                map.iter().map(|(name, fault)| format!("  {name} = {}", pretty(fault))).collect();
            format!("{path}.{name}: {{\n{}\n}}", lines.join(",\n"))
        }
        Fault::Items(_) => format!("{path}.{name}: {}", pretty(fault)),
    };
    inner.into_iter().map(one).collect()
}
