//! JSON written as Kong writes it, and the value rules that both transformers share.

use serde_json::{Map, Number, Value};

use super::template::format_number;

/// JSON text with numbers of fourteen digits.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    write_into(value, &rounded, &mut text);
    text
}

/// JSON text as Kong sends it on, but whole numbers keep all their digits.
pub(super) fn write_exact(value: &Value) -> String {
    let exact = |number: &Number| {
        if number.is_f64() { rounded(number) } else { number.to_string() }
    };
    let mut text = String::new();
    write_into(value, &exact, &mut text);
    text.replace('/', "\\/")
}

fn rounded(number: &Number) -> String {
    format_number(number.as_f64().unwrap_or_default())
}

fn write_into(value: &Value, numbers: &dyn Fn(&Number) -> String, text: &mut String) {
    match value {
        Value::Number(number) => text.push_str(&numbers(number)),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_into(item, numbers, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (at, (name, field)) in fields.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_into(field, numbers, text);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

/// Whether Lua takes the member as there: `false` is not, `null` is.
pub(super) fn is_there(fields: &Map<String, Value>, name: &str) -> bool {
    !matches!(fields.get(name), None | Some(Value::Bool(false)))
}

/// Adds a value to what is there: text becomes a list, a list grows, an object gets the key 1, all else gives way.
pub(super) fn append(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let appended = match fields.remove(name) {
        Some(first @ Value::String(_)) => Value::Array(vec![first, value]),
        Some(Value::Array(mut items)) => {
            items.push(value);
            Value::Array(items)
        }
        Some(Value::Object(mut inner)) if !inner.is_empty() => {
            inner.insert("1".to_owned(), value);
            Value::Object(inner)
        }
        Some(_) | None => Value::Array(vec![value]),
    };
    fields.insert(name.to_owned(), appended);
}

/// Renames a member, over one that has the new name already.
pub(super) fn rename(fields: &mut Map<String, Value>, old: &str, new: &str) {
    if let Some(value) = fields.remove(old) {
        fields.insert(new.to_owned(), value);
    }
}

/// JSON text as Kong sends it on, where a slash is escaped too.
pub(super) fn write_escaped(value: &Value) -> String {
    // A slash stands only inside of strings.
    write(value).replace('/', "\\/")
}
