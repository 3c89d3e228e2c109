//! `name:value` texts, as the transforming plugins take them.

use serde_json::Value;

/// Takes a pair apart at its first colons.
fn split(pair: &str) -> (&str, &str) {
    let end = pair.find(':').unwrap_or(pair.len());
    (&pair[..end], pair[end..].trim_start_matches(':'))
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn check_header(name: &str) -> Result<(), String> {
    if is_header(name) { Ok(()) } else { Err(format!("'{name}' is not a valid header")) }
}

/// The name is that of a header.
pub(super) fn header(value: &Value) -> Result<(), String> {
    check_header(split(value.as_str().unwrap_or_default()).0)
}

/// Name and value are those of headers.
pub(super) fn headers(value: &Value) -> Result<(), String> {
    let (from, to) = split(value.as_str().unwrap_or_default());
    check_header(from)?;
    check_header(to)
}

/// There is a value.
pub(super) fn value(value: &Value) -> Result<(), String> {
    match split(value.as_str().unwrap_or_default()) {
        (name, "") => Err(format!("key '{name}' has no value")),
        _ => Ok(()),
    }
}
