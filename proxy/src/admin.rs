//! The Admin API and the Status API: what comes in, who answers it.
//!
//! `paths` says which paths there are, the other modules answer; none of them knows sockets, which
//! are `serve`'s. Plain HTTP is only for loopback addresses (`settings` sees to that); elsewhere
//! clients show a certificate.

mod call;
mod config;
mod entities;
mod health;
mod info;
mod judge;
mod paths;
mod plugins;
mod route;
mod serve;
mod writes;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use anyhow::Context as _;
use http::{Method, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kong::declarative::Declared;
use kong::schema::Flavor;
use runtime::tls::{Identity, Reloading};
use runtime::{Shutdown, Tasks};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::app::Gateway;
use crate::enroll;
use crate::http1::io::PATIENCE;
use crate::listen::{accept, bind};
use crate::state::{Content, Kept};
use call::{Call, Form, Reply};
use paths::Target;

/// What answers the Admin API: the gateway and what only this API remembers.
pub struct Node {
    gateway: Arc<Gateway>,
    /// Held while a configuration is loaded.
    loading: tokio::sync::Mutex<()>,
    /// The newest leadership seen.
    term: AtomicU64,
    /// Whether readiness was given up by request.
    draining: AtomicBool,
}

/// Which of the two APIs a listener serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// All of it.
    Admin,
    /// What probes and scrapers need.
    Status,
}

impl Node {
    fn new(gateway: &Arc<Gateway>) -> Arc<Self> {
        Arc::new(Self {
            gateway: Arc::clone(gateway),
            loading: tokio::sync::Mutex::new(()),
            term: AtomicU64::new(gateway.disk.term()),
            draining: AtomicBool::new(false),
        })
    }

    fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.gateway.state.current().entities)
    }

    fn flavor(&self) -> Flavor {
        match self.gateway.settings.flavor {
            proxy_core::route::Flavor::Traditional => Flavor::Traditional,
            proxy_core::route::Flavor::TraditionalCompatible => Flavor::TraditionalCompatible,
            proxy_core::route::Flavor::Expressions => Flavor::Expressions,
        }
    }
}

