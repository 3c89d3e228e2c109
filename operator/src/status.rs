//! The only writer of statuses, ProxyInstances and events. Leader only.
//!
//! It wakes when a fleet changes, derives what the objects should say, and writes what differs: the
//! newest word of each object only, transitions first, within a budget that does not grow with the
//! number of proxies. What is not wanted any more is not written any more. It never translates and
//! never talks to a proxy; what to write is decided by [`operator_core::status`].

mod events;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, select_all};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use operator_api::ProxyFleet;
use operator_core::election::Role;
use operator_core::fleet::discovery::Problem;
use operator_core::fleet::view::FleetView;
use operator_core::moment::Moment;
use operator_core::options::Options;
use operator_core::status::budget::{Budget, Rate};
use operator_core::status::story::Story;
use operator_core::status::{FleetScene, Intent, Scene, Wall, derive};
use runtime::Shutdown;
use tokio::sync::watch;
use tracing::{debug, warn};

use self::events::Teller;
use self::write::{Desk, Writer};
use crate::fleets::{FleetHandle, Fleets};
use crate::ticks::Ticks;
use crate::translator::Translated;
use crate::trust::FleetName;
use crate::watch::Stores;

/// The shortest time between two derivations: a burst of changes is one.
const FLOOR: Duration = Duration::from_millis(50);

/// The shortest time before a look that only objects ask for: fleets tell what matters at once.
const CALM: Duration = Duration::from_secs(1);

/// How often everything is compared without a cause, so that what others overwrote heals.
const PATROL: Duration = Duration::from_secs(15);

/// What the writer follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The fleets that run.
    pub fleets: watch::Receiver<Fleets>,
    /// What this replica may do.
    pub role: watch::Receiver<Role>,
    /// What is wrong with the trust of fleets.
    pub trust: watch::Receiver<BTreeMap<FleetName, String>>,
    /// The Service whose addresses are published for fleets that say nothing: namespace and name.
    pub publish: Option<(String, String)>,
}

/// The writer.
pub struct Reporter {
    stores: Stores,
    dirty: watch::Receiver<u64>,
    inputs: Inputs,
    ticks: Ticks,
    wall: Wall,
    writer: Writer,
    desk: Desk,
    budget: Budget,
    teller: Teller,
    story: Story,
    /// The fleets' channels as of the last look: whatever comes after it is news.
    seen: Vec<FleetHandle>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reporter").field("desk", &self.desk).finish_non_exhaustive()
    }
}

/// A fleet with the values of its channels, taken at one moment.
struct Seen {
    fleet: Arc<ProxyFleet>,
    view: Arc<FleetView>,
    translated: Arc<Translated>,
    problems: Vec<Problem>,
    options: Options,
    trust: Option<String>,
}

