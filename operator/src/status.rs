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
}

/// The writer.
pub struct Reporter {
    stores: Stores,
    inputs: Inputs,
    ticks: Ticks,
    wall: Wall,
    writer: Writer,
    desk: Desk,
    budget: Budget,
    teller: Teller,
    story: Story,
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
            stores,
            inputs,
            wall: Wall::new(ticks.epoch()),
            ticks,
            teller: Teller::new(client.clone(), instance),
            writer: Writer::new(client),
            desk: Desk::default(),
            budget: Budget::new(Rate::default()),
            story: Story::new(),
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
            }
            let now = self.ticks.now();
            let due =
                self.desk.due(now).map_or(Moment::NEVER, |due| due.max(self.budget.next(now)));
            let mut news = Self::news(&mut self.inputs);
            // Shutdown first; then writes, since they are bounded; then what is new.
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = self.ticks.reach(due), if leads => {
                    drop(news);
                    self.write_next().await;
                    continue;
                }
                () = &mut news => {}
                () = self.ticks.reach(look.after(PATROL)), if leads => {}
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

    /// Waits until something that statuses depend on has changed.
    fn news(inputs: &mut Inputs) -> BoxFuture<'_, ()> {
        let handles: Vec<FleetHandle> = inputs.fleets.borrow().values().cloned().collect();
        let mut changes: Vec<BoxFuture<'_, ()>> = Vec::new();
        for handle in handles {
            changes.push(changed(handle.view));
            changes.push(changed(handle.translated));
            changes.push(changed(handle.problems));
        }
        let Inputs { fleets, role, trust } = inputs;
        changes.push(follow(fleets));
        changes.push(follow(role));
        changes.push(follow(trust));
        select_all(changes).map(|_| ()).boxed()
    }

    /// Derives what should be written, and tells what happened.
    async fn look(&mut self) {
        let Some(seen) = self.see() else { return };
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
        derive(&Scene { snapshot: &snapshot, instances: &instances, wall: self.wall, now }, fleets)
    }

    /// Takes what the channels hold. `None` while a fleet that exists is not looked after yet: its
    /// instances would look like nobody's.
    fn see(&self) -> Option<Vec<Seen>> {
        if !*self.stores.ready.borrow() {
            return None;
        }
        let handles = self.inputs.fleets.borrow().clone();
        let trust = self.inputs.trust.borrow().clone();
        let mut seen = Vec::new();
        for fleet in self.stores.fleets.list() {
            if fleet.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let name = (text(&fleet.metadata.namespace), text(&fleet.metadata.name));
            let FleetHandle { view, translated, problems, options } = handles.get(&name)?;
            seen.push(Seen {
                fleet,
                view: view.borrow().clone(),
                translated: translated.borrow().clone(),
                problems: problems.borrow().clone(),
                options: options.borrow().clone(),
                trust: trust.get(&name).cloned(),
            });
        }
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

/// Waits for a change of a channel that is followed afresh: what it holds now has been looked at.
fn changed<'a, T: Send + Sync + 'a>(mut channel: watch::Receiver<T>) -> BoxFuture<'a, ()> {
    channel.borrow_and_update();
    async move {
        if channel.changed().await.is_err() {
            // Its fleet has ended, which the list of fleets tells.
            std::future::pending::<()>().await;
        }
    }
    .boxed()
}

fn follow<T: Send + Sync>(channel: &mut watch::Receiver<T>) -> BoxFuture<'_, ()> {
    async move {
        if channel.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    .boxed()
}