/// Answers one call.
async fn handle(node: &Node, door: Door, mut call: Call) -> Reply {
    if call.method == Method::TRACE {
        return Reply::page(StatusCode::METHOD_NOT_ALLOWED, "Not Allowed");
    }
    let writes = matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
    if writes && !config::is_delta(&call) {
        let unknown = call.form() == Form::Other;
        let untyped = call.form() == Form::Absent && !call.body.is_empty();
        if unknown || untyped {
            return Reply::page(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type");
        }
    }
    let target = match door {
        Door::Admin => paths::admin(&call.path),
        Door::Status => paths::status(&call.path),
    };
    let Some(target) = target else { return Reply::not_found() };
    let methods = paths::methods(&target);
    if call.method == Method::OPTIONS {
        return options(&call, &target);
    }
    if call.method == Method::HEAD && methods.contains(&Method::GET) {
        call.method = Method::GET;
    }
    let patch = target == Target::Config && call.method == Method::PATCH;
    if !methods.contains(&call.method) || (patch && !config::is_delta(&call)) {
        return Reply::not_allowed();
    }
    let reply = dispatch(node, &call, target).await;
    reply.unwrap_or_else(|reply| reply)
}

fn options(call: &Call, target: &Target) -> Reply {
    let mut names: Vec<&str> = paths::methods(target).iter().map(Method::as_str).collect();
    if *target == Target::Config {
        // Changes are our own addition; Kong's clients see Kong's methods.
        names.retain(|name| *name != "PATCH");
    }
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    let names = names.join(", ");
    let wanted = call.headers.get(http::header::ACCESS_CONTROL_REQUEST_HEADERS);
    let wanted = wanted.and_then(|value| value.to_str().ok()).unwrap_or("Content-Type");
    Reply::empty(StatusCode::NO_CONTENT)
        .header("allow", names.clone())
        .header("access-control-allow-methods", names)
        .header("access-control-allow-headers", wanted)
}

async fn dispatch(node: &Node, call: &Call, target: Target) -> Result<Reply, Reply> {
    let writes = call.method != Method::GET;
    Ok(match target {
        Target::Root => info::root(node),
        Target::Status => info::status(node, call),
        Target::Ready => info::ready(node, call),
        Target::Dns => Reply::message(
            StatusCode::NOT_IMPLEMENTED,
            "not implemented with the legacy DNS client",
        ),
        Target::Config if call.method == Method::POST => config::load(node, call).await,
        Target::Config if call.method == Method::PATCH => config::patch(node, call).await,
        Target::Config => config::dump(&node.declared()),
        Target::Endpoints => info::endpoints(),
        Target::Timers => info::timers(),
        Target::Metrics => plugins::metrics(node),
        Target::Tags(tag) => entities::tagged(&node.declared(), call, tag.as_deref())?,
        Target::EnabledPlugins => info::enabled(),
        Target::PluginConfigSchema(name) => info::plugin_config(&name),
        Target::Schema(name) => info::entity_schema(node, &name),
        Target::PluginSchema(name) => info::plugin_schema(&name),
        Target::VaultSchema(name) => info::vault_schema(&name),
        Target::FilterSchema | Target::Filters => Reply::message(
            StatusCode::BAD_REQUEST,
            "this endpoint is only available when wasm is enabled",
        ),
        Target::Validate(kind) => info::validate(node, call, &kind),
        Target::Cache(_) => info::cache(call),
        Target::LogLevel { set } => info::log_level(node, set),
        Target::Clustering => Reply::message(
            StatusCode::BAD_REQUEST,
            "this endpoint is only available when Kong is configured to run as Control Plane for the cluster",
        ),
        Target::Acme { certificates } => info::acme(call, certificates),
        Target::ProxyCache(parts) => plugins::proxy_cache(node, call, &parts),
        Target::Health(upstream) => health::show(node, call, &upstream)?,
        Target::Mark { upstream, target, address, healthy } => health::mark(
            node,
            &health::Mark {
                upstream: &upstream,
                target: &target,
                address: address.as_deref(),
                healthy,
            },
        )?,
        Target::List(_)
        | Target::One(..)
        | Target::Children(..)
        | Target::Child(..)
        | Target::Parent(..)
        | Target::AllTargets(_)
            if writes =>
        {
            write(node, call, &target)?
        }
        Target::List(_)
        | Target::One(..)
        | Target::Children(..)
        | Target::Child(..)
        | Target::Parent(..)
        | Target::AllTargets(_) => read(node, call, &target)?,
    })
}

/// Reads entities.
fn read(node: &Node, call: &Call, target: &Target) -> Result<Reply, Reply> {
    let declared = node.declared();
    let path = call.path.strip_suffix('/').unwrap_or(&call.path);
    let show = |kind: &str, entity: &Value| Reply::ok(entities::show(&declared, kind, entity));
    match target {
        Target::List(kind) => {
            let custom_id = call.argument("custom_id").filter(|_| *kind == "consumers");
            entities::list(&declared, kind, call, Some(path), &|entity| {
                custom_id.as_ref().is_none_or(|wanted| entity["custom_id"] == **wanted)
            })
        }
        Target::One(kind, key) => Ok(show(kind, &entities::find(&declared, kind, key)?)),
        Target::Children("upstreams", key, "targets") => {
            let upstream = entities::find_parent(&declared, "upstreams", key)?;
            let data = entities::targets(&declared, &upstream);
            Ok(Reply::ok(entities::numbered(data, call, path)?))
        }
        Target::Children(parent, key, kind) => {
            let parent_entity = entities::find_parent(&declared, parent, key)?;
            let (field, id) = (entities::link(kind, parent), &parent_entity["id"]);
            entities::list(&declared, kind, call, Some(path), &|entity| {
                entities::belongs(entity, field, id)
            })
        }
        Target::AllTargets(key) => {
            let upstream = entities::find_parent(&declared, "upstreams", key)?;
            entities::list(&declared, "targets", call, Some(path), &|target| {
                entities::belongs(target, "upstream", &upstream["id"])
            })
        }
        Target::Child(parent, key, kind, name) => {
            let parent_entity = entities::find_parent(&declared, parent, key)?;
            Ok(show(kind, &entities::child(&declared, &parent_entity, parent, kind, name)?))
        }
        Target::Parent(kind, key, field) => {
            let entity = entities::find_parent(&declared, kind, key)?;
            let parent = kong::schema::entity(kind)
                .and_then(|schema| schema.references().find(|(name, _)| name == field))
                .map_or("", |(_, parent)| parent);
            let id = entity[*field]["id"].as_str().unwrap_or_default();
            let found = declared.get(parent, id).ok_or_else(Reply::not_found)?;
            Ok(show(parent, &found))
        }
        _ => Err(Reply::not_found()),
    }
}

/// Refuses writes of entities, after a look at what they say.
fn write(node: &Node, call: &Call, target: &Target) -> Result<Reply, Reply> {
    let declared = node.declared();
    let below = |parent: &'static str, key: &str, kind: &str| {
        let entity = entities::find_parent(&declared, parent, key)?;
        Ok::<_, Reply>((entities::link(kind, parent), json!({ "id": entity["id"] })))
    };
    let (kind, key, parent) = match target {
        Target::List(kind) => (*kind, None, None),
        Target::One(kind, key) => (*kind, Some(key.as_str()), None),
        Target::Children(parent, key, kind) => (*kind, None, Some(below(parent, key, kind)?)),
        Target::Child(parent, key, kind, name) => {
            (*kind, Some(name.as_str()), Some(below(parent, key, kind)?))
        }
        _ => return Err(Reply::not_allowed()),
    };
    let aim = writes::Aim { kind, key, parent };
    Ok(writes::refuse(&declared, call, &aim, node.flavor()))
}

