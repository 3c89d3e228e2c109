//! `flotilla translate` and `flotilla check`: manifests in, configuration or verdicts out. No cluster.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use operator_core::object::{Kind, ObjectRef};
use operator_core::options::{Options, RouterFlavor, Version};
use operator_core::outcome::{Outcome, Verdict};
use operator_core::snapshot::{Ignored, Loader, Snapshot};
use operator_core::translate::{Translation, translate};
use operator_core::{check, fallback};
use serde::Serialize;

/// Which manifests are read, and how they are understood.
#[derive(Args, Debug)]
pub(super) struct Input {
    /// A file, a folder (searched for .yaml, .yml and .json), or - for standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE|DIR|-")]
    files: Vec<String>,
    /// The ingress classes that are served, separated by commas.
    #[arg(long, default_value = "kong", value_delimiter = ',', value_name = "CLASS,…")]
    ingress_class: Vec<String>,
    /// Which kind of routes is written: traditional_compatible or expressions.
    #[arg(long, default_value = "traditional_compatible", value_name = "FLAVOR")]
    router_flavor: RouterFlavor,
    /// Leaves out an object with its dependants, as if a proxy had refused it.
    #[arg(long, value_name = "KIND/NAMESPACE/NAME")]
    exclude: Vec<String>,
    /// Switches behavior: NAME=true or NAME=false, separated by commas.
    #[arg(long, value_name = "NAME=BOOL,…")]
    feature_gates: Vec<String>,
    /// Keeps terminating endpoints as targets of weight zero.
    #[arg(long)]
    enable_drain_support: bool,
    /// The DNS domain of the cluster, appended to the names of Services.
    #[arg(long, default_value = "", value_name = "DOMAIN")]
    cluster_domain: String,
    /// The version of Kong that the configuration is for.
    #[arg(long, default_value = "3.9.1", value_name = "VERSION")]
    kong_version: Version,
}

/// Arguments of `flotilla translate`.
#[derive(Args, Debug)]
pub(super) struct TranslateArgs {
    #[command(flatten)]
    input: Input,
    /// How the configuration is written.
    #[arg(short, long, default_value = "yaml")]
    output: Format,
    /// Writes the outcomes as YAML into a file instead of a table to standard error.
    #[arg(long, value_name = "FILE")]
    outcomes: Option<PathBuf>,
}

/// Arguments of `flotilla check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    input: Input,
}

/// How a configuration is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Prints the configuration of some manifests.
///
/// # Errors
/// When files cannot be read or written, or an argument names nothing.
pub(super) fn run(args: &TranslateArgs) -> anyhow::Result<()> {
    let TranslateArgs { input, output, outcomes } = args;
    let (translation, ignored) = input.translate()?;
    let config = &translation.config;
    let text = match output {
        Format::Yaml => serde_saphyr::to_string(config).context("failed to print YAML")?,
        Format::Json => {
            serde_json::to_string_pretty(config).context("failed to print JSON")? + "\n"
        }
    };
    std::io::stdout().write_all(text.as_bytes()).context("failed to write the configuration")?;
    match outcomes {
        Some(path) => {
            let lines: Vec<Line<'_>> = translation.outcomes.iter().map(Line::of).collect();
            let text = serde_saphyr::to_string(&lines).context("failed to print outcomes")?;
            std::fs::write(path, text)
                .with_context(|| format!("failed to write {}", path.display()))
        }
        None => {
            let mut table = table(&translation.outcomes);
            for Ignored { source, what } in ignored {
                table.push_str(&format!("ignored {what} in {source}\n"));
            }
            std::io::stderr().write_all(table.as_bytes()).context("failed to write the outcomes")
        }
    }
}

/// Prints the verdicts on some manifests; fails if an object is rejected.
///
/// # Errors
/// When files cannot be read, an argument names nothing, or an object is rejected.
pub(super) fn verdicts(args: &CheckArgs) -> anyhow::Result<()> {
    let (snapshot, _) = args.input.snapshot()?;
    let outcomes = check::check(&snapshot, &args.input.options()?);
    std::io::stdout()
        .write_all(table(&outcomes).as_bytes())
        .context("failed to write the outcomes")?;
    let rejected = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Rejected { .. });
    match outcomes.iter().filter(rejected).count() {
        0 => Ok(()),
        count => bail!("{count} of {} objects are rejected", outcomes.len()),
    }
}

