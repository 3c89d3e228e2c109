//! Prints how long a translation takes, and the memory at its peak: `make bench-translate`.
//!
//! `cargo run --release -p operator-core --example translate_speed [INGRESSES]`. Times are those on the processor where the
//! system tells them (Linux), so that a busy machine counts less; wall time elsewhere.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use operator_core::options::{Options, RouterFlavor};
use operator_core::snapshot::Loader;
use operator_core::translate::translate;

/// As in the operator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let mut loader = Loader::new();
    for n in 0..count {
        loader.add("", &manifests(n));
    }
    let (snapshot, _) = loader.finish();
    for flavor in [RouterFlavor::Traditional, RouterFlavor::Expressions] {
        let options = Options { flavor, ..Options::default() };
        let mut times: Vec<_> = (0..7)
            .map(|_| {
                let (begin, on) = (Instant::now(), processor());
                let translation = translate(&snapshot, &options);
                let took = match (on, processor()) {
                    (Some(before), Some(after)) => after.saturating_sub(before),
                    (Some(_) | None, Some(_) | None) => begin.elapsed(),
                };
                assert_eq!(translation.config.services.len(), count);
                took
            })
            .collect();
        times.sort();
        println!("{count} Ingresses, {flavor:?}: median {:?}, best {:?}", times[3], times[0]);
    }
    if let Some(peak) = peak() {
        println!("{count} Ingresses: {peak} at most");
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

/// One Ingress with a Service of its own, two endpoints and a plugin.
fn manifests(n: usize) -> String {
    let (high, low) = (n / 250, n % 250);
    format!(
        r#"
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
---
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {{name: limit-{n}, namespace: ns}}
plugin: rate-limiting
config: {{minute: 5, policy: local}}
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
    http: {{paths: [{{path: /app, pathType: Prefix, backend: {{service: {{name: svc-{n}, port: {{number: 80}}}}}}}}]}}
"#
    )
}
