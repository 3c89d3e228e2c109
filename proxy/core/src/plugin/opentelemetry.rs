//! opentelemetry: trace context passed on, and spans of requests and tries over OTLP.
//!
//! As in Kong spans are recorded only where the gateway's `tracing_instrumentations` are on. Where they are off (the
//! default), what is sent on says "not sampled", except that b3's debug flag is passed through.

mod otlp;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Version};
use serde_json::Value;

use super::loggers::{headers, queue};
use super::trace::{Format, Propagation, random_id};
use super::tracing::{Run, Runs};
use super::{Access, BuildError, Config, Framing, HttpTarget, Plugin, Services, Sink, Target};
use crate::exchange::Exchange;
use otlp::{Attribute, Span};

struct OpenTelemetry {
    propagation: Propagation,
    answer_header: Option<HeaderName>,
    /// How many of the traces that begin here are kept; `None` where nothing is recorded.
    rate: Option<f64>,
    /// Whether tries are recorded.
    tries: bool,
    /// The phases whose plugins are recorded.
    phases: Vec<&'static str>,
    resource: Vec<(String, String)>,
    sink: Option<Arc<dyn Sink>>,
    services: Arc<dyn Services>,
}

/// The ids of a request that is recorded.
struct Recorded {
    trace: [u8; 16],
    root: [u8; 8],
    parent: Option<[u8; 8]>,
    /// What the upstream was told.
    balancer: [u8; 8],
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let tracing = config.context.tracing.as_ref();
    let rate = tracing.map(|tracing| config.number("sampling_rate").unwrap_or(tracing.rate));
    let records = |kind: &str| tracing.is_some_and(|tracing| tracing.records(kind));
    let phases = [
        ("rewrite", "plugin_rewrite"),
        ("access", "plugin_access"),
        ("header_filter", "plugin_header_filter"),
    ];
    let sink = match (rate, config.text("traces_endpoint")) {
        (Some(_), Some(url)) => Some(config.context.services.sink(&target(config, url))),
        _ => None,
    };
    Ok(Box::new(OpenTelemetry {
        propagation: Propagation::of(config, Format::W3c),
        answer_header: config
            .text("http_response_header_for_traceid")
            .and_then(|name| name.parse().ok()),
        tries: records("balancer"),
        phases: phases
            .into_iter()
            .filter(|(_, kind)| records(kind))
            .map(|(phase, _)| phase)
            .collect(),
        rate,
        resource: resource(config),
        sink,
        services: Arc::clone(&config.context.services),
    }))
}

fn target(config: &Config<'_>, url: &str) -> Target {
    let mut headers = headers(config);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    let milliseconds = |field: &str| config.number(field).unwrap_or(1_000.0).max(1.0);
    let timeout: f64 =
        ["connect_timeout", "send_timeout", "read_timeout"].into_iter().map(milliseconds).sum();
    Target::Http(Box::new(HttpTarget {
        owner: config.id.to_owned(),
        url: url.to_owned(),
        method: Method::POST,
        headers,
        timeout: Duration::from_secs_f64(timeout / 1_000.0),
        framing: Framing::Concatenated,
        queue: queue(config),
    }))
}

/// What is said of the gateway itself; the configuration's word wins.
fn resource(config: &Config<'_>) -> Vec<(String, String)> {
    let own = config.config.get("resource_attributes").and_then(Value::as_object);
    let mut all: Vec<(String, String)> = own
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let services = &config.context.services;
    for (key, value) in [
        ("service.name", "kong"),
        ("service.instance.id", services.node_id()),
        ("service.version", "3.9.3"),
    ] {
        if !all.iter().any(|(known, _)| known == key) {
            all.push((key.to_owned(), value.to_owned()));
        }
    }
    all
}

impl Plugin for OpenTelemetry {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let services = self.services.as_ref();
        let incoming = self.propagation.read(exchange);
        let trace = incoming.trace.unwrap_or_else(|| random_id(services));
        let sampled = match self.rate {
            Some(rate) => incoming.sampled.unwrap_or_else(|| keeps(&trace, rate)),
            None => false,
        };
        let parent = incoming.span.or(incoming.parent);
        let outgoing = incoming.continued(trace, random_id(services), parent, sampled);
        self.propagation.write(exchange, &incoming, &outgoing);
        if let Some(name) = &self.answer_header
            && let Ok(value) = HeaderValue::from_str(&hex::encode(outgoing.trace))
        {
            exchange.early.insert(name.clone(), value);
        }
        if sampled {
            exchange.notes.put(Recorded {
                trace: outgoing.trace,
                root: random_id(services),
                parent: outgoing.parent,
                balancer: outgoing.span,
            });
        }
        Access::Continue
    }

    fn log(&self, exchange: &mut Exchange) {
        let (Some(recorded), Some(sink)) = (exchange.notes.take::<Recorded>(), &self.sink) else {
            return;
        };
        let mut spans = vec![root(exchange, &recorded)];
        spans.extend(self.plugins(exchange, &recorded));
        for at in 0..if self.tries { exchange.tries.len() } else { 0 } {
            // The last try is the one whose id went upstream.
            let id = match exchange.tries.len() - 1 {
                last if last == at => recorded.balancer,
                _ => random_id(self.services.as_ref()),
            };
            spans.extend(attempt(exchange, &recorded, at, id));
        }
        sink.send(otlp::request(&self.resource, "0.1.0", &spans).into());
    }
}

