//! What the sources write down: Kong services with their backends and routes, before anything of
//! the cluster behind the backends has been looked at.

use std::collections::BTreeMap;

use crate::secret::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kong::model::{Plugin, Route, Service};

use super::gateway::Policies;
use crate::object::{Kind, Object, ObjectRef};

/// The object behind an entity.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its metadata: name, namespace, annotations, age.
    pub meta: &'a ObjectMeta,
    /// The metadata of an object in its shadow, whose annotations count where its own say nothing: the Service behind a
    /// KongServiceFacade.
    pub behind: Option<&'a ObjectMeta>,
}

impl<'a> Origin<'a> {
    /// The origin that `object` is.
    pub fn of<K: Object>(object: &'a K) -> Self {
        Self { kind: K::KIND, meta: object.meta(), behind: None }
    }

    /// The same origin with the annotations of `object` behind its own.
    #[must_use]
    pub fn before<K: Object>(self, object: &'a K) -> Self {
        Self { behind: Some(object.meta()), ..self }
    }

    /// A reference to the object.
    #[must_use]
    pub fn reference(self) -> ObjectRef {
        ObjectRef::of_meta(self.kind, self.meta)
    }

    /// The object's namespace, or nothing.
    #[must_use]
    pub fn namespace(self) -> &'a str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// The object's name.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// The value of an annotation, of the object itself or of the one behind it.
    #[must_use]
    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.own_annotation(key).or_else(|| value(self.behind?, key))
    }

    /// The value of one of the object's own annotations.
    #[must_use]
    pub fn own_annotation(self, key: &str) -> Option<&'a str> {
        value(self.meta, key)
    }

    /// The names of all annotations that count.
    pub(crate) fn annotations(self) -> impl Iterator<Item = &'a str> {
        let all = [Some(self.meta), self.behind].into_iter().flatten();
        all.flat_map(|meta| meta.annotations.iter().flatten()).map(|(key, _)| key.as_str())
    }
}

fn value<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Everything that the sources have to say.
#[derive(Debug, Default)]
pub(crate) struct Rules<'a> {
    /// Kong services by name. A later source replaces the service of an earlier one as a whole.
    pub(crate) services: BTreeMap<String, ServiceRule<'a>>,
    /// Which hosts are served with which Secret, in the order of claims.
    pub(crate) tls: Vec<TlsClaim<'a>>,
    /// The policies on TLS to Services.
    pub(crate) backend_tls: Policies<'a>,
    /// Which HTTPRoute has a share in which service.
    pub(crate) shares: Vec<(Origin<'a>, String)>,
}

/// A Kong service: what it is, where it leads, and which routes lead to it.
#[derive(Debug)]
pub(crate) struct ServiceRule<'a> {
    /// The entity; its `host` is the name of its upstream. The port is resolved later.
    pub(crate) service: Service,
    /// Where requests go. Empty means that no backend is valid.
    pub(crate) backends: Vec<Backend<'a>>,
    /// The object on whose behalf the service exists, for tags and failures.
    pub(crate) parent: Origin<'a>,
    /// The routes, in order.
    pub(crate) routes: Vec<RouteRule<'a>>,
    /// Plugins made by the source itself, nested in the service.
    pub(crate) plugins: Vec<Plugin>,
    /// The cookie that keeps a client with its target.
    pub(crate) cookie: Option<String>,
}

/// A Kong route of a service.
#[derive(Debug)]
pub(crate) struct RouteRule<'a> {
    /// The entity, with tags.
    pub(crate) route: Route,
    /// The object behind the route: its annotations are applied later.
    pub(crate) origin: Origin<'a>,
    /// Plugins made by the source itself (filters), nested in the route.
    pub(crate) plugins: Vec<Plugin>,
    /// Names of KongPlugins that the source attaches, beside the annotation's (ExtensionRef).
    pub(crate) extensions: Vec<&'a str>,
    /// Whether what narrows the match (methods, hosts, headers, SNIs) is said already.
    pub(crate) settled: bool,
}

/// What a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackendKind {
    /// A Service.
    Service,
    /// A KongServiceFacade.
    Facade,
}

/// One backend of a Kong service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend<'a> {
    pub(crate) kind: BackendKind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) port: Port<'a>,
    /// The share of this backend; absent means that targets carry no weight.
    pub(crate) weight: Option<u16>,
}

/// How a backend names its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port<'a> {
    /// By number.
    Number(i32),
    /// By name.
    Name(&'a str),
    /// Not at all: the Service has just one.
    Implicit,
}

impl std::fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Implicit => Ok(()),
        }
    }
}

/// Hosts that an Ingress-like object wants served with a Secret of its namespace.
#[derive(Clone, Debug)]
pub(crate) struct TlsClaim<'a> {
    /// The Secret's name; its namespace is the parent's.
    pub(crate) secret: &'a str,
    /// The hosts.
    pub(crate) hosts: Vec<&'a str>,
    /// Who claims.
    pub(crate) parent: Origin<'a>,
}

/// A hostname that a Gateway's listener serves with a Secret.
#[derive(Clone, Debug)]
#[allow(dead_code)]
pub(crate) struct ListenerCertificate<'a> {
    /// The Secret, already found and granted.
    pub(crate) secret: &'a Secret,
    /// The hostname; `*` for a listener without one.
    pub(crate) hostname: &'a str,
    /// The Gateway.
    pub(crate) gateway: Origin<'a>,
}
