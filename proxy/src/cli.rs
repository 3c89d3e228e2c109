//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::Context;
use clap::{Parser, Subcommand};
use runtime::telemetry::{LogFormat, Settings as LogSettings, Telemetry};
use tokio::runtime::{Builder, Runtime};

use crate::app;
use crate::settings::{Raw, Settings};

/// A DB-less API gateway that understands Kong's configuration and `KONG_*` variables.
#[derive(Debug, Parser)]
#[command(name = "flotilla-proxy", version)]
struct Arguments {
    /// A file of settings, in the format of kong.conf.
    #[arg(short = 'c', long, global = true)]
    conf: Option<PathBuf>,
    /// The folder for state, in place of KONG_PREFIX.
    #[arg(short = 'p', long, global = true)]
    prefix: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a command).
    Start,
    /// Say whether a declarative configuration would be accepted.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the process.
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Without a subscriber yet, the terminal is where a person looks.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("flotilla-proxy: {error:#}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

/// As many threads as there are cores; on a single one nothing is passed between threads.
fn runtime() -> std::io::Result<Runtime> {
    let alone = available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder =
        if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().build()
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    runtime::install_crypto_provider();
    let raw = match &arguments.conf {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Raw::from_file(&text.with_context(|| format!("failed to read {}", path.display()))?)
        }
        None => Raw::default(),
    };
    let mut raw = raw.with_env(std::env::vars());
    if let Some(prefix) = &arguments.prefix {
        raw.set("prefix", prefix);
    }
    let settings = Settings::parse(raw)?;
    let runtime = runtime()?;
    match &arguments.command {
        Some(Command::Check { file }) => runtime.block_on(app::check(&settings, file)),
        None | Some(Command::Start) => {
            let format = if settings.log_json { LogFormat::Json } else { LogFormat::Text };
            let _telemetry = Telemetry::start(&LogSettings {
                service: "flotilla-proxy",
                format,
                filter: settings.log_level.clone(),
                otlp_endpoint: None,
            })?;
            runtime.block_on(app::run(settings))
        }
    }
}
