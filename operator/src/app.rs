//! `flotilla run`: the whole operator on one page.
//!
//! ```text
//! watch ─▶ scenes ─▶ fleets (per ProxyFleet: discover, translate, drive) ─▶ status
//!            trust ───────▲            lease ─▶ role ──▲
//! ```
//!
//! Everything is a named task that follows `watch` channels. On shutdown readiness ends first, then
//! whoever acts, and the lease goes back last, so that a successor never overlaps our writes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use operator_core::election::{Role, Timing};
use operator_core::object::Kind;
use operator_core::options::Options;
use runtime::telemetry::{Filter, Metrics};
use runtime::{Clock, Gate, Readiness, Shutdown, SystemClock, Tasks};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;
use uuid::Uuid;

use crate::admission;
use crate::fleet::AllFleetMetrics;
use crate::fleets::{Common, Fleets, Supervisor};
use crate::lease::{Election, LeaseSettings};
use crate::scenes::{Scenes, Served};
use crate::serve;
use crate::status::{self, Reporter};
use crate::ticks::Ticks;
use crate::translator::TranslatorMetrics;
use crate::trust::{enroll, keeper};
use crate::watch as kinds;

/// What the operator is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `/healthz` and `/readyz` are.
    pub health_listen: SocketAddr,
    /// Where `/metrics` and `/fleets` are.
    pub metrics_listen: SocketAddr,
    /// Where the log filter is changed.
    pub debug_listen: SocketAddr,
    /// What is logged.
    pub log_filter: Filter,
    /// Where proxies enroll.
    pub enrollment_listen: SocketAddr,
    /// Where the API server asks whether objects may be written, if it does.
    pub admission_listen: Option<SocketAddr>,
    /// The ValidatingWebhookConfiguration that is given the authority of our certificate.
    pub admission_configuration: Option<String>,
    /// The class of Ingresses, for fleets that name none.
    pub ingress_class: String,
    /// What objects of every fleet are translated with.
    pub options: Options,
    /// Kinds whose objects are left alone.
    pub ignore_kinds: BTreeSet<Kind>,
    /// The name of the Lease.
    pub lease_name: String,
    /// The Service whose addresses are published, for fleets that name none: `namespace/name`.
    pub publish_service: Option<(String, String)>,
    /// How many pushes may be young at once, per fleet.
    pub push_concurrency: usize,
    /// The namespaces whose objects are served; all when empty.
    pub watch_namespaces: Vec<String>,
    /// The trust domain of identities.
    pub trust_domain: String,
    /// The name of this pod.
    pub pod_name: String,
    /// The namespace of this pod.
    pub pod_namespace: String,
}

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(25);

/// Runs until a signal.
///
/// # Errors
/// When something could not be started, or a task ended unasked.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&settings).await?;
    let client =
        Client::try_default().await.context("failed to configure the Kubernetes client")?;
    let readiness = Readiness::new();
    let shutdown = Shutdown::new();
    let metrics = Metrics::new();
    let ticks = Ticks::start();

    // Those who act, and what they follow.
    let mut tasks = Tasks::new(shutdown.clone());
    let stores = kinds::spawn(&mut tasks, &client, readiness.gate("first lists"));
    let scenes = Scenes::start(&mut tasks, &stores, &settings, &ticks);
    let ground = Ground { client: &client, stores: &stores, settings: &settings };
    let gate = readiness.gate("client identity");
    let trust = start_trust(&mut tasks, ground, gate, listeners.enrollment);
    let (role, role_seen) = watch::channel(Role::Standby { leader: None });
    let (fleets, fleets_seen) = watch::channel(Fleets::new());
    let (views, views_seen) = watch::channel(serve::Views::new());
    if let Some(listener) = listeners.admission {
        let seen = (scenes.clone(), fleets_seen.clone());
        start_admission(&mut tasks, ground, listener, (seen, &trust, &metrics));
    }
    let supervisor = Supervisor::new(
        Common {
            settings: settings.clone(),
            fleets: Arc::clone(&stores.fleets),
            scenes,
            role: role_seen.clone(),
            identities: trust.identities.clone(),
            fleet_metrics: AllFleetMetrics::register(&metrics),
            translator_metrics: TranslatorMetrics::register(&metrics),
            ticks: ticks.clone(),
        },
        fleets,
        views,
    );
    tasks.spawn("fleets", supervisor.run(shutdown.clone()));
    let inputs = status::Inputs {
        fleets: fleets_seen,
        role: role_seen,
        trust: trust.problems.clone(),
        publish: settings.publish_service.clone(),
    };
    let reporter = Reporter::new(client.clone(), stores, inputs, ticks.clone(), &settings.pod_name);
    tasks.spawn("status", reporter.run(shutdown.clone()));
    tasks.spawn(
        "health",
        serve::serve(listeners.health, serve::health(readiness.clone()), shutdown.clone()),
    );
    let pages = serve::metrics(metrics, views_seen);
    tasks.spawn("metrics", serve::serve(listeners.metrics, pages, shutdown.clone()));
    let debug = serve::debug(settings.log_filter.clone());
    tasks.spawn("debug", serve::serve(listeners.debug, debug, shutdown.clone()));

    // The lease outlives those who act under it.
    let identity = format!("{}_{}", settings.pod_name, Uuid::new_v4());
    let lease = LeaseSettings {
        namespace: settings.pod_namespace.clone(),
        name: settings.lease_name.clone(),
        identity: identity.into(),
        timing: Timing::default(),
    };
    let lease_end = Shutdown::new();
    let mut lease_task = Tasks::new(lease_end.clone());
    let election = Election::new(client, lease, ticks, role);
    let (leaving, end) = (shutdown.clone(), lease_end.clone());
    lease_task.spawn("lease", async move {
        election.run(leaving, end).await;
        Ok(())
    });
    info!(version = env!("CARGO_PKG_VERSION"), "operator started");
    conclude(tasks, lease_task, lease_end, &shutdown, readiness).await
}

