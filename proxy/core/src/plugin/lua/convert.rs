//! Values of Lua and of JSON, one for the other.

use http::HeaderMap;
use mlua::{Lua, Table, Value};
use serde_json::{Map, Value as Json};

/// How deep a table may go.
const MAX_DEPTH: u8 = 32;

/// A value of Lua as JSON. Functions are nothing; a table with a first element is a list.
pub(super) fn to_json(value: &Value, depth: u8) -> Json {
    if depth > MAX_DEPTH {
        return Json::Null;
    }
    match value {
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Number(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
            (*value as i64).into()
        }
        Value::Number(value) => (*value).into(),
        Value::String(text) => text.to_string_lossy().into(),
        Value::Table(table) if table.raw_len() > 0 => {
            let items = table.sequence_values::<Value>().flatten();
            Json::Array(items.map(|item| to_json(&item, depth + 1)).collect())
        }
        Value::Table(table) => {
            let mut fields = Map::new();
            for (key, value) in table.pairs::<Value, Value>().flatten() {
                let name = match &key {
                    Value::String(text) => text.to_string_lossy(),
                    other => to_json(other, depth + 1).to_string(),
                };
                if !matches!(value, Value::Function(_)) {
                    fields.insert(name, to_json(&value, depth + 1));
                }
            }
            Json::Object(fields)
        }
        _ => Json::Null,
    }
}

/// JSON as a value of Lua.
pub(super) fn to_lua(lua: &Lua, value: &Json) -> mlua::Result<Value> {
    Ok(match value {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(items) => {
            let list = lua.create_table()?;
            for item in items {
                list.raw_push(to_lua(lua, item)?)?;
            }
            Value::Table(list)
        }
        Json::Object(fields) => Value::Table(table(lua, fields)?),
    })
}

/// An object as a table.
pub(super) fn table(lua: &Lua, fields: &Map<String, Json>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in fields {
        table.raw_set(name.as_str(), to_lua(lua, value)?)?;
    }
    Ok(table)
}

/// Headers by lower-case name; several of one name are a list. Any spelling of a name finds them.
pub(super) fn headers(lua: &Lua, headers: &HeaderMap) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        match values.as_slice() {
            [one] => table.raw_set(name.as_str(), lua.create_string(one.as_bytes())?)?,
            many => {
                let list = lua.create_table()?;
                for value in many {
                    list.raw_push(lua.create_string(value.as_bytes())?)?;
                }
                table.raw_set(name.as_str(), list)?;
            }
        }
    }
    let spelled = lua.create_table()?;
    let find = lua.create_function(|_, (table, name): (Table, mlua::String)| {
        let name = name.to_string_lossy().to_ascii_lowercase().replace('_', "-");
        table.raw_get::<Value>(name)
    })?;
    spelled.set("__index", find)?;
    table.set_metatable(Some(spelled))?;
    Ok(table)
}
