//! statsd and datadog: figures of each request as datagrams.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::record::kong_latency;
use super::{BuildError, Config, Plugin, Services, Sink, Target};
use crate::exchange::{Entity, Exchange};

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
    /// Names carry everything, unless tags are wanted.
    Statsd(Box<Statsd>),
    /// Tags carry it.
    Datadog { service_tag: String, status_tag: String, consumer_tag: String },
}

struct Statsd {
    consumer: String,
    service: String,
    workspace: String,
    /// Which statuses are told of; all where there is none.
    statuses: Vec<(u16, u16)>,
    tags: Option<TagStyle>,
    node: String,
    /// How many bytes of lines share a datagram; zero is one line each.
    packet: usize,
    /// Whether lines follow each other on a connection.
    lines: bool,
}

/// Where tags stand in a line.
#[derive(Clone, Copy)]
enum TagStyle {
    Dogstatsd,
    Influxdb,
    Librato,
    Signalfx,
}

impl TagStyle {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dogstatsd" => Self::Dogstatsd,
            "influxdb" => Self::Influxdb,
            "librato" => Self::Librato,
            "signalfx" => Self::Signalfx,
            _ => return None,
        })
    }

    fn line(self, name: &str, value: &str, tags: &[(&str, String)]) -> String {
        let join = |by: &str| {
            tags.iter().map(|(key, text)| format!("{key}{by}{text}")).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Dogstatsd => format!("{name}:{value}|#{}", join(":")),
            Self::Influxdb => format!("{name},{}:{value}", join("=")),
            Self::Librato => format!("{name}#{}:{value}", join("=")),
            Self::Signalfx => format!("{name}[{}]:{value}", join("=")),
        }
    }
}

pub(super) fn build_statsd(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let node = config.context.services.hostname().replace('.', "_");
    let tags = config.text("tag_style").and_then(TagStyle::named);
    let dialect = Statsd {
        consumer: config.string("consumer_identifier_default"),
        service: config.string("service_identifier_default"),
        workspace: config.string("workspace_identifier_default"),
        statuses: config
            .list("allow_status_codes")
            .iter()
            .filter_map(|range| span(range))
            .collect(),
        tags,
        packet: config.number("udp_packet_size").unwrap_or(0.0) as usize,
        lines: config.flag("use_tcp"),
        node,
    };
    let prefix = (config.flag("hostname_in_prefix") && tags.is_none())
        .then(|| format!("{}.node.{}", config.string("prefix"), dialect.node));
    let mut figures = figures(config, Dialect::Statsd(Box::new(dialect)));
    figures.prefix = prefix.unwrap_or(figures.prefix);
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
        let sampled = self.metrics.iter().filter(|metric| self.samples(metric.rate));
        match &self.dialect {
            Dialect::Statsd(statsd) => {
                let status = exchange.response.status.as_u16();
                let told = |(from, to): &(u16, u16)| (*from..=*to).contains(&status);
                if statsd.statuses.is_empty() || statsd.statuses.iter().any(told) {
                    let lines = sampled.filter_map(|metric| self.statsd(exchange, metric, statsd));
                    self.send(statsd, lines);
                }
            }
            Dialect::Datadog { service_tag, status_tag, consumer_tag } => {
                let names = [service_tag, status_tag, consumer_tag];
                for line in sampled.filter_map(|metric| self.datadog(exchange, metric, names)) {
                    self.sink.send(Bytes::from(line));
                }
            }
        }
    }
}

impl Figures {
    /// Sends lines, several in a datagram where they may share one.
    fn send(&self, statsd: &Statsd, lines: impl Iterator<Item = String>) {
        let mut packet = String::new();
        for line in lines {
            if statsd.lines {
                packet.push_str(&line);
                packet.push('\n');
                continue;
            }
            if !packet.is_empty() && packet.len() + 1 + line.len() > statsd.packet {
                self.sink.send(Bytes::from(std::mem::take(&mut packet)));
            }
            if !packet.is_empty() {
                packet.push('\n');
            }
            packet.push_str(&line);
        }
        if !packet.is_empty() {
            self.sink.send(Bytes::from(packet));
        }
    }

    fn samples(&self, rate: f64) -> bool {
        if rate >= 1.0 {
            return true;
        }
        let mut bytes = [0; 4];
        self.services.random(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) < rate * f64::from(u32::MAX)
    }

