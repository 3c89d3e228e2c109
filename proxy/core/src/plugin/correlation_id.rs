//! correlation-id: an id that follows a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue, StatusCode};
use uuid::Uuid;

use super::{Access, BuildError, Config, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

struct CorrelationId {
    /// None where the configuration names none: such a plugin refuses everything.
    header: Option<HeaderName>,
    generator: Generator,
    echo: bool,
    services: Arc<dyn Services>,
}

enum Generator {
    Uuid,
    /// One UUID for this instance, and a number that counts up.
    Counter(Uuid, AtomicU64),
    Tracker,
}

/// The id of this request, for the answer and for log records.
pub(super) struct Correlation(pub(super) HeaderValue);

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let header = config.text("header_name").and_then(super::escaped_header_name);
    let services = Arc::clone(&config.context.services);
    let generator = match config.text("generator") {
        Some("uuid") => Generator::Uuid,
        Some("tracker") => Generator::Tracker,
        Some(_) | None => Generator::Counter(random_uuid(services.as_ref()), AtomicU64::new(0)),
    };
    Ok(Box::new(CorrelationId {
        header,
        generator,
        echo: config.flag("echo_downstream"),
        services,
    }))
}

/// A random UUID.
pub(super) fn random_uuid(services: &dyn Services) -> Uuid {
    let mut bytes = [0; 16];
    services.random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

impl Plugin for CorrelationId {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let Some(header) = &self.header else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Access::respond(Answer::status_error(exchange, status));
        };
        let id = given(header, exchange).or_else(|| {
            let id = self.generate(exchange)?;
            exchange.request.headers.insert(header.clone(), id.clone());
            Some(id)
        });
        if let Some(id) = id {
            exchange.notes.put(Correlation(id));
        }
        Access::Continue
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let (Some(header), true) = (&self.header, self.echo) else { return };
        let known = exchange.notes.get::<Correlation>().map(|known| known.0.clone());
        if let Some(id) =
            known.or_else(|| given(header, exchange)).or_else(|| self.generate(exchange))
        {
            exchange.response.headers.insert(header.clone(), id);
        }
    }
}

/// The client's own, unless it is blank.
fn given(header: &HeaderName, exchange: &Exchange) -> Option<HeaderValue> {
    let value = exchange.request.headers.get(header)?;
    let blank = text(value).is_some_and(|text| text.trim().is_empty());
    (!blank).then(|| value.clone())
}

impl CorrelationId {
    fn generate(&self, exchange: &Exchange) -> Option<HeaderValue> {
        let id = match &self.generator {
            Generator::Uuid => random_uuid(self.services.as_ref()).to_string(),
            Generator::Counter(uuid, counter) => {
                format!("{uuid}#{}", counter.fetch_add(1, Ordering::Relaxed) + 1)
            }
            Generator::Tracker => {
                let connection = &exchange.connection;
                format!(
                    "{}-{}-{}-{}-{}-{:.3}",
                    connection.local,
                    exchange.request.port,
                    std::process::id(),
                    connection.number,
                    connection.requests,
                    self.services.now().as_secs_f64()
                )
            }
        };
        HeaderValue::from_str(&id).ok()
    }
}
