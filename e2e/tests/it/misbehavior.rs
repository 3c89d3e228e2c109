//! Proxies that refuse, lie or say nothing, beside proxies that work.
//!
//! A fleet of its own discovers them through hand-made EndpointSlices; the release's fleet goes on meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::fake::{FakeProxy, Manner};
use e2e::place::NODE_ADDRESS;
use e2e::product::{Product, RELEASE};
use e2e::wait::eventually;
use serde_json::Value;

use crate::routing::ingress;

/// A fleet without identities whose members are fake proxies, each in a slice named after it.
pub(crate) fn fleet(
    product: &Product,
    namespace: &str,
    fakes: &[(&str, &FakeProxy)],
) -> Result<()> {
    let mut yaml = format!(
        "apiVersion: flotilla.dev/v1alpha1
kind: ProxyFleet
metadata: {{name: fakes, namespace: {namespace}}}
spec:
  discovery: {{services: [fakes], port: admin}}
  ingressClasses: [kong]
  tls:
    identity: InsecureNone
    acknowledge: anyone who can reach the Admin API may read and change the configuration
---
apiVersion: v1
kind: Service
metadata: {{name: fakes, namespace: {namespace}}}
spec: {{clusterIP: None, ports: [{{name: admin, port: 8001}}]}}
"
    );
    for (name, fake) in fakes {
        yaml.push_str(&format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: fakes}}}}
addressType: IPv4
endpoints: [{{addresses: [{NODE_ADDRESS}]}}]
ports: [{{name: admin, port: {}}}]
",
            fake.port()
        ));
    }
    product.apply(&yaml).map(drop)
}

/// The instance that stands for the fake proxy of a slice.
fn instance(product: &Product, namespace: &str, slice: &str) -> Result<Value> {
    let instances = product.instances(namespace)?;
    let found = instances.into_iter().find(|one| one["spec"]["endpoint"]["slice"] == slice);
    found.with_context(|| format!("no instance stands for {slice}"))
}

/// Waits until the instance of a slice is in a state, and returns it.
pub(crate) fn wait_for_sync(
    product: &Product,
    namespace: &str,
    slice: &str,
    wanted: &str,
) -> Result<Value> {
    eventually(&format!("{slice} is {wanted}"), || {
        let found = instance(product, namespace, slice)?;
        ensure!(found["status"]["sync"] == wanted, "{}", found["status"]);
        Ok(found)
    })
    .inspect_err(|_| product.say_state())
}

pub(crate) fn refuses(product: &Product) -> Result<()> {
    let namespace = "refusing";
    product.namespace(namespace)?;
    let (good, bad) = (FakeProxy::start(Manner::Accepts)?, FakeProxy::start(Manner::Refuses)?);
    fleet(product, namespace, &[("good", &good), ("bad", &bad)])?;
    product.apply(&ingress(namespace, "refused", "refused.example", "echo", "{number: 80}"))?;
    wait_for_sync(product, namespace, "good", "Synced")?;
    let rejected = wait_for_sync(product, namespace, "bad", "Rejected")?;
    ensure!(rejected["status"]["lastApply"]["httpStatus"] == 400, "{}", rejected["status"]);
    ensure!(
        rejected["status"].to_string().contains("this proxy refuses everything"),
        "{}",
        rejected["status"]
    );
    product.wait_for_answer("refused.example", "/", 200)?;
    product.wait_for_proxies(3)?;
    let seen = bad.requests();
    eventually("the refusing proxy is probed on", || {
        ensure!(bad.requests() > seen + 2, "{} requests", bad.requests());
        Ok(())
    })?;
    // What was refused is not sent again; what other scenarios leave behind may change it meanwhile.
    let pushes = bad.pushes();
    let distinct: BTreeSet<&str> = pushes.iter().map(|push| push.hash.as_str()).collect();
    ensure!(
        pushes.len() <= distinct.len() + 1,
        "{} refused configurations were sent {} times",
        distinct.len(),
        pushes.len()
    );
    bad.become_(Manner::Accepts);
    product.apply(&ingress(namespace, "next", "next.example", "echo", "{number: 80}"))?;
    wait_for_sync(product, namespace, "bad", "Synced")?;
    product.forget(namespace)
}

pub(crate) fn html_and_silence(product: &Product) -> Result<()> {
    let namespace = "silent";
    product.namespace(namespace)?;
    let html = FakeProxy::start(Manner::AnswersHtml)?;
    let silent = FakeProxy::start(Manner::NeverAnswers)?;
    let good = FakeProxy::start(Manner::Accepts)?;
    fleet(product, namespace, &[("html", &html), ("silent", &silent), ("good", &good)])?;
    product.apply(&ingress(namespace, "heard", "heard.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("heard.example", "/", 200)?;
    wait_for_sync(product, namespace, "good", "Synced")?;
    for slice in ["html", "silent"] {
        let found = wait_for_sync(product, namespace, slice, "Unreachable")?;
        let reachable = e2e::product::condition(&found, "Reachable")?;
        ensure!(reachable.starts_with("False"), "{slice}: {}", found["status"]);
    }
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}

pub(crate) fn drift(product: &Product) -> Result<()> {
    let namespace = "drifting";
    product.namespace(namespace)?;
    let fake = FakeProxy::start(Manner::Accepts)?;
    fleet(product, namespace, &[("foreign", &fake)])?;
    product.apply(&ingress(namespace, "own", "own.example", "echo", "{number: 80}"))?;
    wait_for_sync(product, namespace, "foreign", "Synced")?;
    let before = fake.pushes().len();
    fake.configure_by_hand();
    eventually("the operator's configuration is pushed again", || {
        ensure!(fake.pushes().len() > before, "no push since");
        Ok(())
    })?;
    wait_for_sync(product, namespace, "foreign", "Synced")?;
    let events = product.kubectl(&["get", "events", "--all-namespaces", "-o", "wide"])?;
    ensure!(events.to_lowercase().contains("drift"), "no event speaks of drift:\n{events}");
    ensure!(!product.instances(RELEASE)?.is_empty(), "the release's instances are gone");
    product.forget(namespace)
}
