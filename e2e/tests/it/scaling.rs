//! A fleet that grows, shrinks and loses members.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::product::{Product, RELEASE};
use e2e::wait::{eventually, within};
use rustix::process::{Pid, Signal, kill_process};

use crate::routing::ingress;

const DEPLOYMENT: &str = "deployment/flotilla-proxy";

pub(crate) fn up_and_down(product: &Product) -> Result<()> {
    let namespace = "scaling";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "scaled", "scaled.example", "echo", "{number: 80}"))?;
    product.kubectl_here(&["scale", DEPLOYMENT, "--replicas=5"])?;
    product.wait_for_proxies(5)?;
    product.wait_for_answer("scaled.example", "/", 200)?;
    eventually("the fleet counts five", || {
        let fleet = product.read(&["proxyfleet", RELEASE, "--namespace", RELEASE])?;
        ensure!(fleet["status"]["summary"] == "5/5", "{}", fleet["status"]);
        Ok(())
    })?;
    product.kubectl_here(&["scale", DEPLOYMENT, "--replicas=2"])?;
    product.wait_for_proxies(2)?;
    product.kubectl_here(&["scale", DEPLOYMENT, "--replicas=3"])?;
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}

pub(crate) fn killed_pod(product: &Product) -> Result<()> {
    let namespace = "scaling-killed";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "kept", "kept.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("kept.example", "/", 200)?;
    let pods = product.wait_for_proxies(3)?;
    let victim = pods.first().context("there is no proxy")?;
    product.kubectl_here(&["delete", "pod", &victim.name, "--grace-period=0", "--force"])?;
    let pods = product.wait_for_proxies(3)?;
    ensure!(pods.iter().all(|pod| pod.uid != victim.uid), "the killed proxy is still there");
    product.wait_for_answer("kept.example", "/", 200)?;
    product.forget(namespace)
}

pub(crate) fn killed_container(product: &Product) -> Result<()> {
    let namespace = "scaling-restarted";
    product.namespace(namespace)?;
    product.apply(&ingress(namespace, "again", "again.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("again.example", "/", 200)?;
    let pods = product.wait_for_proxies(3)?;
    let victim = pods.first().context("there is no proxy")?;
    let process = Pid::from_raw(product.process(victim)?).context("the proxy has no process")?;
    kill_process(process, Signal::KILL)?;
    within(Duration::from_secs(60), "the same pod serves again", || {
        let pods = product.pods("proxy")?;
        let same = pods.iter().find(|pod| pod.uid == victim.uid).context("the pod is gone")?;
        ensure!(same.restarts == victim.restarts + 1, "restarts: {}", same.restarts);
        let answer = product.ask(same, "again.example", "/")?;
        ensure!(answer.status == 200, "it answers {}", answer.status);
        Ok(())
    })?;
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}
