//! Which paths there are, and which methods each takes.

use http::Method;

use super::call::decode;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/`.
    Root,
    /// `/status`.
    Status,
    /// `/status/ready`, only on status listeners.
    Ready,
    /// `/status/dns`.
    Dns,
    /// `/config`.
    Config,
    /// `/endpoints`.
    Endpoints,
    /// `/timers`.
    Timers,
    /// `/metrics`.
    Metrics,
    /// `/tags` or `/tags/<tag>`.
    Tags(Option<String>),
    /// `/plugins/enabled`.
    EnabledPlugins,
    /// `/plugins/schema/<name>`.
    PluginConfigSchema(String),
    /// `/schemas/<kind>`.
    Schema(String),
    /// `/schemas/plugins/<name>`.
    PluginSchema(String),
    /// `/schemas/vaults/<name>`.
    VaultSchema(String),
    /// `/schemas/filters/<name>`.
    FilterSchema,
    /// `/schemas/<kind>/validate`.
    Validate(String),
    /// A collection.
    List(&'static str),
    /// An entity by id or name.
    One(&'static str, String),
    /// The children of an entity.
    Children(&'static str, String, &'static str),
    /// A child of an entity.
    Child(&'static str, String, &'static str, String),
    /// What a field of an entity names.
    Parent(&'static str, String, &'static str),
    /// `/upstreams/<u>/health`.
    Health(String),
    /// `/upstreams/<u>/targets/all`.
    AllTargets(String),
    /// A target, or one address of it, is to be healthy or not.
    Mark {
        /// The upstream.
        upstream: String,
        /// The target.
        target: String,
        /// One address of it.
        address: Option<String>,
        /// Whether it is to be healthy.
        healthy: bool,
    },
    /// `/cache` or `/cache/<key>`.
    Cache(Option<String>),
    /// `/debug/…/log-level`.
    LogLevel {
        /// Whether a level follows.
        set: bool,
    },
    /// `/clustering/…`.
    Clustering,
    /// Anything of filter chains.
    Filters,
    /// `/acme` or its certificates.
    Acme {
        /// Whether its certificates are asked for.
        certificates: bool,
    },
    /// `/proxy-cache…`.
    ProxyCache(Vec<String>),
}

/// Collections: their path, their kind.
const COLLECTIONS: [(&str, &str); 18] = [
    ("services", "services"),
    ("routes", "routes"),
    ("upstreams", "upstreams"),
    ("consumers", "consumers"),
    ("plugins", "plugins"),
    ("certificates", "certificates"),
    ("snis", "snis"),
    ("ca_certificates", "ca_certificates"),
    ("vaults", "vaults"),
    ("key-sets", "key_sets"),
    ("keys", "keys"),
    ("key-auths", "keyauth_credentials"),
    ("basic-auths", "basicauth_credentials"),
    ("hmac-auths", "hmacauth_credentials"),
    ("jwts", "jwt_secrets"),
    ("acls", "acls"),
    ("oauth2", "oauth2_credentials"),
    ("oauth2_tokens", "oauth2_tokens"),
];
const OTHER_COLLECTIONS: [(&str, &str); 2] =
    [("sessions", "sessions"), ("acme_storage", "acme_storage")];

/// Children: the parent's path, the child's path below it, the child's kind.
const CHILDREN: [(&str, &str, &str); 19] = [
    ("services", "routes", "routes"),
    ("services", "plugins", "plugins"),
    ("services", "oauth2_tokens", "oauth2_tokens"),
    ("routes", "plugins", "plugins"),
    ("consumers", "plugins", "plugins"),
    ("consumers", "key-auth", "keyauth_credentials"),
    ("consumers", "basic-auth", "basicauth_credentials"),
    ("consumers", "hmac-auth", "hmacauth_credentials"),
    ("consumers", "jwt", "jwt_secrets"),
    ("consumers", "acls", "acls"),
    ("consumers", "oauth2", "oauth2_credentials"),
    ("upstreams", "targets", "targets"),
    ("certificates", "services", "services"),
    ("certificates", "upstreams", "upstreams"),
    ("certificates", "snis", "snis"),
    ("key-sets", "keys", "keys"),
    ("oauth2", "oauth2_tokens", "oauth2_tokens"),
    ("services", "filter-chains", "filter_chains"),
    ("routes", "filter-chains", "filter_chains"),
];

/// What a field names: the entity's path, the field.
const PARENTS: [(&str, &str); 15] = [
    ("routes", "service"),
    ("services", "client_certificate"),
    ("upstreams", "client_certificate"),
    ("plugins", "service"),
    ("plugins", "route"),
    ("plugins", "consumer"),
    ("keys", "set"),
    ("key-auths", "consumer"),
    ("basic-auths", "consumer"),
    ("hmac-auths", "consumer"),
    ("jwts", "consumer"),
    ("acls", "consumer"),
    ("oauth2", "consumer"),
    ("oauth2_tokens", "credential"),
    ("oauth2_tokens", "service"),
];

/// Everything that `GET /endpoints` lists beside collections, children and parents.
const FIXED: [&str; 45] = [
    "/",
    "/acme",
    "/acme/certificates",
    "/acme/certificates/{certificates}",
    "/cache",
    "/cache/{key}",
    "/clustering/data-planes",
    "/clustering/status",
    "/config",
    "/debug/cluster/log-level/{log_level}",
    "/debug/node/log-level",
    "/debug/node/log-level/{log_level}",
    "/endpoints",
    "/filter-chains",
    "/filter-chains/{filter_chains}",
    "/filter-chains/{filter_chains}/route",
    "/filter-chains/{filter_chains}/service",
    "/metrics",
    "/plugins/enabled",
    "/plugins/schema/{name}",
    "/proxy-cache",
    "/proxy-cache/{cache_key}",
    "/proxy-cache/{plugin_id}/caches/{cache_key}",
    "/routes/{routes}/filters/all",
    "/routes/{routes}/filters/disabled",
    "/routes/{routes}/filters/enabled",
    "/schemas/filters/{name}",
    "/schemas/plugins/validate",
    "/schemas/plugins/{name}",
    "/schemas/vaults/validate",
    "/schemas/vaults/{name}",
    "/schemas/{db_entity_name}/validate",
    "/schemas/{name}",
    "/snis/{snis}/certificate",
    "/status",
    "/status/dns",
    "/tags",
    "/tags/{tags}",
    "/targets",
    "/targets/{targets}",
    "/targets/{targets}/upstream",
    "/timers",
    "/upstreams/{upstreams}/health",
    "/upstreams/{upstreams}/targets/all",
    "/upstreams/{upstreams}/targets/{targets}/healthy",
];
const MORE_FIXED: [&str; 3] = [
    "/upstreams/{upstreams}/targets/{targets}/unhealthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
    "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
];

/// All path patterns, sorted.
pub(super) fn patterns() -> Vec<String> {
    let fixed = FIXED.iter().chain(&MORE_FIXED);
    let mut all: Vec<String> = fixed.map(|path| (*path).to_owned()).collect();
    let collections: Vec<_> = COLLECTIONS.iter().chain(&OTHER_COLLECTIONS).collect();
    for (path, kind) in &collections {
        all.push(format!("/{path}"));
        all.push(format!("/{path}/{{{kind}}}"));
    }
    let kind_of = |path: &str| collection(path).unwrap_or_default();
    for (path, below, kind) in CHILDREN {
        all.push(format!("/{path}/{{{}}}/{below}", kind_of(path)));
        all.push(format!("/{path}/{{{}}}/{below}/{{{kind}}}", kind_of(path)));
    }
    for (path, field) in PARENTS {
        all.push(format!("/{path}/{{{}}}/{field}", kind_of(path)));
    }
    all.sort();
    all.dedup();
    all
}

fn collection(path: &str) -> Option<&'static str> {
    let mut all = COLLECTIONS.iter().chain(&OTHER_COLLECTIONS);
    all.find(|(known, _)| *known == path).map(|(_, kind)| *kind)
}

fn child(path: &str, below: &str) -> Option<&'static str> {
    CHILDREN.iter().find(|(p, b, _)| *p == path && *b == below).map(|(_, _, kind)| *kind)
}

fn parent(path: &str, field: &str) -> Option<&'static str> {
    PARENTS.iter().find(|(p, f)| *p == path && *f == field).map(|(_, field)| *field)
}

/// Finds what a path asks for on an Admin API listener.
pub(super) fn admin(path: &str) -> Option<Target> {
    let parts = parts(path)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let own = |text: &str| text.to_owned();
    Some(match parts.as_slice() {
        [] => Target::Root,
        ["status"] => Target::Status,
        ["status", "dns"] => Target::Dns,
        ["config"] => Target::Config,
        ["endpoints"] => Target::Endpoints,
        ["timers"] => Target::Timers,
        ["metrics"] => Target::Metrics,
        ["tags"] => Target::Tags(None),
        ["tags", tag] => Target::Tags(Some(own(tag))),
        ["plugins", "enabled"] => Target::EnabledPlugins,
        ["plugins", "schema", name] => Target::PluginConfigSchema(own(name)),
        ["schemas", kind, "validate"] => Target::Validate(own(kind)),
        ["schemas", "plugins", name] => Target::PluginSchema(own(name)),
        ["schemas", "vaults", name] => Target::VaultSchema(own(name)),
        ["schemas", "filters", _] => Target::FilterSchema,
        ["schemas", name] => Target::Schema(own(name)),
        ["cache"] => Target::Cache(None),
        ["cache", key] => Target::Cache(Some(own(key))),
        ["debug", "node", "log-level"] => Target::LogLevel { set: false },
        ["debug", "node" | "cluster", "log-level", _] => Target::LogLevel { set: true },
        ["clustering", "data-planes" | "status"] => Target::Clustering,
        ["filter-chains"] | ["filter-chains", _] | ["filter-chains", _, "route" | "service"] => {
            Target::Filters
        }
        ["routes" | "services", _, "filter-chains"]
        | ["routes" | "services", _, "filter-chains", _]
        | ["routes", _, "filters", "all" | "enabled" | "disabled"] => Target::Filters,
        ["acme"] => Target::Acme { certificates: false },
        ["acme", "certificates"] | ["acme", "certificates", _] => {
            Target::Acme { certificates: true }
        }
        ["proxy-cache", rest @ ..] => {
            Target::ProxyCache(rest.iter().map(|part| own(part)).collect())
        }
        other => return entities(other),
    })
}

fn entities(parts: &[&str]) -> Option<Target> {
    let own = |text: &str| text.to_owned();
    match parts {
        ["upstreams", upstream, "health"] => Some(Target::Health(own(upstream))),
        ["upstreams", upstream, "targets", "all"] => Some(Target::AllTargets(own(upstream))),
        ["upstreams", upstream, "targets", target, mark @ ("healthy" | "unhealthy")] => {
            Some(Target::Mark {
                upstream: own(upstream),
                target: own(target),
                address: None,
                healthy: *mark == "healthy",
            })
        }
        ["upstreams", upstream, "targets", target, address, mark @ ("healthy" | "unhealthy")] => {
            Some(Target::Mark {
                upstream: own(upstream),
                target: own(target),
                address: Some(own(address)),
                healthy: *mark == "healthy",
            })
        }
        [path] => collection(path).map(Target::List),
        [path, key] => Some(Target::One(collection(path)?, own(key))),
        [path, key, below] => {
            let kind = collection(path)?;
            match child(path, below) {
                Some(child) => Some(Target::Children(kind, own(key), child)),
                None => Some(Target::Parent(kind, own(key), parent(path, below)?)),
            }
        }
        [path, key, below, name] => {
            Some(Target::Child(collection(path)?, own(key), child(path, below)?, own(name)))
        }
        _ => None,
    }
}

/// Finds what a path asks for on a Status API listener.
pub(super) fn status(path: &str) -> Option<Target> {
    match admin(path) {
        Some(
            target @ (Target::Status
            | Target::Dns
            | Target::Metrics
            | Target::Health(_)
            | Target::AllTargets(_)),
        ) => Some(target),
        Some(target @ (Target::Children(_, _, "targets") | Target::Child(_, _, "targets", _))) => {
            Some(target)
        }
        Some(_) => None,
        None => {
            let ready = parts(path)? == ["status", "ready"];
            ready.then_some(Target::Ready)
        }
    }
}

/// The parts of a path, the variable ones decoded; none for empty parts.
fn parts(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    // Names of endpoints stand at even places and are not decoded, keys are.
    Some(
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| if at == 0 { (*part).to_owned() } else { decode(part) })
            .collect(),
    )
}

/// The methods that a target takes, beside HEAD and OPTIONS.
pub(super) fn methods(target: &Target) -> &'static [Method] {
    const GET: &[Method] = &[Method::GET];
    const READ_WRITE: &[Method] = &[Method::GET, Method::POST];
    const ONE: &[Method] = &[Method::DELETE, Method::GET, Method::PATCH, Method::PUT];
    match target {
        Target::Config => &[Method::GET, Method::POST, Method::PATCH],
        Target::Ready => READ_WRITE,
        Target::List(_) | Target::Children(..) => READ_WRITE,
        Target::One(..) | Target::Child(..) | Target::Parent(..) => ONE,
        Target::Validate(_) => &[Method::POST],
        Target::Mark { .. } => &[Method::PUT],
        Target::Cache(Some(_)) => &[Method::DELETE, Method::GET],
        Target::Cache(None) => &[Method::DELETE],
        Target::LogLevel { set: true } => &[Method::PUT],
        Target::Acme { certificates: false } => &[Method::PATCH, Method::POST],
        Target::Acme { certificates: true } => GET,
        Target::ProxyCache(parts) if parts.is_empty() => &[Method::DELETE],
        Target::ProxyCache(_) => &[Method::DELETE, Method::GET],
        Target::Root
        | Target::Status
        | Target::Dns
        | Target::Endpoints
        | Target::Timers
        | Target::Metrics
        | Target::Tags(_)
        | Target::EnabledPlugins
        | Target::PluginConfigSchema(_)
        | Target::Schema(_)
        | Target::PluginSchema(_)
        | Target::VaultSchema(_)
        | Target::FilterSchema
        | Target::Health(_)
        | Target::AllTargets(_)
        | Target::LogLevel { set: false }
        | Target::Clustering
        | Target::Filters => GET,
    }
}
