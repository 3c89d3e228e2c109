//! References to secrets: `{vault://env/name}`, `{vault://prefix/path/key}`; how they are read, and where they may stand.

use serde_json::Value;

use crate::schema::{Field, Kind, Record};

/// A reference, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The kind of vault, or the prefix of a vault entity.
    pub vault: String,
    /// What is asked for.
    pub resource: String,
    /// A member of it.
    pub key: Option<String>,
}

impl Reference {
    /// Reads a text; `None` for text that is no reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("{vault://")?.strip_suffix('}')?;
        let inner = inner.split(['?', '#']).next()?;
        let (vault, path) = inner.split_once('/')?;
        let (resource, key) = match path.rsplit_once('/') {
            None => (path, None),
            Some((resource, "")) => (resource, None),
            Some((resource, key)) => (resource, Some(key.to_owned())),
        };
        if vault.is_empty() || resource.is_empty() {
            return None;
        }
        Some(Self { vault: vault.to_owned(), resource: resource.to_owned(), key })
    }

    /// The member of a secret that is meant: text as it is, a member of a JSON object by its name.
    #[must_use]
    pub fn pick(&self, secret: &str) -> Option<String> {
        let Some(key) = &self.key else { return Some(secret.to_owned()) };
        let object: Value = serde_json::from_str(secret).ok()?;
        match object.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}

/// Every reference in a value, wherever it stands.
#[must_use]
pub fn references(value: &Value) -> Vec<Reference> {
    match value {
        Value::String(text) => Reference::parse(text).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(fields) => fields.values().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Puts secrets in the place of references, where the record says that a reference may stand. What cannot be had
/// becomes empty text.
pub fn resolve(record: &Record, value: &mut Value, secret: &dyn Fn(&Reference) -> Option<String>) {
    let Value::Object(fields) = value else { return };
    for (name, field) in &record.fields {
        if let Some(value) = fields.get_mut(*name) {
            resolve_field(field, value, secret);
        }
    }
}

fn resolve_field(field: &Field, value: &mut Value, secret: &dyn Fn(&Reference) -> Option<String>) {
    match (&field.kind, value) {
        (Kind::Record(record), value) => resolve(record, value, secret),
        (Kind::Array(inner) | Kind::Set(inner), Value::Array(items)) => {
            items.iter_mut().for_each(|item| resolve_field(inner, item, secret));
        }
        (Kind::Map(_, inner), Value::Object(fields)) => {
            fields.values_mut().for_each(|item| resolve_field(inner, item, secret));
        }
        (_, Value::String(text)) if field.referenceable => {
            if let Some(reference) = Reference::parse(text) {
                *text = secret(&reference).unwrap_or_default();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_has_a_vault_a_resource_and_perhaps_a_key() {
        let check = |text: &str, vault: &str, resource: &str, key: Option<&str>| {
            let key = key.map(str::to_owned);
            let want = Reference { vault: vault.into(), resource: resource.into(), key };
            assert_eq!(Reference::parse(text), Some(want), "{text}");
        };
        check("{vault://env/my-secret}", "env", "my-secret", None);
        check("{vault://env/my-secret/user?prefix=X_}", "env", "my-secret", Some("user"));
        check("{vault://hcv/team/app/key}", "hcv", "team/app", Some("key"));
        check("{vault://hcv/team/app/}", "hcv", "team/app", None);
        for text in ["{vault://env}", "vault://env/a", "{vault:///a}", "{vault://env/}"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_fields_that_may_refer_are_resolved() {
        let record = Record::new([
            ("secret", Field::string().referenceable()),
            ("message", Field::string()),
            ("inner", Field::record([("list", Field::array(Field::string().referenceable()))])),
        ]);
        let reference = "{vault://env/a}";
        let mut value = json!({
            "secret": reference, "message": reference, "inner": { "list": [reference, "b"] },
        });
        resolve(&record, &mut value, &|reference| Some(reference.resource.to_uppercase()));
        let want = json!({ "secret": "A", "message": reference, "inner": { "list": ["A", "b"] } });
        assert_eq!(value, want);
        resolve(&record, &mut value, &|_| None);
        assert_eq!(value, want);
    }

    #[test]
    fn a_key_picks_a_member_of_a_json_secret() {
        let reference = Reference::parse("{vault://env/a/user}").unwrap();
        assert_eq!(reference.pick(r#"{"user":"bob","n":1}"#).as_deref(), Some("bob"));
        assert_eq!(reference.pick("text"), None);
    }
}
