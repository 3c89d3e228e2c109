//! From decoded entities to a [`Table`].
//!
//! What comes in is normalised and valid already; what can still fail is what only this gateway's engines know, such as
//! a regular expression that they cannot run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::exchange::Entity;
use crate::plugin::{BuildError, Context, Entities, Plugins};
use crate::route::{Flavor, Protocol, Router, Rule, RuleError};
use crate::table::{Certificate, Route, Service, Table, Upstream};

mod source;

use source::{
    CertificateEntity, Reference, RouteEntity, ServiceEntity, SniEntity, TargetEntity,
    UpstreamEntity,
};

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A route.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A plugin.
    #[error(transparent)]
    Plugin(#[from] BuildError),
    /// An entity that is not what the schema promises.
    #[error("failed to read an entity of '{kind}'")]
    Entity {
        /// The kind.
        kind: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Table {
    /// Compiles a configuration.
    pub fn compile(
        entities: &dyn Entities,
        flavor: Flavor,
        context: &Context,
    ) -> Result<Self, CompileError> {
        let mut plugins = Plugins::build(entities, context)?;
        let documents = wants_documents(&plugins);
        let services = services(entities, documents)?;
        let mut routes = Vec::new();
        let mut http = Rules::default();
        let (mut tcp, mut tls, mut udp) = (Rules::default(), Rules::default(), Rules::default());
        for document in entities.of("routes") {
            let source: RouteEntity = read("routes", document)?;
            let service = match &source.service {
                Some(Reference { id }) => match services.get(id.as_str()) {
                    Some(Some(service)) => Some(Arc::clone(service)),
                    Some(None) => continue,
                    None => None,
                },
                None => None,
            };
            let place = routes.len();
            let rule = source.rule(flavor);
            let protocols = rule.protocols;
            let secure = protocols.has(Protocol::Tls) || protocols.has(Protocol::TlsPassthrough);
            let lists = [
                (protocols.has(Protocol::Tcp), &mut tcp),
                (secure, &mut tls),
                (protocols.has(Protocol::Udp), &mut udp),
            ];
            for (_, list) in lists.into_iter().filter(|(takes, _)| *takes) {
                list.add(rule.clone(), place);
            }
            if protocols.is_http() {
                http.add(rule, place);
            }
            routes.push(Arc::new(route(
                &source,
                service,
                &mut plugins,
                documents.then_some(document),
                flavor,
            )));
        }
        Ok(Self {
            flavor,
            routes,
            http: Router::new(flavor, &http.rules)?,
            http_places: http.places,
            tcp: tcp.router(flavor)?,
            tls: tls.router(flavor)?,
            udp: udp.router(flavor)?,
            upstreams: upstreams(entities, &services)?,
            certificates: certificates(entities)?,
            snis: snis(entities)?,
            authorities: authorities(entities),
            unmatched: plugins.unmatched(),
            plugins,
        })
    }
}

#[derive(Default)]
struct Rules {
    rules: Vec<Rule>,
    places: Vec<usize>,
}

impl Rules {
    fn add(&mut self, rule: Rule, place: usize) {
        self.rules.push(rule);
        self.places.push(place);
    }

    fn router(self, flavor: Flavor) -> Result<(Router, Vec<usize>), RuleError> {
        Ok((Router::new(flavor, &self.rules)?, self.places))
    }
}

/// Log records carry entities whole; without a plugin that logs nobody reads them.
fn wants_documents(plugins: &Plugins) -> bool {
    ["http-log", "file-log", "tcp-log", "udp-log", "syslog", "loggly", "request-termination"]
        .iter()
        .any(|name| plugins.uses(name))
}

fn read<'a, T: Deserialize<'a>>(
    kind: &'static str,
    document: &'a Value,
) -> Result<T, CompileError> {
    T::deserialize(document).map_err(|source| CompileError::Entity { kind, source })
}

fn entity(
    id: Uuid,
    name: Option<String>,
    host: Option<&str>,
    document: Option<&Value>,
) -> Arc<Entity> {
    Arc::new(Entity {
        id: id.to_string().into(),
        name: name.map(Into::into),
        host: host.map(Into::into),
        document: document.map(crate::plugin::compact).unwrap_or_default(),
    })
}

/// Services by id; a disabled one is there without being usable, so that its routes vanish.
type Services = HashMap<String, Option<Arc<Service>>>;

fn services(entities: &dyn Entities, documents: bool) -> Result<Services, CompileError> {
    let mut all = HashMap::new();
    for document in entities.of("services") {
        let source: ServiceEntity = read("services", document)?;
        let id = source.id.to_string();
        let service = source.enabled.then(|| {
            let name = source.name.clone();
            let entity = entity(source.id, name, Some(&source.host), documents.then_some(document));
            Arc::new(source.service(entity))
        });
        all.insert(id, service);
    }
    Ok(all)
}

fn route(
    source: &RouteEntity,
    service: Option<Arc<Service>>,
    plugins: &mut Plugins,
    document: Option<&Value>,
    flavor: Flavor,
) -> Route {
    let id = source.id.to_string();
    let plan = plugins.plan(Some(&id), service.as_ref().map(|service| service.entity.id.as_ref()));
    Route {
        entity: entity(source.id, source.name.clone(), None, document),
        service,
        plan,
        protocols: source.protocols(),
        strip_path: source.strip_path,
        path_handling: source.path_handling(flavor),
        preserve_host: source.preserve_host,
        https_redirect: source.https_redirect(),
        request_buffering: source.request_buffering,
        response_buffering: source.response_buffering,
    }
}

fn upstreams(
    entities: &dyn Entities,
    services: &Services,
) -> Result<HashMap<Box<str>, Arc<Upstream>>, CompileError> {
    let of_streams = services.values().flatten().filter(|service| !service.speaks_http());
    let streams = of_streams.map(|service| service.host.as_ref()).collect::<HashSet<_>>();
    let mut targets = HashMap::<String, Vec<TargetEntity>>::new();
    for document in entities.of("targets") {
        let target: TargetEntity = read("targets", document)?;
        targets.entry(target.upstream.id.clone()).or_default().push(target);
    }
    let mut all = HashMap::new();
    for document in entities.of("upstreams") {
        let source: UpstreamEntity = read("upstreams", document)?;
        let targets = targets.remove(&source.id.to_string()).unwrap_or_default();
        let mut upstream = source.upstream(targets);
        upstream.streams = streams.contains(upstream.name.as_ref());
        all.insert(upstream.name.clone(), Arc::new(upstream));
    }
    Ok(all)
}

fn certificates(entities: &dyn Entities) -> Result<HashMap<Box<str>, Certificate>, CompileError> {
    let mut all = HashMap::new();
    for document in entities.of("certificates") {
        let source: CertificateEntity = read("certificates", document)?;
        let alternative =
            source.cert_alt.zip(source.key_alt).map(|(cert, key)| (cert.into(), key.into()));
        let certificate =
            Certificate { chain: source.cert.into(), key: source.key.into(), alternative };
        all.insert(source.id.to_string().into(), certificate);
    }
    Ok(all)
}

fn snis(entities: &dyn Entities) -> Result<HashMap<Box<str>, Box<str>>, CompileError> {
    let mut all = HashMap::new();
    for document in entities.of("snis") {
        let source: SniEntity = read("snis", document)?;
        all.insert(source.name.to_ascii_lowercase().into(), source.certificate.id.into());
    }
    Ok(all)
}

fn authorities(entities: &dyn Entities) -> HashMap<Box<str>, Box<str>> {
    let text = |document: &Value, field: &str| Some(document.get(field)?.as_str()?.into());
    entities
        .of("ca_certificates")
        .filter_map(|document| Some((text(document, "id")?, text(document, "cert")?)))
        .collect()
}
