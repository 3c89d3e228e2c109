//! Prints how long a translation takes, and the memory at its peak: `make bench-translate`.
//!
//! `cargo run --release -p operator-core --example translate_speed [COUNT]`. Times are those on the processor where the
//! system tells them (Linux), so that a busy machine counts less; wall time elsewhere.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use operator_core::options::{Engine, GatewayStatusSource, Options, RouterFlavor};
use operator_core::snapshot::{Loader, Snapshot};
use operator_core::translate::{Followed, Incremental, translate};

/// As in the operator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    for kind in [Kind::Ingress, Kind::HttpRoute] {
        let mut loader = Loader::new();
        loader.add("", GATEWAY);
        for n in 0..count {
            loader.add("", &[service(n), plugin(n), kind.route(n, "/app")].concat());
        }
        let snapshot = Arc::new(loader.finish().0);
        for flavor in [RouterFlavor::Traditional, RouterFlavor::Expressions] {
            whole(&snapshot, kind, flavor, count);
        }
        changes(&snapshot, kind, count);
    }
    if let Some(peak) = peak() {
        println!("{count}: {peak} at most");
    }
}

fn options(flavor: RouterFlavor) -> Options {
    let gateway_status = GatewayStatusSource::Derived;
    Options { flavor, gateway_status, engine: Engine::Flotilla, ..Options::default() }
}

/// Prints what a translation of everything takes.
fn whole(snapshot: &Snapshot, kind: Kind, flavor: RouterFlavor, count: usize) {
    let options = options(flavor);
    let mut times: Vec<_> = (0..7)
        .map(|_| {
            let (begin, on) = (Instant::now(), processor());
            let translation = translate(snapshot, &options);
            let took = spent(begin, on);
            assert_eq!(translation.config.services.len(), count);
            took
        })
        .collect();
    times.sort();
    println!("{count} {}, {flavor:?}: median {:?}, best {:?}", kind.plural(), times[3], times[0]);
}

/// Prints what it takes to follow single changes.
fn changes(snapshot: &Arc<Snapshot>, kind: Kind, count: usize) {
    let with = |text: String| {
        let mut loader = Loader::new();
        loader.add("", &text);
        Arc::new(snapshot.with(&loader.finish().0))
    };
    let last = count - 1;
    let endpoint = format!(", {{addresses: [10.{}.{}.2]}}", last / 250, last % 250);
    let cases = [
        ("one edited", with(kind.route(last, "/new"))),
        ("its endpoint gone", with(service(last).replace(&endpoint, ""))),
        ("its plugin edited", with(plugin(last).replace("minute: 5", "minute: 6"))),
    ];
    for (what, after) in cases {
        let options = options(RouterFlavor::Expressions);
        let mut kept = Incremental::new(Arc::clone(snapshot), options);
        // The system counts a thread's time in ticks: one change is less than a tick, many are not.
        let (begin, on) = (Instant::now(), processor());
        for next in [&after, snapshot].into_iter().cycle().take(CHANGES as usize) {
            let followed = kept.follow(Arc::clone(next));
            assert!(matches!(followed, Followed::Steps(_)), "{what}: {followed:?}");
        }
        let followed = spent(begin, on) / CHANGES;
        let (begin, on) = (Instant::now(), processor());
        let bytes: usize = (0..PRINTS).map(|_| kept.print().len()).sum();
        let (joined, bytes) = (spent(begin, on) / PRINTS, bytes / PRINTS as usize);
        let kind = kind.plural();
        println!("{count} {kind}, {what}: {followed:?}, and {joined:?} to join {bytes} bytes");
    }
}

/// How many changes are followed, and how many configurations are put together.
const CHANGES: u32 = 1_000;
const PRINTS: u32 = 50;

fn spent(begin: Instant, on: Option<Duration>) -> Duration {
    match (on, processor()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        (Some(_) | None, Some(_) | None) => begin.elapsed(),
    }
}

/// The time that this thread has had on a processor.
fn processor() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The most memory that the process has had, manifests and parser included.
fn peak() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: flotilla.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ns}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
";

/// What brings requests to a Service.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ingress,
    HttpRoute,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Ingress => "Ingresses",
            Self::HttpRoute => "HTTPRoutes",
        }
    }

    /// One object with a host of its own, a plugin and a Service.
    fn route(self, n: usize, path: &str) -> String {
        match self {
            Self::Ingress => format!(
                r#"
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web-{n}
  namespace: ns
  uid: 00000000-0000-4000-9000-{n:012}
  annotations: {{konghq.com/plugins: limit-{n}, konghq.com/strip-path: "true"}}
spec:
  ingressClassName: kong
  rules:
  - host: h{n}.example.com
    http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: svc-{n}, port: {{number: 80}}}}}}}}]}}
"#
            ),
            Self::HttpRoute => format!(
                r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web-{n}
  namespace: ns
  uid: 00000000-0000-4000-9000-{n:012}
  annotations: {{konghq.com/plugins: limit-{n}}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [h{n}.example.com]
  rules: [{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: svc-{n}, port: 80}}]}}]
"#
            ),
        }
    }
}

/// A Service with two endpoints.
fn service(n: usize) -> String {
    let (high, low) = (n / 250, n % 250);
    format!(
        r#"
---
apiVersion: v1
kind: Service
metadata: {{name: svc-{n}, namespace: ns, uid: 00000000-0000-4000-8000-{n:012}}}
spec: {{ports: [{{port: 80, targetPort: 8080, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc-{n}-a, namespace: ns, labels: {{kubernetes.io/service-name: svc-{n}}}}}
addressType: IPv4
ports: [{{name: '', port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [10.{high}.{low}.1]}}, {{addresses: [10.{high}.{low}.2]}}]
"#
    )
}

/// A plugin.
fn plugin(n: usize) -> String {
    format!(
        r#"
---
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {{name: limit-{n}, namespace: ns}}
plugin: rate-limiting
config: {{minute: 5, policy: local}}
"#
    )
}
