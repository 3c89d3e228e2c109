//! Backends of routes: which of a rule's references lead anywhere.

use kong::model::{Plugin, Service};
use serde_json::{Map, json};

use super::super::Context;
use super::super::rules::{Backend, BackendKind, Origin, Port, ServiceRule};
use crate::gateway_api::BackendRef;
use crate::object::Kind;
use crate::outcome::Reason;
use crate::snapshot::{GrantFrom, Snapshot};

/// Kong's default for all three timeouts of a service, in milliseconds.
pub(super) const DEFAULT_TIMEOUT: u32 = 60_000;
const DEFAULT_RETRIES: u16 = 5;

/// Why a reference leads nowhere; the words of the `ResolvedRefs` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// Not a Service.
    InvalidKind,
    /// Another namespace, and no ReferenceGrant.
    RefNotPermitted,
    /// No such Service.
    BackendNotFound,
}

impl Unresolved {
    /// The reason of the condition.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::InvalidKind => "InvalidKind",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::BackendNotFound => "BackendNotFound",
        }
    }

    /// A sentence on the backend that `name` names.
    pub(crate) fn message(self, name: &str) -> String {
        match self {
            Self::InvalidKind => format!("backend {name} is not a Service"),
            Self::RefNotPermitted => format!("no ReferenceGrant permits the backend {name}"),
            Self::BackendNotFound => format!("backend {name} does not exist"),
        }
    }
}

/// Finds the Service behind a reference of a route.
pub(crate) fn resolve<'a, F>(
    snapshot: &Snapshot,
    from: (Kind, &'a str),
    backend: &'a BackendRef<F>,
) -> Result<Backend<'a>, Unresolved> {
    let (kind, own) = from;
    let namespace = backend.namespace_or(own);
    if !backend.is_service() {
        return Err(Unresolved::InvalidKind);
    }
    let granted = || {
        let from = GrantFrom { kind, namespace: own };
        snapshot.granted(from, Kind::Service, namespace, &backend.name)
    };
    if namespace != own && !granted() {
        return Err(Unresolved::RefNotPermitted);
    }
    if snapshot.services.get(namespace, &backend.name).is_none() {
        return Err(Unresolved::BackendNotFound);
    }
    Ok(Backend {
        kind: BackendKind::Service,
        namespace,
        name: &backend.name,
        port: backend.port.map_or(Port::Implicit, Port::Number),
        weight: backend.weight.map(|weight| u16::try_from(weight).unwrap_or(u16::MAX)),
    })
}

/// The Kong service of a rule. References that lead nowhere are left out with a warning; when all do, HTTP and gRPC
/// requests are answered with 500, as Gateway API demands.
pub(super) fn service<'a, F>(
    ctx: &mut Context<'a>,
    origin: Origin<'a>,
    name: &str,
    protocol: &str,
    references: &'a [BackendRef<F>],
) -> ServiceRule<'a> {
    let mut backends = Vec::new();
    for reference in references {
        let namespace = reference.namespace_or(origin.namespace());
        ctx.reads.note(Kind::Service, namespace, &reference.name);
        match resolve(ctx.snapshot, (origin.kind, origin.namespace()), reference) {
            Ok(backend) => backends.push(backend),
            Err(unresolved) => {
                let reason = match unresolved {
                    Unresolved::InvalidKind => Reason::Invalid,
                    Unresolved::RefNotPermitted => Reason::RefNotPermitted,
                    Unresolved::BackendNotFound => Reason::RefNotFound,
                };
                let target = reference.namespace_or(origin.namespace());
                let message = unresolved.message(&format!("{target}/{}", reference.name));
                ctx.outcomes.warn(origin.reference(), reason, message);
            }
        }
    }
    let dead_end = backends.is_empty() && !references.is_empty();
    let answers = protocol.starts_with("http") || protocol.starts_with("grpc");
    ServiceRule {
        service: Service {
            name: Some(name.to_owned()),
            host: Some(name.to_owned()),
            protocol: Some(protocol.to_owned()),
            connect_timeout: Some(DEFAULT_TIMEOUT),
            read_timeout: Some(DEFAULT_TIMEOUT),
            write_timeout: Some(DEFAULT_TIMEOUT),
            retries: Some(DEFAULT_RETRIES),
            ..Service::default()
        },
        backends,
        parent: origin,
        routes: Vec::new(),
        plugins: if dead_end && answers { vec![termination()] } else { Vec::new() },
        cookie: None,
    }
}

/// The protocol that backends of an HTTP rule announce in their ports, as far as they agree; plain HTTP otherwise.
pub(super) fn protocol<F>(
    snapshot: &Snapshot,
    own: &str,
    references: &[BackendRef<F>],
) -> &'static str {
    let announced = |reference: &BackendRef<F>| {
        let service = snapshot.services.get(reference.namespace_or(own), &reference.name)?;
        let ports = service.spec.as_ref()?.ports.as_ref()?;
        let port = ports.iter().find(|port| reference.port.is_none_or(|one| one == port.port))?;
        Some(match port.app_protocol.as_deref()? {
            "kubernetes.io/h2c" => "grpc",
            "kubernetes.io/wss" | "https" => "https",
            _ => "http",
        })
    };
    let mut all = references.iter().filter_map(announced);
    let first = all.next().unwrap_or("http");
    if all.all(|other| other == first) { first } else { "http" }
}

/// The answer of a service none of whose backends exists.
pub(super) fn termination() -> Plugin {
    refusal("no existing backendRef provided")
}

/// An answer with 500 instead of a request to any backend.
pub(crate) fn refusal(message: &str) -> Plugin {
    let mut config = Map::new();
    config.insert("status_code".to_owned(), json!(500));
    config.insert("message".to_owned(), json!(message));
    Plugin {
        name: Some("request-termination".to_owned()),
        config: Some(config),
        ..Plugin::default()
    }
}

/// What tells the backends of two rules apart: everything but their order.
pub(super) fn fingerprint(own: &str, references: &[BackendRef]) -> String {
    let mut parts: Vec<String> = references
        .iter()
        .map(|reference| {
            let filters = serde_json::to_string(&reference.filters).unwrap_or_default();
            format!(
                "{}|{}|{}|{filters}",
                reference.group(),
                reference.kind(),
                label(own, reference)
            )
        })
        .collect();
    parts.sort();
    parts.join("_")
}

/// A backend in the name of a combined Kong service.
fn label(own: &str, reference: &BackendRef) -> String {
    let mut label = format!("{}.{}", reference.namespace_or(own), reference.name);
    for number in [reference.port, reference.weight].into_iter().flatten() {
        label.push_str(&format!(".{number}"));
    }
    label
}

/// The name of a Kong service that is shared by all rules of a namespace with these backends.
///
/// Kong takes names of at most 511 characters here: a longer one keeps its first backend and a hash of the rest.
pub(super) fn combined_name(own: &str, references: &[BackendRef]) -> String {
    const LONGEST: usize = 511;
    let mut labels: Vec<String> =
        references.iter().map(|reference| label(own, reference)).collect();
    labels.sort();
    let prefix = format!("httproute.{own}.svc.");
    if labels.is_empty() {
        return format!("{prefix}_");
    }
    let name = format!("{prefix}{}", labels.join("_"));
    if name.len() <= LONGEST {
        return name;
    }
    let hash = <sha2::Sha256 as sha2::Digest>::digest(name.as_bytes());
    format!("{prefix}{}_combined.{}", labels[0], hex::encode(hash))
}
