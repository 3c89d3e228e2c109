//! ai-prompt-template: a request names a template and fills its gaps.

use serde_json::{Map, Value};

use super::llm::{bad_request, json_body, limit, raw_body};
use super::record::Extra;
use super::{Access, BuildError, Config, Flow, Plugin, json};
use crate::exchange::Exchange;

struct AiPromptTemplate {
    templates: Vec<(String, String)>,
    allow_others: bool,
    log_original: bool,
    limit: usize,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let templates = config.config.get("templates").and_then(Value::as_array);
    let template = |one: &Value| {
        Some((one.get("name")?.as_str()?.to_owned(), one.get("template")?.as_str()?.to_owned()))
    };
    Ok(Box::new(AiPromptTemplate {
        templates: templates.into_iter().flatten().filter_map(template).collect(),
        allow_others: config.flag("allow_untemplated_requests"),
        log_original: config.flag("log_original_request"),
        limit: limit(config),
    }))
}

impl Plugin for AiPromptTemplate {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            match self.fill(exchange).await {
                Ok(()) => Flow::Continue,
                Err(problem) => Flow::respond(bad_request(&problem)),
            }
        }))
    }
}

impl AiPromptTemplate {
    async fn fill(&self, exchange: &mut Exchange) -> Result<(), String> {
        if self.log_original
            && let Some(body) = raw_body(exchange, self.limit).await
        {
            let text = String::from_utf8_lossy(&body).into_owned();
            Extra::set(exchange, &["ai", "payload", "original_request"], text.into());
        }
        let body = json_body(exchange, self.limit).await;
        let body = body.ok_or("this LLM route only supports application/json requests")?;
        let reference = match (there(&body, "messages"), there(&body, "prompt")) {
            (Some(_), Some(_)) => {
                return Err("cannot run 'messages' and 'prompt' templates at the same time".into());
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                return Err("only 'llm/v1/chat' and 'llm/v1/completions' formats are supported for templating".into());
            }
        };
        let name = reference
            .as_str()
            .and_then(|text| text.strip_prefix("{template://"))
            .and_then(|text| text.strip_suffix('}'));
        let Some(name) = name else {
            return if self.allow_others {
                Ok(())
            } else {
                Err("this LLM route only supports templated requests".into())
            };
        };
        let (_, template) = self
            .templates
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| format!("could not find template name [{name}]"))?;
        let filled = render(template, body.get("properties").filter(|value| !is_false(value)))?;
        exchange.request.set_body(filled.into());
        Ok(())
    }
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

/// A member that Lua takes as there.
fn there<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !is_false(value))
}

/// Puts the properties, escaped as inside a JSON string, into the gaps of a template.
fn render(template: &str, properties: Option<&Value>) -> Result<String, String> {
    let nothing = Map::new();
    let properties = match properties {
        None => &nothing,
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err("properties must be an object".into()),
    };
    for value in properties.values() {
        if !value.is_string() {
            return Err(format!("property values must be a string, got {}", lua_type(value)));
        }
    }
    let mut filled = String::with_capacity(template.len());
    let mut missing: Vec<String> = Vec::new();
    let mut rest = template;
    while let Some((before, name, after)) = next_gap(rest) {
        filled.push_str(before);
        match properties.get(name) {
            Some(value) => filled.push_str(json::write_escaped(value).trim_matches_once('"')),
            None => {
                let name = format!("[{name}]");
                if !missing.contains(&name) {
                    missing.push(name);
                }
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    if missing.is_empty() {
        Ok(filled)
    } else {
        Err(format!("missing template parameters: {}", missing.join(", ")))
    }
}

/// One quote off each end, and no more.
trait TrimOnce {
    fn trim_matches_once(&self, mark: char) -> &str;
}

impl TrimOnce for str {
    fn trim_matches_once(&self, mark: char) -> &str {
        let text = self.strip_prefix(mark).unwrap_or(self);
        text.strip_suffix(mark).unwrap_or(text)
    }
}

/// Text up to the next `{{name}}`, the name, and what follows.
fn next_gap(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(start) = text[from..].find("{{").map(|at| at + from) {
        let inner = &text[start + 2..];
        let end =
            inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        if end > 0 && inner[end..].starts_with("}}") {
            return Some((&text[..start], &inner[..end], &inner[end + 2..]));
        }
        from = start + 1;
    }
    None
}

fn lua_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "userdata",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) | Value::Object(_) => "table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_fill_the_gaps_and_cannot_break_out_of_their_string() {
        let template = r#"{"m":"{{a}} {{{b}}} {{ c }}"}"#;
        let filled = render(template, Some(&json!({ "a": "x\"y", "b": "z" }))).unwrap();
        assert_eq!(filled, r#"{"m":"x\"y {z} {{ c }}"}"#);
    }

    #[test]
    fn gaps_without_property_are_named_once_each() {
        let missing = render("{{a}} {{b}} {{a}}", None).unwrap_err();
        assert_eq!(missing, "missing template parameters: [a], [b]");
    }

    #[test]
    fn properties_that_are_no_text_are_refused() {
        let refused = render("{{a}}", Some(&json!({ "a": 5 }))).unwrap_err();
        assert_eq!(refused, "property values must be a string, got number");
    }
}
