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
    /// This value, whose text is made already.
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
    fn absent(&self) -> Absent {
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
                let text = value.to_string().into();
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
            let of_fields = self.fields.iter().map(|(_, field)| field.absent()).collect();
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
        self.look_at(entity, references, false)
    }

    /// The JSON of an entity that was judged, with its absent fields, in the order of the names.
    #[must_use]
    pub fn print_complete(&self, entity: &Map<String, Value>) -> String {
        let absences = self.absences();
        let mut out = String::with_capacity(1024);
        let mut given = entity.iter().peekable();
        let mut between = '{';
        let mut put = |name: &str, value: &dyn std::fmt::Display| {
            use std::fmt::Write as _;
            out.push(between);
            between = ',';
            // Names are letters, digits and underscores; writing to a String does not fail.
            let _ = write!(out, "\"{name}\":{value}");
        };
        for (name, at) in &absences.by_name {
            while let Some((known, value)) = given.next_if(|(known, _)| known.as_str() < *name) {
                put(known, value);
            }
            match (given.next_if(|(known, _)| known == name), &absences.of_fields[*at]) {
                (Some((_, value)), _) => put(name, value),
                (None, Absent::Value(_, text)) => put(name, text),
                (None, Absent::Nothing | Absent::Fault(_)) => {}
            }
        }
        given.for_each(|(name, value)| put(name, value));
        out.push_str(if between == '{' { "{}" } else { "}" });
        out
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
