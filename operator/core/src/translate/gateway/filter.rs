//! Filters of HTTPRoute and GRPCRoute rules as Kong plugins.
//!
//! A filter either becomes a plugin of the route, or asks for KongPlugins by name, or changes how the route captures its
//! path. What the dialect at hand cannot express is an error, and the route is refused with it: never half-served.

use kong::model::{Plugin, Tags};
use serde_json::{Map, Value, json};

use crate::gateway_api::{
    BackendRef, Cors, HeaderModifier, HeaderValue, HttpFilter, PathModifier, RequestRedirect,
    UrlRewrite,
};

use super::path;

/// Why a rule's filters cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// The dialect has nothing for it.
    #[error("httpFilter {0} unsupported")]
    Unsupported(String),
    /// The part that the type announces is missing.
    #[error("{0} is not provided")]
    Incomplete(String),
    /// An extension that is not a KongPlugin.
    #[error("plugin {group}/{kind} unsupported")]
    Extension {
        /// The group that was written.
        group: String,
        /// The kind that was written.
        kind: String,
    },
}

/// What kinds of things the proxies at hand can do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// The `redirect` plugin exists (Kong 3.9).
    pub(crate) redirect_plugin: bool,
    /// They are our own, which do what Kong's model has no word for.
    pub(crate) own: bool,
}

/// A plugin that lives inside its route.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilterPlugin {
    /// The plugin's name.
    pub(crate) name: &'static str,
    /// Its configuration.
    pub(crate) config: Value,
}

/// What the filters of one rule amount to for one match.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filters {
    /// Plugins of the route.
    pub(crate) plugins: Vec<FilterPlugin>,
    /// The route must capture what follows its prefix.
    pub(crate) capture: bool,
}

impl Filters {
    /// The plugins as entities that carry the tags of their route.
    pub(crate) fn plugins(&self, tags: &Tags) -> Vec<Plugin> {
        let plugin = |plugin: &FilterPlugin| Plugin {
            name: Some(plugin.name.to_owned()),
            config: plugin.config.as_object().cloned(),
            tags: Some(tags.clone()),
            ..Plugin::default()
        };
        self.plugins.iter().map(plugin).collect()
    }
}

/// Whether the result of these filters depends on the path of the match, so that matches of different paths cannot
/// share a route.
pub(crate) fn depend_on_path(filters: &[HttpFilter]) -> bool {
    filters.iter().any(|filter| {
        let modifier = filter.url_rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
        filter.kind == "RequestRedirect"
            || modifier.is_some_and(|modifier| modifier.kind == "ReplacePrefixMatch")
    })
}

/// The filters of a rule and of its backend. A plugin of Kong belongs to a route, so that filters of one backend among
/// several cannot be told apart from those of the others.
pub(crate) fn of_rule(
    filters: &[HttpFilter],
    backends: &[BackendRef],
) -> Result<Vec<HttpFilter>, FilterError> {
    match backends {
        [only] => Ok(filters.iter().chain(&only.filters).cloned().collect()),
        _ => match backends.iter().find_map(|backend| backend.filters.first()) {
            Some(filter) => {
                Err(FilterError::Unsupported(format!("{} of one of several backends", filter.kind)))
            }
            None => Ok(filters.to_vec()),
        },
    }
}

/// Translates the filters of a rule for a match with this path (empty when the match has none).
pub(crate) fn translate(
    filters: &[HttpFilter],
    path: &str,
    abilities: Abilities,
) -> Result<Filters, FilterError> {
    let mut result = Filters::default();
    let mut request = Transformer::default();
    let mut response = Transformer::default();
    for filter in filters {
        match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                request.modify(part(filter, &filter.request_header_modifier)?);
            }
            "ResponseHeaderModifier" => {
                response.modify(part(filter, &filter.response_header_modifier)?);
            }
            "RequestRedirect" => {
                let redirect = part(filter, &filter.request_redirect)?;
                if abilities.redirect_plugin {
                    result.plugins.push(redirect_plugin(redirect));
                } else {
                    result.plugins.push(termination(redirect));
                    response.present = true;
                    response.add.push(format!("Location:{}", location(redirect, path)));
                }
            }
            "URLRewrite" => {
                let rewrite = part(filter, &filter.url_rewrite)?;
                result.capture |= request.rewrite(rewrite, path)?;
            }
            "CORS" if abilities.own => {
                result.plugins.push(own_cors(part(filter, &filter.cors)?));
            }
            "CORS" => result.plugins.push(cors(part(filter, &filter.cors)?)),
            "ExtensionRef" => {
                let extension = part(filter, &filter.extension_ref)?;
                if extension.group != "configuration.konghq.com" || extension.kind != "KongPlugin" {
                    let (group, kind) = (extension.group.clone(), extension.kind.clone());
                    return Err(FilterError::Extension { group, kind });
                }
            }
            other => return Err(FilterError::Unsupported(other.to_owned())),
        }
    }
    result.plugins.extend(request.into_plugin("request-transformer"));
    result.plugins.extend(response.into_plugin("response-transformer"));
    Ok(result)
}

