//! Entities as documents hold them, and what the table makes of each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::balance::{Algorithm, HashOn};
use crate::exchange::Entity;
use crate::health::{Active, CheckKind, Checks, Limits};
use crate::route::{Endpoint, Flavor, Protocol, Protocols, Rule};
use crate::table::{Service, Target, Upstream, UpstreamTls};
use crate::uri::PathHandling;

/// `{"id": …}`.
#[derive(Deserialize)]
pub(super) struct Reference {
    pub(super) id: String,
}

/// A list of protocols, which needs no list to be kept in.
struct Spoken(Protocols);

impl<'de> Deserialize<'de> for Spoken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Spoken;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of protocols")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Spoken, A::Error> {
                let mut all = Vec::with_capacity(4);
                while let Some(name) = names.next_element::<Word<'de>>()? {
                    all.extend(Protocol::parse(&name.0));
                }
                Ok(Spoken(all.into_iter().collect()))
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

/// A text that is looked at where it stands.
#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether paths are handled in the way that is not the default.
fn is_second_way<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<Word<'de>>::deserialize(deserializer)?.is_some_and(|way| way.0 == "v1"))
}

#[derive(Deserialize)]
struct AddressEntity {
    ip: Option<String>,
    port: Option<u16>,
}

fn yes() -> bool {
    true
}

/// A route.
#[derive(Deserialize)]
pub(super) struct RouteEntity {
    pub(super) id: Uuid,
    pub(super) name: Option<String>,
    pub(super) service: Option<Reference>,
    created_at: Option<i64>,
    protocols: Option<Spoken>,
    methods: Option<Vec<String>>,
    hosts: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    headers: Option<BTreeMap<String, Vec<String>>>,
    snis: Option<Vec<String>>,
    sources: Option<Vec<AddressEntity>>,
    destinations: Option<Vec<AddressEntity>>,
    regex_priority: Option<serde_json::Number>,
    expression: Option<String>,
    priority: Option<serde_json::Number>,
    #[serde(default = "yes")]
    pub(super) strip_path: bool,
    #[serde(default, rename = "path_handling", deserialize_with = "is_second_way")]
    second_way: bool,
    #[serde(default)]
    pub(super) preserve_host: bool,
    https_redirect_status_code: Option<u16>,
    #[serde(default = "yes")]
    pub(super) request_buffering: bool,
    #[serde(default = "yes")]
    pub(super) response_buffering: bool,
}

impl RouteEntity {
    pub(super) fn protocols(&self) -> Protocols {
        match &self.protocols {
            Some(Spoken(protocols)) => *protocols,
            None => [Protocol::Http, Protocol::Https].into_iter().collect(),
        }
    }

    /// Only the traditional flavour knows the second way.
    pub(super) fn path_handling(&self, flavor: Flavor) -> PathHandling {
        if flavor == Flavor::Traditional && self.second_way {
            PathHandling::V1
        } else {
            PathHandling::V0
        }
    }

    pub(super) fn https_redirect(&self) -> StatusCode {
        let status = self.https_redirect_status_code.unwrap_or(426);
        StatusCode::from_u16(status).unwrap_or(StatusCode::UPGRADE_REQUIRED)
    }

    /// What a request must look like; the fields that say so are taken out.
    pub(super) fn rule(&mut self, flavor: Flavor) -> Rule {
        let endpoints = |list: Option<Vec<AddressEntity>>| {
            let list = list.unwrap_or_default().into_iter();
            list.map(|one| Endpoint { ip: one.ip, port: one.port }).collect()
        };
        Rule {
            id: self.id,
            created_at: self.created_at.unwrap_or_default(),
            protocols: self.protocols(),
            methods: self.methods.take().unwrap_or_default(),
            hosts: self.hosts.take().unwrap_or_default(),
            paths: self.paths.take().unwrap_or_default(),
            headers: self.headers.take().unwrap_or_default().into_iter().collect(),
            snis: self.snis.take().unwrap_or_default(),
            sources: endpoints(self.sources.take()),
            destinations: endpoints(self.destinations.take()),
            regex_priority: self.regex_priority.as_ref().map_or(0, whole),
            expression: self.expression.take(),
            priority: self.priority.as_ref().map_or(0, whole).unsigned_abs(),
            strip_path: self.strip_path,
            path_handling: self.path_handling(flavor),
        }
    }
}

/// A number without its fraction.
#[expect(clippy::cast_possible_truncation, reason = "huge numbers saturate")]
fn whole(number: &serde_json::Number) -> i64 {
    number.as_i64().unwrap_or_else(|| number.as_f64().unwrap_or_default() as i64)
}

