//! The annotations of routes: read from the object behind a route, applied to the route.
//!
//! With expressions, what narrows a match (hosts, methods, headers, SNIs) stands in the expression of
//! an Ingress already; only what acts on a matched request is applied here. A value that cannot be
//! read is left out, and its owner is warned.

use std::collections::BTreeMap;

use kong::model::Route;

use super::Context;
use super::rules::{Origin, RouteRule};
use crate::annotations::{boolean, list};
use crate::object::{Kind, Object};
use crate::outcome::Reason;

/// The statuses with which plain HTTP may be sent to HTTPS.
const REDIRECTS: [u16; 5] = [301, 302, 307, 308, 426];
/// The protocols of routes.
const PROTOCOLS: [&str; 10] =
    ["http", "https", "grpc", "grpcs", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss"];
/// The default mark of regular expressions in paths of Ingresses.
const REGEX_PREFIX: &str = "/~";

/// Further hosts of an Ingress.
pub(super) const HOST_ALIASES: &str = "konghq.com/host-aliases";
/// Methods of which a request must have one.
pub(super) const METHODS: &str = "konghq.com/methods";
/// TLS server names of which a connection must have one.
pub(super) const SNIS: &str = "konghq.com/snis";

/// The items of a list annotation, whatever they are worth.
pub(super) fn asked<'a>(origin: Origin<'a>, key: &str) -> impl Iterator<Item = &'a str> {
    list(origin.annotation(key).unwrap_or_default())
}

/// What marks a path of `object` as a regular expression.
pub(super) fn regex_prefix<K: Object>(object: &K) -> &str {
    object.annotation("konghq.com/regex-prefix").unwrap_or(REGEX_PREFIX)
}

/// Further hosts; what is no host is left out.
pub(super) fn host_aliases<'a>(ctx: &mut Context<'_>, origin: Origin<'a>) -> Vec<&'a str> {
    items(ctx, origin, HOST_ALIASES, |host| is_host(host).then_some(host))
}

/// Header conditions: names and the values of which one must be there.
pub(super) fn headers<'a>(origin: Origin<'a>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut headers = BTreeMap::new();
    let separator =
        origin.annotation("konghq.com/headers-separator").filter(|text| !text.is_empty());
    for (key, value) in origin.meta.annotations.iter().flatten() {
        let Some(name) = key.strip_prefix("konghq.com/headers.").filter(|name| !name.is_empty())
        else {
            continue;
        };
        let values = value.split(separator.unwrap_or(",")).map(str::trim);
        let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
        if !values.is_empty() {
            headers.insert(name, values);
        }
    }
    headers
}

/// Methods in upper case; what is no method is left out.
pub(super) fn methods(ctx: &mut Context<'_>, origin: Origin<'_>) -> Vec<String> {
    items(ctx, origin, METHODS, |method| {
        let method = method.to_uppercase();
        method.bytes().all(|byte| byte.is_ascii_uppercase()).then_some(method)
    })
}

/// TLS server names; what is none is left out.
pub(super) fn snis(ctx: &mut Context<'_>, origin: Origin<'_>) -> Vec<String> {
    items(ctx, origin, SNIS, |sni| is_sni(sni).then(|| sni.to_owned()))
}

fn items<'a, T>(
    ctx: &mut Context<'_>,
    origin: Origin<'a>,
    key: &str,
    read: impl Fn(&'a str) -> Option<T>,
) -> Vec<T> {
    let mut found = Vec::new();
    for item in asked(origin, key) {
        match read(item) {
            Some(item) => found.push(item),
            None => warn(ctx, origin, key, item),
        }
    }
    found
}

fn warn(ctx: &mut Context<'_>, origin: Origin<'_>, key: &str, value: &str) {
    let allowed = match key.rsplit('/').next().unwrap_or_default() {
        "methods" => "letters only, such as GET",
        "snis" => "a host name without wildcard",
        "host-aliases" => "a host name, with a wildcard as its first or last label at most",
        "https-redirect-status-code" => "301, 302, 307, 308 or 426",
        "protocols" => "http, https, grpc, grpcs, tcp, tls, tls_passthrough, udp, ws or wss",
        "path-handling" => "v0 or v1",
        "regex-priority" => "an integer",
        "strip-path" | "preserve-host" | "request-buffering" | "response-buffering" => {
            "true or false"
        }
        _ => "another value",
    };
    let message = format!(
        "annotation {key}: {value:?} is not understood and has no effect; allowed: {allowed}"
    );
    ctx.outcomes.warn(origin.reference(), Reason::Invalid, message);
}

fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix("*.").unwrap_or(host);
    is_sni(bare.strip_suffix(".*").unwrap_or(bare))
}

