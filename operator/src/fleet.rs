//! The fleet driver: feeds [`Fleet`] with what happens, and turns its effects into calls.
//!
//! It decides nothing. It owns the connections (one per instance, kept between calls), answers every
//! effect exactly once, checks the role once more before the first byte of a push, and publishes a
//! view after every batch of events. Calls end in answers, never in shared state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use operator_core::election::Role;
use operator_core::fleet::discovery::Members;
use operator_core::fleet::event::{
    Effect, Event, Note, Probe, Probed, Push, Pushed, Refusal, Trouble, TroubleKind,
};
use operator_core::fleet::member::{InstanceId, Member};
use operator_core::fleet::view::FleetView;
use operator_core::fleet::{Fleet, Settings};
use operator_core::moment::Moment;
use operator_core::revision::{ConfigHash, Dialect, Revision};
use runtime::Shutdown;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{Instrument, debug, info_span};

use self::call::Fence;
use crate::admin::{Connection, Deadlines, Post, Security, Target};
use crate::ticks::Ticks;
use crate::trust::{Expected, Identities};

mod call;
mod narrate;
mod observe;

pub use observe::{AllFleetMetrics, FleetMetrics};

/// How the members of a fleet must prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityPolicy {
    /// Certificates are bound to pods. Members without a pod show one with the shared name.
    Pod {
        /// The name that members without a pod must carry.
        shared_name: String,
    },
    /// All members show a certificate with this name.
    Shared {
        /// The name.
        name: String,
    },
    /// Nothing is proved.
    Insecure,
}

/// What a person says about a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The namespace of the fleet.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The knobs.
    pub settings: Settings,
    /// How members prove who they are.
    pub identity: IdentityPolicy,
    /// A held configuration that was allowed.
    pub allowed: Option<ConfigHash>,
    /// How long calls may take.
    pub deadlines: Deadlines,
}

/// A revision that no instance of its dialect takes: the translator looks for the objects at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blame {
    /// The revision.
    pub number: u64,
    /// The dialect.
    pub dialect: Dialect,
    /// The refusal.
    pub refusal: Arc<Refusal>,
}

/// What the driver follows.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The newest revision.
    pub revisions: watch::Receiver<Option<Arc<Revision>>>,
    /// All members, as discovered.
    pub members: watch::Receiver<Members>,
    /// What this replica may do.
    pub role: watch::Receiver<Role>,
    /// What we show to proxies.
    pub identities: watch::Receiver<Identities>,
    /// What a person says.
    pub policy: watch::Receiver<Policy>,
}

/// What the driver tells.
#[derive(Debug)]
pub struct Outputs {
    /// The fleet at a glance.
    pub view: watch::Sender<Arc<FleetView>>,
    /// The newest revision that nobody takes.
    pub blame: watch::Sender<Option<Blame>>,
    /// Gauges, histograms and counters.
    pub metrics: FleetMetrics,
}

/// The driver of one fleet.
#[derive(Debug)]
pub struct Driver {
    inputs: Inputs,
    outputs: Outputs,
    ticks: Ticks,
    fleet: Fleet,
    connections: BTreeMap<InstanceId, Connection>,
    calls: JoinSet<Done>,
    wake: Moment,
}

/// How long a stop waits for pushes in flight.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Done {
    id: InstanceId,
    connection: Option<Connection>,
    event: Event,
}

impl Driver {
    /// A driver that has done nothing yet. The seed only spreads retries.
    #[must_use]
    pub fn new(inputs: Inputs, outputs: Outputs, ticks: Ticks, seed: u64) -> Self {
        let settings = inputs.policy.borrow().settings.clone();
        Self {
            inputs,
            outputs,
            ticks,
            fleet: Fleet::new(settings, seed),
            connections: BTreeMap::new(),
            calls: JoinSet::new(),
            wake: Moment::NEVER,
        }
    }

