//! opentelemetry: trace context passed on.
//!
//! As in a Kong whose `tracing_instrumentations` are off (the default), no spans are recorded or exported: what is sent
//! on says "not sampled", except that b3's debug flag is passed through.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::trace::{Format, Outgoing, Propagation, random_id};
use super::{Access, BuildError, Config, Plugin, Services};
use crate::exchange::Exchange;

struct OpenTelemetry {
    propagation: Propagation,
    answer_header: Option<HeaderName>,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(OpenTelemetry {
        propagation: Propagation::of(config, Format::W3c),
        answer_header: config
            .text("http_response_header_for_traceid")
            .and_then(|name| name.parse().ok()),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for OpenTelemetry {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let services = self.services.as_ref();
        let incoming = self.propagation.read(exchange);
        let outgoing = Outgoing {
            trace: incoming.trace.clone().unwrap_or_else(|| random_id::<16>(services).to_vec()),
            span: random_id(services),
            parent: incoming.trace.as_ref().and(incoming.span),
            sampled: false,
            debug: incoming.debug,
            is_new: incoming.trace.is_none(),
        };
        self.propagation.write(exchange, &incoming, &outgoing);
        if let Some(name) = &self.answer_header
            && let Ok(value) = HeaderValue::from_str(&hex::encode(&outgoing.trace))
        {
            exchange.early.insert(name.clone(), value);
        }
        Access::Continue
    }
}
