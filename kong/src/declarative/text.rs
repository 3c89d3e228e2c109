//! Text to a value: JSON where it is JSON, YAML otherwise.

use serde_json::Value;

/// Reads a configuration's text.
///
/// # Errors
/// Why it cannot be read, in one line.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        return object(value);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "invalid UTF-8".to_owned())?;
    object(yaml(text)?)
}

fn object(value: Value) -> Result<Value, String> {
    match value {
        Value::Array(all) if all.is_empty() => Ok(Value::Object(serde_json::Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err("expected an object".into()),
    }
}

/// Reads YAML as Kong's reader does: merge keys, the last of equal keys, octal numbers, only the
/// first document.
///
/// # Errors
/// Where and why it cannot be read.
pub fn yaml(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    if let Some(budget) = &mut options.budget {
        // The size of the text is bounded where it is received.
        budget.max_events = usize::MAX;
        budget.max_nodes = usize::MAX;
        budget.max_total_scalar_bytes = usize::MAX;
        budget.max_depth = 128;
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| one_line(&error))?;
    Ok(documents.into_iter().next().unwrap_or(Value::Null))
}

fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default().to_owned();
    match error.location() {
        Some(place) => format!("{}:{}: {message}", place.line(), place.column()),
        None => message,
    }
}
