//! Health of upstreams and targets, shown and set by hand.

use http::StatusCode;
use proxy_core::balance::{Balancer, Peer};
use serde_json::{Map, Value, json};

use super::{
    Node,
    call::{Call, Reply},
    entities,
};

/// `GET /upstreams/<u>/health`.
pub(super) fn show(node: &Node, call: &Call, key: &str) -> Result<Reply, Reply> {
    let declared = node.declared();
    let upstream = entities::find_parent(&declared, "upstreams", key)?;
    let generation = node.gateway.state.current();
    let name = upstream["name"].as_str().unwrap_or_default();
    let live = generation.live.get(name);
    let balancer = live.map(|live| live.balancer.load_full());
    let checked = live.is_some_and(|live| live.upstream.checks.are_on());
    if call.argument("balancer_health").as_deref() == Some("1") {
        let data = whole(&upstream, balancer.as_deref(), checked);
        return Ok(Reply::ok(json!({ "data": data, "next": null, "node_id": node.gateway.node })));
    }
    let data = entities::targets(&declared, &upstream)
        .into_iter()
        .map(|target| of_target(&target, balancer.as_deref(), checked))
        .collect();
    let path = format!("/upstreams/{key}/health");
    let mut body = entities::numbered(data, call, &path)?;
    body["node_id"] = json!(node.gateway.node);
    Ok(Reply::ok(body))
}

/// The peers of one target.
fn peers<'a>(balancer: Option<&'a Balancer>, target: &str) -> Vec<&'a Peer> {
    let all = balancer.map(|balancer| balancer.peers.as_slice()).unwrap_or_default();
    all.iter().filter(|peer| *peer.target == *target).collect()
}

fn weights(peers: &[&Peer]) -> Value {
    let sum = |fit: bool| -> u32 {
        let peers = peers.iter().filter(|peer| peer.vitals.health.is_fit() == fit);
        peers.map(|peer| peer.weight).sum()
    };
    let (available, unavailable) = (sum(true), sum(false));
    json!({ "total": available + unavailable, "available": available, "unavailable": unavailable })
}

fn word(checked: bool, fit: bool) -> &'static str {
    match (checked, fit) {
        (false, _) => "HEALTHCHECKS_OFF",
        (true, true) => "HEALTHY",
        (true, false) => "UNHEALTHY",
    }
}

/// Host and port of `host:port`.
fn split(target: &str) -> (&str, u16) {
    match target.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(0)),
        None => (target, 0),
    }
}

fn of_target(target: &Value, balancer: Option<&Balancer>, checked: bool) -> Value {
    let text = target["target"].as_str().unwrap_or_default();
    let peers = peers(balancer, text);
    let weight = target["weight"].as_u64().unwrap_or_default();
    let checked = checked && weight > 0;
    let health = if peers.is_empty() && weight > 0 {
        "DNS_ERROR"
    } else {
        word(checked, peers.iter().any(|peer| peer.vitals.health.is_fit()))
    };
    let addresses: Vec<Value> = peers
        .iter()
        .map(|peer| {
            let health = word(checked, peer.vitals.health.is_fit());
            json!({ "ip": peer.ip, "port": peer.port, "weight": peer.weight, "health": health })
        })
        .collect();
    let mut out = target.clone();
    if let Some(map) = out.as_object_mut() {
        map.insert("health".into(), json!(health));
        let mut data = host(text, weight, &peers);
        let none = addresses.is_empty();
        data.insert("addresses".into(), if none { json!({}) } else { addresses.into() });
        map.insert("data".into(), data.into());
    }
    out
}

fn host(text: &str, weight: u64, peers: &[&Peer]) -> Map<String, Value> {
    let (host, port) = split(text);
    let unresolved = peers.is_empty() && weight > 0;
    let dns = if unresolved { "dns server error: 3 name error" } else { "A" };
    let value = json!({
        "host": host, "port": port, "dns": dns, "nodeWeight": weight, "weight": weights(peers),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The upstream as a whole.
fn whole(upstream: &Value, balancer: Option<&Balancer>, checked: bool) -> Value {
    let all: Vec<&Peer> = balancer.map(|b| b.peers.iter().collect()).unwrap_or_default();
    let healthy = !all.is_empty() && balancer.is_some_and(Balancer::is_healthy);
    let mut names: Vec<&str> = Vec::new();
    for peer in &all {
        if !names.contains(&peer.target.as_ref()) {
            names.push(&peer.target);
        }
    }
    let hosts: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let peers = peers(balancer, name);
            let weight = peers.first().map_or(0, |peer| u64::from(peer.weight));
            let mut host = host(name, weight, &peers);
            let addresses: Vec<Value> = peers
                .iter()
                .map(|peer| {
                    let fit = peer.vitals.health.is_fit();
                    json!({ "ip": peer.ip, "port": peer.port, "weight": peer.weight, "healthy": fit })
                })
                .collect();
            host.insert("addresses".into(), addresses.into());
            host.into()
        })
        .collect();
    let hosts = if hosts.is_empty() { json!({}) } else { hosts.into() };
    json!({
        "id": upstream["id"],
        "health": word(checked, healthy),
        "balancer_health": if healthy { "HEALTHY" } else { "UNHEALTHY" },
        "details": { "healthy": healthy, "weight": weights(&all), "hosts": hosts },
    })
}

/// A target, or one address of it, named by a path.
pub(super) struct Mark<'a> {
    /// The upstream.
    pub(super) upstream: &'a str,
    /// The target.
    pub(super) target: &'a str,
    /// One address of it.
    pub(super) address: Option<&'a str>,
    /// Whether it is to be healthy.
    pub(super) healthy: bool,
}

/// `PUT …/healthy` and `…/unhealthy`.
pub(super) fn mark(node: &Node, mark: &Mark<'_>) -> Result<Reply, Reply> {
    let declared = node.declared();
    let upstream = entities::find_parent(&declared, "upstreams", mark.upstream)?;
    let target = entities::child(&declared, &upstream, "upstreams", "targets", mark.target)?;
    let name = upstream["name"].as_str().unwrap_or_default();
    let generation = node.gateway.state.current();
    let live = generation.live.get(name).filter(|live| live.upstream.checks.are_on());
    let Some(live) = live else {
        let text = format!("no healthchecker found for {name}");
        return Err(Reply::message(StatusCode::BAD_REQUEST, &text));
    };
    let balancer = live.balancer.load_full();
    for peer in peers(Some(&balancer), target["target"].as_str().unwrap_or_default()) {
        let address = std::net::SocketAddr::new(peer.ip, peer.port).to_string();
        if mark.address.is_none_or(|wanted| wanted == address || wanted == peer.ip.to_string()) {
            peer.vitals.health.set(mark.healthy);
        }
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}
