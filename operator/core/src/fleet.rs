//! The fleet: a state machine that decides who gets which configuration, and when.
//!
//! [`Fleet::handle`] takes what happened and returns what to do. It performs no IO, reads no clock
//! and draws no randomness but from its seed, so that whole histories with faults can be replayed
//! (`tests/it/simulation.rs`). What it holds to:
//!
//! - one call in flight per instance, and a cap on those of the whole fleet;
//! - only the newest revision is pushed, only by the leader, under its term;
//! - an instance that fails backs off alone; one that refuses keeps its last good configuration, and
//!   what it refused is not sent again;
//! - what an instance holds is what it reports, never what was sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::election::Role;
use crate::fleet::discovery::Members;
use crate::fleet::event::{Effect, Event, Note, Probe, Probed, Push, Pushed, RefusalCause};
use crate::fleet::event::{Refusal, Trouble, TroubleKind};
use crate::fleet::guard::{Hold, ShrinkGuard};
use crate::fleet::instance::{Flight, Instance, Refused, Seen, Wanted};
use crate::fleet::member::InstanceId;
use crate::fleet::schedule::{Jitter, Lane, Schedule, Slots, Want, backoff};
use crate::fleet::view::{Apply, FleetView, InstanceView, Verified};
use crate::moment::Moment;
use crate::revision::{ConfigHash, Dialect, Revision};

pub mod discovery;
pub mod event;
pub mod guard;
pub mod member;
pub mod view;

mod instance;
mod portray;
mod schedule;

/// How many hashes of earlier revisions are remembered, to tell our own from a stranger's.
const HASHES_KEPT: usize = 128;
/// Server errors in a row for one configuration before it counts as refused.
const SERVER_ERRORS: u32 = 3;
/// How long a lone refusal waits for somebody who accepts, before the revision itself is blamed.
const VERDICT_AFTER: Duration = Duration::from_secs(1);

/// What to do about a configuration that somebody else put into a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriftPolicy {
    /// Push ours again.
    #[default]
    Correct,
    /// Show it, and leave it until the next revision.
    Report,
}

/// The knobs of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many pushes may be young at once.
    pub push_concurrency: usize,
    /// How many probes may be young at once.
    pub probe_concurrency: usize,
    /// After this a call no longer counts against the cap, but against four times the cap.
    pub slow_after: Duration,
    /// The pause between two probes of an instance; grows with the fleet beyond 400 instances.
    pub probe_every: Duration,
    /// The first pause after a failure; doubles up to `backoff_most`.
    pub backoff_first: Duration,
    /// The longest pause after a failure.
    pub backoff_most: Duration,
    /// How long an instance is remembered after it left the slices.
    pub forget_after: Duration,
    /// What to do about drift.
    pub drift: DriftPolicy,
    /// How often within `contest_window` drift is corrected before the instance is left alone.
    pub contest_after: usize,
    /// The window for that count, and how long it is left alone.
    pub contest_window: Duration,
    /// How much a configuration may shrink at once.
    pub shrink: ShrinkGuard,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            push_concurrency: 64,
            probe_concurrency: 64,
            slow_after: Duration::from_millis(300),
            probe_every: Duration::from_secs(4),
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(30),
            forget_after: Duration::from_secs(5),
            drift: DriftPolicy::Correct,
            contest_after: 5,
            contest_window: Duration::from_secs(600),
            shrink: ShrinkGuard::default(),
        }
    }
}

impl Settings {
    const fn slots(&self, lane: Lane) -> Slots {
        let young = match lane {
            Lane::Push => self.push_concurrency,
            Lane::Probe => self.probe_concurrency,
        };
        Slots { young, old: young.saturating_mul(3), old_after: self.slow_after }
    }
}

