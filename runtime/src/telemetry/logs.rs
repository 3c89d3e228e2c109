//! Logs on standard error, as text or JSON, with a filter that can change while the process runs.

use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How log records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line a record.
    #[default]
    Text,
    /// One JSON object a record.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("a log format is text or json"),
        }
    }
}

/// The log filter in force. Clones share it.
#[derive(Clone, Debug)]
pub struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Why a log filter was refused; the one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a list of `target=level` directives.
    #[error("failed to parse log filter {filter:?}: write info, or info,operator::fleet=debug")]
    Parse {
        /// What was given.
        filter: String,
        /// Where it breaks.
        #[source]
        source: ParseError,
    },
    /// The subscriber is gone: the process is ending.
    #[error("failed to replace the log filter")]
    Gone(#[from] reload::Error),
}

impl Filter {
    /// Replaces the filter for all records from now on.
    ///
    /// # Errors
    /// When the text is no filter; the one in force stays.
    pub fn set(&self, filter: &str) -> Result<(), FilterError> {
        Ok(self.handle.reload(parse(filter)?)?)
    }
}

pub(super) fn filter(
    text: &str,
) -> Result<(reload::Layer<EnvFilter, Registry>, Filter), FilterError> {
    let (layer, handle) = reload::Layer::new(parse(text)?);
    Ok((layer, Filter { handle }))
}

pub(super) fn writer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    }
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    EnvFilter::try_new(filter)
        .map_err(|source| FilterError::Parse { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = parse("operator=loud").unwrap_err();
        assert!(error.to_string().contains("operator=loud"), "{error}");
    }
}
