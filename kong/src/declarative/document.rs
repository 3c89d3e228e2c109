//! A configuration as a document again.

use serde_json::{Map, Value, json};

use super::Declared;
use crate::schema;

impl Declared {
    /// The configuration as a document that loads to the same entities.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut out = Map::new();
        out.insert("_format_version".into(), json!("3.0"));
        out.insert("_transform".into(), json!(false));
        for (kind, all) in self.kinds().filter(|(kind, _)| *kind != "workspaces") {
            let entities: Vec<Value> =
                all.values().map(|entity| without_shorthands(&entity.value())).collect();
            out.insert(kind.to_owned(), entities.into());
        }
        Value::Object(out)
    }
}

/// References as text, and no older spellings beside the fields that they stand for.
fn without_shorthands(entity: &Value) -> Value {
    let Value::Object(map) = entity else { return entity.clone() };
    let mut out = map.clone();
    for value in out.values_mut() {
        if let Value::Object(reference) = value
            && reference.len() == 1
            && let Some(id) = reference.get("id")
        {
            *value = id.clone();
        }
    }
    let shorthands = out
        .get("name")
        .and_then(Value::as_str)
        .and_then(schema::plugin)
        .and_then(|plugin| plugin.get("config"))
        .map(|field| match &field.kind {
            schema::Kind::Record(record) => record.shorthands.as_slice(),
            _ => &[],
        });
    if let (Some(shorthands), Some(Value::Object(config))) = (shorthands, out.get_mut("config")) {
        for shorthand in shorthands {
            config.remove(shorthand.name);
        }
    }
    Value::Object(out)
}