/// Compiles a configuration and says what is wrong with it.
pub async fn try_text(gateway: &Arc<Gateway>, text: &[u8]) -> Option<String> {
    let kept =
        Kept { content: Content::Text(text.to_vec(), None), hash: None, changes: Vec::new() };
    try_kept(gateway, kept).await
}

async fn try_kept(gateway: &Arc<Gateway>, kept: Kept) -> Option<String> {
    let (declared, harvested) = match config::restore(Node::new(gateway).flavor(), &kept) {
        Ok((declared, harvested)) => (Arc::new(declared), harvested),
        Err(rejection) => return Some(rejection.to_json(true).to_string()),
    };
    let hash = declared.hash().to_string();
    gateway.state.apply(declared, harvested, &hash).await.err().map(|error| error.to_string())
}

/// Loads the declared configuration, or the one that was kept.
pub async fn load_first(gateway: &Arc<Gateway>) {
    let kept = match &gateway.settings.declarative {
        Some(path) => match std::fs::read(path) {
            Ok(text) => {
                Some(Kept { content: Content::Text(text, None), hash: None, changes: Vec::new() })
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "failed to read configuration");
                None
            }
        },
        None => match gateway.disk.load() {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "the kept configuration cannot be used");
                None
            }
        },
    };
    if let Some(kept) = kept
        && let Some(problem) = try_kept(gateway, kept).await
    {
        tracing::error!(problem, "configuration at start was refused");
    }
}

