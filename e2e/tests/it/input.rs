//! Bad input through the API server: each object is named, and nothing else stops.

use anyhow::{Result, ensure};
use e2e::product::{Product, RELEASE, condition};
use e2e::wait::eventually;

use crate::routing::ingress;

/// Waits until an event in a namespace says all of `words`.
fn event(product: &Product, namespace: &str, words: &[&str]) -> Result<()> {
    eventually(&format!("an event in {namespace} says {words:?}"), || {
        let events = product.kubectl(&["get", "events", "--namespace", namespace, "-o", "wide"])?;
        ensure!(
            events.lines().any(|line| words.iter().all(|word| line.contains(word))),
            "{events}"
        );
        Ok(())
    })
}

pub(crate) fn bad_objects(product: &Product) -> Result<()> {
    let namespace = "bad-objects";
    product.namespace(namespace)?;
    // A Secret that is missing, and one that holds no certificate.
    let missing = ingress(namespace, "missing-secret", "missing.example", "echo", "{number: 80}");
    product
        .apply(&format!("{missing}  tls: [{{hosts: [missing.example], secretName: nowhere}}]\n"))?;
    let garbled = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "garbled", "namespace": namespace},
        "stringData": {"tls.crt": "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n", "tls.key": "none"},
    });
    product.apply(&garbled.to_string())?;
    let malformed = ingress(namespace, "malformed", "malformed.example", "echo", "{number: 80}");
    product.apply(&format!(
        "{malformed}  tls: [{{hosts: [malformed.example], secretName: garbled}}]\n"
    ))?;
    // Two objects that claim the same host and path.
    product.apply(&ingress(namespace, "twin-a", "twin.example", "echo", "{number: 80}"))?;
    product.apply(&ingress(namespace, "twin-b", "twin.example", "echo", "{number: 80}"))?;
    product.apply(&ingress(namespace, "good", "good.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("good.example", "/", 200)?;
    product.wait_for_answer("twin.example", "/", 200)?;
    product.wait_for_answer("malformed.example", "/", 200)?;
    event(product, namespace, &["missing-secret", "nowhere"])?;
    event(product, namespace, &["ingress/malformed", "certificate"])?;
    event(product, namespace, &["secret/garbled", "certificate"])?;
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}

pub(crate) fn port_name(product: &Product) -> Result<()> {
    let namespace = "bad-port";
    product.namespace(namespace)?;
    product.apply(&ingress(
        namespace,
        "wrong-port",
        "wrong-port.example",
        "echo",
        "{name: gopher}",
    ))?;
    product.apply(&ingress(
        namespace,
        "right-port",
        "right-port.example",
        "echo",
        "{name: http}",
    ))?;
    product.wait_for_answer("right-port.example", "/", 200)?;
    event(product, namespace, &["ingress/wrong-port", "port"])?;
    product.forget(namespace)
}

pub(crate) fn no_endpoints(product: &Product) -> Result<()> {
    let namespace = "no-endpoints";
    product.namespace(namespace)?;
    product.kubectl(&["scale", "deployment/echo", "--replicas=0", "--namespace", namespace])?;
    product.apply(&ingress(namespace, "empty", "empty.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("empty.example", "/", 503)?;
    product.kubectl(&["scale", "deployment/echo", "--replicas=1", "--namespace", namespace])?;
    product.wait_for_answer("empty.example", "/", 200)?;
    product.forget(namespace)
}

pub(crate) fn refused_by_api(product: &Product) -> Result<()> {
    let unknown = "apiVersion: flotilla.dev/v1alpha1
kind: ProxyFleet
metadata: {name: unknown, namespace: default}
spec: {discovery: {services: [one]}, colour: blue}
";
    let refused =
        product.apply(unknown).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("colour"), "an unknown field was taken: {refused}");
    let unacknowledged = "apiVersion: flotilla.dev/v1alpha1
kind: ProxyFleet
metadata: {name: careless, namespace: default}
spec: {discovery: {services: [one]}, tls: {identity: InsecureNone}}
";
    let refused =
        product.apply(unacknowledged).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("must be acknowledged"), "a careless fleet was taken: {refused}");
    let huge = "x".repeat(2 << 20);
    let plain = ingress("default", "huge", "huge.example", "echo", "{number: 80}");
    let huge = plain.replace(
        "namespace: default",
        &format!("namespace: default, annotations: {{konghq.com/huge: {huge}}}"),
    );
    let refused = product.apply(&huge).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(!refused.is_empty(), "an annotation of 2 MB was taken");
    product.wait_for_proxies(3).map(drop)
}

pub(crate) fn missing_service(product: &Product) -> Result<()> {
    let fleet = format!(
        "apiVersion: flotilla.dev/v1alpha1
kind: ProxyFleet
metadata: {{name: lost, namespace: {RELEASE}}}
spec: {{discovery: {{services: [nowhere]}}}}
"
    );
    product.apply(&fleet)?;
    eventually("the fleet says which Service is missing", || {
        let fleet = product.read(&["proxyfleet", "lost", "--namespace", RELEASE])?;
        ensure!(!condition(&fleet, "Ready")?.starts_with("True"), "{}", fleet["status"]);
        ensure!(
            fleet["status"]["conditions"].to_string().contains("nowhere"),
            "{}",
            fleet["status"]
        );
        Ok(())
    })?;
    let own = product.read(&["proxyfleet", RELEASE, "--namespace", RELEASE])?;
    ensure!(
        condition(&own, "Ready")?.starts_with("True"),
        "the release's fleet suffers: {}",
        own["status"]
    );
    product.kubectl_here(&["delete", "proxyfleet", "lost"]).map(drop)
}

pub(crate) fn full_disk(product: &Product) -> Result<()> {
    let namespace = "full-disk";
    product.namespace(namespace)?;
    // A folder of one page: no configuration fits, however small.
    product.upgrade(&["proxy.state.medium=Memory", "proxy.state.sizeLimit=4Ki"])?;
    product.apply(&ingress(namespace, "unsaved", "unsaved.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("unsaved.example", "/", 200)?;
    let pods = product.wait_for_proxies(3)?;
    ensure!(pods.iter().all(|pod| pod.restarts == 0), "a proxy was restarted: {pods:?}");
    product.upgrade(&[])?;
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}
