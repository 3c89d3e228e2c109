//! Trace context as it travels in headers: read in one of seven forms, sent on in any of eight.

mod extract;
mod inject;

use http::HeaderName;
use serde_json::Value;

use super::record::Extra;
use super::{Config, Services, texts};
use crate::exchange::Exchange;

/// How trace context is written into headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    B3,
    B3Single,
    W3c,
    Jaeger,
    Ot,
    Datadog,
    Aws,
    Gcp,
}

impl Format {
    /// The order in which forms are looked for. `b3` stands for both of its spellings.
    const ALL: [Self; 7] =
        [Self::B3, Self::W3c, Self::Jaeger, Self::Ot, Self::Datadog, Self::Aws, Self::Gcp];

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "b3" => Self::B3,
            "b3-single" => Self::B3Single,
            "w3c" => Self::W3c,
            "jaeger" => Self::Jaeger,
            "ot" => Self::Ot,
            "datadog" => Self::Datadog,
            "aws" => Self::Aws,
            "gcp" => Self::Gcp,
            _ => return None,
        })
    }
}

/// What the caller's headers said.
#[derive(Debug, Clone, Default)]
pub(super) struct Incoming {
    /// The form that was found, even if its ids are unusable.
    pub(super) format: Option<Format>,
    /// The trace id, filled up to sixteen bytes.
    pub(super) trace: Option<[u8; 16]>,
    /// The bytes that the trace id had.
    size: Option<usize>,
    /// The caller's span.
    pub(super) span: Option<[u8; 8]>,
    /// The caller's parent.
    pub(super) parent: Option<[u8; 8]>,
    /// Whether the trace is kept.
    pub(super) sampled: Option<bool>,
    /// The flags of b3; `1` is debugging and overrides any decision.
    flags: Option<String>,
    /// What the caller's tracer carries along.
    baggage: Vec<(String, String)>,
    /// Whether the gateway takes part in the caller's span instead of making a child of it.
    pub(super) reuses_span: bool,
}

impl Incoming {
    /// What is sent on in its place.
    pub(super) fn continued(
        &self,
        trace: [u8; 16],
        span: [u8; 8],
        parent: Option<[u8; 8]>,
        sampled: bool,
    ) -> Outgoing {
        let (flags, baggage) = (self.flags.clone(), self.baggage.clone());
        Outgoing { trace, size: self.size, span, parent, sampled, flags, baggage }
    }
}

/// What is sent on.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) trace: [u8; 16],
    /// The bytes that the caller's trace id had.
    size: Option<usize>,
    pub(super) span: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) sampled: bool,
    flags: Option<String>,
    baggage: Vec<(String, String)>,
}

/// Which forms are read and written.
pub(super) struct Propagation {
    extract: Vec<Format>,
    clear: Vec<HeaderName>,
    inject: Vec<Option<Format>>,
    default: Format,
}

impl Propagation {
    /// From `propagation`, or from the older `header_type` where that says nothing.
    pub(super) fn of(config: &Config<'_>, default: Format) -> Self {
        let new = config.config.get("propagation");
        let list = |name: &str| new.and_then(|new| new.get(name)).filter(|list| !list.is_null());
        let named = |name: &str| -> Vec<Option<Format>> {
            texts(list(name)).iter().map(|name| Format::named(name)).collect()
        };
        let format = new.and_then(|new| new.get("default_format")).and_then(Value::as_str);
        let format = format.and_then(Format::named);
        if ["extract", "inject", "clear"].iter().any(|name| list(name).is_some()) {
            return Self {
                extract: named("extract").into_iter().flatten().collect(),
                clear: texts(list("clear")).iter().filter_map(|name| name.parse().ok()).collect(),
                inject: named("inject"),
                default: format.unwrap_or(default),
            };
        }
        // Without the newer fields, the older default wins over the newer one.
        let older = config.text("default_header_type").and_then(Format::named);
        let default = older.or(format).unwrap_or(default);
        let (extract, inject) = match config.text("header_type") {
            None => (Vec::new(), Vec::new()),
            Some("ignore") => (Vec::new(), vec![Some(default)]),
            Some(name) if Format::named(name).is_some() => {
                (Format::ALL.to_vec(), vec![Format::named(name), None])
            }
            Some(_) => (Format::ALL.to_vec(), vec![None]),
        };
        Self { extract, clear: Vec::new(), inject, default }
    }

    /// Reads the caller's context and drops the headers that are to be dropped.
    pub(super) fn read(&self, exchange: &mut Exchange) -> Incoming {
        let found = self
            .extract
            .iter()
            .find_map(|format| extract::read(*format, &exchange.request.headers));
        for name in &self.clear {
            exchange.request.headers.remove(name);
        }
        found.unwrap_or_default()
    }

    /// Writes the context in every wanted form, and for log records too.
    pub(super) fn write(&self, exchange: &mut Exchange, incoming: &Incoming, outgoing: &Outgoing) {
        let mut written = Vec::new();
        for format in &self.inject {
            // `preserve` is the caller's form.
            let format = format.or(incoming.format).unwrap_or(self.default);
            if !written.contains(&format) {
                let (name, trace) = inject::write(format, outgoing, &mut exchange.request.headers);
                Extra::set(exchange, &["trace_id", name], trace.into());
                written.push(format);
            }
        }
    }
}

/// Random bytes that are not all zero.
pub(super) fn random_id<const N: usize>(services: &dyn Services) -> [u8; N] {
    let mut id = [0; N];
    services.random(&mut id);
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}
