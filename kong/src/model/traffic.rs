//! Services, routes and plugins.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::{Reference, Tags, entity};

entity! {
    /// Where requests go to.
    Service {
        /// Unique id.
        id: String,
        /// Unique name.
        name: String,
        /// `http`, `https`, `grpc`, `grpcs`, `tcp`, `tls`, `tls_passthrough` or `udp`.
        protocol: String,
        /// A host, or the name of an upstream.
        host: String,
        /// Port.
        port: u16,
        /// Prefix of the path that the upstream sees.
        path: String,
        /// How often another target is tried.
        retries: u16,
        /// Milliseconds.
        connect_timeout: u32,
        /// Milliseconds between two writes.
        write_timeout: u32,
        /// Milliseconds between two reads.
        read_timeout: u32,
        /// Whether it takes requests.
        enabled: bool,
        /// The gateway's own certificate towards the upstream.
        client_certificate: Reference,
        /// Whether the upstream's certificate is verified.
        tls_verify: bool,
        /// How long its chain may be.
        tls_verify_depth: u8,
        /// Ids of the authorities that are trusted.
        ca_certificates: Vec<String>,
        /// Short form of protocol, host, port and path.
        url: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// Its routes.
        routes: Route,
        /// Its plugins.
        plugins: Plugin,
    }
}

entity! {
    /// Which requests a service gets. `expression` belongs to the expressions flavour.
    Route {
        /// Unique id.
        id: String,
        /// Unique name.
        name: String,
        /// Protocols that it takes.
        protocols: Vec<String>,
        /// Methods in upper case.
        methods: Vec<String>,
        /// Hosts, with a wildcard as first or last label.
        hosts: Vec<String>,
        /// Prefixes, or regular expressions after `~`.
        paths: Vec<String>,
        /// Header names and their allowed values.
        headers: BTreeMap<String, Vec<String>>,
        /// TLS server names.
        snis: Vec<String>,
        /// Clients of stream routes.
        sources: Vec<Endpoint>,
        /// Listeners of stream routes.
        destinations: Vec<Endpoint>,
        /// Router expression.
        expression: String,
        /// Order among expressions; greater first.
        priority: u64,
        /// Answer to plain HTTP where only https is allowed.
        https_redirect_status_code: u16,
        /// Order among regular expressions; greater first.
        regex_priority: i64,
        /// Whether the matched prefix is removed.
        strip_path: bool,
        /// `v0` or `v1`.
        path_handling: String,
        /// Whether the upstream sees the client's Host.
        preserve_host: bool,
        /// Whether the request body is read first.
        request_buffering: bool,
        /// Whether the answer is read first.
        response_buffering: bool,
        /// The service.
        service: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// Its plugins.
        plugins: Plugin,
    }
}

entity! {
    /// An address and a port of a stream route; either may be absent.
    Endpoint {
        /// Address or range.
        ip: String,
        /// Port.
        port: u16,
    }
}

entity! {
    /// A plugin, globally or on what it names.
    Plugin {
        /// Unique id.
        id: String,
        /// The plugin.
        name: String,
        /// Unique name of this instance.
        instance_name: String,
        /// Only on this route.
        route: Reference,
        /// Only on this service.
        service: Reference,
        /// Only for this consumer.
        consumer: Reference,
        /// Only for this consumer group.
        consumer_group: Reference,
        /// Its configuration.
        config: Map<String, Value>,
        /// Protocols for which it runs.
        protocols: Vec<String>,
        /// Whether it runs.
        enabled: bool,
        /// Dynamic order.
        ordering: Value,
        /// Where it runs, in old configurations.
        run_on: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
}
