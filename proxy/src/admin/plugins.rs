//! What plugins show here: the metrics of prometheus, the answers that proxy-cache keeps.

use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, StatusCode};
use proxy_core::plugin::prometheus::{Connections, Node as Facts, TargetHealth, TargetState};
use proxy_core::plugin::proxy_cache::Entry;
use serde_json::{Map, Value, json};

use super::call::{Body, Call, Reply};
use super::info::KONG_VERSION;
use super::{Node, entities};

/// `GET /metrics`, in the text format of Prometheus.
pub(super) fn metrics(node: &Node) -> Reply {
    let gateway = &node.gateway;
    let counters = &gateway.counters;
    let active = counters.active.load(Ordering::Relaxed);
    let accepted = counters.accepted.load(Ordering::Relaxed);
    let metrics = &gateway.plugins.lasting.metrics;
    let facts = Facts {
        id: gateway.node.to_string(),
        version: KONG_VERSION.to_owned(),
        connections: Connections {
            accepted,
            handled: accepted,
            active,
            reading: 0,
            writing: active,
            waiting: 0,
        },
        requests: counters.requests.load(Ordering::Relaxed),
        timers: (0, 0),
        memory: resident(),
        pid: std::process::id(),
        targets: if metrics.wants_health() { targets(node) } else { Vec::new() },
    };
    Reply {
        status: StatusCode::OK,
        body: Body::Text("text/plain; charset=UTF-8", metrics.render(&facts).into()),
        headers: Vec::new(),
    }
}

/// Bytes of memory in use, as the kernel counts them.
fn resident() -> u64 {
    let statistics = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statistics.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * 4_096
}

/// The health of every address of every target.
fn targets(node: &Node) -> Vec<TargetHealth> {
    let declared = node.declared();
    let generation = node.gateway.state.current();
    let mut found = Vec::new();
    for upstream in declared.values("upstreams") {
        let name = upstream["name"].as_str().unwrap_or_default();
        let live = generation.live.get(name);
        let balancer = live.map(|live| live.balancer.load_full());
        let checked = live.is_some_and(|live| live.upstream.checks.are_on());
        for target in entities::targets(&declared, &upstream) {
            let text = target["target"].as_str().unwrap_or_default();
            let mut add = |address: String, state: TargetState| {
                let (upstream, target) = (name.to_owned(), text.to_owned());
                found.push(TargetHealth { upstream, target, address, state });
            };
            let peers = balancer.iter().flat_map(|balancer| &balancer.peers);
            let mut resolved = false;
            for peer in peers.filter(|peer| *peer.target == *text) {
                resolved = true;
                let state = match (checked, peer.vitals.health.is_fit()) {
                    (false, _) => TargetState::HealthchecksOff,
                    (true, true) => TargetState::Healthy,
                    (true, false) => TargetState::Unhealthy,
                };
                add(std::net::SocketAddr::new(peer.ip, peer.port).to_string(), state);
            }
            if !resolved {
                add(String::new(), TargetState::DnsError);
            }
        }
    }
    found
}

/// `/proxy-cache`, `/proxy-cache/<key>` and `/proxy-cache/<plugin>/caches/<key>`.
pub(super) fn proxy_cache(node: &Node, call: &Call, parts: &[String]) -> Reply {
    let gone = || Reply::page(StatusCode::NOT_FOUND, "Not Found");
    let cache = &node.gateway.plugins.lasting.cache;
    let key = match parts {
        [] if call.method == Method::DELETE => {
            cache.clear();
            return Reply::empty(StatusCode::NO_CONTENT);
        }
        [key] => key,
        [plugin, caches, key] if caches == "caches" => {
            let declared = node.declared();
            match declared.get("plugins", plugin) {
                Some(entity) if entity["name"] == "proxy-cache" => key,
                Some(_) | None => return gone(),
            }
        }
        _ => return gone(),
    };
    if call.method == Method::DELETE {
        return if cache.remove(key) { Reply::empty(StatusCode::NO_CONTENT) } else { gone() };
    }
    cache.get(key, crate::http::now()).map_or_else(gone, |entry| Reply::ok(show(&entry)))
}

fn show(entry: &Entry) -> Value {
    json!({
        "status": entry.status.as_u16(),
        "headers": headers(&entry.headers),
        "body": String::from_utf8_lossy(&entry.body),
        "body_len": entry.body.len(),
        "req_body": String::from_utf8_lossy(&entry.request_body),
        "timestamp": entry.stored.as_secs(),
        "ttl": entry.ttl,
        "version": 1,
    })
}

/// Headers by name, extensions with their usual capitals.
fn headers(headers: &HeaderMap) -> Value {
    let mut fields = Map::new();
    for name in headers.keys() {
        let text =
            |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
        let mut values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
        let one = if values.len() == 1 { values.pop() } else { None };
        let name =
            if name.as_str().starts_with("x-") { capital(name.as_str()) } else { name.to_string() };
        fields.insert(name, one.unwrap_or(Value::Array(values)));
    }
    Value::Object(fields)
}

fn capital(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
