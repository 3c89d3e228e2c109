//! How fast a change is live on the whole fleet, what the operator needs, and how much it writes.
//!
//! The clock starts when the API server has answered the create request, and stops when the last proxy
//! serves the new host. Every proxy is asked by a client of its own, so the wait has a grain: the pause
//! between two questions.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::Cluster;
use crate::oci::Image;
use crate::product::{Pod, Product, RELEASE};

/// What the fleet is measured with.
const CHANGES: usize = 100;
const OBJECTS: usize = 1_000;
const FLEETS: [usize; 2] = [3, 50];
const NAMESPACE: &str = "bench";

/// What adding objects one after the other cost.
struct Figures {
    proxies: usize,
    /// How many objects there were before the first and after the last.
    present: [usize; 2],
    lags: Vec<Duration>,
    /// The leading operator's processor time.
    cpu: Duration,
    /// Writes to the API server, by resource.
    writes: BTreeMap<String, usize>,
}

/// Measures an installed release. Every row of the table is written as soon as it is known.
pub fn measure(cluster: &Cluster, built: &[Image], table: &mut impl Write) -> Result<()> {
    let product = Product::install(cluster, built)?;
    product.upgrade(&["proxy.resources.requests.cpu=1m", "proxy.resources.requests.memory=1Mi"])?;
    product.namespace(NAMESPACE)?;
    let bench = Bench { api: Api::new(cluster.place())?, product };
    writeln!(table, "| what | proxies | Ingresses | figure |\n|---|---|---|---|")?;
    let mut present = 0;
    for proxies in FLEETS {
        crate::say(&format!("{CHANGES} changes on {proxies} proxies"));
        bench.scale(proxies)?;
        // The first answer warms every path; it does not count.
        bench.lag(&bench.product.wait_for_proxies(proxies)?, &format!("warm-{proxies}"))?;
        present += 1;
        rows(table, &bench.changes(proxies, &format!("change-{proxies}"), present)?)?;
        present += CHANGES;
    }
    crate::say(&format!("{OBJECTS} Ingresses on {} proxies", FLEETS[1]));
    let memory = bench.memory(present)? as f64 / 1024.0;
    let proxies = FLEETS[1];
    writeln!(
        table,
        "| resident memory of the leading operator | {proxies} | {OBJECTS} | {memory:.1} MiB |"
    )?;
    rows(table, &bench.changes(proxies, "late", OBJECTS)?)?;
    bench.scale(3)?;
    bench.product.forget(NAMESPACE)
}

struct Bench {
    api: Api,
    product: Product,
}

impl Bench {
    fn scale(&self, proxies: usize) -> Result<()> {
        self.product.kubectl_here(&[
            "scale",
            "deployment/flotilla-proxy",
            &format!("--replicas={proxies}"),
        ])?;
        self.product.wait_for_proxies(proxies).map(drop)
    }

    /// Adds Ingresses one after the other, each when the last is served everywhere.
    fn changes(&self, proxies: usize, name: &str, present: usize) -> Result<Figures> {
        let pods = self.product.wait_for_proxies(proxies)?;
        let (leader, _) = self.product.operators()?;
        let process = self.product.process(&leader)?;
        let (before, began) = (self.writes()?, cpu(process)?);
        let lags = (0..CHANGES)
            .map(|index| self.lag(&pods, &format!("{name}-{index}")))
            .collect::<Result<Vec<_>>>()?;
        // What is written about the last change belongs to it.
        self.product.wait_for_proxies(proxies)?;
        let cpu = cpu(process)?.saturating_sub(began);
        let mut writes = self.writes()?;
        for (resource, count) in before {
            if let Some(now) = writes.get_mut(&resource) {
                *now -= count;
            }
        }
        Ok(Figures { proxies, present: [present, present + CHANGES], lags, cpu, writes })
    }

