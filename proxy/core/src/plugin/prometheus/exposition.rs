//! The metrics as text: Kong's names, labels and order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Histogram, KONG_BUCKETS, Metrics, Series, UPSTREAM_BUCKETS};

/// What the node itself adds.
#[derive(Debug, Default)]
pub struct Node {
    /// The node's id.
    pub id: String,
    /// The version it reports.
    pub version: String,
    /// Its client connections.
    pub connections: Connections,
    /// Requests since the start.
    pub requests: u64,
    /// Timers that run and that wait.
    pub timers: (u64, u64),
    /// Bytes of memory in use.
    pub memory: u64,
    /// The process id.
    pub pid: u32,
    /// The health of all targets, where it is wanted.
    pub targets: Vec<TargetHealth>,
}

/// Client connections.
#[derive(Debug, Default)]
pub struct Connections {
    /// Taken since the start.
    pub accepted: u64,
    /// Served since the start.
    pub handled: u64,
    /// Open now.
    pub active: u64,
    /// Sending a request.
    pub reading: u64,
    /// Being answered.
    pub writing: u64,
    /// Idle.
    pub waiting: u64,
}

/// The health of one address of a target.
#[derive(Debug)]
pub struct TargetHealth {
    /// The upstream.
    pub upstream: String,
    /// The target as configured.
    pub target: String,
    /// `ip:port`; empty where the name does not resolve.
    pub address: String,
    /// How it is.
    pub state: TargetState,
}

/// How a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// Nobody looks.
    HealthchecksOff,
    /// Fine.
    Healthy,
    /// Not fine.
    Unhealthy,
    /// Its name does not resolve.
    DnsError,
}

impl TargetState {
    const ALL: [(Self, &'static str); 4] = [
        (Self::HealthchecksOff, "healthchecks_off"),
        (Self::Healthy, "healthy"),
        (Self::Unhealthy, "unhealthy"),
        (Self::DnsError, "dns_error"),
    ];
}

/// Text in the making. Writing to a string cannot fail, so results are dropped.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{open}{label}=\"{escaped}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }
}

type Row = (Box<str>, Box<str>, Arc<Mutex<Series>>);

impl Metrics {
    /// The exposition.
    #[must_use]
    pub fn render(&self, node: &Node) -> String {
        let mut text = Text(String::new());
        let rows = self.rows();
        bandwidth(&mut text, &rows);
        text.head(
            "kong_datastore_reachable",
            "gauge",
            "Datastore reachable from Kong, 0 is unreachable",
        );
        text.line("kong_datastore_reachable", &[], 1);
        requests(&mut text, &rows);
        latency(&mut text, &rows, "kong_kong_latency_ms", &KONG_BUCKETS, |series| &series.kong);
        about_node(&mut text, node);
        if self.configured.load(Ordering::Relaxed) {
            text.head(
                "kong_nginx_metric_errors_total",
                "counter",
                "Number of nginx-lua-prometheus errors",
            );
            text.line("kong_nginx_metric_errors_total", &[], 0);
        }
        latency(&mut text, &rows, "kong_request_latency_ms", &UPSTREAM_BUCKETS, |series| {
            &series.request
        });
        latency(&mut text, &rows, "kong_session_duration_ms", &UPSTREAM_BUCKETS, |series| {
            &series.session
        });
        sessions(&mut text, &rows);
        latency(&mut text, &rows, "kong_upstream_latency_ms", &UPSTREAM_BUCKETS, |series| {
            &series.upstream
        });
        if self.wants_health() {
            health(&mut text, &node.targets);
        }
        text.0
    }

    fn rows(&self) -> Vec<Row> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<Row> = services
            .iter()
            .flat_map(|(service, routes)| {
                routes
                    .iter()
                    .map(|(route, series)| (service.clone(), route.clone(), Arc::clone(series)))
            })
            .collect();
        rows.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
        rows
    }
}

