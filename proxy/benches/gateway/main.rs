//! The gateway beside nginx, HAProxy and Envoy, in one run on one machine: CPU per request at an equal
//! offered load, memory, time to apply, what a change costs those who are being served.
//!
//! `make bench-proxy` runs it. The gateway under test is pinned to one core; the load and the upstream share
//! another. Figures are ratios and CPU times, which a busy machine disturbs less than wall-clock times.

mod load;
mod peers;
mod report;
mod wire;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{Offer, handshakes, offer, upstream};
use crate::peers::{Gateway, Peer};
use crate::report::Table;

/// Requests a second offered in comparisons of CPU time: well below what any of them can do.
const RATE: u32 = 2_000;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    // `cargo bench` and `cargo test --benches` pass flags of their own; a name alone selects a part.
    let wanted: Option<String> = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    peers::pin_to_second_core().context("failed to pin the load to the second core")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let upstream = upstream().await?;
        let mut table = Table::default();
        let parts: [(&str, Part); 6] = [
            ("requests", Part::Requests),
            ("plugins", Part::Plugins),
            ("routes", Part::Routes),
            ("memory", Part::Memory),
            ("applies", Part::Applies),
            ("handshakes", Part::Handshakes),
        ];
        for (name, part) in parts {
            if wanted.as_deref().is_none_or(|wanted| name.contains(wanted)) {
                part.measure(upstream, &mut table).await.with_context(|| format!("part {name}"))?;
            }
        }
        writeln!(std::io::stdout(), "{table}")?;
        Ok(())
    })
}

/// What can be measured by itself: `make bench-proxy PART=memory`.
#[derive(Clone, Copy)]
enum Part {
    Requests,
    Plugins,
    Routes,
    Memory,
    Applies,
    Handshakes,
}

impl Part {
    async fn measure(self, upstream: u16, table: &mut Table) -> Result<()> {
        match self {
            Self::Requests => requests(upstream, table).await,
            Self::Plugins => plugins(upstream, table).await,
            Self::Routes => routes(upstream, table).await,
            Self::Memory => memory(upstream, table).await,
            Self::Applies => applies(upstream, table).await,
            Self::Handshakes => tls(upstream, table).await,
        }
    }
}

/// CPU microseconds per request, keep-alive, no plugin, each peer in turn and around again.
async fn requests(upstream: u16, table: &mut Table) -> Result<()> {
    let mut gateways = Vec::new();
    for peer in Peer::ALL {
        gateways.push((peer, Vec::new(), Gateway::start(peer, upstream).await?));
    }
    for _ in 0..ROUNDS {
        for (_, costs, gateway) in &mut gateways {
            costs.push(cost(gateway, &[]).await?);
        }
    }
    let costs: Vec<(Peer, f64)> =
        gateways.into_iter().map(|(peer, costs, _)| (peer, report::best(&costs))).collect();
    let own = of(&costs, Peer::Flotilla);
    for (peer, cost) in &costs {
        table.row(format!("CPU per request, {}", peer.name()), format!("{cost:.1} µs"));
    }
    table.ratio("CPU per request / nginx", own / of(&costs, Peer::Nginx), 1.15);
    table.ratio("CPU per request / Envoy", own / of(&costs, Peer::Envoy), 0.45);
    Ok(())
}

fn of(costs: &[(Peer, f64)], peer: Peer) -> f64 {
    costs.iter().find(|(other, _)| *other == peer).map_or(f64::NAN, |(_, cost)| *cost)
}

/// CPU microseconds that one request costs the gateway, at the usual offer.
async fn cost(gateway: &Gateway, headers: &[(&str, &str)]) -> Result<f64> {
    let offered = Offer { rate: RATE, seconds: 2, port: gateway.port, path: "/r0/x", headers };
    offer(&Offer { seconds: 1, ..offered }).await?;
    let before = gateway.cpu()?;
    let served = offer(&offered).await?;
    anyhow::ensure!(served.failed == 0, "{} of {} requests failed", served.failed, served.sent);
    let spent = gateway.cpu()? - before;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(served.sent))
}

/// What key-auth and rate-limiting add.
async fn plugins(upstream: u16, table: &mut Table) -> Result<()> {
    let bare = Gateway::start(Peer::Flotilla, upstream).await?;
    let guarded = Gateway::start(Peer::Flotilla, upstream).await?;
    guarded.configure(&peers::guarded(upstream)).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(cost(&bare, &[]).await?);
        with.push(cost(&guarded, &[("apikey", "a-key-of-some-length")]).await?);
    }
    let ratio = report::best(&with) / report::best(&without);
    table.ratio("key-auth + rate-limiting / bare", ratio, 1.25);
    Ok(())
}

