//! What rules of HTTPRoutes and GRPCRoutes ask for beyond Kong's model, for fleets of our own proxies: the configuration of
//! the plugin `flotilla-route`, and the upstreams that it leads to.
//!
//! Nothing of this is ever sent to stock Kong: there the same rules are refused, or become what Kong Ingress Controller
//! makes of them.

use serde_json::{Map, Value, json};

use super::super::Context;
use super::super::rules::{Origin, Rules};
use super::attach::Slot;
use super::backend;
use super::filter::{FilterError, FilterPlugin};
use crate::gateway_api::{
    BackendRef, HeaderValue, HttpFilter, RequestMirror, RequestRedirect, Timeouts,
};

/// The plugin that our own gateway runs.
pub(super) const PLUGIN: &str = kong::schema::plugin::flotilla_route::NAME;

/// The ports of listeners behind the entrances that their connections come in at.
pub(super) type Ports = Vec<(u16, i32)>;

/// The ports of the listeners that serve a route.
pub(super) fn ports<'s>(slots: impl Iterator<Item = &'s Slot<'s>>) -> Ports {
    let mut ports: Ports =
        slots.filter_map(|slot| Some((slot.entrance?, slot.listener.port))).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// What a rule says that matters here, whatever its kind.
pub(super) struct Demands<'r> {
    /// Its filters.
    pub(super) filters: &'r [HttpFilter],
    /// Its backends.
    pub(super) backends: &'r [BackendRef],
    /// Its deadlines.
    pub(super) timeouts: Option<&'r Timeouts>,
    /// Its retries.
    pub(super) retry: Option<&'r Value>,
    /// What its upstreams' names begin with.
    pub(super) name: String,
}

/// The filters of a rule that Kong's plugins do: those that are done here are left out.
pub(super) fn rest(filters: &[HttpFilter]) -> Vec<HttpFilter> {
    let ours = |filter: &&HttpFilter| !matches!(&*filter.kind, "RequestRedirect" | "RequestMirror");
    filters.iter().filter(ours).cloned().collect()
}

impl Demands<'_> {
    /// Whether backends differ in more than their address and weight.
    fn differing(&self) -> bool {
        self.backends.len() > 1 && self.backends.iter().any(|backend| !backend.filters.is_empty())
    }

    /// The plugin of a rule for a match with this path; nothing when Kong's model has it all.
    pub(super) fn plugin(
        &self,
        path: &str,
        ports: &Ports,
    ) -> Result<Option<FilterPlugin>, FilterError> {
        let mut config = Map::new();
        let mut mirrors = Vec::new();
        for (index, filter) in self.filters.iter().enumerate() {
            match (filter.kind.as_str(), &filter.request_redirect, &filter.request_mirror) {
                ("RequestRedirect", Some(wanted), _) => {
                    config.insert("redirect".to_owned(), redirect(wanted, path, ports)?);
                }
                ("RequestMirror", _, Some(wanted)) => {
                    mirrors.push(mirror(wanted, &self.mirror_name(index)));
                }
                ("RequestRedirect" | "RequestMirror", _, _) => {
                    return Err(FilterError::Incomplete(filter.kind.clone()));
                }
                _ => {}
            }
        }
        if !mirrors.is_empty() {
            config.insert("mirrors".to_owned(), Value::Array(mirrors));
        }
        let timeouts = self.timeouts.into_iter().flat_map(|timeouts| {
            [("request_timeout", &timeouts.request), ("backend_timeout", &timeouts.backend_request)]
        });
        for (field, text) in timeouts {
            let wanted = text.as_deref().and_then(super::http::milliseconds);
            if let Some(milliseconds) = wanted.filter(|milliseconds| *milliseconds > 0) {
                config.insert(field.to_owned(), json!(milliseconds));
            }
        }
        if let Some(retry) = self.retry {
            config.insert("retry".to_owned(), self::retry(retry));
        }
        if self.differing() {
            let backends: Result<Vec<Value>, FilterError> =
                self.backends.iter().enumerate().map(|(at, one)| self.backend(at, one)).collect();
            config.insert("backends".to_owned(), Value::Array(backends?));
        }
        let config = Value::Object(config);
        let empty = config.as_object().is_none_or(Map::is_empty);
        Ok((!empty).then_some(FilterPlugin { name: PLUGIN, config }))
    }

    fn backend(&self, index: usize, backend: &BackendRef) -> Result<Value, FilterError> {
        let pairs = |headers: &[HeaderValue]| -> Vec<String> {
            headers.iter().map(|header| format!("{}:{}", header.name, header.value)).collect()
        };
        let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
        for filter in &backend.filters {
            match (filter.kind.as_str(), &filter.request_header_modifier) {
                ("RequestHeaderModifier", Some(modifier)) => {
                    set.extend(pairs(&modifier.set));
                    add.extend(pairs(&modifier.add));
                    remove.extend(modifier.remove.iter().cloned());
                }
                (kind, _) => {
                    let what = format!("{kind} of one of several backends");
                    return Err(FilterError::Unsupported(what));
                }
            }
        }
        Ok(json!({
            "upstream": self.backend_name(index),
            "weight": backend.weight.unwrap_or(1).max(0),
            "set": set,
            "add": add,
            "remove": remove,
        }))
    }

    fn mirror_name(&self, index: usize) -> String {
        format!("{}.mirror.{index}", self.name)
    }

    fn backend_name(&self, index: usize) -> String {
        format!("{}.backend.{index}", self.name)
    }
}