    fn statsd(&self, exchange: &Exchange, metric: &Metric, statsd: &Statsd) -> Option<String> {
        if let Some(style) = statsd.tags {
            return self.tagged(exchange, metric, (statsd, style));
        }
        let status = exchange.response.status.as_str();
        let caller = || caller(exchange, metric.identifier.as_deref().unwrap_or(&statsd.consumer));
        let scope = match &exchange.matched.service {
            None => "global.unmatched".to_owned(),
            Some(entity) => {
                let name = statsd.service(entity, metric).unwrap_or("unnamed");
                format!("service.{}", name.replace('.', "_"))
            }
        };
        let rate = rate(metric);
        let count = |name: String| Some(format!("{}.{name}:1|c{rate}", self.prefix));
        match metric.name.as_str() {
            "status_count" => count(format!("{scope}.status.{status}")),
            "unique_users" => Some(format!("{}.{scope}.user.uniques:{}|s", self.prefix, caller()?)),
            "request_per_user" => count(format!("{scope}.user.{}.request.count", caller()?)),
            "status_count_per_user" => count(format!("{scope}.user.{}.status.{status}", caller()?)),
            "status_count_per_workspace" => {
                let workspace = statsd.workspace(metric);
                count(format!("{scope}.workspace.{workspace}.status.{status}"))
            }
            "status_count_per_user_per_route" => {
                let route = &exchange.matched.route.as_ref()?.id;
                count(format!("route.{route}.user.{}.status.{status}", caller()?))
            }
            name => {
                let (name, value) = (plain(name)?, value(exchange, name)?);
                let kind = metric.kind;
                Some(format!("{}.{scope}.{name}:{value}|{kind}{rate}", self.prefix))
            }
        }
    }

    /// A line whose tags say what its name does not. What counts callers and statuses has no such line.
    fn tagged(
        &self,
        exchange: &Exchange,
        metric: &Metric,
        (statsd, style): (&Statsd, TagStyle),
    ) -> Option<String> {
        let name = format!("{}.{}", self.prefix, plain(&metric.name)?);
        let kind = metric.kind;
        let value = format!("{}|{kind}{}", value(exchange, &metric.name)?, rate(metric));
        let service = exchange.matched.service.as_ref();
        let Some(service) = service.and_then(|entity| statsd.service(entity, metric)) else {
            return Some(format!("{name}:{value}"));
        };
        let mut tags = vec![("service", service.to_owned())];
        if let Some(route) = &exchange.matched.route {
            tags.push(("route", route.label().to_owned()));
        }
        tags.push(("workspace", statsd.workspace(metric).to_owned()));
        let identifier = metric.identifier.as_deref().unwrap_or(&statsd.consumer);
        tags.extend(caller(exchange, identifier).map(|caller| ("consumer", caller)));
        tags.push(("node", statsd.node.clone()));
        tags.push(("status", exchange.response.status.as_str().to_owned()));
        Some(style.line(&name, &value, &tags))
    }

    fn datadog(&self, exchange: &Exchange, metric: &Metric, names: [&String; 3]) -> Option<String> {
        let [service_tag, status_tag, consumer_tag] = names;
        let name = plain(&metric.name)?;
        let service = exchange.matched.service.as_ref()?;
        let service = service.name.as_deref().or(service.host.as_deref()).unwrap_or_default();
        let service = service.replace('.', "_");
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

impl Statsd {
    /// What a service is called.
    fn service<'a>(&self, entity: &'a Entity, metric: &Metric) -> Option<&'a str> {
        match metric.service.as_ref().unwrap_or(&self.service).as_str() {
            "service_id" => Some(&entity.id),
            "service_name" => entity.name.as_deref(),
            "service_host" => entity.host.as_deref(),
            _ => entity.name.as_deref().or(entity.host.as_deref()),
        }
    }

    /// What the workspace is called.
    fn workspace(&self, metric: &Metric) -> &'static str {
        match metric.workspace.as_ref().unwrap_or(&self.workspace).as_str() {
            "workspace_name" => "default",
            _ => super::DEFAULT_WORKSPACE,
        }
    }
}

/// What a figure without more to its name is called on the wire.
fn plain(metric: &str) -> Option<&'static str> {
    Some(match metric {
        "request_count" => "request.count",
        "request_size" => "request.size",
        "response_size" => "response.size",
        "latency" => "latency",
        "upstream_latency" => "upstream_latency",
        "kong_latency" => "kong_latency",
        _ => return None,
    })
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
