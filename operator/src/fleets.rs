//! The fleets: one pipeline for each ProxyFleet, started and ended with it.
//!
//! A pipeline is discovery (pure, run here on every scene), a translator and a driver. Fleets share
//! scenes, role and identities, and nothing else: one fleet's trouble is no other's.

use std::collections::BTreeMap;
use std::sync::Arc;

use operator_api::ProxyFleet;
use operator_core::election::Role;
use operator_core::fleet::discovery::{Discovered, Members, Problem};
use operator_core::fleet::view::FleetView;
use operator_core::options::Options;
use runtime::{Ended, Shutdown, Tasks};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::app::Settings;
use crate::fleet::{self, AllFleetMetrics, Driver, Policy};
use crate::scenes::Scenes;
use crate::serve::Views;
use crate::ticks::Ticks;
use crate::translator::{self, Translated, Translator, TranslatorMetrics};
use crate::trust::{FleetName, Identities};
use crate::watch::Store;

mod follow;
mod spec;

/// What all fleets share.
#[derive(Clone, Debug)]
pub struct Common {
    /// What the operator was told.
    pub settings: Settings,
    /// The ProxyFleets.
    pub fleets: Arc<Store<ProxyFleet>>,
    /// The objects.
    pub scenes: Scenes,
    /// What this replica may do.
    pub role: watch::Receiver<Role>,
    /// What the operator shows to proxies.
    pub identities: watch::Receiver<Identities>,
    /// Metrics of fleets.
    pub fleet_metrics: AllFleetMetrics,
    /// Metrics of translators.
    pub translator_metrics: TranslatorMetrics,
    /// The clock.
    pub ticks: Ticks,
}

/// What others may follow of a fleet.
#[derive(Clone, Debug)]
pub struct FleetHandle {
    /// Its instances.
    pub view: watch::Receiver<Arc<FleetView>>,
    /// What became of every object.
    pub translated: watch::Receiver<Arc<Translated>>,
    /// Why slices or endpoints gave no members.
    pub problems: watch::Receiver<Vec<Problem>>,
    /// What its objects are translated with.
    pub options: watch::Receiver<Options>,
}

/// All fleets that run.
pub type Fleets = BTreeMap<FleetName, FleetHandle>;

/// Starts and ends pipelines.
#[derive(Debug)]
pub struct Supervisor {
    common: Common,
    running: BTreeMap<FleetName, Pipeline>,
    // A pipeline that ends unasked must not be missed: its end is awaited from the beginning.
    ends: JoinSet<Result<(), Ended>>,
    fleets: watch::Sender<Fleets>,
    views: watch::Sender<Views>,
}

/// One fleet at work.
#[derive(Debug)]
struct Pipeline {
    shutdown: Shutdown,
    members: watch::Sender<Members>,
    policy: watch::Sender<Policy>,
    options: watch::Sender<Options>,
    problems: watch::Sender<Vec<Problem>>,
    handle: FleetHandle,
}

impl Supervisor {
    /// A supervisor of no fleet yet.
    #[must_use]
    pub fn new(common: Common, fleets: watch::Sender<Fleets>, views: watch::Sender<Views>) -> Self {
        Self { common, running: BTreeMap::new(), ends: JoinSet::new(), fleets, views }
    }