/// One fleet of proxies that serve the same configuration.
#[derive(Clone, Debug)]
pub struct Fleet {
    settings: Settings,
    jitter: Jitter,
    role: Role,
    newest: Option<Arc<Revision>>,
    held: Option<(Hold, Arc<Revision>)>,
    allowed: BTreeSet<ConfigHash>,
    /// No configuration with routes was seen in this life, so an empty one may be a mistake.
    never_filled: bool,
    good: BTreeMap<Dialect, Arc<Revision>>,
    known: VecDeque<ConfigHash>,
    instances: BTreeMap<InstanceId, Instance>,
    views: BTreeMap<InstanceId, Arc<InstanceView>>,
    schedule: Schedule,
    attempts: u64,
    converged: Option<u64>,
    blamed: BTreeMap<Dialect, u64>,
    verdict_at: Option<Moment>,
    notes: Vec<Note>,
}

impl Fleet {
    /// A fleet of which nothing is known. The seed only spreads retries.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            jitter: Jitter::new(seed),
            role: Role::Standby { leader: None },
            newest: None,
            held: None,
            allowed: BTreeSet::new(),
            never_filled: true,
            good: BTreeMap::new(),
            known: VecDeque::new(),
            instances: BTreeMap::new(),
            views: BTreeMap::new(),
            schedule: Schedule::default(),
            attempts: 0,
            converged: None,
            blamed: BTreeMap::new(),
            verdict_at: None,
            notes: Vec::new(),
        }
    }

    /// Takes what happened, and tells what to do.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        match event {
            Event::Revision(revision) => self.revise(now, revision),
            Event::Members(members) => self.recount(now, members),
            Event::Role(role) => {
                let led = self.role.term_at(now);
                self.role = role;
                if self.role.term_at(now) != led {
                    self.touch_all(now);
                }
            }
            Event::Allowed(hash) => self.allow(now, hash),
            Event::Identity => self.ask_again(now),
            Event::Pushed { id, attempt, answer } => self.pushed(now, &id, attempt, answer),
            Event::Probed { id, attempt, answer } => self.probed(now, &id, attempt, answer),
            Event::Tick => {}
        }
        for id in self.schedule.due(now) {
            self.wake(now, &id);
        }
        self.judge(now);
        self.note_convergence(now);
        self.effects(now)
    }

    /// The newest revision that was let through.
    #[must_use]
    pub const fn newest(&self) -> Option<&Arc<Revision>> {
        self.newest.as_ref()
    }

    /// How many pushes are in flight.
    #[must_use]
    pub fn pushes_in_flight(&self) -> usize {
        self.schedule.pushes_in_flight()
    }

    /// One instance.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&InstanceView> {
        self.views.get(id).map(AsRef::as_ref)
    }

    /// The fleet at a glance.
    #[must_use]
    pub fn view(&self) -> FleetView {
        FleetView {
            role: self.role.clone(),
            revision: self.newest.as_deref().map(portray::revision),
            hold: self.held.as_ref().map(|(hold, _)| hold.clone()),
            instances: self.views.clone(),
        }
    }

    /// Changes the knobs, as when the ProxyFleet was edited.
    pub fn configure(&mut self, now: Moment, settings: Settings) -> Vec<Effect> {
        if self.settings == settings {
            return Vec::new();
        }
        self.settings = settings;
        if let Some((_, revision)) = &self.held {
            // Another guard may let through what the last one held.
            let revision = Arc::clone(revision);
            self.revise(now, revision);
        }
        self.touch_all(now);
        self.effects(now)
    }

    fn revise(&mut self, now: Moment, revision: Arc<Revision>) {
        if self.newest.as_ref().is_some_and(|newest| newest.number() >= revision.number()) {
            return;
        }
        let live = self.newest.as_ref().map(|newest| newest.census().clone()).unwrap_or_default();
        let hold = self.settings.shrink.judge(&live, &revision);
        if let Some(hold) = hold.filter(|hold| !self.allowed.contains(&hold.hash)) {
            if self.held.as_ref().is_none_or(|(held, _)| held.hash != hold.hash) {
                self.notes.push(Note::Held(hold.clone()));
            }
            self.held = Some((hold, revision));
            self.touch_all(now);
            return;
        }
        self.admit(now, revision);
    }

    fn admit(&mut self, now: Moment, revision: Arc<Revision>) {
        self.held = None;
        self.never_filled &= revision.census().of("routes") == 0;
        for (_, body) in revision.bodies() {
            self.known.retain(|hash| *hash != body.hash());
            if self.known.len() == HASHES_KEPT {
                self.known.pop_front();
            }
            self.known.push_back(body.hash());
        }
        self.newest = Some(revision);
        self.verdict_at = None;
        self.touch_all(now);
    }

    fn allow(&mut self, now: Moment, hash: ConfigHash) {
        self.allowed.insert(hash);
        if let Some((hold, revision)) = self.held.take() {
            if hold.hash == hash {
                self.admit(now, revision);
            } else {
                self.held = Some((hold, revision));
            }
        }
        self.touch_all(now);
    }

    fn recount(&mut self, now: Moment, members: Members) {
        let gone: Vec<_> =
            self.instances.keys().filter(|id| !members.contains_key(*id)).cloned().collect();
        for id in gone {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.absent_since.get_or_insert(now);
            }
            self.touch(now, &id);
        }
        for (id, member) in members {
            match self.instances.get_mut(&id) {
                Some(instance) => instance.update(member, now),
                None => {
                    self.notes.push(Note::Discovered(id.clone()));
                    self.instances.insert(id.clone(), Instance::new(member, now));
                }
            }
            self.touch(now, &id);
        }
    }

    /// Whoever could not prove or accept an identity is asked again at once.
    fn ask_again(&mut self, now: Moment) {
        for instance in self.instances.values_mut() {
            match instance.trouble.as_ref().map(|trouble| trouble.kind) {
                Some(
                    TroubleKind::Handshake
                    | TroubleKind::IdentityMismatch
                    | TroubleKind::Unauthorized,
                ) => instance.not_before = now,
                Some(
                    TroubleKind::Unreachable
                    | TroubleKind::Timeout
                    | TroubleKind::NotAnAdminApi
                    | TroubleKind::ServerError
                    | TroubleKind::NotDbLess,
                )
                | None => {}
            }
        }
        self.touch_all(now);
    }

    /// The answered flight, unless the answer is late or a duplicate.
    fn land(&mut self, id: &InstanceId, attempt: u64) -> Option<Flight> {
        self.schedule.land(attempt);
        let instance = self.instances.get_mut(id)?;
        instance.flight.take_if(|flight| flight.attempt == attempt)
    }

    fn pushed(&mut self, now: Moment, id: &InstanceId, attempt: u64, answer: Pushed) {
        let Some(flight) = self.land(id, attempt) else { return };
        let Some(revision) = flight.revision.clone() else { return };
        self.record_apply(now, id, &flight, &answer);
        let Some(instance) = self.instances.get_mut(id) else { return };
        let hash = instance.dialect().and_then(|dialect| revision.hash(dialect));
        match answer {
            Pushed::Accepted { status: _ } => {
                instance.server_errors = 0;
                instance.unverified = Some(revision);
                instance.probe_at = now;
            }
            Pushed::Refused(refusal) => self.refused(now, id, &revision, refusal),
            Pushed::Busy { retry_after } => {
                let wait = retry_after.clamp(Duration::from_millis(100), Duration::from_secs(60));
                instance.not_before = now.after(wait);
            }
            Pushed::Fenced => {
                instance.not_before = now.after(Duration::from_secs(1));
                self.role = Role::Standby { leader: None };
                self.touch_all(now);
            }
            Pushed::Withheld => instance.not_before = now.after(Duration::from_millis(100)),
            Pushed::Leaving => {
                instance.not_before = now.after(Duration::from_secs(1));
                instance.reported = None;
            }
            Pushed::Failed(trouble) => {
                let server = trouble.kind == TroubleKind::ServerError;
                instance.server_errors = if server { instance.server_errors + 1 } else { 0 };
                if instance.server_errors >= SERVER_ERRORS && hash.is_some() {
                    let message = trouble.message;
                    let cause = RefusalCause::ServerError;
                    let refusal = Refusal { cause, status: 500, message, entities: Vec::new() };
                    instance.server_errors = 0;
                    self.refused(now, id, &revision, Arc::new(refusal));
                } else {
                    self.failed(now, id, trouble);
                }
            }
        }
        self.touch(now, id);
    }

    fn record_apply(&mut self, now: Moment, id: &InstanceId, flight: &Flight, answer: &Pushed) {
        let Some(revision) = &flight.revision else { return };
        let Some(instance) = self.instances.get_mut(id) else { return };
        let before = instance.last_apply.as_ref().filter(|last| last.number == revision.number());
        let (status, message) = match answer {
            Pushed::Accepted { status } => (Some(*status), None),
            Pushed::Refused(refusal) => (Some(refusal.status), Some(refusal.message.clone())),
            Pushed::Busy { .. } => {
                (Some(429), Some("still loading an earlier configuration".into()))
            }
            Pushed::Leaving => (Some(503), Some("shutting down".into())),
            Pushed::Fenced => (Some(409), Some("has seen a newer leader".into())),
            Pushed::Failed(trouble) => (None, Some(trouble.message.clone())),
            Pushed::Withheld => return,
        };
        instance.last_apply = Some(Apply {
            number: revision.number(),
            at: now,
            took: now.since(flight.started),
            status,
            attempts: before.map_or(1, |last| last.attempts.saturating_add(1)),
            message,
        });
    }

    fn refused(
        &mut self,
        now: Moment,
        id: &InstanceId,
        revision: &Revision,
        refusal: Arc<Refusal>,
    ) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        let Some(hash) = instance.dialect().and_then(|dialect| revision.hash(dialect)) else {
            return;
        };
        let number = revision.number();
        instance.refuse(Refused { hash, number, at: now, refusal: Arc::clone(&refusal) });
        self.notes.push(Note::Refused { id: id.clone(), number, refusal });
        self.verdict_at.get_or_insert(now.after(VERDICT_AFTER));
    }

    fn failed(&mut self, now: Moment, id: &InstanceId, trouble: Trouble) {
        let Some(instance) = self.instances.get_mut(id) else { return };
        // A pod that starts refuses connections for a moment: look often while it is young.
        let young =
            instance.node.is_none() && now.since(instance.found_at) < Duration::from_secs(60);
        let (first, most) = if young {
            (self.settings.backoff_first / 5, self.settings.backoff_first * 2)
        } else {
            (self.settings.backoff_first, self.settings.backoff_most)
        };
        let wait = self.jitter.around(backoff(instance.failures + 1, first, most));
        if instance.failed(trouble.clone(), now, wait) {
            self.notes.push(Note::Lost { id: id.clone(), trouble });
        }
    }

    fn probed(&mut self, now: Moment, id: &InstanceId, attempt: u64, answer: Probed) {
        if self.land(id, attempt).is_none() {
            return;
        }
        match answer {
            Probed::Failed(trouble) => self.failed(now, id, trouble),
            Probed::Answered(observation) => {
                let Some(mut instance) = self.instances.remove(id) else { return };
                if let Some(trouble) = instance.stranger(&observation) {
                    self.instances.insert(id.clone(), instance);
                    self.failed(now, id, trouble);
                    return self.touch(now, id);
                }
                if instance.lost() {
                    self.notes.push(Note::Recovered(id.clone()));
                }
                let found = observation.hash;
                let wanted = self.wanted(now, Some(observation.node.dialect));
                let seen = instance.observed(*observation, wanted);
                let contested = seen == Seen::Foreign && instance.drifted(found, wanted);
                self.instances.insert(id.clone(), instance);
                self.settle(now, id, seen, contested);
            }
        }
        self.touch(now, id);
    }

    /// Draws the conclusions of a probe that was answered.
    fn settle(&mut self, now: Moment, id: &InstanceId, seen: Seen, contested: bool) {
        let every = self.probe_every(now);
        let Some(instance) = self.instances.get_mut(id) else { return };
        instance.probe_at = now.after(self.jitter.around(every));
        let (Some(newest), Some(reported)) = (self.newest.clone(), instance.reported) else {
            return;
        };
        let Some(dialect) = instance.dialect() else { return };
        let Some(expected) = newest.hash(dialect) else { return };
        if seen == Seen::Foreign {
            let tries = u32::try_from(instance.corrections.len()).unwrap_or(u32::MAX);
            let pause =
                backoff(tries, self.settings.backoff_first / 10, self.settings.backoff_most);
            instance.not_before = now.after(pause);
            self.notes.push(Note::Drifted { id: id.clone(), expected, found: reported.hash });
            if contested {
                self.notes.push(Note::Contested(id.clone()));
            }
        }
        if instance.behind > 0 {
            let pause = backoff(
                instance.behind,
                self.settings.backoff_first / 10,
                self.settings.backoff_most,
            );
            instance.not_before = now.after(pause);
        } else if reported.hash == expected {
            self.good.insert(dialect, Arc::clone(&newest));
            let number = newest.number();
            if instance.verified.is_none_or(|verified| verified.number != number) {
                let lag = now.since(newest.changed_at());
                instance.verified = Some(Verified { number, hash: expected, at: now, lag });
                self.notes.push(Note::Synced { id: id.clone(), number, lag });
            }
        }
    }

    /// The pause between two probes: at most a hundred probes a second, a third of that on stand-by.
    fn probe_every(&self, now: Moment) -> Duration {
        let count = u32::try_from(self.instances.len()).unwrap_or(u32::MAX);
        let spread = Duration::from_millis(10).saturating_mul(count);
        let every = self.settings.probe_every.max(spread);
        if self.role.term_at(now).is_some() { every } else { every * 3 }
    }

    /// Blames the revision when every instance of a dialect that answered has refused it.
    fn judge(&mut self, now: Moment) {
        let (Some(due), Some(newest)) = (self.verdict_at, self.newest.clone()) else { return };
        let mut open = false;
        for (dialect, body) in newest.bodies() {
            if self.blamed.get(&dialect) == Some(&newest.number()) {
                continue;
            }
            let peers = || {
                self.instances.values().filter(|it| it.dialect() == Some(dialect) && it.counts())
            };
            if peers().any(|it| it.holds(body.hash()) || it.unverified.is_some()) {
                continue;
            }
            let Some(refused) =
                peers().filter_map(|it| it.refused(body.hash())).max_by_key(|it| it.at)
            else {
                continue;
            };
            let undecided =
                peers().any(|it| it.flight.as_ref().is_some_and(|f| f.lane == Lane::Push));
            if undecided && now < due {
                open = true;
                continue;
            }
            let refusal = Arc::clone(&refused.refusal);
            self.blamed.insert(dialect, newest.number());
            self.notes.push(Note::RevisionRefused { number: newest.number(), dialect, refusal });
        }
        if !open {
            self.verdict_at = None;
        }
    }

    fn note_convergence(&mut self, now: Moment) {
        let Some(newest) = self.newest.as_ref() else { return };
        let number = newest.number();
        if self.converged == Some(number) {
            return;
        }
        let mut instances = 0;
        for instance in self.instances.values().filter(|instance| instance.counts()) {
            if instance.verified.is_none_or(|verified| verified.number != number) {
                return;
            }
            instances += 1;
        }
        if instances > 0 {
            self.converged = Some(number);
            let lag = now.since(newest.changed_at());
            self.notes.push(Note::Converged { number, lag, instances });
        }
    }

    fn wanted(&self, now: Moment, dialect: Option<Dialect>) -> Wanted<'_> {
        let empty = self.newest.as_ref().is_some_and(|it| it.census().of("routes") == 0);
        let allowed = self
            .newest
            .as_ref()
            .is_some_and(|it| it.bodies().any(|(_, body)| self.allowed.contains(&body.hash())));
        Wanted {
            now,
            settings: &self.settings,
            leads: self.role.term_at(now).is_some(),
            newest: self.newest.as_ref(),
            good: dialect.and_then(|dialect| self.good.get(&dialect)),
            known: &self.known,
            blank: empty && self.never_filled && !allowed,
        }
    }

    /// The moment that an instance waited for has come.
    fn wake(&mut self, now: Moment, id: &InstanceId) {
        let forget = self.settings.forget_after;
        let over = |since: Moment| now.since(since) >= forget;
        let gone = self.instances.get(id).is_some_and(|it| it.absent_since.is_some_and(over));
        if gone {
            self.instances.remove(id);
            self.views.remove(id);
            self.notes.push(Note::Removed(id.clone()));
        } else {
            self.touch(now, id);
        }
    }

    fn touch_all(&mut self, now: Moment) {
        let ids: Vec<_> = self.instances.keys().cloned().collect();
        for id in ids {
            self.touch(now, &id);
        }
    }

    /// Puts an instance where it now belongs, and renews its view.
    fn touch(&mut self, now: Moment, id: &InstanceId) {
        let Some(instance) = self.instances.get(id) else { return };
        let wanted = self.wanted(now, instance.dialect());
        let want = instance.want(wanted);
        let view = portray::instance(instance, wanted, self.held.is_some(), self.views.get(id));
        self.schedule.place(id, want);
        if let Some(view) = view {
            self.views.insert(id.clone(), Arc::new(view));
        }
    }

    fn effects(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (pushes, probes) = (self.settings.slots(Lane::Push), self.settings.slots(Lane::Probe));
        while let Some(id) = self.schedule.next(now, Lane::Push, pushes) {
            effects.extend(self.push(now, &id));
        }
        while let Some(id) = self.schedule.next(now, Lane::Probe, probes) {
            effects.extend(self.probe(now, &id));
        }
        effects.extend(self.notes.drain(..).map(Effect::Note));
        let wake = self.schedule.wake(now, pushes, probes);
        effects.extend(wake.into_iter().chain(self.verdict_at).min().map(Effect::Wake));
        effects
    }

    fn push(&mut self, now: Moment, id: &InstanceId) -> Option<Effect> {
        let instance = self.instances.get(id)?;
        let wanted = self.wanted(now, instance.dialect());
        // Things may have changed while it queued, such as the end of the role.
        let revision =
            if instance.want(wanted) == Want::Nothing { None } else { instance.target(wanted) };
        let (Some(revision), Some(term)) = (revision.cloned(), self.role.term_at(now)) else {
            self.touch(now, id);
            return None;
        };
        let dialect = instance.dialect()?;
        let base = instance.reported.map(|reported| reported.hash).filter(|hash| !hash.is_empty());
        let member = instance.member.clone();
        let attempt = self.launch(now, id, Lane::Push, Some(Arc::clone(&revision)));
        Some(Effect::Push(Push { member, attempt, revision, dialect, base, term }))
    }

    fn probe(&mut self, now: Moment, id: &InstanceId) -> Option<Effect> {
        let member = self.instances.get(id)?.member.clone();
        let attempt = self.launch(now, id, Lane::Probe, None);
        Some(Effect::Probe(Probe { member, attempt }))
    }

    fn launch(
        &mut self,
        now: Moment,
        id: &InstanceId,
        lane: Lane,
        revision: Option<Arc<Revision>>,
    ) -> u64 {
        self.attempts += 1;
        let attempt = self.attempts;
        self.schedule.launch(now, attempt, lane);
        if let Some(instance) = self.instances.get_mut(id) {
            instance.flight = Some(Flight { attempt, lane, started: now, revision });
        }
        self.touch(now, id);
        attempt
    }
}

#[cfg(test)]
mod tests;
