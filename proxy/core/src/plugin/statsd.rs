//! statsd and datadog: figures of each request as datagrams.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::record::kong_latency;
use super::{BuildError, Config, Plugin, Services, Sink, Target};
use crate::exchange::Exchange;

struct Figures {
    sink: Arc<dyn Sink>,
    prefix: String,
    metrics: Vec<Metric>,
    dialect: Dialect,
    services: Arc<dyn Services>,
}

struct Metric {
    name: String,
    kind: &'static str,
    rate: f64,
    tags: Vec<String>,
    identifier: Option<String>,
    service: Option<String>,
    workspace: Option<String>,
}

enum Dialect {
    /// Names carry everything.
    Statsd { consumer: String, service: String, workspace: String, statuses: Vec<(u16, u16)> },
    /// Tags carry it.
    Datadog { service_tag: String, status_tag: String, consumer_tag: String },
}

pub(super) fn build_statsd(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let dialect = Dialect::Statsd {
        consumer: config.string("consumer_identifier_default"),
        service: config.string("service_identifier_default"),
        workspace: config.string("workspace_identifier_default"),
        statuses: config
            .list("allow_status_codes")
            .iter()
            .filter_map(|range| span(range))
            .collect(),
    };
    let mut figures = figures(config, dialect);
    if config.flag("hostname_in_prefix") {
        let host = config.context.services.hostname();
        let host = host.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        figures.prefix = format!("{}.node.{host}", figures.prefix);
    }
    Ok(Box::new(figures))
}

