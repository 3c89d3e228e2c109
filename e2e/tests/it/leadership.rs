//! Two operators, and never two that push.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use e2e::fake::{FakeProxy, Manner};
use e2e::product::{Pod, Product};
use e2e::wait::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::misbehavior::{fleet, wait_for_sync};
use crate::routing::ingress;

fn signal(product: &Product, pod: &Pod, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(product.process(pod)?).context("the pod has no process")?;
    kill_process(process, signal).with_context(|| format!("failed to signal {}", pod.name))
}

/// Waits until another operator than `old` leads.
fn successor(product: &Product, old: &Pod) -> Result<Pod> {
    eventually("another operator leads", || {
        let (leader, _) = product.operators()?;
        ensure!(leader.name != old.name, "{} still holds the lease", old.name);
        Ok(leader)
    })
}

pub(crate) fn killed_leader(product: &Product) -> Result<()> {
    let namespace = "leader-killed";
    product.namespace(namespace)?;
    let slow = FakeProxy::start(Manner::AcceptsAfter(30))?;
    fleet(product, namespace, &[("slow", &slow)])?;
    product.apply(&ingress(namespace, "before", "before.example", "echo", "{number: 80}"))?;
    eventually("a push is under way", || {
        ensure!(!slow.pushes().is_empty(), "no push yet");
        Ok(())
    })?;
    let (leader, _) = product.operators()?;
    product.kubectl_here(&["delete", "pod", &leader.name, "--grace-period=0", "--force"])?;
    slow.become_(Manner::Accepts);
    product.apply(&ingress(namespace, "after", "after.example", "echo", "{number: 80}"))?;
    let next = successor(product, &leader)?;
    product.wait_for_answer("after.example", "/", 200)?;
    wait_for_sync(product, namespace, "slow", "Synced")?;
    let last = slow.pushes().pop().context("no push arrived")?;
    ensure!(
        last.from == next.address,
        "the last push came from {}, the leader is {}",
        last.from,
        next.address
    );
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}

pub(crate) fn stopped_leader(product: &Product) -> Result<()> {
    let namespace = "leader-stopped";
    product.namespace(namespace)?;
    let witness = FakeProxy::start(Manner::Accepts)?;
    fleet(product, namespace, &[("witness", &witness)])?;
    product.apply(&ingress(namespace, "first", "first.example", "echo", "{number: 80}"))?;
    wait_for_sync(product, namespace, "witness", "Synced")?;
    eventually("two operators are there", || {
        ensure!(product.operators()?.1.len() == 1, "no operator stands by");
        Ok(())
    })?;
    let (old, _) = product.operators()?;
    signal(product, &old, Signal::STOP)?;
    let stopped = successor(product, &old).and_then(|new| {
        product.apply(&ingress(namespace, "second", "second.example", "echo", "{number: 80}"))?;
        product.wait_for_answer("second.example", "/", 200)?;
        Ok((new, witness.pushes().len()))
    });
    // Whatever came of it, nothing stays stopped.
    signal(product, &old, Signal::CONT)?;
    let (new, before) = stopped?;
    product.apply(&ingress(namespace, "third", "third.example", "echo", "{number: 80}"))?;
    product.wait_for_answer("third.example", "/", 200)?;
    eventually("the new leader's push arrived", || {
        ensure!(witness.pushes().len() > before, "no push since the old leader goes on");
        Ok(())
    })?;
    let after: Vec<IpAddr> = witness.pushes().iter().skip(before).map(|push| push.from).collect();
    ensure!(
        after.iter().all(|from| *from == new.address),
        "{after:?} pushed, the leader is {}",
        new.address
    );
    let terms: Vec<u64> = witness.pushes().iter().filter_map(|push| term(&push.head)).collect();
    ensure!(terms.is_sorted(), "terms went back: {terms:?}");
    product.wait_for_proxies(3)?;
    product.forget(namespace)
}

/// The leadership term that a push carries.
fn term(head: &str) -> Option<u64> {
    let lower = head.to_ascii_lowercase();
    lower
        .lines()
        .find_map(|line| line.strip_prefix("x-flotilla-term:"))
        .and_then(|value| value.trim().parse().ok())
}
