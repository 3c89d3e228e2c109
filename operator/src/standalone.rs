//! The whole product on one machine, without a cluster.
//!
//! The same pipeline as in a cluster: only the source of objects (files instead of watches) and the
//! place where statuses go (a table instead of the API server) differ. Proxies are processes of this
//! machine with certificates bound to their ids, and a Service without endpoints gets a small echo
//! server. Everything ends together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use operator_core::election::Role;
use operator_core::fleet::Settings;
use operator_core::fleet::discovery::Members;
use operator_core::fleet::view::FleetView;
use operator_core::options::Options;
use runtime::telemetry::Metrics;
use runtime::{Clock, Shutdown, SystemClock, Tasks};
use tokio::sync::watch;

use crate::admin::Deadlines;
use crate::fleet::{AllFleetMetrics, Driver, IdentityPolicy, Inputs, Outputs, Policy};
use crate::ticks::Ticks;
use crate::translator::{self, Scene, Translated, Translator, TranslatorMetrics};
use crate::trust::{BuiltIn, Identities};

mod ask;
mod folder;
mod present;
mod proxies;
mod upstreams;

pub use self::folder::Folder;
use self::present::Presenter;
use self::proxies::Proxies;

/// The namespace and name of the fleet on this machine.
const FLEET: (&str, &str) = ("standalone", "local");
/// The trust domain of certificates that live as long as this process.
const TRUST_DOMAIN: &str = "standalone.flotilla.internal";
/// How long `--once` waits for each convergence.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long everything may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// How many proxies to start.
    pub proxies: usize,
    /// The proxy's program; looked for beside this one when absent.
    pub proxy_program: Option<PathBuf>,
    /// Services that stand for something that runs already: `namespace/name` to `host:port`.
    pub upstreams: BTreeMap<String, std::net::SocketAddr>,
    /// Make one edit, show that everyone took it, end.
    pub once: bool,
    /// What a translation depends on beside the objects.
    pub options: Options,
}

/// Runs until it is told to end, or until `once` is done.
///
/// # Errors
/// When something could not be started, or `once` did not come to its end.
pub async fn run(plan: Plan) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("flotilla-").tempdir();
    let work = work.context("failed to make a folder for certificates and state")?;
    let manifests = if plan.once {
        // The edit is made on a copy: the folder of the caller is only read.
        folder::copy(&plan.manifests, &work.path().join("manifests"))?
    } else {
        plan.manifests.clone()
    };
    let ticks = Ticks::start();
    let now = i64::try_from(SystemClock::new().wall().as_secs())?;
    let authorities = BuiltIn::make(now).context("failed to make certificate authorities")?;
    let identity = Arc::new(authorities.client_identity(TRUST_DOMAIN, now)?);
    let shutdown = Shutdown::new();
    let mut tasks = Tasks::new(shutdown.clone());

    let proxies = Proxies::start(&plan, &authorities, work.path(), now).await?;
    let (members, entries) = (proxies.members(), proxies.entries());
    let (scenes, scenes_seen) = watch::channel(None);
    let folder = Folder::new(manifests.clone(), plan.upstreams.clone(), scenes, ticks.clone());
    let channels = Channels::open(members, Identities::built_in(identity));
    let view = channels.pipeline(&mut tasks, scenes_seen.clone(), plan.options.clone(), &ticks);
    let end = shutdown.clone();
    tasks.spawn("proxies", async move { proxies.keep(end).await });
    let end = shutdown.clone();
    tasks.spawn("manifests", async move { folder.run(end).await });
    let presenter = Presenter {
        view,
        translated: channels.translated.subscribe(),
        scenes: scenes_seen,
        entries,
        manifests,
        ticks,
    };
    let end = shutdown.clone();
    let (outcome, finished) = tokio::sync::oneshot::channel();
    tasks.spawn("terminal", async move {
        let result = presenter.run(plan.once, end.clone()).await;
        end.begin();
        // The receiver waits below until all tasks have ended.
        let _ = outcome.send(result);
        Ok(())
    });
    let all = tasks.finish();
    tokio::pin!(all);
    let mut ended = Ok(());
    let work_done = async { ended = (&mut all).await };
    let forced = runtime::shutdown::conduct(&shutdown, GRACE, work_done).await;
    if forced? {
        bail!("not everything ended in time");
    }
    ended?;
    finished.await.context("the terminal ended early")?
}

/// The channels of the one fleet.
struct Channels {
    members: watch::Sender<Members>,
    role: watch::Sender<Role>,
    identities: watch::Sender<Identities>,
    translated: watch::Sender<Arc<Translated>>,
}

impl Channels {
    fn open(members: Members, identities: Identities) -> Self {
        Self {
            members: watch::Sender::new(members),
            role: watch::Sender::new(Role::SOLE),
            identities: watch::Sender::new(identities),
            translated: watch::Sender::new(Arc::default()),
        }
    }

    /// Starts translator and driver.
    fn pipeline(
        &self,
        tasks: &mut Tasks,
        scenes: watch::Receiver<Option<Scene>>,
        options: Options,
        ticks: &Ticks,
    ) -> watch::Receiver<Arc<FleetView>> {
        let metrics = Metrics::new();
        let (view, view_seen) = watch::channel(Arc::new(FleetView::unknown()));
        let (blame, blame_seen) = watch::channel(None);
        let (revision, revisions) = watch::channel(None);
        let (_, options) = watch::channel(options);
        let (_, policy) = watch::channel(policy());
        let translator = Translator::new(
            translator::Inputs { scenes, options, view: view_seen.clone(), blame: blame_seen },
            translator::Outputs { revision, translated: self.translated.clone() },
            TranslatorMetrics::register(&metrics),
        );
        let driver = Driver::new(
            Inputs {
                revisions,
                members: self.members.subscribe(),
                role: self.role.subscribe(),
                identities: self.identities.subscribe(),
                policy,
            },
            Outputs { view, blame, metrics: AllFleetMetrics::register(&metrics).of(FLEET.1) },
            ticks.clone(),
            0,
        );
        let end = tasks.shutdown().clone();
        tasks.spawn("translator", async move {
            translator.run(end).await;
            Ok(())
        });
        let end = tasks.shutdown().clone();
        tasks.spawn("fleet", async move {
            driver.run(end).await;
            Ok(())
        });
        view_seen
    }
}

fn policy() -> Policy {
    Policy {
        namespace: FLEET.0.to_owned(),
        name: FLEET.1.to_owned(),
        settings: Settings {
            probe_every: Duration::from_secs(1),
            backoff_most: Duration::from_secs(2),
            ..Settings::default()
        },
        identity: IdentityPolicy::Pod { shared_name: FLEET.1.to_owned() },
        allowed: None,
        deadlines: Deadlines::default(),
    }
}