/// `200-299`, both ends included.
fn span(range: &str) -> Option<(u16, u16)> {
    let (from, to) = range.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

pub(super) fn build_datadog(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let dialect = Dialect::Datadog {
        service_tag: config.string("service_name_tag"),
        status_tag: config.string("status_tag"),
        consumer_tag: config.string("consumer_tag"),
    };
    Ok(Box::new(figures(config, dialect)))
}

fn figures(config: &Config<'_>, dialect: Dialect) -> Figures {
    let host = config.text("host").unwrap_or("localhost").to_owned();
    let port = config.number("port").unwrap_or(8_125.0) as u16;
    let target = if config.flag("use_tcp") {
        Target::Tcp { host, port, timeout: std::time::Duration::from_secs(10), tls: None }
    } else {
        Target::Udp { host, port }
    };
    let metrics = config.config.get("metrics").and_then(Value::as_array);
    let metric = |metric: &Value| {
        let text = |field: &str| metric.get(field).and_then(Value::as_str);
        Some(Metric {
            name: text("name")?.to_owned(),
            kind: match text("stat_type")? {
                "counter" => "c",
                "gauge" => "g",
                "histogram" => "h",
                "meter" => "m",
                "set" => "s",
                "distribution" => "d",
                _ => "ms",
            },
            rate: metric.get("sample_rate").and_then(Value::as_f64).unwrap_or(1.0),
            tags: super::texts(metric.get("tags")),
            identifier: text("consumer_identifier").map(str::to_owned),
            service: text("service_identifier").map(str::to_owned),
            workspace: text("workspace_identifier").map(str::to_owned),
        })
    };
    Figures {
        sink: config.context.services.sink(&target),
        prefix: config.string("prefix"),
        metrics: metrics.into_iter().flatten().filter_map(metric).collect(),
        dialect,
        services: Arc::clone(&config.context.services),
    }
}

impl Plugin for Figures {
    fn log(&self, exchange: &mut Exchange) {
        for metric in self.metrics.iter().filter(|metric| self.samples(metric.rate)) {
            let line = match &self.dialect {
                Dialect::Statsd { consumer, service, workspace, statuses } => {
                    let status = exchange.response.status.as_u16();
                    let told = |(from, to): &(u16, u16)| (*from..=*to).contains(&status);
                    let silent = metric.name.starts_with("status_count")
                        && !statuses.is_empty()
                        && !statuses.iter().any(told);
                    if silent {
                        None
                    } else {
                        self.statsd(exchange, metric, [consumer, service, workspace])
                    }
                }
                Dialect::Datadog { service_tag, status_tag, consumer_tag } => {
                    self.datadog(exchange, metric, [service_tag, status_tag, consumer_tag])
                }
            };
            if let Some(line) = line {
                self.sink.send(Bytes::from(line));
            }
        }
    }
}

impl Figures {
    fn samples(&self, rate: f64) -> bool {
        if rate >= 1.0 {
            return true;
        }
        let mut bytes = [0; 4];
        self.services.random(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) < rate * f64::from(u32::MAX)
    }

    fn statsd(
        &self,
        exchange: &Exchange,
        metric: &Metric,
        [consumer, service, workspace]: [&String; 3],
    ) -> Option<String> {
        let service = metric.service.as_ref().unwrap_or(service).as_str();
        let workspace = match metric.workspace.as_ref().unwrap_or(workspace).as_str() {
            "workspace_name" => "default",
            _ => super::DEFAULT_WORKSPACE,
        };
        let status = exchange.response.status.as_str();
        let service = exchange.matched.service.as_ref().map_or("unnamed", |entity| match service {
            "service_id" => &entity.id,
            "service_name" => entity.name.as_deref().unwrap_or("unnamed"),
            "service_host" => entity.host.as_deref().unwrap_or_default(),
            _ => entity.name.as_deref().or(entity.host.as_deref()).unwrap_or("unnamed"),
        });
        let caller = || caller(exchange, metric.identifier.as_deref().unwrap_or(consumer));
        let name = match metric.name.as_str() {
            "request_count" => "request.count".to_owned(),
            "request_size" => "request.size".to_owned(),
            "response_size" => "response.size".to_owned(),
            "status_count" => format!("status.{status}"),
            "unique_users" => "user.uniques".to_owned(),
            "request_per_user" => format!("user.{}.request.count", caller()?),
            "status_count_per_user" => format!("user.{}.status.{status}", caller()?),
            "status_count_per_workspace" => {
                format!("workspace.{workspace}.status.{status}")
            }
            "status_count_per_user_per_route" => {
                let route = exchange.matched.route.as_ref()?;
                let text = format!(
                    "{}.route.{}.user.{}.status.{status}",
                    self.prefix,
                    route.id,
                    caller()?
                );
                return Some(format!("{text}:1|{}{}", metric.kind, rate(metric)));
            }
            "latency" | "upstream_latency" | "kong_latency" => metric.name.clone(),
            _ => return None,
        };
        let value = if metric.name == "unique_users" {
            caller()?
        } else {
            value(exchange, &metric.name)?.to_string()
        };
        Some(format!(
            "{}.service.{service}.{name}:{value}|{}{}",
            self.prefix,
            metric.kind,
            rate(metric)
        ))
    }

    fn datadog(&self, exchange: &Exchange, metric: &Metric, names: [&String; 3]) -> Option<String> {
        let [service_tag, status_tag, consumer_tag] = names;
        let name = match metric.name.as_str() {
            "request_count" => "request.count",
            "request_size" => "request.size",
            "response_size" => "response.size",
            other => other,
        };
        let service = exchange.matched.service.as_ref();
        let service = service
            .and_then(|service| service.name.as_deref().or(service.host.as_deref()))
            .unwrap_or_default();
        let mut tags = vec![
            format!("{service_tag}:{service}"),
            format!("{status_tag}:{}", exchange.response.status.as_str()),
        ];
        if let Some(caller) = metric.identifier.as_deref().and_then(|kind| caller(exchange, kind)) {
            tags.push(format!("{consumer_tag}:{caller}"));
        }
        tags.extend(metric.tags.iter().cloned());
        let value = value(exchange, &metric.name)?;
        Some(format!(
            "{}.{name}:{value}|{}{}|#{}",
            self.prefix,
            metric.kind,
            rate(metric),
            tags.join(",")
        ))
    }
}

fn rate(metric: &Metric) -> String {
    if metric.rate < 1.0 { format!("|@{}", metric.rate) } else { String::new() }
}

fn value(exchange: &Exchange, metric: &str) -> Option<u64> {
    Some(match metric {
        "latency" => exchange.moments.request(),
        "upstream_latency" => exchange.moments.upstream()?,
        "kong_latency" => kong_latency(exchange),
        "request_size" => exchange.request.size,
        "response_size" => exchange.response.size,
        _ => 1,
    })
}

fn caller(exchange: &Exchange, kind: &str) -> Option<String> {
    let consumer = exchange.identity.consumer.as_ref()?;
    let found = match kind {
        "consumer_id" => Some(&consumer.id),
        "username" => consumer.username.as_ref(),
        _ => consumer.custom_id.as_ref(),
    };
    // What separates names in this protocol may not stand in one.
    found.map(|text| text.replace(['.', ':', '|', '@', ' '], "_"))
}
