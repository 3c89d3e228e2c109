//! From decoded entities to a [`Table`].
//!
//! What comes in is normalised and valid already; what can still fail is what only this gateway's engines know, such as
//! a regular expression that they cannot run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kong::declarative::Entity as Document;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::exchange::Entity;
use crate::plugin::{BuildError, Context, Entities, Plugins};
use crate::route::{Flavor, Protocol, Router, Rule, RuleError};
use crate::shared::SharedMap;
use crate::table::{Certificate, Places, Route, Service, Table, Upstream};

mod amend;
mod harvest;
mod source;

pub use amend::Change;
pub use harvest::Harvested;

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
    /// The gateway ends before it was done.
    #[error("gateway stopped while the configuration was compiled")]
    Stopped,
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
        let routes = entities.of("routes").map(|one| read("routes", one));
        Self::compile_routes(entities, Box::new(routes), flavor, context)
    }

    /// Compiles a configuration of which some entities came out of decoding already.
    pub fn compile_harvested(
        entities: &dyn Entities,
        harvested: Harvested,
        flavor: Flavor,
        context: &Context,
    ) -> Result<Self, CompileError> {
        Self::compile_routes(entities, Box::new(harvested.routes()), flavor, context)
    }

    /// Compiles a configuration whose routes come in the order of their ids.
    fn compile_routes(
        entities: &dyn Entities,
        sources: Sources<'_>,
        flavor: Flavor,
        context: &Context,
    ) -> Result<Self, CompileError> {
        let mut plugins = Plugins::build(entities, context)?;
        let documents = wants_documents(&plugins);
        let services = services(entities, documents)?;
        let mut routes = Vec::new();
        let mut http = Rules::default();
        let mut of_streams = None;
        let (mut tcp, mut tls, mut udp) = (Rules::default(), Rules::default(), Rules::default());
        let mut all = entities.of("routes");
        for source in sources {
            let (mut source, document) = (source?, all.next().filter(|_| documents));
            let service = match &source.service {
                Some(Reference { id }) => match services.get(id.as_str()) {
                    Some(Some(service)) => Some(Arc::clone(service)),
                    Some(None) => continue,
                    None => None,
                },
                None => None,
            };
            let place = u32::try_from(routes.len()).unwrap_or(u32::MAX);
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
            let own = if protocols.is_http() {
                http.add(rule, place);
                &mut plugins
            } else {
                // Few configurations have streams, so their plugins are built when the first one comes.
                match &mut of_streams {
                    Some(built) => built,
                    none => none.insert(plugins.for_streams(entities, context)?),
                }
            };
            routes.push(Arc::new(route(&source, service, own, document, flavor)));
        }
        let spoken = services.values().flatten().filter(|service| !service.speaks_http());
        let stream_hosts = spoken.map(|service| service.host.clone()).collect();
        Ok(Self {
            flavor,
            routes: Arc::new(routes),
            http: Arc::new(http.router(flavor)?),
            tcp: Arc::new(tcp.router(flavor)?),
            tls: Arc::new(tls.router(flavor)?),
            udp: Arc::new(udp.router(flavor)?),
            upstreams: upstreams(entities, &stream_hosts)?,
            stream_hosts: Arc::new(stream_hosts),
            certificates: Arc::new(certificates(entities, context)?),
            snis: Arc::new(snis(entities)?),
            authorities: Arc::new(authorities(entities)),
            entrances: Arc::new(crate::entrances::read(entities)),
            unmatched: plugins.unmatched(),
            plugins: Arc::new(plugins),
        })
    }
}

/// Routes, one by one.
type Sources<'a> = Box<dyn Iterator<Item = Result<RouteEntity, CompileError>> + 'a>;

#[derive(Default)]
struct Rules {
    rules: Vec<Rule>,
    places: Vec<u32>,
}

impl Rules {
    fn add(&mut self, rule: Rule, place: u32) {
        self.rules.push(rule);
        self.places.push(place);
    }

    fn router(self, flavor: Flavor) -> Result<Places, RuleError> {
        Ok(Places { router: Router::new(flavor, &self.rules)?, places: self.places })
    }
}

/// Log records carry entities whole; without a plugin that logs nobody reads them.
fn wants_documents(plugins: &Plugins) -> bool {
    [
        "http-log",
        "file-log",
        "tcp-log",
        "udp-log",
        "syslog",
        "loggly",
        "request-termination",
        "ai-response-transformer",
        "pre-function",
        "post-function",
    ]
    .iter()
    .any(|name| plugins.uses(name))
}

fn read<'a, T: Deserialize<'a>>(
    kind: &'static str,
    entity: &'a Document,
) -> Result<T, CompileError> {
    entity.read().map_err(|source| CompileError::Entity { kind, source })
}

fn entity(
    id: Uuid,
    name: Option<String>,
    host: Option<&str>,
    document: Option<&Document>,
) -> Arc<Entity> {
    Arc::new(Entity {
        id: id.to_string().into(),
        name: name.map(Into::into),
        host: host.map(Into::into),
        document: document.map(|one| crate::plugin::compact(&one.value())).unwrap_or_default(),
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
    document: Option<&Document>,
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
    stream_hosts: &HashSet<Box<str>>,
) -> Result<SharedMap<Arc<Upstream>>, CompileError> {
    let mut targets = HashMap::<String, Vec<TargetEntity>>::new();
    for one in entities.of("targets") {
        let target: TargetEntity = read("targets", one)?;
        targets.entry(target.upstream.id.clone()).or_default().push(target);
    }
    let mut all = SharedMap::default();
    for one in entities.of("upstreams") {
        let source: UpstreamEntity = read("upstreams", one)?;
        let targets = targets.remove(&source.id.to_string()).unwrap_or_default();
        let mut upstream = source.upstream(targets);
        upstream.streams = stream_hosts.contains(upstream.name.as_ref());
        all.insert(upstream.name.clone(), Arc::new(upstream));
    }
    Ok(all)
}

fn certificates(
    entities: &dyn Entities,
    context: &Context,
) -> Result<HashMap<Box<str>, Certificate>, CompileError> {
    let secret = |text: String| -> Box<str> {
        match kong::vault::Reference::parse(&text) {
            Some(reference) => context.secrets.get(&reference).unwrap_or_default().into(),
            None => text.into(),
        }
    };
    let mut all = HashMap::new();
    for document in entities.of("certificates") {
        let source: CertificateEntity = read("certificates", document)?;
        let alternative =
            source.cert_alt.zip(source.key_alt).map(|(cert, key)| (secret(cert), secret(key)));
        let certificate =
            Certificate { chain: secret(source.cert), key: secret(source.key), alternative };
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
    let all = entities.of("ca_certificates").map(Document::value);
    all.filter_map(|document| Some((text(&document, "id")?, text(&document, "cert")?))).collect()
}
