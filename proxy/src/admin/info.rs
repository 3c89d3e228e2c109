//! What the gateway says of itself: `/`, `/status`, schemas, and the paths that have little to say.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use kong::schema;
use serde_json::{Map, Value, json};

use super::{
    Node,
    call::{Call, Reply},
    paths, writes,
};

/// The version of Kong whose answers these are; clients choose their behavior by it.
pub(super) const KONG_VERSION: &str = "3.9.3";
const MASKED: &str = "******";
/// Shared memory of the gateway that is imitated: names and sizes in MiB.
const DICTIONARIES: [(&str, u64); 9] = [
    ("kong", 5),
    ("kong_locks", 8),
    ("kong_healthchecks", 5),
    ("kong_cluster_events", 5),
    ("kong_rate_limiting_counters", 12),
    ("kong_core_db_cache", 128),
    ("kong_core_db_cache_miss", 12),
    ("kong_db_cache", 128),
    ("prometheus_metrics", 5),
];

/// `GET /`.
pub(super) fn root(node: &Node) -> Reply {
    let gateway = &node.gateway;
    let plugins: Map<String, Value> = schema::plugin::of_kong()
        .map(|one| {
            let facts = json!({ "version": one.version, "priority": one.priority });
            (one.name.to_owned(), facts)
        })
        .collect();
    let loaded: Map<String, Value> =
        plugins.keys().map(|name| (name.clone(), json!(true))).collect();
    let declared = node.declared();
    let mut enabled: Vec<String> = declared
        .values("plugins")
        .filter_map(|plugin| plugin["name"].as_str().map(str::to_owned))
        .collect();
    enabled.sort_unstable();
    enabled.dedup();
    let pid = std::process::id();
    let mut configuration = json!({
        "database": "off",
        "role": "traditional",
        "router_flavor": gateway.settings.flavor.name(),
        "prefix": gateway.settings.prefix,
        "loaded_plugins": loaded,
        "ssl_cert_key": MASKED,
        "admin_ssl_cert_key": MASKED,
        "status_ssl_cert_key": MASKED,
        "admin_gui_ssl_cert_key": MASKED,
    });
    for name in ["proxy_listen", "admin_listen", "status_listen", "stream_listen", "log_level"] {
        if let Some(value) = gateway.settings.raw.get(name) {
            configuration[name] = json!(value);
        }
    }
    Reply::ok(json!({
        "tagline": "Welcome to kong",
        "version": KONG_VERSION,
        "edition": "community",
        "hostname": hostname(),
        "node_id": gateway.node,
        "lua_version": "none",
        "pids": { "master": pid, "workers": [pid] },
        "timers": { "running": 0, "pending": 0 },
        "plugins": { "available_on_server": plugins, "enabled_in_cluster": enabled },
        "configuration": configuration,
        "flotilla": { "version": env!("CARGO_PKG_VERSION") },
    }))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "localhost".to_owned())
}

/// A unit of sizes: its name after the number, and its bytes.
fn unit(name: &str) -> Option<(&'static str, f64)> {
    Some(match name {
        "b" | "B" => ("", 1.0),
        "k" | "K" => (" KiB", 1024.0),
        "m" | "M" => (" MiB", 1024.0 * 1024.0),
        "g" | "G" => (" GiB", 1024.0 * 1024.0 * 1024.0),
        _ => return None,
    })
}

/// `GET /status`.
pub(super) fn status(node: &Node, call: &Call) -> Reply {
    let refuse = |text: &str| Reply::message(StatusCode::BAD_REQUEST, text);
    let scale = match call.argument("scale") {
        None => 2,
        Some(text) => match text.parse::<i64>() {
            Ok(scale) if scale >= 0 => usize::try_from(scale.min(20)).unwrap_or(2),
            Ok(_) => return refuse("scale must be equal or greater than 0"),
            Err(_) => return refuse("scale must be a number"),
        },
    };
    let wanted = call.argument("unit").unwrap_or_else(|| "m".to_owned());
    let size = |bytes: u64| -> Option<Value> {
        if wanted.is_empty() {
            return Some(json!(bytes.to_string()));
        }
        let (name, one) = unit(&wanted)?;
        if name.is_empty() {
            return Some(json!(bytes));
        }
        Some(json!(format!("{:.scale$}{name}", bytes as f64 / one)))
    };
    if !wanted.is_empty() && unit(&wanted).is_none() {
        return refuse(&format!("invalid unit '{wanted}' (expected 'k/K', 'm/M', or 'g/G')"));
    }
    let dictionaries: Map<String, Value> = DICTIONARIES
        .iter()
        .map(|(name, megabytes)| {
            let capacity = size(megabytes << 20);
            ((*name).to_owned(), json!({ "capacity": capacity, "allocated_slabs": size(40 << 10) }))
        })
        .collect();
    let counters = &node.gateway.counters;
    let accepted = counters.accepted.load(Ordering::Relaxed);
    let active = counters.active.load(Ordering::Relaxed);
    Reply::ok(json!({
        "memory": {
            "workers_lua_vms":
                [{ "http_allocated_gc": size(resident()), "pid": std::process::id() }],
            "lua_shared_dicts": dictionaries,
        },
        "server": {
            "connections_accepted": accepted,
            "connections_handled": accepted,
            "connections_active": active,
            "connections_reading": 0,
            "connections_writing": active,
            "connections_waiting": 0,
            "total_requests": counters.requests.load(Ordering::Relaxed),
        },
        "configuration_hash": node.gateway.state.current().hash,
    }))
}

