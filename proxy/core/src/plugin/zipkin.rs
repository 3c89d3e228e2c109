//! zipkin: trace context passed on, and spans of the request, of the upstream and of every try.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde_json::{Map, Value, json};

use super::loggers::queue;
use super::record::is_stream;
use super::trace::{Format, Propagation, random_id};
use super::{Access, BuildError, Config, Framing, HttpTarget, Plugin, Services, Sink, Target};
use crate::exchange::Exchange;

struct Zipkin {
    propagation: Propagation,
    sink: Option<Arc<dyn Sink>>,
    ratio: f64,
    short_ids: bool,
    service_name: String,
    default_service: Option<String>,
    with_path: bool,
    as_tags: bool,
    include_credential: bool,
    tags_header: Option<HeaderName>,
    static_tags: Vec<(String, String)>,
    answer_header: Option<HeaderName>,
    services: Arc<dyn Services>,
}

/// The spans of a request that is traced.
struct Spans {
    trace: String,
    request: String,
    parent: Option<String>,
    proxy: String,
    sampled: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let header = |field: &str| config.text(field).and_then(|name| name.parse().ok());
    let tags = config.config.get("static_tags").and_then(Value::as_array).into_iter().flatten();
    let tag = |tag: &Value| {
        Some((tag.get("name")?.as_str()?.to_owned(), tag.get("value")?.as_str()?.to_owned()))
    };
    let sink = config.text("http_endpoint").map(|url| {
        config.context.services.sink(&Target::Http(Box::new(HttpTarget {
            owner: config.id.to_owned(),
            url: url.to_owned(),
            method: Method::POST,
            headers: HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )]),
            timeout: Duration::from_secs_f64(
                config.number("read_timeout").unwrap_or(5_000.0).max(1.0) / 1_000.0,
            ),
            framing: Framing::JsonList,
            queue: queue(config),
        })))
    });
    Ok(Box::new(Zipkin {
        propagation: Propagation::of(config, Format::B3),
        sink,
        ratio: config.number("sample_ratio").unwrap_or(0.001),
        short_ids: config.number("traceid_byte_count") == Some(8.0),
        service_name: config.string("local_service_name"),
        default_service: config.text("default_service_name").map(str::to_owned),
        with_path: config.text("http_span_name") == Some("method_path"),
        as_tags: config.text("phase_duration_flavor") == Some("tags"),
        include_credential: config.flag("include_credential"),
        tags_header: header("tags_header"),
        static_tags: tags.filter_map(tag).collect(),
        answer_header: header("http_response_header_for_traceid"),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for Zipkin {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let services = self.services.as_ref();
        let incoming = self.propagation.read(exchange);
        let trace = incoming.trace.unwrap_or_else(|| self.new_trace());
        let sampled = incoming.sampled.unwrap_or_else(|| self.samples());
        // Older forms share the caller's span between both sides, the others make a child of it.
        let shared = incoming.span.filter(|_| incoming.reuses_span);
        let request = shared.unwrap_or_else(|| random_id(services));
        let parent = if shared.is_some() { incoming.parent } else { incoming.span };
        let outgoing = incoming.continued(trace, random_id(services), Some(request), sampled);
        self.propagation.write(exchange, &incoming, &outgoing);
        let trace = hex::encode(outgoing.trace);
        if let Some(name) = &self.answer_header
            && let Ok(value) = HeaderValue::from_str(&trace)
        {
            exchange.early.insert(name.clone(), value);
        }
        exchange.notes.put(Spans {
            trace,
            request: hex::encode(request),
            parent: parent.map(hex::encode),
            proxy: hex::encode(outgoing.span),
            sampled,
        });
        Access::Continue
    }

    fn log(&self, exchange: &mut Exchange) {
        let (Some(spans), Some(sink)) = (exchange.notes.take::<Spans>(), &self.sink) else {
            return;
        };
        if !spans.sampled {
            return;
        }
        let services = self.services.as_ref();
        for (at, _) in exchange.tries.iter().enumerate() {
            let id = hex::encode(random_id::<8>(services));
            sink.send(self.attempt(exchange, &spans, at, &id).to_string().into());
        }
        if exchange.moments.forwarded.is_some() {
            sink.send(self.proxy(exchange, &spans).to_string().into());
        }
        sink.send(self.request(exchange, &spans).to_string().into());
    }
}

impl Zipkin {
    fn new_trace(&self) -> [u8; 16] {
        let mut id = random_id::<16>(self.services.as_ref());
        if self.short_ids {
            id[..8].fill(0);
        }
        id
    }

    fn samples(&self) -> bool {
        let mut bytes = [0; 4];
        self.services.random(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) < self.ratio * f64::from(u32::MAX)
    }

    fn name(&self, exchange: &Exchange) -> String {
        let request = &exchange.request;
        if is_stream(exchange) {
            "stream".to_owned()
        } else if self.with_path {
            format!("{} {}", request.method, request.path)
        } else {
            request.method.to_string()
        }
    }

    fn span(&self, spans: &Spans, id: &str, kind: &str, name: String) -> Map<String, Value> {
        let mut span = Map::new();
        span.insert("traceId".into(), spans.trace.clone().into());
        span.insert("id".into(), id.into());
        span.insert("kind".into(), kind.into());
        span.insert("name".into(), name.into());
        span.insert("localEndpoint".into(), json!({ "serviceName": self.service_name }));
        span
    }

    fn request(&self, exchange: &Exchange, spans: &Spans) -> Value {
        let request = &exchange.request;
        let moments = &exchange.moments;
        let mut span = self.span(spans, &spans.request, "SERVER", self.name(exchange));
        if let Some(parent) = &spans.parent {
            span.insert("parentId".into(), parent.clone().into());
        }
        time(&mut span, moments.started, moments.ended.unwrap_or(moments.started));
        span.insert(
            "remoteEndpoint".into(),
            endpoint(exchange.client.ip, exchange.client.port, None),
        );
        let mut tags = Map::new();
        let mut tag = |name: &str, value: String| tags.insert(name.to_owned(), value.into());
        tag("lc", "kong".into());
        if !is_stream(exchange) {
            tag("http.method", request.method.to_string());
            tag("http.host", request.host.clone());
            tag("http.path", request.path.clone());
            tag("http.protocol", protocol(request.version).to_owned());
            tag("http.status_code", exchange.response.status.as_str().to_owned());
        }
        tag("kong.node.id", self.services.node_id().to_owned());
        if let Some(consumer) = &exchange.identity.consumer {
            tag("kong.consumer", consumer.id.to_string());
        }
        if let (Some(credential), true) = (&exchange.identity.credential, self.include_credential) {
            tag("kong.credential", credential.id.to_string());
        }
        for (name, value) in &self.static_tags {
            tag(name, value.clone());
        }
        let asked = self
            .tags_header
            .as_ref()
            .and_then(|name| request.headers.get(name))
            .and_then(crate::exchange::text);
        for (name, value) in asked
            .into_iter()
            .flat_map(|tags| tags.split(';'))
            .filter_map(|pair| pair.split_once('='))
        {
            tag(name.trim(), value.trim().to_owned());
        }
        if self.as_tags {
            tag("kong.rewrite.duration_ms", "0".into());
        } else {
            span.insert("annotations".into(), annotations(moments.started, &["krf", "krs"]));
        }
        span.insert("tags".into(), Value::Object(tags));
        Value::Object(span)
    }

    fn proxy(&self, exchange: &Exchange, spans: &Spans) -> Value {
        let moments = &exchange.moments;
        let mut span =
            self.span(spans, &spans.proxy, "CLIENT", format!("{} (proxy)", self.name(exchange)));
        span.insert("parentId".into(), spans.request.clone().into());
        time(&mut span, moments.started, moments.ended.unwrap_or(moments.started));
        let service = self.service(exchange);
        if let Some(last) = exchange.tries.last() {
            span.insert("remoteEndpoint".into(), endpoint(last.ip, last.port, service));
        }
        let mut tags = self.entity_tags(exchange);
        if let Some(host) =
            exchange.matched.service.as_ref().and_then(|service| service.host.clone())
        {
            tags.insert("peer.hostname".into(), host.as_ref().into());
        }
        let (phases, marks): (&[&str], &[&str]) = if is_stream(exchange) {
            (&["preread"], &["kps", "kpf"])
        } else {
            (
                &["access", "header_filter", "body_filter"],
                &["khs", "khf", "kbs", "kas", "kaf", "kbf"],
            )
        };
        if self.as_tags {
            for phase in phases {
                tags.insert(format!("kong.{phase}.duration_ms"), "0".into());
            }
        } else {
            span.insert("annotations".into(), annotations(moments.started, marks));
        }
        span.insert("tags".into(), Value::Object(tags));
        Value::Object(span)
    }

    fn attempt(&self, exchange: &Exchange, spans: &Spans, at: usize, id: &str) -> Value {
        let Some(attempt) = exchange.tries.get(at) else { return Value::Null };
        let name = format!("{} (balancer try {})", self.name(exchange), at + 1);
        let mut span = self.span(spans, id, "CLIENT", name);
        span.insert("parentId".into(), spans.request.clone().into());
        time(&mut span, attempt.started, attempt.started + attempt.latency);
        span.insert(
            "remoteEndpoint".into(),
            endpoint(attempt.ip, attempt.port, self.service(exchange)),
        );
        let mut tags = self.entity_tags(exchange);
        tags.insert("kong.balancer.try".into(), (at + 1).to_string().into());
        if let Some(state) = attempt.state {
            tags.insert("error".into(), "true".into());
            tags.insert("kong.balancer.state".into(), state.into());
        }
        if let Some(code) = attempt.code {
            tags.insert("http.status_code".into(), code.to_string().into());
        }
        span.insert("tags".into(), Value::Object(tags));
        Value::Object(span)
    }

    fn service<'a>(&'a self, exchange: &'a Exchange) -> Option<&'a str> {
        let service = exchange.matched.service.as_ref();
        service.and_then(|service| service.name.as_deref()).or(self.default_service.as_deref())
    }

    fn entity_tags(&self, exchange: &Exchange) -> Map<String, Value> {
        let mut tags = Map::new();
        let entities = [("route", &exchange.matched.route), ("service", &exchange.matched.service)];
        for (kind, entity) in entities {
            let Some(entity) = entity else { continue };
            tags.insert(format!("kong.{kind}"), entity.id.as_ref().into());
            if let Some(name) = &entity.name {
                tags.insert(format!("kong.{kind}_name"), name.as_ref().into());
            }
        }
        tags
    }
}

/// The protocol with its version as a number.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1",
        _ => "HTTP/1.1",
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn time(span: &mut Map<String, Value>, from: Duration, to: Duration) {
    span.insert("timestamp".into(), microseconds(from).into());
    span.insert("duration".into(), microseconds(to.saturating_sub(from)).max(1).into());
}

fn annotations(at: Duration, names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "value": name, "timestamp": microseconds(at) })).collect()
}

fn endpoint(ip: IpAddr, port: u16, service: Option<&str>) -> Value {
    let family = if ip.is_ipv6() { "ipv6" } else { "ipv4" };
    let mut endpoint = json!({ family: ip.to_string(), "port": port });
    if let Some(service) = service {
        endpoint["serviceName"] = service.into();
    }
    endpoint
}