/// Starts the listeners of both APIs.
pub fn start(gateway: &Arc<Gateway>, tasks: &mut Tasks, shutdown: &Shutdown) -> anyhow::Result<()> {
    let node = Node::new(gateway);
    let enrolled = enrollment(tasks, shutdown)?;
    let admin = gateway.settings.admin.iter().map(|one| (Door::Admin, one));
    let status = gateway.settings.status.iter().map(|one| (Door::Status, one));
    for (door, one) in admin.chain(status) {
        let listener = bind(one).with_context(|| format!("failed to listen on {}", one.address))?;
        let tls = match (&enrolled, door) {
            _ if !one.tls => None,
            (Some(enrolled), Door::Admin) => Some(enrolled.clone()),
            (_, Door::Admin | Door::Status) => {
                Some(Reloading::fixed(server_config(gateway, door)?))
            }
        };
        let (node, stop) = (Arc::clone(&node), shutdown.clone());
        let name = if door == Door::Admin { "admin" } else { "status" };
        tasks.spawn(format!("{name} {}", one.address), async move {
            listen(node, door, listener, tls, stop).await;
            Ok(())
        });
    }
    Ok(())
}

/// Starts enrollment, if the environment asks for it: the Admin API then shows what it yields.
fn enrollment(tasks: &mut Tasks, shutdown: &Shutdown) -> anyhow::Result<Option<Reloading>> {
    let Some(settings) = enroll::Settings::read(|name| std::env::var(name).ok())? else {
        return Ok(None);
    };
    let (sender, configs) = tokio::sync::watch::channel(None);
    tasks.spawn("enrollment", enroll::run(settings, sender, shutdown.clone()));
    Ok(Some(Reloading::new(configs)))
}

/// The TLS of a listener: files named as Kong names them. An Admin API over TLS always asks its
/// clients for a certificate.
fn server_config(gateway: &Gateway, door: Door) -> anyhow::Result<rustls::ServerConfig> {
    let raw = &gateway.settings.raw;
    let prefix = if door == Door::Admin { "admin" } else { "status" };
    let file = |name: &str| {
        let path = raw.get(name).with_context(|| format!("{name} is not set"))?;
        std::fs::read(path).with_context(|| format!("failed to read {name}"))
    };
    let chain = file(&format!("{prefix}_ssl_cert"))?;
    let key = file(&format!("{prefix}_ssl_cert_key"))?;
    let roots = match door {
        Door::Admin => file("nginx_admin_ssl_client_certificate")?,
        Door::Status => chain.clone(),
    };
    let identity = Identity::from_pem(&chain, &key, &roots)?;
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    Ok(match door {
        Door::Admin => identity.server(alpn)?,
        Door::Status => identity.open_server(alpn)?,
    })
}

/// Serves a listener until shutdown, then until its connections are done.
async fn listen(
    node: Arc<Node>,
    door: Door,
    listener: TcpListener,
    tls: Option<Reloading>,
    shutdown: Shutdown,
) {
    let tracker = tokio_util::task::TaskTracker::new();
    accept(listener, shutdown.clone(), |stream, _| {
        let (node, mut tls, stop) = (Arc::clone(&node), tls.clone(), shutdown.clone());
        tracker.spawn(async move {
            match &mut tls {
                None => connection(node, door, stream, stop).await,
                Some(reloading) => {
                    let Some(config) = reloading.current().await else { return };
                    let accepting = TlsAcceptor::from(config).accept(stream);
                    if let Ok(Ok(stream)) = timeout(PATIENCE, accepting).await {
                        connection(node, door, stream, stop).await;
                    }
                }
            }
        });
        std::future::ready(())
    })
    .await;
    tracker.close();
    tracker.wait().await;
}

async fn connection<S>(node: Arc<Node>, door: Door, stream: S, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = node.gateway.settings.head_patience;
    let service = service_fn(move |request| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(serve::answer(node, door, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Biased: a stop wins, and what is being answered is still finished.
    let ended = tokio::select! {
        biased;
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(error, "admin connection ended early");
    }
}

/// A configuration for tests of other parts.
#[cfg(test)]
pub(crate) fn decode_text(text: &[u8]) -> Declared {
    let decoded = config::decode(Flavor::TraditionalCompatible, text, config::origin());
    decoded.map(|(declared, _)| declared).unwrap_or_default()
}