/// The process's memory in bytes.
fn resident() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * 4096)
}

/// `GET` and `POST /status/ready`.
pub(super) fn ready(node: &Node, call: &Call) -> Reply {
    if call.method == Method::POST {
        let drain =
            call.parameters().is_ok_and(|all| all.get("status") == Some(&json!("draining")));
        if !drain {
            return Reply::message(StatusCode::BAD_REQUEST, "invalid status");
        }
        node.draining.store(true, Ordering::Relaxed);
        return Reply::empty(StatusCode::NO_CONTENT);
    }
    let unready = |text| Reply::message(StatusCode::SERVICE_UNAVAILABLE, text);
    let draining = node.draining.load(Ordering::Relaxed) || node.gateway.shutdown.has_begun();
    if draining {
        unready("draining")
    } else if node.declared().is_empty() {
        unready("no configuration available (empty configuration present)")
    } else {
        Reply::message(StatusCode::OK, "ready")
    }
}

/// `GET /endpoints`.
pub(super) fn endpoints() -> Reply {
    Reply::ok(json!({ "data": paths::patterns() }))
}

/// `GET /timers`.
pub(super) fn timers() -> Reply {
    Reply::ok(json!({
        "worker": { "id": 0, "count": 1 },
        "stats": { "flamegraph": {}, "sys": {}, "timers": {} },
    }))
}

/// `GET /plugins/enabled`.
pub(super) fn enabled() -> Reply {
    let names: Vec<&str> = schema::plugin::of_kong().map(|one| one.name).collect();
    Reply::ok(json!({ "enabled_plugins": names }))
}

/// `GET /schemas/<kind>`.
pub(super) fn entity_schema(node: &Node, name: &str) -> Reply {
    match schema::entity(name) {
        Some(known) => Reply::ok(known.to_json(node.flavor())),
        None => no("entity", name),
    }
}

/// `GET /schemas/plugins/<name>`.
pub(super) fn plugin_schema(name: &str) -> Reply {
    schema::plugin(name).map_or_else(|| no("plugin", name), |one| Reply::ok(one.to_json()))
}

/// `GET /plugins/schema/<name>`.
pub(super) fn plugin_config(name: &str) -> Reply {
    schema::plugin(name).map_or_else(|| no("plugin", name), |one| Reply::ok(one.config_json()))
}

/// `GET /schemas/vaults/<name>`.
pub(super) fn vault_schema(name: &str) -> Reply {
    match name {
        "env" => Reply::ok(schema::entity::env_vault().to_json()),
        "hcv" => Reply::ok(schema::entity::hcv_vault().to_json()),
        _ => no("vault", name),
    }
}

fn no(what: &str, name: &str) -> Reply {
    Reply::message(StatusCode::NOT_FOUND, &format!("No {what} named '{name}'"))
}

/// `POST /schemas/<kind>/validate`.
pub(super) fn validate(node: &Node, call: &Call, kind: &str) -> Reply {
    let entity = match call.parameters() {
        Ok(entity) => entity,
        Err(reply) => return reply,
    };
    match writes::validate(kind, entity, call.form(), node.flavor()) {
        Ok(()) => Reply::message(StatusCode::OK, "schema validation successful"),
        Err(reply) => reply,
    }
}

/// `/cache…`: nothing is cached beside the configuration.
pub(super) fn cache(call: &Call) -> Reply {
    if call.method == Method::DELETE {
        Reply::empty(StatusCode::NO_CONTENT)
    } else {
        Reply::not_found()
    }
}

/// `/debug/…/log-level`.
pub(super) fn log_level(node: &Node, set: bool) -> Reply {
    if set {
        let text = "cannot change log level when not using a database";
        return Reply::message(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    let level = node.gateway.settings.raw.get("log_level").unwrap_or("notice");
    Reply::message(StatusCode::OK, &format!("log level: {level}"))
}

/// `/acme…`.
pub(super) fn acme(call: &Call, certificates: bool) -> Reply {
    if !certificates && call.method == Method::PATCH {
        return Reply::message(StatusCode::ACCEPTED, "Renewal process started successfully");
    }
    Reply::page(StatusCode::NOT_FOUND, "Not Found")
}
