//! Upstreams at work: addresses looked up, targets checked, health kept from one configuration to the next.
//!
//! A [`Live`] upstream whose declaration did not change goes over into the next generation as it is. One that changed is
//! built anew around the vitals of the targets that it keeps.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxy_core::balance::{Balancer, Peer, Vitals};
use proxy_core::health::CheckKind;
use proxy_core::shared::SharedMap;
use proxy_core::table::{Table, Upstream};
use tokio::time::{Instant, sleep_until};

use crate::check::check;
use crate::dns::Dns;
use crate::tls::Store;

/// How often names of targets are looked up again; the resolver's cache knows their real time to live.
const REFRESH: Duration = Duration::from_secs(5);

/// An upstream at work.
pub struct Live {
    /// The declaration.
    pub upstream: Arc<Upstream>,
    /// The peers as they are now.
    pub balancer: ArcSwap<Balancer>,
}

/// All upstreams of a generation, by name.
pub type LiveMap = SharedMap<Arc<Live>>;

/// The upstreams of a table, keeping what of the previous ones is still true.
pub async fn advance(
    previous: &LiveMap,
    table: &Table,
    dns: &Arc<Dns>,
    tls: &Arc<Store>,
) -> LiveMap {
    let mut next = LiveMap::default();
    for (name, upstream) in table.upstreams.iter() {
        let live = succeed(previous.get(name), upstream, dns, tls).await;
        next.insert(name.into(), live);
    }
    next
}

/// The same where only the upstreams of these names may have changed.
pub async fn advance_some(
    previous: &LiveMap,
    table: &Table,
    names: &BTreeSet<Box<str>>,
    (dns, tls): (&Arc<Dns>, &Arc<Store>),
) -> LiveMap {
    let mut next = previous.clone();
    for name in names {
        match table.upstreams.get(name) {
            Some(upstream) => {
                let live = succeed(previous.get(name), upstream, dns, tls).await;
                next.insert(name.clone(), live);
            }
            None => next.remove(name),
        }
    }
    next
}

/// The upstream at work, which is the old one where its declaration did not change.
async fn succeed(
    old: Option<&Arc<Live>>,
    upstream: &Arc<Upstream>,
    dns: &Arc<Dns>,
    tls: &Arc<Store>,
) -> Arc<Live> {
    match old {
        Some(old) if old.upstream == *upstream => Arc::clone(old),
        _ => Live::start(Arc::clone(upstream), old.map(AsRef::as_ref), dns, tls).await,
    }
}

impl Live {
    async fn start(
        upstream: Arc<Upstream>,
        old: Option<&Self>,
        dns: &Arc<Dns>,
        tls: &Arc<Store>,
    ) -> Arc<Self> {
        let kept = old.map(|old| old.balancer.load_full());
        let balancer = build(&upstream, kept.as_deref(), dns).await;
        let live = Arc::new(Self { upstream, balancer: ArcSwap::from_pointee(balancer) });
        if live.has_names() {
            tokio::spawn(refresh(Arc::downgrade(&live), Arc::clone(dns)));
        }
        let active = &live.upstream.checks.active;
        if active.is_on() && (active.kind != CheckKind::Tcp || live.upstream.streams) {
            tokio::spawn(probe(Arc::downgrade(&live), Arc::clone(tls)));
        }
        live
    }

    fn has_names(&self) -> bool {
        self.upstream.targets.iter().any(|target| target.host.parse::<std::net::IpAddr>().is_err())
    }
}

async fn build(upstream: &Upstream, kept: Option<&Balancer>, dns: &Dns) -> Balancer {
    let mut peers = Vec::with_capacity(upstream.targets.len());
    for target in &upstream.targets {
        let addresses = dns.resolve(&target.host, target.port).await;
        for address in addresses {
            let vitals =
                kept.and_then(|kept| vitals(kept, &target.target, address)).unwrap_or_default();
            peers.push(Peer {
                target: target.target.clone(),
                host: target.host.clone(),
                ip: address.ip(),
                port: address.port(),
                weight: target.weight,
                vitals,
            });
        }
    }
    Balancer::new(peers, upstream.algorithm, upstream.slots, &upstream.checks)
}

fn vitals(kept: &Balancer, target: &str, address: SocketAddr) -> Option<Arc<Vitals>> {
    let same =
        |peer: &&Peer| *peer.target == *target && SocketAddr::new(peer.ip, peer.port) == address;
    kept.peers.iter().find(same).map(|peer| Arc::clone(&peer.vitals))
}

fn addresses(balancer: &Balancer) -> Vec<(&str, SocketAddr)> {
    balancer
        .peers
        .iter()
        .map(|peer| (peer.target.as_ref(), SocketAddr::new(peer.ip, peer.port)))
        .collect()
}

/// Follows the names of targets for as long as the upstream is in use.
async fn refresh(live: Weak<Live>, dns: Arc<Dns>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let Some(live) = live.upgrade() else { return };
        let old = live.balancer.load_full();
        let new = build(&live.upstream, Some(&old), &dns).await;
        if !new.peers.is_empty() && addresses(&new) != addresses(&old) {
            live.balancer.store(Arc::new(new));
        }
    }
}

/// Checks targets for as long as the upstream is in use, fit and unfit ones each at their own pace.
async fn probe(live: Weak<Live>, tls: Arc<Store>) {
    let begin = Instant::now();
    let Some(first) = live.upgrade() else { return };
    let active = first.upstream.checks.active.clone();
    drop(first);
    let due = |interval: Duration| (!interval.is_zero()).then(|| begin + interval);
    let (mut fit_at, mut unfit_at) = (due(active.healthy_interval), due(active.unhealthy_interval));
    while let Some(next) = fit_at.into_iter().chain(unfit_at).min() {
        sleep_until(next).await;
        let Some(live) = live.upgrade() else { return };
        let now = Instant::now();
        let fit_due = fit_at.is_some_and(|at| at <= now);
        let unfit_due = unfit_at.is_some_and(|at| at <= now);
        round(&live, &tls, (fit_due, unfit_due)).await;
        let now = Instant::now();
        if fit_due {
            fit_at = Some(now + active.healthy_interval);
        }
        if unfit_due {
            unfit_at = Some(now + active.unhealthy_interval);
        }
    }
}

/// One round of checks over the peers whose turn it is.
async fn round(live: &Live, tls: &Store, (fit, unfit): (bool, bool)) {
    use futures::StreamExt;
    let balancer = live.balancer.load_full();
    let active = &live.upstream.checks.active;
    let due = balancer
        .peers
        .iter()
        .filter(|peer| peer.weight > 0 && if peer.vitals.health.is_fit() { fit } else { unfit });
    let checks = due.map(|peer| async move {
        let report = check(&live.upstream, peer, tls).await;
        if peer.vitals.health.report(report, &active.limits) {
            let fit = peer.vitals.health.is_fit();
            tracing::info!(upstream = %live.upstream.name, target = %peer.target, fit, "target health changed");
        }
    });
    futures::stream::iter(checks)
        .for_each_concurrent(active.concurrency.max(1), |check| check)
        .await;
}
