//! Gateway API's own conformance suite, run against the product in a cluster of its own.
//!
//! The suite is a Go module of Kubernetes'; `conformance/` in this package pins it and adds nothing. Its upstreams are
//! built from the modules pinned there and imported under the names that its manifests ask for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::Cluster;
use crate::command::finish;
use crate::images;
use crate::oci::{File, Image};
use crate::product::Product;

const SUITE: &str = "sigs.k8s.io/gateway-api/conformance";
const CRDS: &str = "sigs.k8s.io/gateway-api";
/// The suite's upstreams: a part of their images' names, and the package of the program in them.
const UPSTREAMS: [(&str, &str, &str); 2] = [
    ("/echo-basic:", "echo-basic", "sigs.k8s.io/gateway-api/conformance/echo-basic"),
    ("/coredns:", "coredns", "./coredns"),
];
const CLASS: &str = "flotilla";
const PROFILES: &str = "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP";

/// Installs what the suite needs, runs it with more flags, and leaves its report in `report`.
pub fn run(cluster: &Cluster, built: &[Image], report: &Path, flags: &[String]) -> Result<()> {
    define(cluster)?;
    let suite = module(SUITE)?;
    upstreams(cluster, &suite)?;
    let product = Product::install(cluster, built)?;
    // The suite makes classes of its own beside the one that it is told of, and removes all routes again and again.
    product.upgrade(&["fleet.gatewayClasses={*}", "fleet.guards.maxShrinkPercent=100"])?;
    product.apply(&class())?;
    let program = build(cluster, "suite", |command, output| {
        command.args(["test", "-c", "-o"]).arg(output).arg(".");
    })?;
    fs::create_dir_all(report.parent().unwrap_or(Path::new(".")))
        .with_context(|| format!("failed to create the folder of {}", report.display()))?;
    let status = Command::new(&program)
        .current_dir(source())
        .env("KUBECONFIG", cluster.place().kubeconfig())
        .args(["-test.run=TestConformance", "-test.timeout=60m", "-test.v"])
        .arg(format!("--gateway-class={CLASS}"))
        .arg(format!("--conformance-profiles={PROFILES}"))
        .args(["--organization=flotilla-dev", "--project=flotilla"])
        .arg("--url=https://github.com/flotilla-dev/flotilla")
        .arg(format!("--version={}", env!("CARGO_PKG_VERSION")))
        .arg("--contact=https://github.com/flotilla-dev/flotilla/issues")
        .arg(format!("--report-output={}", report.display()))
        .args(flags)
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    ensure!(status.success(), "the suite ended with {status}; its report is {}", report.display());
    Ok(())
}

/// Installs the definitions of Gateway API that the suite is for.
pub fn define(cluster: &Cluster) -> Result<()> {
    let crds = module(CRDS)?.join("config/crd/standard");
    cluster.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()], None).map(drop)
}

fn class() -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata:\n  name: {CLASS}\n\
         spec:\n  controllerName: flotilla.dev/gateway-controller\n"
    )
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// The folder of a Go module that `conformance/` pins.
fn module(name: &str) -> Result<PathBuf> {
    let mut command = Command::new("go");
    command.current_dir(source()).args(["list", "-m", "-f", "{{.Dir}}", name]);
    let folder = finish(&mut command, None)?;
    let folder = folder.trim();
    if folder.is_empty() {
        finish(Command::new("go").current_dir(source()).args(["mod", "download", name]), None)?;
        let folder = finish(&mut command, None)?;
        ensure!(!folder.trim().is_empty(), "failed to find the Go module {name}");
        return Ok(PathBuf::from(folder.trim()));
    }
    Ok(PathBuf::from(folder))
}

/// Builds a program of the pinned modules into the cluster's folder.
fn build(
    cluster: &Cluster,
    name: &str,
    arguments: impl FnOnce(&mut Command, &Path),
) -> Result<PathBuf> {
    let output = cluster.place().path(&format!("conformance-{name}"));
    crate::say(&format!("building {name} of the conformance suite (some minutes the first time)"));
    let mut command = Command::new("go");
    command.current_dir(source()).env("CGO_ENABLED", "0");
    arguments(&mut command, &output);
    finish(&mut command, None)?;
    Ok(output)
}

/// Builds the suite's upstreams and imports them under every name that the suite's manifests give them.
fn upstreams(cluster: &Cluster, suite: &Path) -> Result<()> {
    let names = names(suite)?;
    for (mark, name, package) in UPSTREAMS {
        let program = build(cluster, name, |command, output| {
            command.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(output).arg(package);
        })?;
        let content =
            fs::read(&program).with_context(|| format!("failed to read {}", program.display()))?;
        let ours: Vec<&String> = names.iter().filter(|image| image.contains(mark)).collect();
        if ours.is_empty() {
            bail!("the suite's manifests name no image of {name}");
        }
        for image in ours {
            let image = Image {
                name: image.clone(),
                files: vec![File::program(name, content.clone())],
                entrypoint: vec![format!("/{name}")],
                // The DNS server binds a port below 1024.
                user: 0,
            };
            images::import(cluster.place(), &image)?;
        }
    }
    Ok(())
}

/// The images of the suite's upstreams, as its manifests name them.
fn names(suite: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in ["base", "tests"] {
        let folder = suite.join(folder);
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("failed to read {}", folder.display()))?;
        for entry in entries {
            let path =
                entry.with_context(|| format!("failed to read {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("failed to read {}", path.display()))?;
                names.extend(text.lines().filter_map(image));
            }
        }
    }
    Ok(names)
}

fn image(line: &str) -> Option<String> {
    let name = line.trim().trim_start_matches("- ").strip_prefix("image:")?.trim();
    let known = UPSTREAMS.iter().any(|(mark, _, _)| name.contains(mark));
    known.then(|| name.trim_matches('"').to_owned())
}
