//! What a process says about itself: logs, traces and metrics.

mod logs;
mod metrics;
mod traces;

pub use logs::{Filter, FilterError, LogFormat};
pub use metrics::Metrics;
pub use traces::TraceError;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a process reports.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name under which traces appear, such as `flotilla`.
    pub service: &'static str,
    /// Text for people, JSON for machines.
    pub format: LogFormat,
    /// Which records are written: `info`, or `info,operator::fleet=debug`.
    pub filter: String,
    /// Where OTLP traces go (`http://collector:4318`), if anywhere.
    pub otlp_endpoint: Option<String>,
}

/// The running telemetry. Dropping it writes out what is still buffered.
#[derive(Debug)]
#[must_use = "traces still buffered are lost when this is dropped early"]
pub struct Telemetry {
    filter: Filter,
    traces: Option<traces::Exporter>,
}

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter cannot be read.
    #[error("failed to read the log filter")]
    Filter(#[from] FilterError),
    /// The exporter of traces cannot be set up.
    #[error("failed to set up the export of traces")]
    Traces(#[from] TraceError),
    /// Something else in this process installed a subscriber before.
    #[error("failed to install the log subscriber")]
    Install(#[from] tracing_subscriber::util::TryInitError),
}

impl Telemetry {
    /// Starts logs and, where an endpoint is given, the export of traces, for the whole process.
    ///
    /// # Errors
    /// When the filter or the endpoint cannot be used, or telemetry was started before.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let (filter_layer, filter) = logs::filter(&settings.filter)?;
        let traces = match &settings.otlp_endpoint {
            Some(endpoint) => Some(traces::Exporter::new(settings.service, endpoint)?),
            None => None,
        };
        let registry = tracing_subscriber::registry().with(filter_layer);
        registry
            .with(traces.as_ref().map(traces::Exporter::layer))
            .with(logs::writer(settings.format))
            .try_init()?;
        Ok(Self { filter, traces })
    }

    /// The handle that changes the log filter while the process runs.
    pub fn filter(&self) -> Filter {
        self.filter.clone()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces {
            traces.flush();
        }
    }
}