    /// Runs until shutdown, then ends all pipelines.
    ///
    /// # Errors
    /// When a task of a pipeline ended unasked.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut scenes = self.common.scenes.all.clone();
        loop {
            self.round(&shutdown);
            // Biased: the end first, then ends that nobody asked for.
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(ended) = self.ends.join_next() => ended??,
                Ok(()) = scenes.changed() => {
                    scenes.borrow_and_update();
                }
            }
        }
        while let Some(ended) = self.ends.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Brings pipelines in line with the ProxyFleets, and members with the slices.
    fn round(&mut self, shutdown: &Shutdown) {
        let Some(scene) = self.common.scenes.all.borrow().clone() else { return };
        let wanted: BTreeMap<FleetName, Arc<ProxyFleet>> = self
            .common
            .fleets
            .list()
            .into_iter()
            .filter(|fleet| fleet.metadata.deletion_timestamp.is_none())
            .map(|fleet| (spec::name(&fleet), fleet))
            .collect();
        let gone: Vec<_> =
            self.running.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        let mut changed = !gone.is_empty();
        for name in gone {
            if let Some(pipeline) = self.running.remove(&name) {
                info!(namespace = name.0, fleet = name.1, "fleet ends");
                pipeline.shutdown.begin();
            }
        }
        for (name, fleet) in wanted {
            let discovered = follow::discover(&fleet, &scene.snapshot);
            match self.running.get(&name) {
                Some(pipeline) => pipeline.follow(&self.common.settings, &fleet, discovered),
                None => {
                    info!(namespace = name.0, fleet = name.1, "fleet begins");
                    for problem in &discovered.problems {
                        warn!(namespace = name.0, fleet = name.1, ?problem, "discovery");
                    }
                    let (pipeline, tasks) =
                        Pipeline::start(&self.common, &name, &fleet, discovered, shutdown);
                    self.ends.spawn(tasks.finish());
                    self.running.insert(name, pipeline);
                    changed = true;
                }
            }
        }
        if changed {
            self.tell();
        }
    }

    fn tell(&self) {
        let handles = self.running.iter();
        let fleets: Fleets =
            handles.clone().map(|(name, it)| (name.clone(), it.handle.clone())).collect();
        let view = |(name, it): (&FleetName, &Pipeline)| {
            (format!("{}/{}", name.0, name.1), it.handle.view.clone())
        };
        self.views.send_replace(handles.map(view).collect());
        self.fleets.send_replace(fleets);
    }
}

impl Pipeline {
    fn start(
        common: &Common,
        name: &FleetName,
        fleet: &ProxyFleet,
        found: Discovered,
        shutdown: &Shutdown,
    ) -> (Self, Tasks) {
        let mut tasks = Tasks::new(shutdown.child());
        let (view, view_seen) = watch::channel(Arc::new(FleetView::unknown()));
        let (blame, blame_seen) = watch::channel(None);
        let (revision, revisions) = watch::channel(None);
        let (translated, translated_seen) = watch::channel(Arc::default());
        let (options, options_seen) = watch::channel(spec::options(&common.settings, fleet));
        let (policy, policy_seen) = watch::channel(spec::policy(&common.settings, fleet));
        let (members, members_seen) = watch::channel(found.members);
        let (problems, problems_seen) = watch::channel(found.problems);
        let translator = Translator::new(
            translator::Inputs {
                scenes: common.scenes.served.clone(),
                options: options_seen.clone(),
                view: view_seen.clone(),
                blame: blame_seen,
            },
            translator::Outputs { revision, translated },
            common.translator_metrics.clone(),
        );
        let inputs = fleet::Inputs {
            revisions,
            members: members_seen,
            role: common.role.clone(),
            identities: common.identities.clone(),
            policy: policy_seen,
        };
        let label = format!("{}/{}", name.0, name.1);
        let outputs = fleet::Outputs { view, blame, metrics: common.fleet_metrics.of(label) };
        let driver = Driver::new(inputs, outputs, common.ticks.clone(), spec::seed(fleet));
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
        let handle = FleetHandle {
            view: view_seen,
            translated: translated_seen,
            problems: problems_seen,
            options: options_seen,
        };
        let shutdown = tasks.shutdown().clone();
        (Self { shutdown, members, policy, options, problems, handle }, tasks)
    }

    /// Tells the pipeline what changed, if anything did.
    fn follow(&self, settings: &Settings, fleet: &ProxyFleet, found: Discovered) {
        tell(&self.members, found.members);
        tell(&self.problems, found.problems);
        tell(&self.policy, spec::policy(settings, fleet));
        tell(&self.options, spec::options(settings, fleet));
    }
}

/// Sends a value unless it is what everybody knows.
fn tell<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|held| {
        let changed = *held != value;
        *held = value;
        changed
    });
}