/// A service.
#[derive(Deserialize)]
pub(super) struct ServiceEntity {
    pub(super) id: Uuid,
    pub(super) name: Option<String>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    protocol: Option<String>,
    pub(super) host: String,
    port: Option<u16>,
    path: Option<String>,
    retries: Option<u32>,
    connect_timeout: Option<u64>,
    write_timeout: Option<u64>,
    read_timeout: Option<u64>,
    tls_verify: Option<bool>,
    tls_verify_depth: Option<u32>,
    ca_certificates: Option<Vec<String>>,
    client_certificate: Option<Reference>,
}

impl ServiceEntity {
    pub(super) fn service(self, entity: Arc<Entity>) -> Service {
        let millis = |value: Option<u64>| Duration::from_millis(value.unwrap_or(60_000));
        Service {
            entity,
            protocol: self.protocol.as_deref().and_then(Protocol::parse).unwrap_or(Protocol::Http),
            host: self.host.into(),
            port: self.port.unwrap_or(80),
            path: self
                .path
                .filter(|path| !path.is_empty())
                .unwrap_or_else(|| "/".to_owned())
                .into(),
            retries: self.retries.unwrap_or(5),
            connect_timeout: millis(self.connect_timeout),
            write_timeout: millis(self.write_timeout),
            read_timeout: millis(self.read_timeout),
            tls: UpstreamTls {
                verify: self.tls_verify,
                depth: self.tls_verify_depth,
                authorities: self
                    .ca_certificates
                    .unwrap_or_default()
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                certificate: self.client_certificate.map(|one| one.id.into()),
                ..UpstreamTls::default()
            },
        }
    }
}

/// A certificate.
#[derive(Deserialize)]
pub(super) struct CertificateEntity {
    pub(super) id: Uuid,
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) cert_alt: Option<String>,
    pub(super) key_alt: Option<String>,
}

/// A server name.
#[derive(Deserialize)]
pub(super) struct SniEntity {
    pub(super) name: String,
    pub(super) certificate: Reference,
}

/// A target.
#[derive(Deserialize)]
pub(super) struct TargetEntity {
    pub(super) id: Uuid,
    pub(super) upstream: Reference,
    target: String,
    weight: Option<u32>,
}

impl TargetEntity {
    /// The target; one without a port is none.
    pub(super) fn target(self) -> Option<Target> {
        let (host, port) = crate::route::compat::split_port(&self.target);
        Some(Target {
            id: self.id.to_string().into(),
            host: host.trim_matches(['[', ']']).into(),
            port: port?,
            weight: self.weight.unwrap_or(100),
            target: self.target.clone().into(),
        })
    }
}

/// An upstream.
#[derive(Deserialize)]
pub(super) struct UpstreamEntity {
    pub(super) id: Uuid,
    name: String,
    algorithm: Option<String>,
    hash_on: Option<String>,
    hash_fallback: Option<String>,
    hash_on_header: Option<String>,
    hash_fallback_header: Option<String>,
    hash_on_cookie: Option<String>,
    hash_on_cookie_path: Option<String>,
    hash_on_query_arg: Option<String>,
    hash_fallback_query_arg: Option<String>,
    hash_on_uri_capture: Option<String>,
    hash_fallback_uri_capture: Option<String>,
    slots: Option<usize>,
    host_header: Option<String>,
    healthchecks: Option<HealthchecksEntity>,
    client_certificate: Option<Reference>,
}

#[derive(Deserialize, Default)]
struct HealthchecksEntity {
    threshold: Option<f64>,
    active: Option<ChecksEntity>,
    passive: Option<ChecksEntity>,
}

#[derive(Deserialize, Default)]
struct ChecksEntity {
    #[serde(rename = "type")]
    kind: Option<String>,
    http_path: Option<String>,
    headers: Option<BTreeMap<String, Vec<String>>>,
    timeout: Option<f64>,
    concurrency: Option<usize>,
    https_verify_certificate: Option<bool>,
    https_sni: Option<String>,
    healthy: Option<HealthyEntity>,
    unhealthy: Option<UnhealthyEntity>,
}

#[derive(Deserialize, Default)]
struct HealthyEntity {
    interval: Option<f64>,
    http_statuses: Option<Vec<u16>>,
    successes: Option<u32>,
}

#[derive(Deserialize, Default)]
struct UnhealthyEntity {
    interval: Option<f64>,
    http_statuses: Option<Vec<u16>>,
    http_failures: Option<u32>,
    tcp_failures: Option<u32>,
    timeouts: Option<u32>,
}

