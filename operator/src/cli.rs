//! The command line: what can be asked for, and the process around it.

mod run;
mod standalone;
mod translate;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use runtime::telemetry::{LogFormat, Settings, Telemetry};

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
    Run(run::RunArgs),
    /// Runs everything on this machine, without a cluster: manifests from a folder, proxies as processes.
    Standalone(standalone::StandaloneArgs),
    /// Prints the proxies' configuration for some manifests, offline.
    Translate(translate::TranslateArgs),
    /// Says what would become of each object of some manifests, offline.
    Check(translate::CheckArgs),
    /// Prints the custom resource definitions.
    Crds,
    /// Prints the version.
    Version,
}

/// Runs the process.
#[must_use]
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
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
        Command::Run(args) => serve(logs, "info", args.run()),
        // A person looks at the table: logs only tell what is wrong.
        Command::Standalone(args) => serve(logs, "warn", args.run()),
        Command::Translate(args) => translate::run(&args),
        Command::Check(args) => translate::check(&args),
        Command::Crds => {
            for crd in operator_api::crds() {
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
fn serve(
    logs: Logs,
    level: &str,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Logs { log_format, log_level, otlp_endpoint } = logs;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(async {
        let _telemetry = Telemetry::start(&Settings {
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
        work.await
    })
}
