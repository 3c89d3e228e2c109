//! Path matches of HTTPRoutes in both dialects.
//!
//! Literal text that lands inside a regular expression is escaped; Kong Ingress Controller leaves it as it is
//! (docs/differences-from-kic.md).

use crate::gateway_api::PathMatch;

use super::matcher::Matcher;

/// Paths of a route in the traditional dialect.
pub(crate) fn traditional(path: &PathMatch) -> Vec<String> {
    let value = path.value();
    match path.kind() {
        "Exact" => vec![format!("~{}$", escape(value))],
        "RegularExpression" => vec![format!("~{value}")],
        _ => {
            let closed = if value.ends_with('/') { value.to_owned() } else { format!("{value}/") };
            vec![format!("~{}$", escape(value)), closed]
        }
    }
}

/// The condition on the path in the expressions dialect.
pub(crate) fn expression(path: &PathMatch) -> Matcher {
    let value = path.value();
    match path.kind() {
        "Exact" => Matcher::text("http.path", "==", value),
        "RegularExpression" => {
            let anchor = if value.starts_with('^') { "" } else { "^" };
            Matcher::text("http.path", "~", &format!("{anchor}{value}"))
        }
        _ if value.is_empty() || value == "/" => Matcher::text("http.path", "^=", "/"),
        _ => {
            let open = value.strip_suffix('/').unwrap_or(value);
            Matcher::Any(vec![
                Matcher::text("http.path", "==", open),
                Matcher::text("http.path", "^=", &format!("{open}/")),
            ])
        }
    }
}

/// Paths of a route whose prefix is rewritten: the rest after the prefix becomes capture 1.
pub(crate) fn traditional_capture(prefix: &str) -> Vec<String> {
    let (open, capture) = capture(prefix);
    vec![format!("~{open}$"), format!("~{capture}")]
}

/// The condition on the path of a route whose prefix is rewritten.
pub(crate) fn expression_capture(prefix: &str) -> Matcher {
    let (_, capture) = capture(prefix);
    Matcher::Any(vec![
        Matcher::text("http.path", "==", normal(prefix)),
        Matcher::text("http.path", "~", &format!("^{capture}")),
    ])
}

/// The prefix as a regular expression, alone and with the capture of what follows. The capture of the root has no
/// leading slash, every other one has.
fn capture(prefix: &str) -> (String, String) {
    let open = escape(normal(prefix));
    let capture = if open == "/" { "/(.*)".to_owned() } else { format!("{open}(/.*)") };
    (open, capture)
}

/// What `replace.uri` of the request transformer must be so that `prefix` becomes `replacement`.
///
/// Templates that may meet an absent capture use the ternary of Lua that Kong's template engine offers.
pub(crate) fn rewrite_template(prefix: &str, replacement: Option<&str>) -> String {
    let Some(replacement) = replacement else { return "/".to_owned() };
    let replacement = replacement.strip_suffix('/').unwrap_or(replacement);
    let root = normal(prefix) == "/";
    match (replacement.is_empty(), root) {
        (true, true) => r#"$(uri_captures[1] == nil and "/" or "/" .. uri_captures[1])"#.to_owned(),
        (true, false) => r#"$(uri_captures[1] == nil and "/" or uri_captures[1])"#.to_owned(),
        (false, true) => {
            format!(r#"{replacement}$(uri_captures[1] == nil and "" or "/" .. uri_captures[1])"#)
        }
        (false, false) => format!("{replacement}$(uri_captures[1])"),
    }
}

/// Literal text for a regular expression. Only what Kong's engine treats as special is escaped, so that ordinary paths
/// (with hyphens, say) keep the text that Kong Ingress Controller gives them.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if r"\.+*?()[]{}|^$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// A prefix without its trailing slash; the root stays the root.
fn normal(prefix: &str) -> &str {
    match prefix.strip_suffix('/').unwrap_or(prefix) {
        "" => "/",
        open => open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: &str, value: &str) -> PathMatch {
        PathMatch { kind: Some(kind.to_owned()), value: Some(value.to_owned()) }
    }

    #[test]
    fn traditional_paths_are_those_of_kong_ingress_controller() {
        assert_eq!(traditional(&path("Exact", "/cart")), ["~/cart$"]);
        assert_eq!(traditional(&path("PathPrefix", "/cart")), ["~/cart$", "/cart/"]);
        assert_eq!(traditional(&path("PathPrefix", "/cart/")), ["~/cart/$", "/cart/"]);
        assert_eq!(traditional(&path("PathPrefix", "/")), ["~/$", "/"]);
        assert_eq!(traditional(&path("RegularExpression", r"/item/\d+")), [r"~/item/\d+"]);
    }

    #[test]
    fn a_literal_dot_matches_only_a_dot() {
        assert_eq!(traditional(&path("Exact", "/v1.0")), [r"~/v1\.0$"]);
        assert_eq!(traditional_capture("/v1.0"), [r"~/v1\.0$", r"~/v1\.0(/.*)"]);
    }

    #[test]
    fn captures_start_after_the_prefix() {
        assert_eq!(traditional_capture("/old/"), ["~/old$", "~/old(/.*)"]);
        assert_eq!(traditional_capture("/"), ["~/$", "~/(.*)"]);
        assert_eq!(
            expression_capture("/").print(),
            r#"(http.path == "/") || (http.path ~ "^/(.*)")"#
        );
    }

    #[test]
    fn templates_survive_an_absent_capture() {
        assert_eq!(rewrite_template("/old", Some("/new/")), "/new$(uri_captures[1])");
        assert_eq!(
            rewrite_template("/", Some("/new")),
            r#"/new$(uri_captures[1] == nil and "" or "/" .. uri_captures[1])"#
        );
        assert_eq!(rewrite_template("/old", None), "/");
    }
}
