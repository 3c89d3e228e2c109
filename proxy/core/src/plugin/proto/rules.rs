//! HTTP rules (`google.api.http`): which requests call which method, and where its fields are in them.

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use regex::Regex;

/// One binding of a method.
pub(in crate::plugin) struct Rule {
    /// In lower case; `*` for every method.
    verb: String,
    path: Regex,
    /// The fields that the path's groups hold.
    pub(in crate::plugin) fields: Vec<String>,
    /// Where the body goes.
    pub(in crate::plugin) body: Body,
    /// What is called.
    pub(in crate::plugin) method: MethodDescriptor,
}

/// Where a request's body goes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Body {
    /// Nowhere: the query holds fields instead.
    Query,
    /// It holds all fields.
    All,
    /// It is the value of one.
    Field(String),
}

impl Rule {
    /// Whether it takes requests of a method, in lower case.
    pub(super) fn is_for(&self, method: &str) -> bool {
        self.verb == method || self.verb == "*"
    }

    /// What the path says, if it fits.
    pub(super) fn captures(&self, path: &str) -> Option<Vec<String>> {
        let found = self.path.captures(path)?;
        Some(found.iter().skip(1).flatten().map(|group| group.as_str().to_owned()).collect())
    }
}

/// Adds the rules of a method, its own before the additional ones.
pub(super) fn collect(method: &MethodDescriptor, rules: &mut Vec<Rule>) {
    let options = method.options();
    let Some(http) = method.parent_pool().get_extension_by_name("google.api.http") else {
        return;
    };
    if !options.has_extension(&http) {
        return;
    }
    if let Some(rule) = options.get_extension(&http).as_message() {
        rules.extend(binding(method, rule));
        let more = rule.get_field_by_name("additional_bindings");
        let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
        rules.extend(
            more.iter().filter_map(Value::as_message).filter_map(|rule| binding(method, rule)),
        );
    }
}

fn binding(method: &MethodDescriptor, rule: &DynamicMessage) -> Option<Rule> {
    let (verb, template) = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .filter(|verb| rule.has_field_by_name(verb))
        .map(|verb| (verb.to_owned(), text(rule, verb)))
        .next()
        .or_else(|| custom(rule))?;
    let (path, fields) = pattern(&template)?;
    let body = match text(rule, "body") {
        body if body.is_empty() => Body::Query,
        body if body == "*" => Body::All,
        body => Body::Field(body),
    };
    Some(Rule { verb, path, fields, body, method: method.clone() })
}

fn custom(rule: &DynamicMessage) -> Option<(String, String)> {
    let custom = rule.get_field_by_name("custom").filter(|_| rule.has_field_by_name("custom"))?;
    let custom = custom.as_message()?;
    Some((text(custom, "kind").to_ascii_lowercase(), text(custom, "path")))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A path template as an expression, and the fields of its groups.
fn pattern(template: &str) -> Option<(Regex, Vec<String>)> {
    let mut expression = String::from("^");
    let mut fields = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (variable, behind) = after.split_once('}')?;
        let (field, segments) = variable.split_once('=').unwrap_or((variable, "*"));
        segments_into(before, &mut expression);
        expression.push('(');
        segments_into(segments, &mut expression);
        expression.push(')');
        fields.push(field.to_owned());
        rest = behind;
    }
    segments_into(rest, &mut expression);
    expression.push('$');
    Some((Regex::new(&expression).ok()?, fields))
}

/// Segments with their wildcards: `*` is one segment, `**` at least one.
fn segments_into(segments: &str, expression: &mut String) {
    for (at, part) in segments.split("**").enumerate() {
        if at > 0 {
            expression.push_str(".+");
        }
        for (at, literal) in part.split('*').enumerate() {
            if at > 0 {
                expression.push_str("[^/]+");
            }
            expression.push_str(&regex::escape(literal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, path: &str, expected: Option<&[&str]>) {
        let (path_pattern, _) = pattern(template).unwrap();
        let found = path_pattern.captures(path).map(|found| {
            found.iter().skip(1).flatten().map(|group| group.as_str()).collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref(), expected, "{template} {path}");
    }

    #[test]
    fn a_template_takes_segments_out_of_a_path() {
        check("/v1/messages/{name}", "/v1/messages/a", Some(&["a"]));
        check("/v1/messages/{name}", "/v1/messages/a/b", None);
        check("/v1/messages/{name}", "/x/v1/messages/a", None);
        check("/v1/{name=messages/*}", "/v1/messages/a", Some(&["messages/a"]));
        check("/v1/{name=messages/*}", "/v1/messages/a/b", None);
        check("/v1/{name=messages/**}", "/v1/messages/a/b", Some(&["messages/a/b"]));
        check("/v1/{a=x/*/y}/{b}:verb", "/v1/x/1/y/2:verb", Some(&["x/1/y", "2"]));
        check("/v1/{a.b}/legacy/{c=**}", "/v1/1/legacy/2/3", Some(&["1", "2/3"]));
        check("/v1/*/end", "/v1/one/end", Some(&[]));
        check("/v1.0/x", "/v1a0/x", None);
    }
}