/// Names of KongPlugins that filters ask for.
pub(crate) fn extensions<'a>(filters: impl Iterator<Item = &'a HttpFilter>) -> Vec<&'a str> {
    let named = filters.filter(|filter| filter.kind == "ExtensionRef");
    named.filter_map(|filter| filter.extension_ref.as_ref()).map(|to| to.name.as_str()).collect()
}

/// The part of a filter that its type announces.
fn part<'a, T>(filter: &HttpFilter, part: &'a Option<T>) -> Result<&'a T, FilterError> {
    part.as_ref().ok_or_else(|| FilterError::Incomplete(filter.kind.clone()))
}

/// A request or response transformer in the making; several filters fill one.
#[derive(Default)]
struct Transformer {
    present: bool,
    add: Vec<String>,
    append: Vec<String>,
    remove: Vec<String>,
    replace: Vec<String>,
    uri: Option<String>,
}

impl Transformer {
    /// `set` replaces what is there and adds what is not; Kong's transformers keep the two apart.
    fn modify(&mut self, modifier: &HeaderModifier) {
        let pair = |header: &HeaderValue| format!("{}:{}", header.name, header.value);
        self.present = true;
        self.replace.extend(modifier.set.iter().map(pair));
        self.add.extend(modifier.set.iter().map(pair));
        self.append.extend(modifier.add.iter().map(pair));
        self.remove.extend(modifier.remove.iter().cloned());
    }

    /// Changes path and host; true when the route must capture what follows its prefix.
    fn rewrite(&mut self, rewrite: &UrlRewrite, prefix: &str) -> Result<bool, FilterError> {
        if rewrite.path.is_none() && rewrite.hostname.is_none() {
            return Err(FilterError::Incomplete("URLRewrite path or hostname".to_owned()));
        }
        self.present = true;
        let mut capture = false;
        if let Some(PathModifier { kind, replace_full_path, replace_prefix_match }) = &rewrite.path
        {
            let uri = match kind.as_str() {
                "ReplaceFullPath" => {
                    let missing = || FilterError::Incomplete("ReplaceFullPath".to_owned());
                    replace_full_path.clone().ok_or_else(missing)?
                }
                "ReplacePrefixMatch" => {
                    capture = true;
                    path::rewrite_template(prefix, replace_prefix_match.as_deref())
                }
                other => return Err(FilterError::Unsupported(format!("URLRewrite {other}"))),
            };
            self.uri.get_or_insert(uri);
        }
        if let Some(hostname) = &rewrite.hostname {
            self.replace.push(format!("host:{hostname}"));
            self.add.push(format!("host:{hostname}"));
        }
        Ok(capture)
    }

    fn into_plugin(self, name: &'static str) -> Option<FilterPlugin> {
        if !self.present {
            return None;
        }
        let mut config = Map::new();
        let mut section = |key: &str, headers: Vec<String>, uri: Option<String>| {
            let mut section = Map::new();
            if !headers.is_empty() {
                section.insert("headers".to_owned(), json!(headers));
            }
            if let Some(uri) = uri {
                section.insert("uri".to_owned(), json!(uri));
            }
            if !section.is_empty() {
                config.insert(key.to_owned(), Value::Object(section));
            }
        };
        section("add", self.add, None);
        section("append", self.append, None);
        section("remove", self.remove, None);
        section("replace", self.replace, self.uri);
        Some(FilterPlugin { name, config: Value::Object(config) })
    }
}

/// Cross-origin rules as Kong's `cors` plugin. What stands for anything is left out: the plugin then answers with what
/// the browser asked for.
fn cors(cors: &Cors) -> FilterPlugin {
    let mut config = Map::new();
    let any = |list: &[String]| list.iter().any(|item| item == "*");
    let origins: Vec<String> = match any(&cors.allow_origins) {
        true => vec!["*".to_owned()],
        false => cors.allow_origins.iter().map(|origin| origin_pattern(origin)).collect(),
    };
    config.insert("origins".to_owned(), json!(origins));
    let lists = [
        ("methods", &cors.allow_methods),
        ("headers", &cors.allow_headers),
        ("exposed_headers", &cors.expose_headers),
    ];
    for (key, list) in lists {
        if !list.is_empty() && !any(list) {
            config.insert(key.to_owned(), json!(list));
        }
    }
    if let Some(credentials) = cors.allow_credentials {
        config.insert("credentials".to_owned(), json!(credentials));
    }
    config.insert("max_age".to_owned(), json!(cors.max_age.unwrap_or(5)));
    FilterPlugin { name: "cors", config: Value::Object(config) }
}

/// Cross-origin rules in Gateway API's own words.
fn own_cors(cors: &Cors) -> FilterPlugin {
    let config = json!({
        "origins": cors.allow_origins,
        "methods": cors.allow_methods,
        "headers": cors.allow_headers,
        "exposed_headers": cors.expose_headers,
        "credentials": cors.allow_credentials.unwrap_or(false),
        "max_age": cors.max_age.unwrap_or(5),
    });
    FilterPlugin { name: kong::schema::plugin::flotilla_cors::NAME, config }
}

