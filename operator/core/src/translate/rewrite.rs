//! The annotation `konghq.com/rewrite`: a new path with captures of the old one.

use kong::model::Plugin;
use serde_json::json;

use super::Context;
use crate::object::Object;
use crate::options::Gate;

/// The annotation.
const REWRITE: &str = "konghq.com/rewrite";

/// The plugin that the annotation asks for, if it is there.
pub(super) fn plugin<K: Object>(ctx: &Context<'_>, object: &K) -> Result<Option<Plugin>, String> {
    let Some(value) = object.annotation(REWRITE) else { return Ok(None) };
    if !ctx.options.on(Gate::RewriteUris) {
        return Err(format!("{REWRITE} annotation not supported when rewrite uris disabled"));
    }
    let uri = uri(value).map_err(|error| format!("{REWRITE}: {value:?}: {error}"))?;
    let config = json!({"replace": {"uri": uri}});
    Ok(Some(Plugin {
        name: Some("request-transformer".into()),
        config: config.as_object().cloned(),
        ..Plugin::default()
    }))
}

/// Turns `$1` into the first capture; a backslash keeps a dollar as it is.
fn uri(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Ok("/".into());
    }
    let mut out = String::new();
    let mut letters = value.chars().enumerate().peekable();
    while let Some((_, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, dollar @ ('$' | '\\'))) => out.push(dollar),
                Some((at, other)) => return Err(format!("unexpected {other} at pos {at}")),
                None => return Err("unexpected end of string".into()),
            },
            '$' => {
                let mut digits = String::new();
                while let Some((_, digit)) = letters.next_if(|(_, next)| next.is_ascii_digit()) {
                    digits.push(digit);
                }
                if digits.is_empty() {
                    return Err(match letters.next() {
                        Some((at, other)) => format!("unexpected {other} at pos {at}"),
                        None => "unexpected end of string".into(),
                    });
                }
                out.push_str(&format!("$(uri_captures[{digits}])"));
            }
            _ => out.push(letter),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn captures_and_escapes_are_read() {
        assert_eq!(uri("/n/$12x"), Ok("/n/$(uri_captures[12])x".into()));
        assert_eq!(uri("/price\\$1"), Ok("/price$1".into()));
        assert_eq!(uri("/x\\d"), Err("unexpected d at pos 3".into()));
        assert_eq!(uri("/x/$"), Err("unexpected end of string".into()));
    }
}