/// A name without wildcard. Unlike Kong Ingress Controller this takes two dashes in a row: `xn--…` is a name.
fn is_sni(name: &str) -> bool {
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Applies the annotations of `origin` to its route.
pub(super) fn apply(ctx: &mut Context<'_>, rule: &mut RouteRule<'_>) {
    let RouteRule { route, origin, plugins: _, extensions: _, settled } = rule;
    let origin = *origin;
    route.https_redirect_status_code.get_or_insert(426);
    if origin.meta.annotations.as_ref().is_none_or(BTreeMap::is_empty) {
        if !ctx.options.expressions() {
            route.path_handling.get_or_insert_with(|| "v0".into());
        }
        return;
    }
    protocols(ctx, route, origin);
    redirect(ctx, route, origin);
    let lower = |value: &str| boolean(&value.to_lowercase()).filter(|_| value.len() > 1);
    flag(ctx, origin, "konghq.com/strip-path", lower, &mut route.strip_path);
    flag(ctx, origin, "konghq.com/preserve-host", lower, &mut route.preserve_host);
    let any = |value: &str| boolean(&value.to_lowercase());
    flag(ctx, origin, "konghq.com/request-buffering", any, &mut route.request_buffering);
    flag(ctx, origin, "konghq.com/response-buffering", any, &mut route.response_buffering);
    if !ctx.options.expressions() {
        if !*settled {
            narrow(ctx, route, origin);
        }
        traditional(ctx, route, origin);
    }
}

fn flag(
    ctx: &mut Context<'_>,
    origin: Origin<'_>,
    key: &str,
    read: impl Fn(&str) -> Option<bool>,
    field: &mut Option<bool>,
) {
    let Some(value) = origin.annotation(key) else { return };
    match read(value) {
        Some(value) => *field = Some(value),
        None => warn(ctx, origin, key, value),
    }
}

/// Sets the protocols. Those that are named beat the ones that forced TLS asks for, unless one is not understood.
fn protocols(ctx: &mut Context<'_>, route: &mut Route, origin: Origin<'_>) {
    const KEY: &str = "konghq.com/protocols";
    let mut named =
        items(ctx, origin, KEY, |name| PROTOCOLS.contains(&name).then(|| name.to_owned()));
    let valid = named.len() == asked(origin, KEY).count();
    if !valid && origin.kind == Kind::Ingress {
        named = asked(origin, KEY).map(str::to_owned).collect();
        named.sort_unstable();
        route.protocols = Some(named.clone());
    }
    if origin.annotation("ingress.kubernetes.io/force-ssl-redirect") == Some("true") {
        route.protocols = Some(secured(route));
        route.https_redirect_status_code = Some(302);
    }
    if valid && !named.is_empty() {
        route.protocols = Some(named);
    }
}

/// The protocols of a route, with TLS.
fn secured(route: &Route) -> Vec<String> {
    let any = |word: &str| route.protocols.iter().flatten().any(|name| name.contains(word));
    let (grpc, http) = (any("grpc"), any("http"));
    let all = [(grpc, "grpcs"), (http || !grpc, "https")];
    all.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name.to_owned()).collect()
}

fn redirect(ctx: &mut Context<'_>, route: &mut Route, origin: Origin<'_>) {
    const KEY: &str = "konghq.com/https-redirect-status-code";
    let Some(value) = origin.annotation(KEY) else { return };
    match value.parse().ok().filter(|code| REDIRECTS.contains(code)) {
        Some(code) => route.https_redirect_status_code = Some(code),
        None => warn(ctx, origin, KEY, value),
    }
}

/// What a route of lists takes, an expression does not.
fn traditional(ctx: &mut Context<'_>, route: &mut Route, origin: Origin<'_>) {
    const HANDLING: &str = "konghq.com/path-handling";
    const PRIORITY: &str = "konghq.com/regex-priority";
    if let Some(value) = origin.annotation(PRIORITY) {
        match value.parse() {
            Ok(priority) => route.regex_priority = Some(priority),
            Err(_) => warn(ctx, origin, PRIORITY, value),
        }
    }
    if let Some(value) = origin.annotation(HANDLING) {
        if !matches!(value, "v0" | "v1") {
            warn(ctx, origin, HANDLING, value);
        }
        let loose =
            value.as_bytes().windows(2).any(|two| two[0] == b'v' && two[1].is_ascii_digit());
        if loose {
            route.path_handling = Some(value.to_owned());
        }
    }
    route.path_handling.get_or_insert_with(|| "v0".into());
    let named = route.protocols.as_deref().unwrap_or_default();
    let http = |name: &String| name.contains("http") || !PROTOCOLS.contains(&name.as_str());
    if named.iter().any(|name| name.contains("grpc")) {
        route.strip_path = None;
        if named.iter().any(http) {
            route.protocols = Some(vec!["http".into(), "https".into()]);
        }
    }
}

/// What narrows the match, where the source has not said it already.
fn narrow(ctx: &mut Context<'_>, route: &mut Route, origin: Origin<'_>) {
    whole(origin, METHODS, methods(ctx, origin), &mut route.methods);
    whole(origin, SNIS, snis(ctx, origin), &mut route.snis);
    let headers = headers(origin);
    if !headers.is_empty() {
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect();
        let all = headers.into_iter().map(|(name, values)| (name.to_owned(), owned(values)));
        route.headers = Some(all.collect());
    }
    aliases(ctx, route, origin);
}

/// One bad item spoils a list, as it does for Kong Ingress Controller.
fn whole(origin: Origin<'_>, key: &str, found: Vec<String>, field: &mut Option<Vec<String>>) {
    let asked = asked(origin, key).count();
    if asked > 0 && found.len() == asked {
        *field = Some(found);
    }
}

fn aliases(ctx: &mut Context<'_>, route: &mut Route, origin: Origin<'_>) {
    let found = host_aliases(ctx, origin);
    if found.is_empty() || found.len() != asked(origin, HOST_ALIASES).count() {
        return;
    }
    for host in found {
        let hosts = route.hosts.get_or_insert_default();
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
}
