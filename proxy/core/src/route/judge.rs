//! Whether the engine can run a route, before it is part of any router, in the engine's own words.

use std::collections::HashMap;

use atc_router::{
    ast::Expression,
    parser,
    semantics::{FieldCounter, Validate},
};
use serde_json::{Map, Value};

use super::engine::schema;

/// Checks the expression that a route is, or that its fields become.
///
/// # Errors
/// What the engine says.
pub fn judge(route: &Map<String, Value>) -> Result<(), String> {
    match route.get("expression").and_then(Value::as_str) {
        Some(text) => check(text),
        // Only a regular expression or a header without values can be beyond the engine.
        None if has_bad_regex(route) || has_empty_header(route) => check(&expression(route)),
        None => Ok(()),
    }
}

fn check(text: &str) -> Result<(), String> {
    let expression = parser::parse(text).map_err(|error| error.to_string())?;
    for field in fields(&expression) {
        if let Some(segment) = field.strip_prefix("http.path.segments.")
            && !is_segment(segment)
        {
            return Err("illformed http.path.segments.* field".to_owned());
        }
    }
    expression.validate(&schema())
}

fn fields(expression: &Expression) -> Vec<String> {
    let mut counter = HashMap::new();
    expression.add_to_counter(&mut counter);
    counter.into_keys().collect()
}

/// `len`, a number, or two numbers of which the first is less; none with a leading zero.
fn is_segment(text: &str) -> bool {
    let number = |text: &str| -> Option<u32> {
        let plain = text == "0" || !text.starts_with('0');
        (plain && !text.is_empty()).then(|| text.parse().ok()).flatten()
    };
    if text == "len" {
        return true;
    }
    match text.split_once('_') {
        None => number(text).is_some(),
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first < last)
        }
    }
}

fn texts<'a>(route: &'a Map<String, Value>, field: &str) -> Vec<&'a str> {
    let all = route.get(field).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The regular expression behind the `~` of a path, anchored and in the engine's spelling.
fn regex_of(path: &str) -> Option<String> {
    let regex = path.strip_prefix('~')?.replace("?<", "?P<");
    Some(if regex.starts_with('^') { regex } else { format!("^{regex}") })
}

fn has_bad_regex(route: &Map<String, Value>) -> bool {
    let paths = texts(route, "paths").into_iter().filter_map(regex_of);
    let headers = route.get("headers").and_then(Value::as_object);
    let headers = headers.into_iter().flat_map(Map::values).filter_map(|values| {
        let one = values.as_array().filter(|values| values.len() == 1)?.first()?.as_str()?;
        one.strip_prefix("~*").map(str::to_owned)
    });
    paths.chain(headers).any(|regex| regex_syntax::parse(&regex).is_err())
}

fn has_empty_header(route: &Map<String, Value>) -> bool {
    let headers = route.get("headers").and_then(Value::as_object);
    let mut values = headers.into_iter().flat_map(Map::values);
    values.any(|values| values.as_array().is_some_and(Vec::is_empty))
}

fn quote(text: &str) -> String {
    if text.contains("\"#") { format!("{text:?}") } else { format!("r#\"{text}\"#") }
}

fn any(tests: &[String]) -> String {
    format!("({})", tests.join(" || "))
}

/// The route's fields as one expression.
fn expression(route: &Map<String, Value>) -> String {
    let mut parts = Vec::new();
    let mut equal = |field: &str, name: &str| {
        let tests: Vec<String> = texts(route, name)
            .into_iter()
            .map(|one| format!("{field} == {}", quote(one)))
            .collect();
        if !tests.is_empty() {
            parts.push(any(&tests));
        }
    };
    equal("http.method", "methods");
    equal("http.host", "hosts");
    let paths: Vec<String> = texts(route, "paths")
        .into_iter()
        .map(|path| match regex_of(path) {
            Some(regex) => format!("http.path ~ {}", quote(&regex)),
            None => format!("http.path ^= {}", quote(path)),
        })
        .collect();
    if !paths.is_empty() {
        parts.push(any(&paths));
    }
    for (name, values) in route.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let field = name.to_ascii_lowercase().replace('-', "_");
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        let tests: Vec<String> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| match value.strip_prefix("~*").filter(|_| values.len() == 1) {
                Some(regex) => format!("any(lower(http.headers.{field})) ~ {}", quote(regex)),
                None => {
                    let value = value.to_lowercase();
                    format!("any(lower(http.headers.{field})) == {}", quote(&value))
                }
            })
            .collect();
        parts.push(any(&tests));
    }
    parts.join(" && ")
}
