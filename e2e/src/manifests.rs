//! `config/` is the chart, rendered for those who use kustomize: one source, two ways to install.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::command::finish;
use crate::product::{RELEASE, chart};

/// What stands above each rendered file.
const HEAD: &str = "# Rendered from charts/flotilla by `cargo run -p e2e -- manifests`.\n";

/// Renders every file of `config/` that comes from the chart, by its path in the repository.
pub fn render(binaries: &Binaries) -> Result<BTreeMap<PathBuf, String>> {
    let everything =
        ["--set", "networkPolicy.enabled=true", "--set", "metrics.serviceMonitor.enabled=true"];
    let mut command = Command::new(binaries.helm());
    command.args([
        "template",
        RELEASE,
        &chart("flotilla"),
        "--namespace",
        RELEASE,
        "--api-versions",
    ]);
    command.arg("monitoring.coreos.com/v1").args(everything);
    let rendered = finish(&mut command, None)?;
    let mut files = BTreeMap::new();
    for document in rendered.split("\n---\n") {
        let document = plain(document);
        let Some(folder) = folder(&document) else { continue };
        let file = Path::new("config").join(folder).join("objects.yaml");
        let text = files.entry(file).or_insert_with(|| HEAD.to_owned());
        text.push_str("---\n");
        text.push_str(&document);
    }
    Ok(files)
}

/// Writes what [`render`] returns.
pub fn write(binaries: &Binaries) -> Result<()> {
    for (file, text) in render(binaries)? {
        let file = repository().join(file);
        fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}

/// The files whose committed text differs from the chart's.
pub fn stale(binaries: &Binaries) -> Result<Vec<PathBuf>> {
    let rendered = render(binaries)?;
    let differs = |(file, text): &(PathBuf, String)| {
        fs::read_to_string(repository().join(file)).ok().as_ref() != Some(text)
    };
    Ok(rendered.into_iter().filter(differs).map(|(file, _)| file).collect())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Drops what only helm is interested in.
fn plain(document: &str) -> String {
    let helms = ["# Source: ", "---", "helm.sh/chart: ", "app.kubernetes.io/managed-by: "];
    let kept = document
        .lines()
        .filter(|line| !helms.iter().any(|start| line.trim_start().starts_with(start)));
    kept.filter(|line| !line.trim().is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// The folder that a document belongs to, by its kind and component.
fn folder(document: &str) -> Option<&'static str> {
    let kind = document.lines().find_map(|line| line.strip_prefix("kind: "))?;
    let of_proxy = document.contains("  name: flotilla-proxy");
    Some(match kind {
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => "rbac",
        "ServiceAccount" if !of_proxy => "rbac",
        "ServiceMonitor" => "prometheus",
        "NetworkPolicy" => "network-policy",
        "ValidatingWebhookConfiguration"
        | "ValidatingAdmissionPolicy"
        | "ValidatingAdmissionPolicyBinding" => "admission",
        "Service" if document.contains("  name: flotilla-admission") => "admission",
        "ProxyFleet" | "IngressClass" => "proxy",
        _ if of_proxy => "proxy",
        _ => "manager",
    })
}