    /// Runs until shutdown, then waits a moment for what is in flight.
    pub async fn run(mut self, shutdown: Shutdown) {
        self.start();
        loop {
            // Biased: the end first, then answers (they free slots), then roles before revisions, so
            // that a deposed leader starts nothing new; timers last.
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(done) = self.calls.join_next() => self.landed(done),
                Ok(()) = self.inputs.role.changed() => {
                    let role = self.inputs.role.borrow_and_update().clone();
                    self.handle(Event::Role(role));
                }
                Ok(()) = self.inputs.policy.changed() => self.follow_policy(),
                Ok(()) = self.inputs.members.changed() => {
                    let members = self.inputs.members.borrow_and_update().clone();
                    self.handle(Event::Members(members));
                }
                Ok(()) = self.inputs.revisions.changed() => self.follow_revision(),
                Ok(()) = self.inputs.identities.changed() => {
                    self.inputs.identities.borrow_and_update();
                    self.handle(Event::Identity);
                }
                () = self.ticks.reach(self.wake) => {
                    self.wake = Moment::NEVER;
                    self.handle(Event::Tick);
                }
            }
            while let Some(done) = self.calls.try_join_next() {
                self.landed(done);
            }
            self.publish();
        }
        self.linger().await;
    }

    /// Takes what the channels hold already.
    fn start(&mut self) {
        let role = self.inputs.role.borrow_and_update().clone();
        self.handle(Event::Role(role));
        let members = self.inputs.members.borrow_and_update().clone();
        self.handle(Event::Members(members));
        self.follow_policy();
        self.follow_revision();
        self.publish();
    }

    fn follow_policy(&mut self) {
        let policy = self.inputs.policy.borrow_and_update().clone();
        let effects = self.fleet.configure(self.ticks.now(), policy.settings);
        self.perform(effects);
        if let Some(hash) = policy.allowed {
            self.handle(Event::Allowed(hash));
        }
        // The way in which identities are proved may have changed: prove them anew.
        self.connections.clear();
    }

    fn follow_revision(&mut self) {
        let revision = self.inputs.revisions.borrow_and_update().clone();
        if let Some(revision) = revision {
            self.handle(Event::Revision(revision));
        }
    }

    fn handle(&mut self, event: Event) {
        let effects = self.fleet.handle(self.ticks.now(), event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Push(push) => self.push(push),
                Effect::Probe(probe) => self.probe(probe),
                Effect::Wake(at) => self.wake = at,
                Effect::Note(note) => self.note(&note),
            }
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Removed(id) => drop(self.connections.remove(id)),
            Note::RevisionRefused { number, dialect, refusal } => {
                let blame =
                    Blame { number: *number, dialect: *dialect, refusal: Arc::clone(refusal) };
                self.outputs.blame.send_replace(Some(blame));
            }
            _ => {}
        }
        self.outputs.metrics.note(note);
        narrate::note(&self.fleet, note);
    }

    fn landed(&mut self, done: Result<Done, tokio::task::JoinError>) {
        // A call that panicked is a defect; its instance would wait for ever, so the panic goes on.
        let done = match done {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        if let Some(connection) = done.connection.filter(Connection::is_open) {
            self.connections.insert(done.id, connection);
        }
        self.handle(done.event);
    }

    fn publish(&mut self) {
        let view = Arc::new(self.fleet.view());
        self.outputs.metrics.view(&view);
        self.outputs.view.send_if_modified(|held| {
            let changed = **held != *view;
            *held = view;
            changed
        });
    }

    fn push(&mut self, push: Push) {
        let Push { member, attempt, revision, dialect, base: _, term } = push;
        let id = member.id.clone();
        let answer = {
            let id = id.clone();
            move |answer| Event::Pushed { id, attempt, answer }
        };
        let (target, body) = match (self.target(&member), revision.body(dialect)) {
            (Ok(target), Some(body)) => (target, body.clone()),
            (Err(trouble), _) => return self.reply(id, answer(Pushed::Failed(trouble))),
            // The fleet pushes only what was rendered; answering keeps the instance from waiting.
            (Ok(_), None) => return self.reply(id, answer(Pushed::Withheld)),
        };
        let post = Post { body, term };
        let fence = Fence { role: self.inputs.role.clone(), ticks: self.ticks.clone(), term };
        let kept = self.connections.remove(&id);
        let metrics = self.outputs.metrics.clone();
        let span = info_span!("push", instance = %member.name, revision = revision.number());
        let call = async move {
            let started = Instant::now();
            let (connection, pushed) = call::push(kept, &target, &post, &fence).await;
            metrics.pushed(&pushed, started.elapsed());
            Done { id, connection, event: answer(pushed) }
        };
        self.calls.spawn(call.instrument(span));
    }

    fn probe(&mut self, probe: Probe) {
        let Probe { member, attempt } = probe;
        let id = member.id.clone();
        let answer = {
            let id = id.clone();
            move |answer| Event::Probed { id, attempt, answer }
        };
        let target = match self.target(&member) {
            Ok(target) => target,
            Err(trouble) => return self.reply(id, answer(Probed::Failed(trouble))),
        };
        let kept = self.connections.remove(&id);
        self.calls.spawn(async move {
            let (connection, probed) = call::probe(kept, &target).await;
            Done { id, connection, event: answer(probed) }
        });
    }

    /// Answers an effect without a call.
    fn reply(&mut self, id: InstanceId, event: Event) {
        self.calls.spawn(async move { Done { id, connection: None, event } });
    }

    fn target(&self, member: &Member) -> Result<Target, Trouble> {
        let policy = self.inputs.policy.borrow();
        let expected = match (&policy.identity, member.id.pod_uid()) {
            (IdentityPolicy::Insecure, _) => None,
            (IdentityPolicy::Pod { .. }, Some(uid)) => Some(Expected::Pod { uid: uid.to_owned() }),
            (IdentityPolicy::Pod { shared_name: name }, None)
            | (IdentityPolicy::Shared { name }, _) => Some(Expected::Shared { name: name.clone() }),
        };
        let security = match expected {
            None => Security::Unverified,
            Some(expected) => {
                let identities = self.inputs.identities.borrow();
                let identity = identities.for_fleet(&policy.namespace, &policy.name).cloned();
                let identity = identity.ok_or_else(|| Trouble {
                    kind: TroubleKind::Unauthorized,
                    message: "the operator has no client certificate yet".to_owned(),
                })?;
                Security::Mutual { identity, expected }
            }
        };
        let deadlines = policy.deadlines;
        Ok(Target { address: member.admin, data: member.data, security, deadlines })
    }

    /// Waits a moment for pushes in flight: a successor must not overlap them.
    async fn linger(&mut self) {
        let landing = async { while self.calls.join_next().await.is_some() {} };
        if timeout(LINGER, landing).await.is_err() {
            debug!(calls = self.calls.len(), "calls abandoned");
        }
    }
}
