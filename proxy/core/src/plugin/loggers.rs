//! http-log, tcp-log, udp-log, file-log, syslog, loggly: one record, six ways to send it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use super::record::{CustomFields, record};
use super::{BuildError, Config, Framing, HttpTarget, Plugin, Queue, Sink, Target};
use crate::exchange::Exchange;

struct Logger {
    sink: Arc<dyn Sink>,
    custom: CustomFields,
    wrap: Wrap,
}

/// What stands around the record.
enum Wrap {
    Nothing,
    Line,
    /// Severities by status, and what is written before.
    Syslog {
        severities: Severities,
        prefix: Box<dyn Fn(u8) -> String + Send + Sync>,
        suffix: String,
    },
}

/// Severities as syslog numbers them, by what became of the request.
struct Severities {
    floor: u8,
    successful: u8,
    client_errors: u8,
    server_errors: u8,
}

impl Plugin for Logger {
    fn log(&self, exchange: &mut Exchange) {
        let record = record(exchange, &self.custom);
        let record = match &self.wrap {
            Wrap::Nothing => record,
            Wrap::Line => line(&record),
            Wrap::Syslog { severities, prefix, suffix } => {
                let Some(severity) = severities.of(exchange.response.status.as_u16()) else {
                    return;
                };
                let mut text = prefix(severity).into_bytes();
                text.extend_from_slice(&record);
                text.extend_from_slice(suffix.as_bytes());
                text.into()
            }
        };
        self.sink.send(record);
    }
}

fn line(record: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(record.len() + 1);
    line.extend_from_slice(record);
    line.push(b'\n');
    line.into()
}

fn logger(config: &Config<'_>, target: &Target, wrap: Wrap) -> Box<dyn Plugin> {
    Box::new(Logger {
        sink: config.context.services.sink(target),
        custom: CustomFields::of(config),
        wrap,
    })
}

fn milliseconds(config: &Config<'_>, field: &str, default: f64) -> Duration {
    Duration::from_secs_f64(config.number(field).unwrap_or(default).max(0.0) / 1_000.0)
}

fn port(config: &Config<'_>, default: u16) -> u16 {
    config.number("port").map_or(default, |port| port as u16)
}

/// The queue of a sender.
pub(super) fn queue(config: &Config<'_>) -> Queue {
    let queue = config.config.get("queue");
    let number = |field: &str, default: f64| {
        queue.and_then(|queue| queue.get(field)).and_then(Value::as_f64).unwrap_or(default).max(0.0)
    };
    let seconds = |field: &str, default: f64| Duration::from_secs_f64(number(field, default));
    // The older names count where they say something else than they did when nobody set them.
    let older = |field: &str, untouched: f64| config.number(field).filter(|set| *set != untouched);
    let batch = older("queue_size", 1.0).or_else(|| older("batch_span_count", 200.0));
    let delay = older("flush_timeout", 2.0).or_else(|| older("batch_flush_delay", 3.0));
    let max_bytes = number("max_bytes", 0.0) as usize;
    let unlimited =
        queue.and_then(|queue| queue.get("concurrency_limit")).and_then(Value::as_i64) == Some(-1);
    Queue {
        max_batch_size: (batch.unwrap_or_else(|| number("max_batch_size", 1.0)) as usize).max(1),
        max_coalescing_delay: delay.map_or_else(
            || seconds("max_coalescing_delay", 1.0),
            |delay| Duration::from_secs_f64(delay.max(0.0)),
        ),
        max_entries: (number("max_entries", 10_000.0) as usize).max(1),
        max_bytes: (max_bytes > 0).then_some(max_bytes),
        max_retry_time: seconds("max_retry_time", 60.0),
        initial_retry_delay: seconds("initial_retry_delay", 0.01),
        max_retry_delay: seconds("max_retry_delay", 60.0),
        concurrency: (!unlimited).then_some(1),
    }
}