/// What 10,000 routes add to the cost of a request.
async fn routes(upstream: u16, table: &mut Table) -> Result<()> {
    let one = Gateway::start(Peer::Flotilla, upstream).await?;
    let many = Gateway::start(Peer::Flotilla, upstream).await?;
    many.configure(&peers::routes(upstream, 10_000, 0)).await?;
    let (mut few, mut full) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(cost(&one, &[]).await?);
        full.push(cost(&many, &[]).await?);
    }
    table.ratio(
        "a request, 10,000 routes / 1 route",
        report::best(&full) / report::best(&few),
        1.10,
    );
    Ok(())
}

/// Memory of the gateway's own, idle and with 5,000 routes; the program's pages, which the kernel shares and may drop,
/// are told apart.
async fn memory(upstream: u16, table: &mut Table) -> Result<()> {
    let gateway = Gateway::start(Peer::Flotilla, upstream).await?;
    table.limit("memory, idle (MiB)", gateway.memory_mib("RssAnon")?, 5.0);
    gateway.configure(&peers::routes(upstream, 5_000, 0)).await?;
    table.limit("memory, 5,000 routes (MiB)", gateway.memory_mib("RssAnon")?, 25.0);
    table.row(
        "pages of the program (MiB)".to_owned(),
        format!("{:.1}", gateway.memory_mib("RssFile")?),
    );
    Ok(())
}

/// The cost of an apply, of a restart, and of a hundred applies a second to those being served.
async fn applies(upstream: u16, table: &mut Table) -> Result<()> {
    let mut gateway = Gateway::start(Peer::Flotilla, upstream).await?;
    let mut costs = Vec::new();
    for round in 0..5 {
        let text = peers::routes(upstream, 10_000, round);
        let before = gateway.cpu()?;
        gateway.configure(&text).await?;
        costs.push((gateway.cpu()? - before).as_secs_f64() * 1e3);
    }
    table.limit("apply of 10,000 routes (CPU ms)", report::best(&costs), 60.0);
    let mut restarts = Vec::new();
    for _ in 0..ROUNDS {
        restarts.push(gateway.restart().await?.as_secs_f64() * 1e3);
    }
    table.limit("restart to serving 10,000 routes (ms)", report::best(&restarts), 150.0);
    table.limit("apply of one changed target (CPU ms)", one_target(&gateway, upstream).await?, 1.0);

    gateway.configure(&peers::routes(upstream, 100, 0)).await?;
    let offered =
        Offer { rate: RATE / 2, seconds: 5, port: gateway.port, path: "/r0/x", headers: &[] };
    let quiet = offer(&offered).await?;
    let texts: Vec<String> = (1..=2).map(|round| peers::routes(upstream, 100, round)).collect();
    let (busy, applied) = tokio::join!(offer(&offered), async {
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let mut applied = 0_u32;
        for text in texts.iter().cycle().take(500) {
            beat.tick().await;
            applied += u32::from(gateway.configure(text).await.is_ok());
        }
        applied
    });
    let busy = busy?;
    table.row(format!("failed requests during {applied} applies"), busy.failed.to_string());
    let ratio = busy.p99().as_secs_f64() / quiet.p99().as_secs_f64();
    table.ratio("p99 during 100 applies/s / quiet", ratio, 2.0);
    Ok(())
}

/// CPU milliseconds of a change of one target among 10,000 routes and 1,000 upstreams.
async fn one_target(gateway: &Gateway, upstream: u16) -> Result<f64> {
    const CHANGES: u32 = 100;
    let mut changes = peers::Changes::new(upstream, 10_000, 1_000)?;
    gateway.configure(changes.text()).await?;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let before = gateway.cpu()?;
        for _ in 0..CHANGES {
            gateway.change(&changes.next()).await?;
        }
        costs.push((gateway.cpu()? - before).as_secs_f64() * 1e3 / f64::from(CHANGES));
    }
    Ok(report::best(&costs))
}

/// Full TLS handshakes: CPU of each, beside HAProxy with the same certificate.
async fn tls(upstream: u16, table: &mut Table) -> Result<()> {
    let mut gateways = Vec::new();
    for peer in [Peer::Flotilla, Peer::Haproxy] {
        let gateway = Gateway::start(peer, upstream).await?;
        handshakes(gateway.tls_port, 100).await?;
        gateways.push((gateway, Vec::new()));
    }
    for _ in 0..ROUNDS {
        for (gateway, costs) in &mut gateways {
            let before = gateway.cpu()?;
            handshakes(gateway.tls_port, 1_000).await?;
            costs.push((gateway.cpu()? - before).as_secs_f64() * 1e6 / 1_000.0);
        }
    }
    let costs: Vec<f64> = gateways.iter().map(|(_, costs)| report::best(costs)).collect();
    table.row("CPU per TLS handshake, flotilla-proxy".to_owned(), format!("{:.0} µs", costs[0]));
    table.row("CPU per TLS handshake, HAProxy".to_owned(), format!("{:.0} µs", costs[1]));
    table.ratio("CPU per TLS handshake / HAProxy (1 / 0.9)", costs[0] / costs[1], 1.11);
    Ok(())
}
