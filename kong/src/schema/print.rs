//! Schemas as `GET /schemas/…` shows them.

use serde_json::{Map, Value, json};

use super::{Check, EntityCheck, Field, Kind, Record};

impl Field {
    /// The field as Kong prints it: only what was said of it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        match &self.kind {
            Kind::String => put("type", json!("string")),
            Kind::Integer => put("type", json!("integer")),
            Kind::Number => put("type", json!("number")),
            Kind::Boolean => put("type", json!("boolean")),
            Kind::Any => put("type", json!("any")),
            Kind::Json => put("type", json!("json")),
            Kind::Array(elements) => {
                put("elements", elements.to_json());
                put("type", json!("array"))
            }
            Kind::Set(elements) => {
                put("elements", elements.to_json());
                put("type", json!("set"))
            }
            Kind::Map(keys, values) => {
                put("keys", keys.to_json());
                put("values", values.to_json());
                put("type", json!("map"))
            }
            Kind::Record(record) => {
                if !self.is_abstract {
                    put("fields", record.fields_json());
                }
                if !record.checks.is_empty() {
                    put("entity_checks", record.checks.iter().map(EntityCheck::to_json).collect());
                }
                if !record.shorthands.is_empty() {
                    let all =
                        record.shorthands.iter().map(|s| json!({ s.name: s.field.to_json() }));
                    put("shorthand_fields", all.collect());
                }
                put("type", json!("record"))
            }
            Kind::Foreign(entity) => {
                put("reference", json!(entity));
                put("type", json!("foreign"))
            }
        };
        if let Some(required) = self.required {
            put("required", json!(required));
        }
        if let Some(default) = &self.default {
            put("default", default.clone());
        }
        for (name, set) in [
            ("auto", self.auto),
            ("unique", self.unique),
            ("abstract", self.is_abstract),
            ("referenceable", self.referenceable),
            ("transient", self.transient),
        ] {
            if set {
                put(name, json!(true));
            }
        }
        for (name, value) in self.checks.iter().filter_map(Check::print) {
            put(name, value);
        }
        for (name, value) in &self.notes {
            put(name, value.clone());
        }
        Value::Object(out)
    }
}

impl Record {
    fn fields_json(&self) -> Value {
        self.fields.iter().map(|(name, field)| json!({ *name: field.to_json() })).collect()
    }

    /// The whole record: fields and checks.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let checks: Vec<Value> = self.checks.iter().map(EntityCheck::to_json).collect();
        json!({ "fields": self.fields_json(), "entity_checks": checks })
    }
}