/// An origin, with a wildcard as a regular expression, which is how the plugin reads anything but plain origins.
fn origin_pattern(origin: &str) -> String {
    match origin.split_once('*') {
        Some((before, after)) => format!("^{}.+{}$", path::escape(before), path::escape(after)),
        None => origin.to_owned(),
    }
}

/// The status code of a redirect with Gateway API's default.
fn status_code(redirect: &RequestRedirect) -> i64 {
    redirect.status_code.unwrap_or(302)
}

/// The whole new path, if the redirect has one. A replaced prefix is beyond Kong's plugins: the incoming path is kept.
fn full_path(redirect: &RequestRedirect) -> Option<&str> {
    let modifier = redirect.path.as_ref().filter(|path| path.kind == "ReplaceFullPath")?;
    modifier.replace_full_path.as_deref()
}

/// Scheme, host and port of a location; nothing without a host, because Kong's plugins know no relative ones.
fn origin(redirect: &RequestRedirect) -> Option<String> {
    let host = redirect.hostname.as_deref().filter(|host| !host.is_empty())?;
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    Some(match redirect.port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// A redirect by the `redirect` plugin.
fn redirect_plugin(redirect: &RequestRedirect) -> FilterPlugin {
    let new_path = full_path(redirect);
    let location = match (origin(redirect), new_path) {
        (Some(origin), path) => format!("{origin}{}", path.unwrap_or_default()),
        (None, path) => path.unwrap_or("/").to_owned(),
    };
    let config = json!({
        "status_code": status_code(redirect),
        "location": location,
        "keep_incoming_path": new_path.is_none(),
    });
    FilterPlugin { name: "redirect", config }
}

/// The answer of a redirect before Kong 3.9; its location is added by a response transformer.
fn termination(redirect: &RequestRedirect) -> FilterPlugin {
    let config = json!({ "status_code": status_code(redirect) });
    FilterPlugin { name: "request-termination", config }
}

/// The location of a redirect before Kong 3.9.
fn location(redirect: &RequestRedirect, path: &str) -> String {
    format!("{}{}", origin(redirect).unwrap_or_default(), full_path(redirect).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filters: Value, path: &str, expected: &Value) {
        let filters: Vec<HttpFilter> = serde_json::from_value(filters).unwrap();
        let abilities = Abilities { redirect_plugin: true, own: false };
        let result = translate(&filters, path, abilities).unwrap();
        let plugins: Vec<Value> =
            result.plugins.iter().map(|plugin| json!([plugin.name, plugin.config])).collect();
        assert_eq!(&Value::Array(plugins), expected);
    }

    #[test]
    fn set_is_replace_plus_add_and_several_modifiers_merge() {
        check(
            json!([
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "1"}]}},
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["c"]}},
            ]),
            "",
            &json!([["request-transformer", {
                "add": {"headers": ["a:1"]}, "replace": {"headers": ["a:1"]}, "remove": {"headers": ["c"]},
            }]]),
        );
    }

    #[test]
    fn redirect_without_path_keeps_the_incoming_one() {
        check(
            json!([{"type": "RequestRedirect", "requestRedirect": {"hostname": "new.example.com", "statusCode": 301}}]),
            "/old",
            &json!([["redirect", {
                "location": "http://new.example.com", "keep_incoming_path": true, "status_code": 301,
            }]]),
        );
    }

    #[test]
    fn cors_leaves_out_what_stands_for_anything() {
        check(
            json!([{"type": "CORS", "cors": {
                "allowOrigins": ["https://a.example.com", "https://*.example.org"],
                "allowMethods": ["*"], "allowHeaders": ["x-a"], "allowCredentials": true,
            }}]),
            "",
            &json!([["cors", {
                "origins": ["https://a.example.com", r"^https://.+\.example\.org$"],
                "headers": ["x-a"], "credentials": true, "max_age": 5,
            }]]),
        );
    }

    #[test]
    fn filters_of_a_lone_backend_are_those_of_its_rule() {
        let filter = HttpFilter { kind: "CORS".to_owned(), ..HttpFilter::default() };
        let with = BackendRef { filters: vec![filter.clone()], ..BackendRef::default() };
        assert_eq!(of_rule(&[], std::slice::from_ref(&with)), Ok(vec![filter]));
        assert!(of_rule(&[], &[with, BackendRef::default()]).is_err());
    }

    #[test]
    fn unknown_filter_is_an_error() {
        let filters = [HttpFilter { kind: "RequestMirror".to_owned(), ..HttpFilter::default() }];
        let error =
            translate(&filters, "", Abilities { redirect_plugin: true, own: false }).unwrap_err();
        assert_eq!(error.to_string(), "httpFilter RequestMirror unsupported");
    }
}