    /// Creates an Ingress and waits until the last proxy serves it.
    fn lag(&self, pods: &[Pod], name: &str) -> Result<Duration> {
        let host = format!("{name}.bench.example");
        let pause = Duration::from_millis(if pods.len() > 10 { 20 } else { 2 });
        let start = Barrier::new(pods.len() + 1);
        thread::scope(|scope| {
            let waiting: Vec<_> = pods
                .iter()
                .map(|pod| {
                    scope.spawn(|| {
                        start.wait();
                        self.served(pod, &host, pause)
                    })
                })
                .collect();
            start.wait();
            let created = self.api.create(&collection(), &ingress(name, &host));
            let answered = Instant::now();
            let served = waiting
                .into_iter()
                .map(|one| one.join().map_err(|_| anyhow!("a client panicked"))?);
            let last = served
                .collect::<Result<Vec<Instant>>>()?
                .into_iter()
                .max()
                .context("there are no proxies")?;
            created?;
            // A fast fleet can serve before the answer is read.
            Ok(last.saturating_duration_since(answered))
        })
    }

    fn served(&self, pod: &Pod, host: &str, pause: Duration) -> Result<Instant> {
        let begun = Instant::now();
        loop {
            match self.product.ask(pod, host, "/") {
                Ok(answer) if answer.status == 200 => return Ok(Instant::now()),
                _ => ensure!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{} never served {host}",
                    pod.name
                ),
            }
            thread::sleep(pause);
        }
    }

    /// Fills the cluster up to all objects and returns the leader's resident memory in KiB.
    fn memory(&self, present: usize) -> Result<u64> {
        for index in present..OBJECTS {
            let name = format!("many-{index}");
            self.api.create(&collection(), &ingress(&name, &format!("{name}.bench.example")))?;
        }
        self.product.wait_for_answer(&format!("many-{}.bench.example", OBJECTS - 1), "/", 200)?;
        self.product.wait_for_proxies(FLEETS[1])?;
        let (leader, _) = self.product.operators()?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.product.process(&leader)?))
            .context("failed to read the operator's memory")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("the kernel says no VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("failed to read VmRSS")
    }

    /// How often the operators have written, by resource, as the API server's audit log has it.
    fn writes(&self) -> Result<BTreeMap<String, usize>> {
        let log = fs::read_to_string(self.product.cluster().place().path("log/audit.jsonl"))
            .context("failed to read the audit log")?;
        let user = format!("system:serviceaccount:{RELEASE}:{RELEASE}");
        let mut counts = BTreeMap::new();
        for entry in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if entry["user"]["username"] == user.as_str() {
                let reference = &entry["objectRef"];
                let resource = [reference["resource"].as_str(), reference["subresource"].as_str()];
                let resource: Vec<&str> = resource.into_iter().flatten().collect();
                *counts.entry(resource.join("/")).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

fn collection() -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses")
}

fn ingress(name: &str, host: &str) -> Value {
    let backend = json!({"service": {"name": "echo", "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "ingressClassName": "kong",
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    })
}

/// The value below which `percent` of all lie.
fn percentile(lags: &[Duration], percent: usize) -> u128 {
    let mut sorted = lags.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).map_or(0, Duration::as_millis)
}

/// The processor time that a process has used, in user and system mode.
fn cpu(process: i32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))
        .context("failed to read the operator's processor time")?;
    // The second field is a name in parentheses; the times are the 14th and 15th, in hundredths of seconds.
    let (_, fields) = stat.rsplit_once(')').context("the kernel's line has no name")?;
    let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = times.sum::<Result<u64, _>>().context("the kernel's times are no numbers")?;
    Ok(Duration::from_millis(ticks * 10))
}

fn rows(table: &mut impl Write, figures: &Figures) -> Result<()> {
    let Figures { proxies, present: [first, last], lags, cpu, writes } = figures;
    let at = format!("{proxies} | {first} to {last}");
    let (median, worst) = (percentile(lags, 50), percentile(lags, 99));
    let changes = lags.len();
    writeln!(
        table,
        "| from the API server's answer to the last proxy serving a new Ingress, {changes} changes | {at} | median {median} ms, p99 {worst} ms |",
    )?;
    let each = cpu.as_secs_f64() * 1e3 / changes as f64;
    writeln!(table, "| processor time of the leading operator per change | {at} | {each:.1} ms |")?;
    // The lease is renewed whether anything changes or not.
    let counted = writes.iter().filter(|(resource, count)| *resource != "leases" && **count > 0);
    let each: Vec<String> =
        counted.clone().map(|(resource, count)| format!("{resource} {count}")).collect();
    let change = counted.map(|(_, count)| count).sum::<usize>() as f64 / changes as f64;
    writeln!(
        table,
        "| writes to the API server per change | {at} | {change:.2} (in {changes} changes: {}) |",
        each.join(", ")
    )?;
    Ok(())
}
