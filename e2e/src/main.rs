//! `flotilla-e2e`: the cluster for developers, the images, and the benchmark.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::binaries::Binaries;
use e2e::cluster::{self, Cluster};
use e2e::place::Place;
use e2e::product::Product;
use e2e::{bench, conformance, images, manifests, say};

/// A real Kubernetes on this machine, and what runs in it.
#[derive(Parser)]
#[command(name = "flotilla-e2e")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring up a cluster, leave it running, and print how to reach it.
    Up,
    /// Take that cluster down and remove every trace of it.
    Down {
        /// The cluster of a test run that did not end, instead.
        #[arg(long)]
        test: bool,
    },
    /// Build the images and install the product in that cluster with helm, or bring the release up to date.
    Install,
    /// Measure the product in a cluster of its own, and print the tables.
    Bench,
    /// Run Gateway API's conformance suite in a cluster of its own.
    Conformance {
        /// Where the suite's report goes.
        #[arg(long, default_value = "docs/conformance/report.yaml")]
        report: PathBuf,
        /// More flags for the suite, such as `--run-test=HTTPRouteWeight`.
        #[arg(last = true)]
        flags: Vec<String>,
    },
    /// Render `config/` from the chart.
    Manifests,
    /// Build the images as OCI archives, and give them to the cluster when it runs.
    Images {
        /// The folder for the archives.
        #[arg(long, default_value = "target/images")]
        output: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Up => up(),
        Verb::Down { test: false } => cluster::remove(&Place::development()),
        Verb::Down { test: true } => cluster::remove(&Place::test()),
        Verb::Install => install(),
        Verb::Bench => measure(),
        Verb::Conformance { report, flags } => conform(&report, &flags),
        Verb::Manifests => manifests::write(&Binaries::ensure()?),
        Verb::Images { output } => make_images(&output),
    }
}

#[expect(clippy::print_stdout, reason = "the two lines are the program's answer")]
fn up() -> Result<()> {
    let place = Place::development();
    let cluster = match Cluster::running(place.clone())? {
        Some(cluster) => cluster,
        None => Cluster::up(place)?,
    };
    println!("{}", cluster.shell_lines());
    Ok(())
}

fn make_images(output: &std::path::Path) -> Result<()> {
    let built = images::build()?;
    std::fs::create_dir_all(output)?;
    let cluster = Cluster::running(Place::development())?;
    for image in &built {
        if image.name != images::ECHO {
            let file = output.join(format!("{}.tar", image.short_name()));
            image.write(&file)?;
            say(&format!("{} is {}", file.display(), image.name));
        }
        if let Some(cluster) = &cluster {
            images::import(cluster.place(), image)?;
        }
    }
    Ok(())
}

fn install() -> Result<()> {
    let built = images::build()?;
    let running = Cluster::running(Place::development())?;
    let cluster = running.context("no cluster is running: bring one up first")?;
    Product::install(&cluster, &built).map(drop)
}

fn conform(report: &std::path::Path, flags: &[String]) -> Result<()> {
    let report = std::path::absolute(report).context("failed to place the report")?;
    let built = images::build()?;
    let place = Place::conformance();
    let cluster = Cluster::up(place.clone())?;
    let outcome = conformance::run(&cluster, &built, &report, flags);
    cluster::remove(&place)?;
    outcome
}

fn measure() -> Result<()> {
    let built = images::build()?;
    let place = Place::test();
    let cluster = Cluster::up(place.clone())?;
    let measured = bench::measure(&cluster, &built, &mut io::stdout());
    cluster::remove(&place)?;
    measured
}