/// The configured headers of a sender.
pub(super) fn headers(config: &Config<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in
        config.config.get("headers").and_then(Value::as_object).into_iter().flatten()
    {
        if let (Ok(name), Some(Ok(value))) =
            (name.parse::<HeaderName>(), value.as_str().map(HeaderValue::from_str))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// http-log.
pub(super) fn build_http(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let unusable = |field| BuildError::Field { plugin: "http-log", field };
    let mut headers = headers(config);
    let kind = config.text("content_type").unwrap_or("application/json");
    headers
        .insert(CONTENT_TYPE, HeaderValue::from_str(kind).map_err(|_| unusable("content_type"))?);
    let mut url =
        url::Url::parse(&config.string("http_endpoint")).map_err(|_| unusable("http_endpoint"))?;
    if !url.username().is_empty() {
        let credentials = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        let basic = format!("Basic {}", STANDARD.encode(credentials));
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&basic).map_err(|_| unusable("http_endpoint"))?,
        );
        // A base URL always takes these.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    let target = Target::Http(Box::new(HttpTarget {
        owner: config.id.to_owned(),
        url: url.into(),
        method: Method::from_bytes(config.text("method").unwrap_or("POST").as_bytes())
            .unwrap_or(Method::POST),
        headers,
        timeout: milliseconds(config, "timeout", 10_000.0),
        framing: Framing::JsonOrList,
        queue: queue(config),
    }));
    Ok(logger(config, &target, Wrap::Nothing))
}

/// file-log.
pub(super) fn build_file(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let target = Target::File { path: config.string("path"), reopen: config.flag("reopen") };
    Ok(logger(config, &target, Wrap::Line))
}

/// tcp-log.
pub(super) fn build_tcp(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let target = Target::Tcp {
        host: config.string("host"),
        port: port(config, 0),
        timeout: milliseconds(config, "timeout", 10_000.0),
        tls: config.flag("tls").then(|| config.string("tls_sni")),
    };
    Ok(logger(config, &target, Wrap::Line))
}

/// udp-log.
pub(super) fn build_udp(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let target = Target::Udp { host: config.string("host"), port: port(config, 0) };
    Ok(logger(config, &target, Wrap::Nothing))
}

/// syslog: to the local daemon.
pub(super) fn build_syslog(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let facility =
        FACILITIES.iter().position(|known| Some(*known) == config.text("facility")).unwrap_or(1);
    let facility = if facility >= 12 { facility + 4 } else { facility };
    let prefix = move |severity: u8| format!("<{}>kong: ", facility * 8 + usize::from(severity));
    let wrap = Wrap::Syslog {
        severities: Severities::of_config(config),
        prefix: Box::new(prefix),
        suffix: String::new(),
    };
    Ok(logger(config, &Target::Syslog, wrap))
}

/// loggly: syslog's format with a token, over UDP.
pub(super) fn build_loggly(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let target = Target::Udp { host: config.string("host"), port: port(config, 514) };
    let tags: String = config.list("tags").iter().map(|tag| format!(" tag=\"{tag}\"")).collect();
    let key = config.string("key");
    let services = Arc::clone(&config.context.services);
    let prefix = move |severity: u8| {
        let seconds = i64::try_from(services.now().as_secs()).unwrap_or(0);
        let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        // Facility 16, local0.
        format!(
            "<{}>1 {time} {} kong - - [{key}@41058{tags}] ",
            128 + u16::from(severity),
            services.hostname()
        )
    };
    let wrap = Wrap::Syslog {
        severities: Severities::of_config(config),
        prefix: Box::new(prefix),
        suffix: String::new(),
    };
    Ok(logger(config, &target, wrap))
}

/// In the order of syslog's numbers, but for the four that it keeps to itself before `local0`.
const FACILITIES: [&str; 20] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// In the order of syslog's numbers: the greatest first.
const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

impl Severities {
    fn of_config(config: &Config<'_>) -> Self {
        let severity = |field: &str| {
            let name = config.text(field).unwrap_or("info");
            SEVERITIES.iter().position(|known| *known == name).map_or(6, |at| at as u8)
        };
        Self {
            floor: severity("log_level"),
            successful: severity("successful_severity"),
            client_errors: severity("client_errors_severity"),
            server_errors: severity("server_errors_severity"),
        }
    }

    /// The severity of an answer, where it is grave enough to be told.
    fn of(&self, status: u16) -> Option<u8> {
        let severity = match status {
            500.. => self.server_errors,
            400..=499 => self.client_errors,
            _ => self.successful,
        };
        (severity <= self.floor).then_some(severity)
    }
}
