//! What rules of HTTPRoutes and GRPCRoutes ask for beyond Kong's model, for fleets of our own proxies: the configuration of
//! the plugin `flotilla-route`, and the upstreams that it leads to.
//!
//! Nothing of this is ever sent to stock Kong: there the same rules are refused, or become what Kong Ingress Controller
//! makes of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::Context;
use super::super::rules::{Origin, Rules};
use super::attach::Slot;
use super::backend;
use super::filter::{FilterError, FilterPlugin};
use super::{BackendTls, Policies};
use crate::gateway_api::{
    BackendRef, HeaderValue, HttpFilter, RequestMirror, RequestRedirect, Timeouts,
};
use crate::object::Kind;
use crate::options::Engine;

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
pub(super) struct Demands<'r, 'a> {
    /// Its filters.
    pub(super) filters: &'a [HttpFilter],
    /// Its backends.
    pub(super) backends: &'a [BackendRef],
    /// Its deadlines.
    pub(super) timeouts: Option<&'a Timeouts>,
    /// Its retries.
    pub(super) retry: Option<&'a Value>,
    /// What its upstreams' names begin with.
    pub(super) name: String,
    /// What is known of where it leads.
    pub(super) ends: &'r Ends,
}

/// What is known of a backend: whether it is one, and what its policy demands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    valid: bool,
    tls: Option<Value>,
}

/// Where a rule leads: its backends when there are several, and its mirrors by the filter's number.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    backends: Vec<End>,
    mirrors: BTreeMap<usize, End>,
}

impl Ends {
    /// Looks at the backends and mirrors of a rule. In a fleet of stock Kong nothing depends on them.
    pub(super) fn of(
        ctx: &Context<'_>,
        policies: &Policies<'_>,
        origin: Origin<'_>,
        (filters, backends): (&[HttpFilter], &[BackendRef]),
    ) -> Self {
        if ctx.options.engine == Engine::Kong {
            return Self::default();
        }
        let several = if backends.len() > 1 { backends } else { &[] };
        let mirrors = filters.iter().enumerate().filter_map(|(index, filter)| {
            let mirror = filter.request_mirror.as_ref()?;
            Some((index, end(ctx, policies, origin, &mirror.backend_ref)))
        });
        Self {
            mirrors: mirrors.collect(),
            backends: several.iter().map(|one| end(ctx, policies, origin, one)).collect(),
        }
    }

    /// Whether requests must be told for which of several backends they are.
    fn differ(&self) -> bool {
        let valid = self.backends.iter().any(|end| end.valid);
        valid && (self.backends.iter().any(|end| !end.valid) || self.are_mixed())
    }

    /// Whether TLS is spoken differently to several backends.
    fn are_mixed(&self) -> bool {
        let mut valid = self.backends.iter().filter(|end| end.valid);
        valid.next().is_some_and(|first| valid.any(|other| other.tls != first.tls))
    }

    /// The same for a rule that keeps clients with their backend, in one upstream for all that exist.
    pub(super) fn kept_together(self) -> Result<Self, String> {
        if self.are_mixed() {
            let what =
                "sessionPersistence does not go with backends of different BackendTLSPolicies";
            return Err(what.to_owned());
        }
        Ok(Self { backends: Vec::new(), ..self })
    }
}

fn end<F>(
    ctx: &Context<'_>,
    policies: &Policies<'_>,
    origin: Origin<'_>,
    reference: &BackendRef<F>,
) -> End {
    let snapshot = ctx.snapshot;
    let namespace = reference.namespace_or(origin.namespace());
    ctx.reads.note(Kind::Service, namespace, &reference.name);
    let Ok(found) = backend::resolve(snapshot, (origin.kind, origin.namespace()), reference) else {
        return End::default();
    };
    let service = snapshot.services.get(found.namespace, found.name);
    match service.and_then(|service| policies.of(service, reference.port)) {
        Some(tls) if tls.broken => End::default(),
        tls => End { valid: true, tls: tls.map(BackendTls::demands) },
    }
}

/// The filters of a rule that Kong's plugins do: those that are done here are left out.
pub(super) fn rest(filters: &[HttpFilter]) -> Vec<HttpFilter> {
    let ours = |filter: &&HttpFilter| !matches!(&*filter.kind, "RequestRedirect" | "RequestMirror");
    filters.iter().filter(ours).cloned().collect()
}

impl Demands<'_, '_> {
    /// Whether backends differ in more than their address and weight.
    fn differing(&self) -> bool {
        let filtered = self.backends.iter().any(|backend| !backend.filters.is_empty());
        self.backends.len() > 1 && (filtered || self.ends.differ())
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
                    let end = self.ends.mirrors.get(&index).filter(|end| end.valid);
                    mirrors.extend(end.map(|end| {
                        let to = (self.mirror_name(index), &end.tls);
                        mirror(wanted, to)
                    }));
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
        let mut config = json!({
            "weight": backend.weight.unwrap_or(1).max(0),
            "set": set,
            "add": add,
            "remove": remove,
        });
        // One that leads nowhere has no upstream: its share of requests is refused.
        if let Some(End { valid: true, tls }) = self.ends.backends.get(index) {
            config["upstream"] = json!(self.backend_name(index));
            secure(&mut config, tls);
        }
        Ok(config)
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
    demands: &Demands<'_, 'a>,
    rules: &mut Rules<'a>,
) {
    let mut add = |name: String, service| {
        rules.shares.push((origin, name.clone()));
        rules.services.insert(name, service);
    };
    for (index, filter) in demands.filters.iter().enumerate() {
        if let Some(RequestMirror { backend_ref, .. }) = &filter.request_mirror {
            let name = demands.mirror_name(index);
            let references = std::slice::from_ref(backend_ref);
            let service = backend::service(ctx, origin, &name, "http", references);
            add(name, service);
        }
    }
    if demands.differing() {
        let valid = |(index, _): &(usize, &BackendRef)| {
            demands.ends.backends.get(*index).is_some_and(|end| end.valid)
        };
        for (index, reference) in demands.backends.iter().enumerate().filter(valid) {
            let name = demands.backend_name(index);
            let references = std::slice::from_ref(reference);
            let service = backend::service(ctx, origin, &name, "http", references);
            add(name, service);
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

/// Adds what is demanded of TLS.
fn secure(config: &mut Value, tls: &Option<Value>) {
    if let Some(tls) = tls {
        config["tls"] = tls.clone();
    }
}

fn mirror(wanted: &RequestMirror, (upstream, tls): (String, &Option<Value>)) -> Value {
    let (numerator, denominator) = match (&wanted.fraction, wanted.percent) {
        (Some(fraction), _) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (None, Some(percent)) => (percent, 100),
        (None, None) => (100, 100),
    };
    let mut config =
        json!({ "upstream": upstream, "numerator": numerator, "denominator": denominator });
    secure(&mut config, tls);
    config
}

fn retry(wanted: &Value) -> Value {
    let backoff = wanted["backoff"].as_str().and_then(super::http::milliseconds);
    json!({
        "attempts": wanted["attempts"].as_u64().unwrap_or(1),
        "codes": wanted["codes"].as_array().cloned().unwrap_or_default(),
        "backoff": backoff.unwrap_or(0),
    })
}
