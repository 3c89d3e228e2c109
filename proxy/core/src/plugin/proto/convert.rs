//! Messages between JSON and the wire, by the rules of the library that Kong uses, which are not those of protobuf's own
//! JSON: fields go by the names of the file, numbers are numbers, a timestamp is text without a zone.
//!
//! What that library gets wrong is done better: numbers keep all their digits, a `null` is a field that is not there,
//! and arguments of a query, which are all text, fill lists and booleans too.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use prost_reflect::prost::Message;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Syntax, Value,
};
use serde_json::{Map, Value as Json};

use crate::plugin::json;

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Why JSON is no message of a type.
#[derive(Debug, thiserror::Error)]
#[error("{expected} expected for field '{field}'")]
pub(in crate::plugin) struct EncodeError {
    expected: &'static str,
    field: String,
}

/// A message from the members of an object; those that the type does not have are left out.
pub(in crate::plugin) fn encode(
    kind: &MessageDescriptor,
    members: &Map<String, Json>,
) -> Result<Vec<u8>, EncodeError> {
    message(kind, members).map(|message| message.encode_to_vec())
}

fn message(
    kind: &MessageDescriptor,
    members: &Map<String, Json>,
) -> Result<DynamicMessage, EncodeError> {
    let mut message = DynamicMessage::new(kind.clone());
    for (name, json) in members.iter().filter(|(_, json)| !json.is_null()) {
        if let Some(field) = kind.get_field_by_name(name) {
            let value = field_value(&field, json)?;
            // What the type does not allow is refused above, but for numbers beyond an enumeration's.
            let _ = message.try_set_field(&field, value);
        }
    }
    Ok(message)
}

fn field_value(field: &FieldDescriptor, json: &Json) -> Result<Value, EncodeError> {
    if field.is_map() {
        let Json::Object(members) = json else { return Err(expected("table", field)) };
        return map(field, members).map(Value::Map);
    }
    if !field.is_list() {
        return single(field, json);
    }
    match json {
        Json::Array(items) => {
            items.iter().map(|item| single(field, item)).collect::<Result<_, _>>().map(Value::List)
        }
        // Lua does not know an empty list from an empty object.
        Json::Object(members) if members.is_empty() => Ok(Value::List(Vec::new())),
        Json::String(_) | Json::Bool(_) => {
            single(field, json).map(|value| Value::List(vec![value]))
        }
        Json::Null | Json::Number(_) | Json::Object(_) => Err(expected("table", field)),
    }
}

fn map(
    field: &FieldDescriptor,
    members: &Map<String, Json>,
) -> Result<HashMap<MapKey, Value>, EncodeError> {
    let Kind::Message(entry) = field.kind() else { return Err(expected("table", field)) };
    let (keys, values) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    let pairs = members.iter().map(|(name, json)| {
        let key = single(&keys, &Json::from(name.as_str()))?;
        let key = key.into_map_key().ok_or_else(|| expected("string", field))?;
        Ok((key, single(&values, json)?))
    });
    pairs.collect()
}

fn expected(expected: &'static str, field: &FieldDescriptor) -> EncodeError {
    EncodeError { expected, field: field.name().to_owned() }
}