fn seconds(value: Option<f64>, default: f64) -> Duration {
    Duration::try_from_secs_f64(value.unwrap_or(default)).unwrap_or_default()
}

fn limits(healthy: &HealthyEntity, unhealthy: &UnhealthyEntity) -> Limits {
    Limits {
        successes: healthy.successes.unwrap_or(0),
        healthy_statuses: healthy.http_statuses.clone().unwrap_or_default(),
        http_failures: unhealthy.http_failures.unwrap_or(0),
        unhealthy_statuses: unhealthy.http_statuses.clone().unwrap_or_default(),
        tcp_failures: unhealthy.tcp_failures.unwrap_or(0),
        timeouts: unhealthy.timeouts.unwrap_or(0),
    }
}

impl HealthchecksEntity {
    fn checks(self) -> Checks {
        let active = self.active.unwrap_or_default();
        let passive = self.passive.unwrap_or_default();
        let (healthy, unhealthy) =
            (active.healthy.unwrap_or_default(), active.unhealthy.unwrap_or_default());
        let kind = match active.kind.as_deref() {
            Some("https") => CheckKind::Https,
            Some("tcp") => CheckKind::Tcp,
            Some("grpc") => CheckKind::Grpc,
            Some("grpcs") => CheckKind::Grpcs,
            _ => CheckKind::Http,
        };
        Checks {
            threshold: self.threshold.unwrap_or(0.0),
            passive_http: passive.kind.as_deref() != Some("tcp"),
            passive: limits(
                &passive.healthy.unwrap_or_default(),
                &passive.unhealthy.unwrap_or_default(),
            ),
            active: Active {
                kind,
                path: active.http_path.unwrap_or_else(|| "/".to_owned()),
                headers: active.headers.unwrap_or_default().into_iter().collect(),
                timeout: seconds(active.timeout, 1.0),
                concurrency: active.concurrency.unwrap_or(10),
                verify_certificate: active.https_verify_certificate.unwrap_or(true),
                sni: active.https_sni,
                healthy_interval: seconds(healthy.interval, 0.0),
                unhealthy_interval: seconds(unhealthy.interval, 0.0),
                limits: limits(&healthy, &unhealthy),
            },
        }
    }
}

impl UpstreamEntity {
    fn hash_on(&self, fallback: bool) -> HashOn {
        let pick = |on: &Option<String>, other: &Option<String>| {
            if fallback { other.clone() } else { on.clone() }.unwrap_or_default()
        };
        let kind = if fallback { &self.hash_fallback } else { &self.hash_on };
        match kind.as_deref() {
            Some("consumer") => HashOn::Consumer,
            Some("ip") => HashOn::Ip,
            Some("header") => {
                HashOn::Header(pick(&self.hash_on_header, &self.hash_fallback_header))
            }
            Some("cookie") => HashOn::Cookie {
                name: self.hash_on_cookie.clone().unwrap_or_default(),
                path: self.hash_on_cookie_path.clone().unwrap_or_else(|| "/".to_owned()),
            },
            Some("path") => HashOn::Path,
            Some("query_arg") => {
                HashOn::QueryArg(pick(&self.hash_on_query_arg, &self.hash_fallback_query_arg))
            }
            Some("uri_capture") => {
                HashOn::UriCapture(pick(&self.hash_on_uri_capture, &self.hash_fallback_uri_capture))
            }
            _ => HashOn::None,
        }
    }

    pub(super) fn upstream(self, targets: Vec<TargetEntity>) -> Upstream {
        let (hash_on, hash_fallback) = (self.hash_on(false), self.hash_on(true));
        let algorithm = match self.algorithm.as_deref() {
            Some("consistent-hashing") => Algorithm::ConsistentHashing,
            Some("least-connections") => Algorithm::LeastConnections,
            Some("latency") => Algorithm::Latency,
            _ if hash_on != HashOn::None => Algorithm::ConsistentHashing,
            _ => Algorithm::RoundRobin,
        };
        Upstream {
            id: self.id.to_string().into(),
            streams: false,
            targets: targets.into_iter().filter_map(TargetEntity::target).collect(),
            name: self.name.into(),
            algorithm,
            hash_on,
            hash_fallback,
            slots: self.slots.unwrap_or(10_000),
            host_header: self.host_header.map(Into::into),
            checks: self.healthchecks.unwrap_or_default().checks(),
            certificate: self.client_certificate.map(|one| one.id.into()),
        }
    }
}
