//! Prints how long a translation takes, and the memory at its peak: `make bench-translate`.
//!
//! `cargo run --release -p operator-core --example translate_speed [INGRESSES]`. Times are those on the processor where the
//! system tells them (Linux), so that a busy machine counts less; wall time elsewhere.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use operator_core::options::{Options, RouterFlavor};
use operator_core::snapshot::{Loader, Snapshot};
use operator_core::translate::{Followed, Incremental, translate};

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
                let took = spent(begin, on);
                assert_eq!(translation.config.services.len(), count);
                took
            })
            .collect();
        times.sort();
        println!("{count} Ingresses, {flavor:?}: median {:?}, best {:?}", times[3], times[0]);
    }
    changes(&Arc::new(snapshot), count);
    if let Some(peak) = peak() {
        println!("{count} Ingresses: {peak} at most");
    }
}

/// Prints what it takes to follow single changes.
fn changes(snapshot: &Arc<Snapshot>, count: usize) {
    let last = count - 1;
    let edited = |text: &str, from: &str, to: &str| {
        let mut loader = Loader::new();
        loader.add("", &text.replace(from, to));
        Arc::new(snapshot.with(&loader.finish().0))
    };
    let all = manifests(last);
    let mut parts = all.split("---\n");
    let (_service, slice, plugin, ingress) =
        (parts.next(), parts.next(), parts.next(), parts.next());
    let part = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let cases = [
        ("an Ingress edited", edited(&part(ingress), "path: /app", "path: /other")),
        ("an endpoint gone", edited(&part(slice), ", {addresses: [10.39.249.2]}", "")),
        ("a plugin edited", edited(&part(plugin), "minute: 5", "minute: 6")),
        ("an Ingress added", edited(&manifests(count), "none", "none")),
    ];
    for (what, after) in cases {
        let mut kept = Incremental::new(Arc::clone(snapshot), Options::default());
        // The system counts a thread's time in ticks: one change is less than a tick, many are not.
        let (begin, on) = (Instant::now(), processor());
        for next in [&after, snapshot].into_iter().cycle().take(CHANGES as usize) {
            let followed = kept.follow(Arc::clone(next));
            assert!(matches!(followed, Followed::Steps(_)), "{what}: {followed:?}");
        }
        let followed = spent(begin, on) / CHANGES;
        let (begin, on) = (Instant::now(), processor());
        let bytes: usize = (0..PRINTS).map(|_| kept.print().len()).sum();
        let (printed, bytes) = (spent(begin, on) / PRINTS, bytes / PRINTS as usize);
        println!(
            "{count} Ingresses, {what}: {followed:?}; {bytes} bytes put together in {printed:?}"
        );
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
