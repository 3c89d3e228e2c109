//! What stands in for fields that an entity does not give, made once per record.
//!
//! Most fields of most entities are absent. [`Record::accept`] writes their defaults into the
//! entity; [`Record::judge`] only looks at them, and [`Record::print_complete`] puts their text
//! between the given ones.

use std::{collections::BTreeMap, sync::OnceLock};

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
        let mut given = entity.iter_mut().peekable();
        let unknown = |name: &String, faults: &mut BTreeMap<String, Fault>| {
            faults.insert(name.clone(), "unknown field".into());
        };
        // Both stand in the order of their names.
        for (name, at) in &absences.by_name {
            while let Some((known, _)) = given.next_if(|(known, _)| known.as_str() < *name) {
                unknown(known, &mut faults);
            }
            let fault = match given.next_if(|(known, _)| known == name) {
                Some((_, value)) => self.fields[*at].1.accept(value, references).err(),
                None => match &absences.of_fields[*at] {
                    Absent::Fault(fault) => Some(fault.clone()),
                    Absent::Value(..) | Absent::Nothing => None,
                },
            };
            if let Some(fault) = fault {
                faults.insert((*name).to_owned(), fault);
            }
        }
        given.for_each(|(name, _)| unknown(name, &mut faults));
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
        let mut given = entity.iter().peekable();
        for (name, at) in &absences.by_name {
            while let Some((known, value)) = given.next_if(|(known, _)| known.as_str() < *name) {
                put(&mut out, known, value);
            }
            match (given.next_if(|(known, _)| known == name), &absences.of_fields[*at]) {
                (Some((_, value)), _) => put(&mut out, name, value),
                (None, Absent::Value(_, text)) => {
                    out.push(b',');
                    out.extend_from_slice(text.as_bytes());
                }
                (None, Absent::Nothing | Absent::Fault(_)) => {}
            }
        }
        given.for_each(|(name, value)| put(&mut out, name, value));
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
    // A Vec takes all that is written, and a value is always JSON.
    let _ = serde_json::to_writer(out, value);
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