impl Input {
    fn translate(&self) -> anyhow::Result<(Translation, Vec<Ignored>)> {
        let (snapshot, ignored) = self.snapshot()?;
        Ok((translate(&snapshot, &self.options()?), ignored))
    }

    fn snapshot(&self) -> anyhow::Result<(Snapshot, Vec<Ignored>)> {
        let (snapshot, ignored) = load(&self.files)?;
        let mut rejected = BTreeSet::new();
        for text in &self.exclude {
            rejected.insert(excluded(text, &snapshot)?);
        }
        Ok((fallback::without(&snapshot, &rejected), ignored))
    }

    fn options(&self) -> anyhow::Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let mut options = Options {
            ingress_classes: self.ingress_class.clone(),
            flavor: self.router_flavor,
            drain_support: self.enable_drain_support,
            cluster_domain: self.cluster_domain.clone(),
            kong_version: self.kong_version,
            now: now.and_then(|now| i64::try_from(now.as_secs()).ok()),
            ..Options::default()
        };
        for list in &self.feature_gates {
            options.gates.assign(list)?;
        }
        Ok(options)
    }
}

/// Reads KIND/NAMESPACE/NAME, or KIND/NAME for what lives in no namespace.
fn excluded(text: &str, snapshot: &Snapshot) -> anyhow::Result<ObjectRef> {
    let mut parts = text.split('/');
    let (kind, rest) = (parts.next().unwrap_or_default(), parts.collect::<Vec<_>>());
    let Some(kind) = Kind::named(kind) else { bail!("--exclude {text}: no such kind: {kind:?}") };
    let object = match rest.as_slice() {
        [name] | ["", name] => ObjectRef::new(kind, "", name),
        [namespace, name] => ObjectRef::new(kind, namespace, name),
        _ => bail!("--exclude {text}: not KIND/NAMESPACE/NAME"),
    };
    if !snapshot.references().contains(&object) {
        bail!("--exclude {text}: there is no {object}");
    }
    Ok(object)
}

fn load(files: &[String]) -> anyhow::Result<(Snapshot, Vec<Ignored>)> {
    let mut loader = Loader::new();
    for file in files {
        if file == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
            loader.add("-", &text);
            continue;
        }
        for path in manifests(Path::new(file))? {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            loader.add(&path.display().to_string(), &text);
        }
    }
    Ok(loader.finish())
}

/// A file itself, or all manifests of a folder in order of their names.
fn manifests(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let context = || format!("failed to list {}", path.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            found.extend(manifests(&path)?);
        } else if matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One outcome as a line of YAML.
#[derive(Serialize)]
struct Line<'a> {
    kind: Kind,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let Outcome { object, verdict, warnings } = outcome;
        let (verdict, reason, message) = match verdict {
            Verdict::Configured => ("configured", None, None),
            Verdict::Rejected { reason, message } => {
                ("rejected", Some(reason.as_str()), Some(message.as_str()))
            }
            Verdict::Ignored { why } => ("ignored", None, Some(why.as_str())),
        };
        Line {
            kind: object.kind,
            namespace: &object.namespace,
            name: &object.name,
            verdict,
            reason,
            message,
            warnings: warnings.iter().map(|warning| warning.message.as_str()).collect(),
        }
    }
}

/// The outcomes as columns; what is long stands last.
fn table(outcomes: &[Outcome]) -> String {
    let mut rows = vec![["OBJECT", "VERDICT", "REASON", "MESSAGE"].map(str::to_owned)];
    for outcome in outcomes {
        let Line { verdict, reason, message, warnings, .. } = Line::of(outcome);
        let text: Vec<&str> = message.into_iter().chain(warnings).collect();
        let reason =
            reason.unwrap_or(if text.is_empty() || verdict == "ignored" { "" } else { "Warning" });
        rows.push([outcome.object.to_string(), verdict.into(), reason.into(), text.join("; ")]);
    }
    let width = |column: usize| {
        rows.iter().map(|row| row.get(column).map_or(0, String::len)).max().unwrap_or(0)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    let line = |[object, verdict, reason, message]: &[String; 4]| {
        let line = format!("{object:first$}  {verdict:second$}  {reason:third$}  {message}");
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
