//! What stands in for fields that an entity does not give, made once per record.
//!
//! Most fields of most entities are absent. [`Record::accept`] writes their defaults into the
//! entity; [`Record::judge`] only looks at them, and [`Record::print_complete`] puts their text
//! between the given ones.

use std::{cmp::Ordering, collections::BTreeMap, sync::OnceLock};

use serde_json::{Map, Value};

use super::{Fault, Field, Kind, Record, References};

/// What an absent field is.
#[derive(Clone, Debug)]
pub(super) enum Absent {
    /// This value, whose text is made already, with the field's name.
    Value(Value, Box<str>),
    /// Nothing: the gateway fills it, or it is not kept.
    Nothing,
    /// A fault.
    Fault(Fault),
}

/// The absences of a record's fields, in the order of the fields and in that of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Absences {
    of_fields: Vec<Absent>,
    by_name: Vec<(&'static str, usize)>,
}

/// Made at the first use, when the record is whole.
pub(super) type Lazy = OnceLock<Box<Absences>>;

impl Field {
    /// What stands in for an absent value, judged as if it had been given.
    fn absent(&self, name: &str) -> Absent {
        let mut value = match (&self.default, &self.kind) {
            (Some(default), _) => default.clone(),
            _ if self.auto => return Absent::Nothing,
            _ if self.required != Some(true) && self.transient => return Absent::Nothing,
            _ if self.required != Some(true) => Value::Null,
            (None, Kind::Record(_)) if !self.is_abstract => Value::Object(Map::new()),
            _ => return Absent::Fault("required field missing".into()),
        };
        match self.accept(&mut value, References::ById) {
            Ok(()) => {
                let text = format!("\"{name}\":{value}").into();
                Absent::Value(value, text)
            }
            Err(fault) => Absent::Fault(fault),
        }
    }
}

impl Record {
    fn absences(&self) -> &Absences {
        self.absences.get_or_init(|| {
            let mut by_name: Vec<_> =
                self.fields.iter().enumerate().map(|(at, (name, _))| (*name, at)).collect();
            by_name.sort_unstable();
            let of_fields = self.fields.iter().map(|(name, field)| field.absent(name)).collect();
            Box::new(Absences { of_fields, by_name })
        })
    }

    /// What the field at this place is when it is absent.
    pub(super) fn absent(&self, at: usize) -> &Absent {
        &self.absences().of_fields[at]
    }

    /// The value of a field, given or not.
    pub(super) fn value_of<'a>(
        &'a self,
        entity: &'a Map<String, Value>,
        name: &str,
    ) -> Option<&'a Value> {
        if let Some(value) = entity.get(name) {
            return Some(value);
        }
        let absences = self.absences();
        let at = absences.by_name.binary_search_by_key(&name, |(known, _)| known).ok()?;
        match &absences.of_fields[absences.by_name[at].1] {
            Absent::Value(value, _) => Some(value),
            Absent::Nothing | Absent::Fault(_) => None,
        }
    }

    /// Says what is wrong with an entity and leaves its absent fields absent.
    pub fn judge(
        &self,
        entity: &mut Map<String, Value>,
        references: References,
    ) -> BTreeMap<String, Fault> {
        if !self.shorthands.is_empty() {
            return self.accept(entity, references);
        }
        let mut faults = BTreeMap::new();
        let absences = self.absences();
        let mut given = entity.iter_mut();
        let mut next = given.next();
        let unknown = |name: &String, faults: &mut BTreeMap<String, Fault>| {
            faults.insert(name.clone(), "unknown field".into());
        };
        // Both stand in the order of their names.
        for (name, at) in &absences.by_name {
            let mut fault = match &absences.of_fields[*at] {
                Absent::Fault(fault) => Some(fault),
                Absent::Value(..) | Absent::Nothing => None,
            };
            let found;
            while let Some((known, value)) = next.take() {
                match known.as_str().cmp(name) {
                    Ordering::Less => unknown(known, &mut faults),
                    Ordering::Equal => {
                        found = self.fields[*at].1.accept(value, references).err();
                        fault = found.as_ref();
                        next = given.next();
                        break;
                    }
                    Ordering::Greater => {
                        next = Some((known, value));
                        break;
                    }
                }
                next = given.next();
            }
            if let Some(fault) = fault {
                faults.insert((*name).to_owned(), fault.clone());
            }
        }
        next.into_iter().chain(given).for_each(|(name, _)| unknown(name, &mut faults));
        for check in &self.checks {
            check.run(self, entity, &mut faults);
        }
        faults
    }

    /// The JSON of an entity that was judged, with its absent fields, in the order of the names.
    #[must_use]
    pub fn print_complete(&self, entity: &Map<String, Value>) -> String {
        let absences = self.absences();
        let mut out = Vec::with_capacity(1024);
        let mut given = entity.iter();
        let mut next = given.next();
        for (name, at) in &absences.by_name {
            let mut absent = true;
            while let Some((known, value)) = next {
                let order = known.as_str().cmp(name);
                if order == Ordering::Greater {
                    break;
                }
                put(&mut out, known, value);
                next = given.next();
                if order == Ordering::Equal {
                    absent = false;
                    break;
                }
            }
            if absent && let Absent::Value(_, text) = &absences.of_fields[*at] {
                out.push(b',');
                out.extend_from_slice(text.as_bytes());
            }
        }
        next.into_iter().chain(given).for_each(|(name, value)| put(&mut out, name, value));
        match out.first_mut() {
            Some(first) => *first = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        // Names and values are printed as JSON, which is UTF-8.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Puts `,"name":value`.
fn put(out: &mut Vec<u8>, name: &str, value: &Value) {
    out.extend_from_slice(b",\"");
    // Names of known fields are letters, digits and underscores.
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    put_value(out, value);
}

/// Puts a value; most are texts that need no escapes, or few of them.
fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Value::Array(all) => {
            let mut between = b'[';
            for one in all {
                out.push(between);
                put_value(out, one);
                between = b',';
            }
            out.extend_from_slice(if all.is_empty() { b"[]" } else { b"]" });
        }
        // A Vec takes all that is written, and a value is always JSON.
        other => drop(serde_json::to_writer(out, other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::schema::{Flavor, References, entity};

    #[test]
    fn a_judged_entity_is_printed_as_an_accepted_one() {
        let table = [
            ("services", json!({ "host": "a", "name": "s", "retries": 3 })),
            ("routes", json!({ "paths": ["/a"], "protocols": ["https"], "tags": ["x"] })),
            ("routes", json!({ "hosts": ["a"], "headers": { "x": ["1"] }, "snis": ["a.b"] })),
            ("upstreams", json!({ "name": "u", "healthchecks": { "active": { "timeout": 2 } } })),
            ("targets", json!({ "target": "10.0.0.1:80", "upstream": { "id": "u" } })),
        ];
        for (kind, given) in table {
            let schema = entity(kind).unwrap();
            let mut judged = given.as_object().unwrap().clone();
            let mut accepted = judged.clone();
            let record = schema.record_for(&judged, Flavor::TraditionalCompatible).unwrap();
            assert!(record.judge(&mut judged, References::Deferred).is_empty(), "{given}");
            assert!(record.accept(&mut accepted, References::Deferred).is_empty(), "{given}");
            let accepted = serde_json::Value::Object(accepted).to_string();
            assert_eq!(record.print_complete(&judged), accepted);
        }
    }
}