/// Adds the upstreams that a rule's plugin leads to: services that no route has.
pub(super) fn upstreams<'a>(
    ctx: &mut Context<'a>,
    origin: Origin<'a>,
    demands: &Demands<'a>,
    rules: &mut Rules<'a>,
) {
    for (index, filter) in demands.filters.iter().enumerate() {
        if let Some(RequestMirror { backend_ref, .. }) = &filter.request_mirror {
            let name = demands.mirror_name(index);
            let references = std::slice::from_ref(backend_ref);
            let service = backend::service(ctx, origin, &name, "http", references);
            rules.services.insert(name, service);
        }
    }
    if demands.differing() {
        for (index, reference) in demands.backends.iter().enumerate() {
            let name = demands.backend_name(index);
            let references = std::slice::from_ref(reference);
            let service = backend::service(ctx, origin, &name, "http", references);
            rules.services.insert(name, service);
        }
    }
}

fn redirect(wanted: &RequestRedirect, path: &str, ports: &Ports) -> Result<Value, FilterError> {
    let mut config = json!({
        "scheme": wanted.scheme,
        "hostname": wanted.hostname.as_deref().filter(|host| !host.is_empty()),
        "port": wanted.port,
        "status_code": wanted.status_code.unwrap_or(302),
    });
    let listeners =
        ports.iter().map(|(entrance, port)| json!({ "entrance": entrance, "port": port }));
    config["listeners"] = listeners.collect();
    match &wanted.path {
        None => {}
        Some(modifier) if modifier.kind == "ReplaceFullPath" => {
            config["path"] = json!(modifier.replace_full_path);
        }
        Some(modifier) if modifier.kind == "ReplacePrefixMatch" => {
            config["path"] = json!(modifier.replace_prefix_match);
            config["prefix"] = json!(if path.is_empty() { "/" } else { path });
        }
        Some(modifier) => {
            return Err(FilterError::Unsupported(format!("RequestRedirect {}", modifier.kind)));
        }
    }
    if let Some(fields) = config.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(config)
}

fn mirror(wanted: &RequestMirror, upstream: &str) -> Value {
    let (numerator, denominator) = match (&wanted.fraction, wanted.percent) {
        (Some(fraction), _) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (None, Some(percent)) => (percent, 100),
        (None, None) => (100, 100),
    };
    json!({ "upstream": upstream, "numerator": numerator, "denominator": denominator })
}

fn retry(wanted: &Value) -> Value {
    let backoff = wanted["backoff"].as_str().and_then(super::http::milliseconds);
    json!({
        "attempts": wanted["attempts"].as_u64().unwrap_or(1),
        "codes": wanted["codes"].as_array().cloned().unwrap_or_default(),
        "backoff": backoff.unwrap_or(0),
    })
}