impl OpenTelemetry {
    /// A span for every run of a plugin.
    fn plugins(&self, exchange: &mut Exchange, recorded: &Recorded) -> Vec<Span> {
        let runs = exchange.notes.take::<Runs>().unwrap_or_default().0;
        let wanted = runs.into_iter().filter(|run| self.phases.contains(&run.phase));
        let span = |run: Run| Span {
            trace: recorded.trace.to_vec(),
            id: random_id(self.services.as_ref()),
            parent: Some(recorded.root),
            name: format!("kong.{}.plugin.{}", run.phase, run.plugin),
            kind: 1,
            time: run.time,
            attributes: Vec::new(),
            failed: false,
        };
        wanted.map(span).collect()
    }
}

/// Whether a trace is kept: by its id, so that all who see it decide alike.
fn keeps(trace: &[u8], rate: f64) -> bool {
    let tail = trace.rchunks(8).next().unwrap_or_default();
    let number = tail.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    rate >= 1.0 || ((number >> 1) as f64) < rate * (u64::MAX >> 1) as f64
}

fn root(exchange: &Exchange, recorded: &Recorded) -> Span {
    let request = &exchange.request;
    let text = |text: &str| Attribute::Text(text.to_owned());
    let status = exchange.response.status.as_u16();
    let flavor = match request.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let url = format!("{}://{}{}", request.scheme, request.host, request.target);
    let mut attributes = vec![
        ("http.method", text(request.method.as_str())),
        ("http.url", Attribute::Text(url)),
        ("http.host", text(&request.host)),
        ("http.scheme", text(request.scheme)),
        ("http.flavor", text(flavor)),
        ("http.client_ip", Attribute::Text(exchange.client.ip.to_string())),
        ("net.peer.ip", Attribute::Text(exchange.client.peer.to_string())),
        ("kong.request.id", text(&exchange.id)),
        ("http.status_code", Attribute::Integer(i64::from(status))),
    ];
    if let Some(route) = &exchange.matched.route {
        attributes.push(("http.route", text(route.label())));
    }
    let ended = exchange.moments.ended.unwrap_or(exchange.moments.started);
    Span {
        trace: recorded.trace.to_vec(),
        id: recorded.root,
        parent: recorded.parent,
        name: "kong".to_owned(),
        kind: 2,
        time: (exchange.moments.started, ended),
        attributes,
        failed: status >= 500,
    }
}

fn attempt(exchange: &Exchange, recorded: &Recorded, at: usize, id: [u8; 8]) -> Option<Span> {
    let attempt = exchange.tries.get(at)?;
    let next = exchange.tries.get(at + 1).map(|next| next.started);
    let ended = next.or(exchange.moments.received).or(exchange.moments.ended);
    let mut attributes = vec![
        ("net.peer.ip", Attribute::Text(attempt.ip.to_string())),
        ("net.peer.port", Attribute::Integer(i64::from(attempt.port))),
        ("try_count", Attribute::Integer(i64::try_from(at + 1).unwrap_or(i64::MAX))),
    ];
    if let Some(host) = exchange.matched.service.as_ref().and_then(|service| service.host.clone()) {
        attributes.push(("net.peer.name", Attribute::Text(host.into())));
    }
    Some(Span {
        trace: recorded.trace.to_vec(),
        id,
        parent: Some(recorded.root),
        name: "kong.balancer".to_owned(),
        kind: 3,
        time: (attempt.started, ended.unwrap_or(attempt.started + attempt.latency)),
        attributes,
        failed: attempt.state.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_kept_by_its_id() {
        let low = [0_u8; 16];
        let high = [255_u8; 16];
        assert!(keeps(&low, 0.01) && !keeps(&high, 0.99) && keeps(&high, 1.0));
        assert!(!keeps(&low, 0.0));
    }
}