/// Waits for the end, and ends in order.
async fn conclude(
    tasks: Tasks,
    lease: Tasks,
    lease_end: Shutdown,
    shutdown: &Shutdown,
    readiness: Readiness,
) -> anyhow::Result<()> {
    let mut ended = Ok(());
    let mut released = Ok(());
    let stopping = shutdown.clone();
    let everything = async {
        let unready = async {
            stopping.requested().await;
            readiness.close();
        };
        let acting = async {
            ended = tasks.finish().await;
            lease_end.begin();
        };
        let leasing = async {
            released = lease.finish().await;
            // An election that ends unasked takes everything with it.
            stopping.begin();
        };
        tokio::join!(acting, leasing, unready);
    };
    let forced = runtime::shutdown::conduct(shutdown, GRACE, everything).await?;
    if forced {
        bail!("not everything ended in time");
    }
    ended?;
    released?;
    Ok(())
}

/// Sockets are bound before anything starts: a port in use is told at once.
struct Listeners {
    health: TcpListener,
    metrics: TcpListener,
    debug: TcpListener,
    enrollment: TcpListener,
    admission: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Self, serve::ServeError> {
        Ok(Self {
            health: serve::bind("health", settings.health_listen).await?,
            metrics: serve::bind("metrics", settings.metrics_listen).await?,
            debug: serve::bind("debugging", settings.debug_listen).await?,
            enrollment: serve::bind("enrollment", settings.enrollment_listen).await?,
            admission: match settings.admission_listen {
                Some(address) => Some(serve::bind("admission", address).await?),
                None => None,
            },
        })
    }
}

/// What most tasks stand on.
#[derive(Clone, Copy)]
struct Ground<'a> {
    client: &'a Client,
    stores: &'a kinds::Stores,
    settings: &'a Settings,
}

/// What the admission webhook follows.
type Followed<'a> = ((Scenes, watch::Receiver<Fleets>), &'a keeper::Followed, &'a Metrics);

/// Starts the admission webhook, and the keeper of its authority where there is a configuration to keep.
fn start_admission(
    tasks: &mut Tasks,
    ground: Ground<'_>,
    listener: TcpListener,
    (seen, trust, metrics): Followed<'_>,
) {
    let Ground { client, stores: _, settings } = ground;
    let options = Options {
        ingress_classes: vec![settings.ingress_class.clone()],
        ..settings.options.clone()
    };
    let webhook = admission::Webhook::new(seen, (options, Served::new(settings)), metrics);
    let service = serve::tls::Service {
        name: "admission",
        app: webhook.router(),
        tls: trust.enrollment.clone(),
        longest: Duration::MAX,
    };
    let end = tasks.shutdown().clone();
    tasks.spawn("admission", serve::tls::serve(listener, service, end));
    if let Some(configuration) = settings.admission_configuration.clone() {
        let (client, authorities) = (client.clone(), trust.authorities.clone());
        let bundle = admission::Bundle { client, configuration, authorities };
        let end = tasks.shutdown().clone();
        tasks.spawn("admission authority", admission::keep_bundle(bundle, end));
    }
}

/// Starts the keeper of keys and the enrollment server.
fn start_trust(
    tasks: &mut Tasks,
    ground: Ground<'_>,
    gate: Gate,
    listener: TcpListener,
) -> keeper::Followed {
    let Ground { client, stores, settings } = ground;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (outputs, followed) = keeper::Outputs::channels();
    let keeper = keeper::Keeper {
        client: client.clone(),
        stores: stores.clone(),
        clock: Arc::clone(&clock),
        namespace: settings.pod_namespace.clone(),
        trust_domain: settings.trust_domain.clone(),
        gate,
        outputs,
    };
    let end = tasks.shutdown().clone();
    tasks.spawn("trust", keeper.run(end));
    let enrollment = enroll::Settings {
        judge: enroll::Judge::new(client.clone(), stores, settings.trust_domain.clone()),
        authorities: followed.authorities.clone(),
        tls: followed.enrollment.clone(),
        clock,
    };
    let end = tasks.shutdown().clone();
    tasks.spawn("enrollment", enroll::serve(listener, enrollment, end));
    followed
}