impl Reporter {
    /// A writer that has written nothing; `instance` names this replica in events.
    #[must_use]
    pub fn new(
        client: Client,
        stores: Stores,
        inputs: Inputs,
        ticks: Ticks,
        instance: &str,
    ) -> Self {
        Self {
            dirty: stores.dirty.clone(),
            stores,
            inputs,
            wall: Wall::new(ticks.epoch()),
            ticks,
            teller: Teller::new(client.clone(), instance),
            writer: Writer::new(client),
            desk: Desk::default(),
            budget: Budget::new(Rate::default()),
            story: Story::new(),
            seen: Vec::new(),
        }
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// Never: what cannot be written is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut look = Moment::ORIGIN;
        loop {
            let leads = self.leads();
            if !leads {
                // Whoever leads next begins from what the objects say.
                self.desk = Desk::default();
                self.story = Story::new();
                self.seen = Vec::new();
            }
            let now = self.ticks.now();
            let due =
                self.desk.due(now).map_or(Moment::NEVER, |due| due.max(self.budget.next(now)));
            let mut news = news(&self.seen, &mut self.inputs);
            let ticks = self.ticks.clone();
            let objects = async {
                ticks.reach(look.after(CALM)).await;
                follow(&mut self.dirty).await;
            };
            // Shutdown first; then writes, since they are bounded; then what is new.
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = ticks.reach(due), if leads => {
                    drop(news);
                    self.write_next().await;
                    continue;
                }
                () = &mut news => {}
                () = objects, if leads => {}
                () = ticks.reach(look.after(PATROL)), if leads => {}
            }
            drop(news);
            let early = look.after(FLOOR);
            if self.ticks.now() < early {
                // Whatever arrives meanwhile is seen by the same look.
                self.ticks.reach(early).await;
            }
            look = self.ticks.now();
            if self.leads() {
                self.look().await;
            }
        }
    }

    /// Whether this replica leads now. Asked before each write: a role that has run out is none.
    fn leads(&self) -> bool {
        match &*self.inputs.role.borrow() {
            Role::Leader { term: _, until } => self.ticks.now() < *until,
            Role::Standby { leader: _ } => false,
        }
    }

    /// Derives what should be written, and tells what happened.
    async fn look(&mut self) {
        let Some(seen) = self.see() else {
            self.seen = Vec::new();
            return;
        };
        let fleets: Vec<FleetScene<'_>> = seen.iter().map(Seen::scene).collect();
        let told = self.story.tell(&fleets);
        let intents = self.derive(&fleets);
        self.desk.replace(intents, self.ticks.now());
        for told in told {
            self.teller.tell(&told).await;
        }
    }

    fn derive(&self, fleets: &[FleetScene<'_>]) -> Vec<Intent> {
        let snapshot = self.stores.snapshot();
        let instances = self.stores.instances.list();
        let now: Time = self.wall.time(self.ticks.now());
        let publish = self.inputs.publish.as_ref();
        let publish = publish.map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        let wall = self.wall;
        let scene = Scene { snapshot: &snapshot, instances: &instances, wall, now, publish };
        derive(&scene, fleets)
    }

    /// Takes what the channels hold. `None` while a fleet that exists is not looked after yet: its
    /// instances would look like nobody's.
    fn see(&mut self) -> Option<Vec<Seen>> {
        if !*self.stores.ready.borrow() {
            return None;
        }
        let handles = self.inputs.fleets.borrow().clone();
        let trust = self.inputs.trust.borrow().clone();
        let (mut seen, mut handles_seen) = (Vec::new(), Vec::new());
        for fleet in self.stores.fleets.list() {
            if fleet.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let name = (text(&fleet.metadata.namespace), text(&fleet.metadata.name));
            let mut handle = handles.get(&name)?.clone();
            let FleetHandle { view, translated, problems, options } = &mut handle;
            seen.push(Seen {
                fleet,
                view: view.borrow_and_update().clone(),
                translated: translated.borrow_and_update().clone(),
                problems: problems.borrow_and_update().clone(),
                options: options.borrow_and_update().clone(),
                trust: trust.get(&name).cloned(),
            });
            handles_seen.push(handle);
        }
        self.seen = handles_seen;
        Some(seen)
    }

    async fn write_next(&mut self) {
        let now = self.ticks.now();
        let Some(intent) = self.desk.take(now) else { return };
        self.budget.take(now);
        let result = self.writer.write(&intent).await;
        let failed = result.as_ref().err();
        if let Some(error) = failed {
            let Intent { target, act: _, transition: _ } = &intent;
            let name = format!("{}/{}", target.namespace, target.name);
            if error.is_race() {
                debug!(kind = %target.kind, name, %error, "object changed meanwhile");
            } else {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                warn!(kind = %target.kind, name, %error, cause, "status not written");
            }
        }
        let failed = failed.is_some();
        self.desk.written(intent, failed, self.ticks.now());
    }
}

impl Seen {
    fn scene(&self) -> FleetScene<'_> {
        let Self { fleet, view, translated, problems, options, trust } = self;
        FleetScene {
            fleet,
            view,
            outcomes: &translated.outcomes,
            number: translated.number,
            excluded: &translated.excluded,
            unexplained: translated.unexplained.as_deref(),
            problems,
            trust: trust.as_deref(),
            options,
        }
    }
}

/// Waits until something that statuses depend on has changed since it was looked at.
fn news<'a>(seen: &[FleetHandle], inputs: &'a mut Inputs) -> BoxFuture<'a, ()> {
    let mut changes: Vec<BoxFuture<'a, ()>> = Vec::new();
    for handle in seen {
        let FleetHandle { view, translated, problems, options } = handle.clone();
        changes.push(changed(view));
        changes.push(changed(translated));
        changes.push(changed(problems));
        changes.push(changed(options));
    }
    let Inputs { fleets, role, trust, publish: _ } = inputs;
    changes.push(follow(fleets).boxed());
    changes.push(follow(role).boxed());
    changes.push(follow(trust).boxed());
    select_all(changes).map(|_| ()).boxed()
}

fn changed<'a, T: Send + Sync + 'a>(mut channel: watch::Receiver<T>) -> BoxFuture<'a, ()> {
    async move { follow(&mut channel).await }.boxed()
}

async fn follow<T: Send + Sync>(channel: &mut watch::Receiver<T>) {
    if channel.changed().await.is_err() {
        // Its owner has ended, which others tell.
        std::future::pending::<()>().await;
    }
}
