//! Upstreams, their targets and health checks.

use std::collections::BTreeMap;

use serde_json::Number;

use super::{Reference, Tags, entity};

entity! {
    /// A name behind which requests are balanced over targets.
    Upstream {
        /// Unique id.
        id: String,
        /// Unique name; services name it as their host.
        name: String,
        /// `round-robin`, `consistent-hashing`, `least-connections` or `latency`.
        algorithm: String,
        /// What is hashed.
        hash_on: String,
        /// What is hashed when the first is missing.
        hash_fallback: String,
        /// Header that is hashed.
        hash_on_header: String,
        /// Header that is hashed instead.
        hash_fallback_header: String,
        /// Cookie that is hashed, and set when missing.
        hash_on_cookie: String,
        /// Path of that cookie.
        hash_on_cookie_path: String,
        /// Query argument that is hashed.
        hash_on_query_arg: String,
        /// Query argument that is hashed instead.
        hash_fallback_query_arg: String,
        /// Capture of the route's path that is hashed.
        hash_on_uri_capture: String,
        /// Capture that is hashed instead.
        hash_fallback_uri_capture: String,
        /// Cookie of sticky sessions, where the gateway knows them.
        sticky_sessions_cookie: String,
        /// Path of that cookie.
        sticky_sessions_cookie_path: String,
        /// Places of the ring.
        slots: u32,
        /// How health is found out.
        healthchecks: Healthchecks,
        /// Host header towards the targets.
        host_header: String,
        /// The gateway's own certificate towards the targets.
        client_certificate: Reference,
        /// Whether SRV names are used as Host.
        use_srv_name: bool,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// Its targets.
        targets: Target,
    }
}

entity! {
    /// One address of an upstream.
    Target {
        /// Unique id.
        id: String,
        /// `host:port`.
        target: String,
        /// Share of the requests; 0 takes it out.
        weight: u16,
        /// The upstream.
        upstream: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds, with a fraction.
        created_at: Number,
        /// Seconds, with a fraction.
        updated_at: Number,
    }
}

entity! {
    /// How health is found out.
    Healthchecks {
        /// By asking.
        active: ActiveHealth,
        /// By watching.
        passive: PassiveHealth,
        /// Least share of healthy weight, in percent.
        threshold: f64,
    }
}

entity! {
    /// Health by asking.
    ActiveHealth {
        /// `http`, `https`, `tcp`, `grpc` or `grpcs`.
        r#type: String,
        /// Seconds.
        timeout: f64,
        /// How many targets are asked at once.
        concurrency: u32,
        /// Path that is asked.
        http_path: String,
        /// Server name for TLS.
        https_sni: String,
        /// Whether the target's certificate is verified.
        https_verify_certificate: bool,
        /// Headers of the question.
        headers: BTreeMap<String, Vec<String>>,
        /// When a target becomes healthy.
        healthy: Healthy,
        /// When a target becomes unhealthy.
        unhealthy: Unhealthy,
    }
}

entity! {
    /// Health by watching.
    PassiveHealth {
        /// `http`, `https`, `tcp`, `grpc` or `grpcs`.
        r#type: String,
        /// When a target becomes healthy.
        healthy: Healthy,
        /// When a target becomes unhealthy.
        unhealthy: Unhealthy,
    }
}

entity! {
    /// When a target becomes healthy.
    Healthy {
        /// Seconds between two questions; 0 asks never.
        interval: f64,
        /// Status codes that count.
        http_statuses: Vec<u16>,
        /// How many in a row.
        successes: u16,
    }
}

entity! {
    /// When a target becomes unhealthy; 0 counts never.
    Unhealthy {
        /// Seconds between two questions; 0 asks never.
        interval: f64,
        /// Status codes that count.
        http_statuses: Vec<u16>,
        /// Connection failures in a row.
        tcp_failures: u16,
        /// Timeouts in a row.
        timeouts: u16,
        /// Bad answers in a row.
        http_failures: u16,
    }
}