/// One value, which is not a list.
fn single(field: &FieldDescriptor, json: &Json) -> Result<Value, EncodeError> {
    let number = || expected("number", field);
    let whole = || integer(json).ok_or_else(number);
    let real = || real(json).ok_or_else(number);
    let text = || json.as_str().ok_or_else(|| expected("string", field));
    Ok(match field.kind() {
        Kind::Double => Value::F64(real()?),
        Kind::Float => Value::F32(real()? as f32),
        // Numbers that are too great are cut, as on the wire.
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(whole()? as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(whole()? as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(whole()? as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(whole()? as u64),
        Kind::Bool => {
            Value::Bool(!matches!(json.as_str(), Some("false" | "0")) && *json != Json::Bool(false))
        }
        Kind::String => Value::String(text()?.to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::copy_from_slice(text()?.as_bytes())),
        Kind::Enum(kind) => {
            let named = json.as_str().and_then(|name| kind.get_value_by_name(name));
            let number = named.map(|value| value.number());
            let number =
                number.or_else(|| json.as_i64().and_then(|number| i32::try_from(number).ok()));
            Value::EnumNumber(number.ok_or_else(|| expected("number/string", field))?)
        }
        Kind::Message(kind) if kind.full_name() == TIMESTAMP => {
            let time = json.as_str().and_then(time);
            Value::Message(timestamp(&kind, time.ok_or_else(|| expected("time string", field))?))
        }
        Kind::Message(kind) => match json {
            Json::Object(members) => Value::Message(message(&kind, members)?),
            // In Lua a list is a table too, one without names.
            Json::Array(_) => Value::Message(DynamicMessage::new(kind)),
            _ => return Err(expected("table", field)),
        },
    })
}

/// A whole number from a number or its text, of whatever sign and length.
fn integer(json: &Json) -> Option<i128> {
    match json {
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Some(whole.into()),
            (None, Some(whole)) => Some(whole.into()),
            (None, None) => number.as_f64().map(|number| number as i128),
        },
        Json::String(text) => {
            let text = text.trim();
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, text.strip_prefix('+').unwrap_or(text)),
            };
            let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
            let whole = match hexadecimal {
                Some(digits) => i128::from_str_radix(digits, 16).ok(),
                None => digits.parse().ok(),
            };
            let cut = || digits.parse::<f64>().ok().filter(|number| number.is_finite());
            whole.or_else(|| cut().map(|number| number as i128)).map(|whole| sign * whole)
        }
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn real(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| json.as_str()?.trim().parse().ok())
}

/// A moment, in UTC where the text does not say.
fn time(text: &str) -> Option<Timestamp> {
    let with_zone = || text.parse::<Timestamp>().ok();
    let without =
        || text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from)).ok();
    with_zone().or_else(|| without()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()))
}

fn timestamp(kind: &MessageDescriptor, time: Timestamp) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    message.set_field_by_name("seconds", Value::I64(time.as_second()));
    message.set_field_by_name("nanos", Value::I32(time.subsec_nanosecond()));
    message
}

/// The JSON of a message; nothing where the bytes are not one.
pub(in crate::plugin) fn decode(kind: &MessageDescriptor, bytes: Bytes) -> Option<String> {
    let message = DynamicMessage::decode(kind.clone(), bytes).ok()?;
    Some(json::write_exact(&object(&message)))
}

/// The members of a message: all that were sent and, as `proto3` has it, what is nothing otherwise.
fn object(message: &DynamicMessage) -> Json {
    let kind = message.descriptor();
    if kind.full_name() == TIMESTAMP {
        return without_zone(message);
    }
    let mut members = Map::new();
    for field in kind.fields() {
        let implicit = !field.supports_presence();
        let listed = field.cardinality() == Cardinality::Repeated;
        let proto3 = kind.parent_file().syntax() == Syntax::Proto3;
        if !message.has_field(&field) && !(proto3 && (implicit || listed)) {
            continue;
        }
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            members.insert(oneof.name().to_owned(), Json::from(field.name()));
        }
        members.insert(field.name().to_owned(), value(&field, &message.get_field(&field)));
    }
    Json::Object(members)
}

fn without_zone(message: &DynamicMessage) -> Json {
    let seconds = message.get_field_by_name("seconds").and_then(|value| value.as_i64());
    let time = Timestamp::from_second(seconds.unwrap_or_default()).unwrap_or_default();
    Json::from(time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

fn value(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        // A list without items is an empty table, which is written as an object.
        Value::List(items) if items.is_empty() => Json::Object(Map::new()),
        Value::List(items) => items.iter().map(|item| single_json(field, item)).collect(),
        Value::Map(members) => {
            let Kind::Message(entry) = field.kind() else { return Json::Null };
            let values = entry.map_entry_value_field();
            let mut pairs: Vec<_> =
                members.iter().map(|(key, item)| (name(key), single_json(&values, item))).collect();
            pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
            Json::Object(pairs.into_iter().collect())
        }
        single => single_json(field, single),
    }
}

fn name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn single_json(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::I32(value) => Json::from(*value),
        Value::I64(value) => Json::from(*value),
        Value::U32(value) => Json::from(*value),
        Value::U64(value) => Json::from(*value),
        Value::F32(value) => Json::from(f64::from(*value)),
        Value::F64(value) => Json::from(*value),
        Value::String(value) => Json::from(value.as_str()),
        Value::Bytes(value) => Json::from(String::from_utf8_lossy(value)),
        Value::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => match kind.get_value(*number) {
                Some(value) => Json::from(value.name()),
                None => Json::from(*number),
            },
            _ => Json::from(*number),
        },
        Value::Message(message) => object(message),
        // Lists and maps hold no lists and maps.
        Value::List(_) | Value::Map(_) => Json::Null,
    }
}
