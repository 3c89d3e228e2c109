//! The command line: what can be asked for, and the process around it.

mod kic;
mod run;
mod standalone;
mod translate;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use runtime::telemetry::{Filter, LogFormat, Settings, Telemetry};

/// Flotilla: one operator, any number of gateway proxies.
#[derive(Debug, Parser)]
#[command(name = "flotilla", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    logs: Logs,
    #[command(subcommand)]
    command: Command,
}

/// How the process reports.
#[derive(Args, Clone, Debug)]
struct Logs {
    /// How log records are written.
    #[arg(long, global = true, env = "FLOTILLA_LOG_FORMAT", default_value = "text")]
    log_format: Format,
    /// What is logged: a level, or a filter such as info,operator::fleet=debug.
    #[arg(long, global = true, env = "FLOTILLA_LOG_LEVEL")]
    log_level: Option<String>,
    /// Where OTLP traces go, such as `http://collector:4318`.
    #[arg(long, global = true, env = "FLOTILLA_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator in a Kubernetes cluster.
    Run(Box<run::RunArgs>),
    /// Runs everything on this machine, without a cluster: manifests from a folder, proxies as processes.
    Standalone(standalone::StandaloneArgs),
    /// Prints the proxies' configuration for some manifests, offline.
    Translate(translate::TranslateArgs),
    /// Says what would become of each object of some manifests, offline.
    Check(translate::CheckArgs),
    /// Prints the custom resource definitions.
    Crds {
        /// Those of Kong's kinds too, for clusters without Kong Ingress Controller.
        #[arg(long)]
        kong: bool,
    },
    /// Prints the version.
    Version,
}

/// Runs the process.
#[must_use]
pub fn main() -> ExitCode {
    let (args, notes) = kic::read(std::env::args(), |name| std::env::var(name).ok());
    for note in notes {
        let _ = writeln!(std::io::stderr(), "flotilla: {note}");
    }
    match run(Cli::parse_from(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            let _ = writeln!(std::io::stderr(), "flotilla: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { logs, command } = cli;
    runtime::install_crypto_provider();
    match command {
        Command::Run(args) => serve(logs, "info", |filter| args.run(filter)),
        // A person looks at the table: logs only tell what is wrong.
        Command::Standalone(args) => serve(logs, "warn", |_| args.run()),
        Command::Translate(args) => translate::run(&args),
        Command::Check(args) => translate::verdicts(&args),
        Command::Crds { kong } => {
            let more = if kong { operator_api::kong::crds() } else { Vec::new() };
            for crd in operator_api::crds().into_iter().chain(more) {
                write!(std::io::stdout(), "---\n{}", operator_api::crd_yaml(&crd)?)?;
            }
            Ok(())
        }
        Command::Version => {
            writeln!(std::io::stdout(), "flotilla {}", env!("CARGO_PKG_VERSION"))?;
            Ok(())
        }
    }
}

/// Runs a long-lived command with logs and a runtime.
fn serve<W: Future<Output = anyhow::Result<()>>>(
    logs: Logs,
    level: &str,
    work: impl FnOnce(Filter) -> W,
) -> anyhow::Result<()> {
    let Logs { log_format, log_level, otlp_endpoint } = logs;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(async {
        let telemetry = Telemetry::start(&Settings {
            service: "flotilla",
            format: match log_format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            },
            filter: log_level
                .or_else(|| std::env::var("FLOTILLA_LOG").ok())
                .unwrap_or_else(|| level.to_owned()),
            otlp_endpoint,
        })?;
        work(telemetry.filter()).await
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    const HEAD: &str = "# Commands and flags of flotilla

Made from the code; `make generate` writes it anew. `flotilla help COMMAND` says the same.
";

    #[test]
    fn page_of_flags_is_that_of_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/flags.md");
        let mut wanted = HEAD.to_owned();
        let mut cli = Cli::command();
        cli.build();
        describe(&mut wanted, "All commands", &cli, clap::Arg::is_global_set);
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let title = format!("flotilla {}", command.get_name());
            describe(&mut wanted, &title, command, |flag| !flag.is_global_set());
        }
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "{} is stale: make generate", path.display());
    }

    fn describe(
        page: &mut String,
        title: &str,
        command: &clap::Command,
        shown: impl Fn(&clap::Arg) -> bool,
    ) {
        writeln!(page, "\n## {title}\n").unwrap();
        if let Some(about) = command.get_about().filter(|_| command.get_name() != "flotilla") {
            writeln!(page, "{about}\n").unwrap();
        }
        let usual = |flag: &&clap::Arg| !matches!(flag.get_id().as_str(), "help" | "version");
        let flags: Vec<_> = command.get_arguments().filter(usual).filter(|it| shown(it)).collect();
        if flags.is_empty() {
            return;
        }
        page.push_str("| flag | environment | default | meaning |\n|---|---|---|---|\n");
        for flag in flags {
            let name = flag.get_long().map_or_else(
                || flag.get_id().to_string().to_uppercase(),
                |long| format!("--{long}"),
            );
            let environment = flag.get_env().map(|name| format!("`{}`", name.to_string_lossy()));
            let values = flag.get_default_values().iter().map(|value| value.to_string_lossy());
            let takes = flag.get_action().takes_values();
            let default: Vec<_> = values.filter(|_| takes).map(|it| format!("`{it}`")).collect();
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let (environment, default) = (environment.unwrap_or_default(), default.join(" "));
            let help = help.replace('|', "\\|");
            writeln!(page, "| `{name}` | {environment} | {default} | {help} |").unwrap();
        }
    }
}