fn each(rows: &[Row], mut show: impl FnMut(&str, &str, &Series)) {
    for (service, route, series) in rows {
        show(service, route, &series.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn requests(text: &mut Text, rows: &[Row]) {
    let mut lines = Vec::new();
    each(rows, |service, route, series| {
        for (consumer, caller) in &series.callers {
            for ((code, from_service), count) in &caller.answers {
                lines.push((
                    service.to_owned(),
                    route.to_owned(),
                    *code,
                    *from_service,
                    consumer.clone(),
                    *count,
                ));
            }
        }
    });
    lines.sort();
    if lines.is_empty() {
        return;
    }
    let name = "kong_http_requests_total";
    text.head(name, "counter", "HTTP status codes per consumer/service/route in Kong");
    for (service, route, code, from_service, consumer, count) in &lines {
        let labels = [
            ("service", service.as_str()),
            ("route", route),
            ("code", &code.to_string()),
            ("source", if *from_service { "service" } else { "kong" }),
            ("workspace", "default"),
            ("consumer", consumer),
        ];
        text.line(name, &labels, count);
    }
}

fn sessions(text: &mut Text, rows: &[Row]) {
    let mut lines = BTreeMap::new();
    each(rows, |service, route, series| {
        for (code, count) in series.callers.values().flat_map(|caller| &caller.sessions) {
            *lines.entry((service.to_owned(), route.to_owned(), *code)).or_insert(0) += count;
        }
    });
    if lines.is_empty() {
        return;
    }
    let name = "kong_stream_sessions_total";
    text.head(name, "counter", "Stream status codes per service/route in Kong");
    for ((service, route, code), count) in &lines {
        let labels = [
            ("service", service.as_str()),
            ("route", route),
            ("code", &code.to_string()),
            ("source", "service"),
            ("workspace", "default"),
        ];
        text.line(name, &labels, count);
    }
}

fn bandwidth(text: &mut Text, rows: &[Row]) {
    let mut lines = Vec::new();
    each(rows, |service, route, series| {
        for (consumer, caller) in series.callers.iter().filter(|(_, caller)| caller.measured) {
            for (direction, bytes) in [("egress", caller.egress), ("ingress", caller.ingress)] {
                lines.push((
                    service.to_owned(),
                    route.to_owned(),
                    direction,
                    consumer.clone(),
                    bytes,
                ));
            }
        }
    });
    lines.sort();
    if lines.is_empty() {
        return;
    }
    let name = "kong_bandwidth_bytes";
    text.head(name, "counter", "Total bandwidth (ingress/egress) throughput in bytes");
    for (service, route, direction, consumer, bytes) in &lines {
        let labels = [
            ("service", service.as_str()),
            ("route", route),
            ("direction", direction),
            ("workspace", "default"),
            ("consumer", consumer),
        ];
        text.line(name, &labels, bytes);
    }
}

fn latency(
    text: &mut Text,
    rows: &[Row],
    name: &str,
    bounds: &[u64],
    of: impl Fn(&Series) -> &Histogram,
) {
    let mut is_first = true;
    each(rows, |service, route, series| {
        let histogram = of(series);
        if histogram.count == 0 {
            return;
        }
        if std::mem::take(&mut is_first) {
            text.head(name, "histogram", help(name));
        }
        let labels = [("service", service), ("route", route), ("workspace", "default")];
        let bucket = format!("{name}_bucket");
        let mut show = |bound: &str, count: u64| {
            let [service, route, workspace] = labels;
            text.line(&bucket, &[service, route, workspace, ("le", bound)], count);
        };
        for (bound, count) in bounds.iter().zip(&histogram.counts).filter(|(_, count)| **count > 0)
        {
            show(&bound.to_string(), *count);
        }
        show("+Inf", histogram.count);
        text.line(&format!("{name}_count"), &labels, histogram.count);
        text.line(&format!("{name}_sum"), &labels, histogram.sum);
    });
}

fn help(name: &str) -> &'static str {
    match name {
        "kong_kong_latency_ms" => {
            "Latency added by Kong and enabled plugins for each service/route in Kong"
        }
        "kong_session_duration_ms" => "Duration of stream sessions for each service/route in Kong",
        "kong_upstream_latency_ms" => {
            "Latency added by upstream response for each service/route in Kong"
        }
        _ => "Total latency incurred during requests for each service/route in Kong",
    }
}

fn about_node(text: &mut Text, node: &Node) {
    let id = ("node_id", node.id.as_str());
    let pid = node.pid.to_string();
    let dictionary = [id, ("shared_dict", "kong"), ("kong_subsystem", "http")];
    text.head(
        "kong_memory_lua_shared_dict_bytes",
        "gauge",
        "Allocated slabs in bytes in a shared_dict",
    );
    text.line("kong_memory_lua_shared_dict_bytes", &dictionary, 0);
    text.head(
        "kong_memory_lua_shared_dict_total_bytes",
        "gauge",
        "Total capacity in bytes of a shared_dict",
    );
    text.line("kong_memory_lua_shared_dict_total_bytes", &dictionary, 0);
    text.head("kong_memory_workers_lua_vms_bytes", "gauge", "Allocated bytes in worker Lua VM");
    text.line(
        "kong_memory_workers_lua_vms_bytes",
        &[id, ("pid", &pid), ("kong_subsystem", "http")],
        node.memory,
    );
    text.head("kong_nginx_connections_total", "gauge", "Number of connections by subsystem");
    let connections = &node.connections;
    for (state, count) in [
        ("accepted", connections.accepted),
        ("active", connections.active),
        ("handled", connections.handled),
        ("reading", connections.reading),
        ("total", node.requests),
        ("waiting", connections.waiting),
        ("writing", connections.writing),
    ] {
        text.line(
            "kong_nginx_connections_total",
            &[id, ("subsystem", "http"), ("state", state)],
            count,
        );
    }
    text.head("kong_nginx_requests_total", "gauge", "Number of requests total");
    text.line("kong_nginx_requests_total", &[id, ("subsystem", "http")], node.requests);
    text.head("kong_nginx_timers", "gauge", "Number of nginx timers");
    text.line("kong_nginx_timers", &[("state", "pending")], node.timers.1);
    text.line("kong_nginx_timers", &[("state", "running")], node.timers.0);
    text.head("kong_node_info", "gauge", "Kong Node metadata information");
    text.line("kong_node_info", &[id, ("version", &node.version)], 1);
}

fn health(text: &mut Text, targets: &[TargetHealth]) {
    if targets.is_empty() {
        return;
    }
    let name = "kong_upstream_target_health";
    text.head(
        name,
        "gauge",
        "Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.",
    );
    for target in targets {
        for (state, label) in TargetState::ALL {
            let labels = [
                ("upstream", target.upstream.as_str()),
                ("target", &target.target),
                ("address", &target.address),
                ("state", label),
                ("subsystem", "http"),
            ];
            text.line(name, &labels, u8::from(state == target.state));
        }
    }
}
