//! file-log: a line in a file per request.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("file-log", 9).protocols().field("config", Field::of(Record::new([("path", Field::string().required().custom(is_file_name).describe("The file path of the output log file. The plugin creates the log file if it doesn't exist yet.").note("match", "^[^*&%%\\`]+$").note("err", "not a valid filename")), ("reopen", Field::boolean().required().default(false).describe("Determines whether the log file is closed and reopened on every request.")), ("custom_fields_by_lua", Field::map(Field::string().len_min(1), Field::string().len_min(1)).describe("Lua code as a key-value map"))])).required())
}

fn is_file_name(path: &Value) -> Result<(), String> {
    let path = path.as_str().unwrap_or_default();
    if path.is_empty() || path.contains(['*', '&', '%', '\\', '`']) {
        return Err("not a valid filename".into());
    }
    Ok(())
}
