//! From an applied object to an answer, on every proxy.

use anyhow::{Context, Result, ensure};
use e2e::product::Product;
use e2e::wait::eventually;

/// An Ingress of one host and one backend.
pub(crate) fn ingress(
    namespace: &str,
    name: &str,
    host: &str,
    service: &str,
    port: &str,
) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ingressClassName: kong
  rules:
  - host: {host}
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {port}}}}}}}
"
    )
}

pub(crate) fn applied(product: &Product) -> Result<()> {
    let namespace = "routing-applied";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "first", "applied.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("applied.example", "/", 200)?;
    let pods = product.wait_for_proxies(3)?;
    for pod in &pods {
        let answer = product.ask(pod, "applied.example", "/some/path?q=1")?;
        ensure!(answer.body.contains("pod: echo-"), "not the upstream's answer: {}", answer.body);
        ensure!(
            answer.body.to_lowercase().contains("x-forwarded-host: applied.example"),
            "{}",
            answer.body
        );
        let answer = product.ask(pod, "unknown.example", "/")?;
        ensure!(answer.status == 404 && answer.body.contains("no Route matched"), "{answer:?}");
    }
    // A change of the same object moves the route: the old host ends everywhere.
    product.apply(&ingress(namespace, "first", "moved.example", "echo", "{name: http}"))?;
    product.wait_for_answer("moved.example", "/", 200)?;
    product.wait_for_answer("applied.example", "/", 404)?;
    product.kubectl(&["delete", "ingress", "first", "--namespace", namespace])?;
    product.wait_for_answer("moved.example", "/", 404)?;
    product.forget(namespace)
}

pub(crate) fn status(product: &Product) -> Result<()> {
    let namespace = "routing-status";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "addressed", "addressed.example", "echo", "{number: 80}"))?;
    eventually("the Ingress names an address", || {
        let ingress = product.read(&["ingress", "addressed", "--namespace", namespace])?;
        let address = &ingress["status"]["loadBalancer"]["ingress"][0]["ip"];
        let wanted = product.service()?.ip().to_string();
        ensure!(*address == wanted.as_str(), "{} instead of {wanted}", ingress["status"]);
        Ok(())
    })?;
    product.forget(namespace)
}

pub(crate) fn tls(product: &Product) -> Result<()> {
    let namespace = "routing-tls";
    product.namespace(namespace)?;
    let pair = rcgen::generate_simple_self_signed(vec!["tls.example".to_owned()])?;
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "pair", "namespace": namespace},
        "stringData": {"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()},
    });
    product.apply(&secret.to_string())?;
    let plain = ingress(namespace, "secure", "tls.example", "echo", "{number: 80}");
    product.apply(&format!("{plain}  tls: [{{hosts: [tls.example], secretName: pair}}]\n"))?;
    eventually("every proxy shows the Secret's certificate", || {
        for pod in product.pods("proxy")? {
            let answer = product.ask_tls(&pod, "tls.example", "/")?;
            ensure!(answer.status == 200, "{} answers {}", pod.name, answer.status);
            let shown = answer.certificate.context("no certificate was shown")?;
            ensure!(shown == pair.cert.der().to_vec(), "{} shows another certificate", pod.name);
        }
        Ok(())
    })?;
    product.forget(namespace)
}

pub(crate) fn broken(product: &Product) -> Result<()> {
    let namespace = "routing-broken";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "whole", "whole.example", "echo", "{number: 80}"))?;
    product.apply(&ingress(namespace, "broken", "broken.example", "nowhere", "{number: 80}"))?;
    product.apply(&ingress(namespace, "later", "later.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("whole.example", "/", 200)?;
    product.wait_for_answer("later.example", "/", 200)?;
    eventually("an event names the missing Service", || {
        let events = product.kubectl(&["get", "events", "--namespace", namespace, "-o", "wide"])?;
        ensure!(events.contains("nowhere"), "{events}");
        Ok(())
    })?;
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}
