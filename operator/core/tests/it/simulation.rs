//! A model world of proxies, an API server's Lease, two operators and faults, replayed by seed.
//!
//! Every effect of a fleet becomes a happening with a random delay, loss, or duplication. After every
//! step the invariants hold; once faults stop, everything converges and then stays quiet. A failure
//! prints its seed: `SIM_SEED=n cargo test -p operator-core simulation` replays it, and
//! `SIM_SEEDS=n` runs that many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use operator_core::election::{Candidate, Record, Role, Step, Timing};
use operator_core::fleet::discovery::Members;
use operator_core::fleet::event::{
    Effect, Event, IdentityMode, Node, Note, Observation, PeerIdentity, Probe, Probed, Push,
    Pushed, Refusal, RefusalCause, Trouble, TroubleKind,
};
use operator_core::fleet::member::{InstanceId, Member, Presence};
use operator_core::fleet::view::Sync;
use operator_core::fleet::{Fleet, Settings};
use operator_core::moment::Moment;
use operator_core::revision::{Census, ConfigHash, Dialect, Revision};

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// One proxy of the model.
#[derive(Clone, Debug)]
struct Proxy {
    up: bool,
    partitioned: bool,
    slow_ms: u64,
    held: ConfigHash,
    /// What its data path served before, until that moment.
    served_before: (ConfigHash, u64),
    /// What its data path was seen to serve.
    seen_serving: BTreeSet<ConfigHash>,
    boot: u64,
    /// Our own proxy refuses older terms; stock Kong knows no terms.
    fences: bool,
    term: u64,
    refuses: BTreeSet<ConfigHash>,
    refused_in_this_boot: BTreeMap<(usize, ConfigHash), u32>,
    last: Option<(u64, u64)>,
}

struct Operator {
    fleet: Fleet,
    candidate: Candidate,
    role: Role,
    number: u64,
    stopped_until: u64,
    wake: u64,
    in_flight: BTreeMap<InstanceId, u64>,
    pushes: usize,
}

#[derive(Debug)]
enum Happening {
    Deliver(usize, Event),
    /// Discovery's channel holds the newest members only, and they are read when the operator looks.
    Discover(usize),
    /// The driver is about to send: it looks at the role once more.
    Send(usize, Push),
    ArrivePush(usize, Push),
    ArriveProbe(usize, Probe),
    Elect(usize),
    /// A deadline; void when another one replaced it.
    Wake(usize, u64),
    WriteLease(usize, Moment, Record),
    Fault,
    Revise,
}

struct World {
    now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    random: Random,
    operators: Vec<Operator>,
    proxies: BTreeMap<InstanceId, Proxy>,
    draining: BTreeSet<InstanceId>,
    lease: Option<Record>,
    body: u64,
    newest: Option<ConfigHash>,
    faults: bool,
    synced: BTreeMap<InstanceId, u64>,
    cap: usize,
}

fn id(number: u64) -> InstanceId {
    InstanceId::Pod(format!("pod-{number}").into())
}

fn member(id: &InstanceId, draining: bool) -> Member {
    Member {
        id: id.clone(),
        namespace: "gateways".into(),
        name: id.to_string().into(),
        admin: "10.0.0.1:8444".parse().unwrap(),
        data: None,
        node: None,
        zone: None,
        service: "admin".into(),
        presence: if draining { Presence::Draining } else { Presence::Ready },
    }
}

impl World {
    fn new(seed: u64, proxies: u64, settings: &Settings) -> Self {
        let mut random = Random(seed);
        let cap = settings.push_concurrency;
        let operators = (0..2)
            .map(|index| Operator {
                fleet: Fleet::new(settings.clone(), seed + index),
                candidate: Candidate::new(format!("operator-{index}").into(), Timing::default()),
                role: Role::Standby { leader: None },
                number: 0,
                stopped_until: 0,
                wake: 0,
                in_flight: BTreeMap::new(),
                pushes: 0,
            })
            .collect();
        let proxies = (0..proxies)
            .map(|number| {
                let proxy = Proxy {
                    up: true,
                    partitioned: false,
                    slow_ms: 0,
                    held: ConfigHash::EMPTY,
                    served_before: (ConfigHash::EMPTY, 0),
                    seen_serving: BTreeSet::new(),
                    boot: number,
                    fences: random.percent(70),
                    term: 0,
                    refuses: BTreeSet::new(),
                    refused_in_this_boot: BTreeMap::new(),
                    last: None,
                };
                (id(number), proxy)
            })
            .collect();
        let mut world = Self {
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            random,
            operators,
            proxies,
            draining: BTreeSet::new(),
            lease: None,
            body: 0,
            newest: None,
            faults: false,
            synced: BTreeMap::new(),
            cap,
        };
        for operator in 0..2 {
            world.after(operator as u64 * 7, Happening::Elect(operator));
        }
        world.tell_members();
        world
    }

    fn moment(&self) -> Moment {
        Moment::at(Duration::from_millis(self.now))
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    fn latency(&mut self) -> u64 {
        1 + self.random.below(10)
    }

    fn tell_members(&mut self) {
        for operator in 0..2 {
            let delay = self.latency() * 5;
            self.after(delay, Happening::Discover(operator));
        }
    }

    /// A new configuration, which both operators translate to the same bytes under their own numbers.
    fn revise(&mut self, bad: bool) {
        self.body += 1;
        let text = format!("{}-{}", if bad { "bad" } else { "good" }, self.body);
        let changed_at = self.moment();
        for operator in 0..2 {
            self.operators[operator].number += 1;
            let number = self.operators[operator].number;
            let census = Census::new([("routes".to_owned(), 100)]);
            let body = [(Dialect::Traditional, text.clone().into())];
            let revision = Arc::new(Revision::new(number, body, census, changed_at));
            self.newest = revision.hash(Dialect::Traditional);
            let delay = self.latency() * 3;
            self.after(delay, Happening::Deliver(operator, Event::Revision(revision)));
        }
    }

    fn run_until(&mut self, end: u64) {
        while let Some((&(at, sequence), _)) = self.queue.first_key_value() {
            if at > end {
                break;
            }
            let Some(happening) = self.queue.remove(&(at, sequence)) else { break };
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        let process = match &happening {
            Happening::Deliver(operator, _)
            | Happening::Discover(operator)
            | Happening::Send(operator, _)
            | Happening::Elect(operator)
            | Happening::Wake(operator, _)
            | Happening::WriteLease(operator, ..) => Some(*operator),
            Happening::ArrivePush(..) | Happening::ArriveProbe(..) => None,
            Happening::Fault | Happening::Revise => None,
        };
        if let Some(until) = process.map(|operator| self.operators[operator].stopped_until) {
            // A stopped process does nothing; its clock goes on.
            if until > self.now {
                self.after(until - self.now, happening);
                return;
            }
        }
        match happening {
            Happening::Deliver(operator, event) => self.deliver(operator, event),
            Happening::Discover(operator) => {
                let draining = |id| self.draining.contains(id);
                let members = self.proxies.keys().map(|id| (id.clone(), member(id, draining(id))));
                let members: Members = members.collect();
                self.deliver(operator, Event::Members(members));
            }
            Happening::Send(operator, push) => self.send(operator, push),
            Happening::ArrivePush(operator, push) => self.arrive_push(operator, &push),
            Happening::ArriveProbe(operator, probe) => self.arrive_probe(operator, &probe),
            Happening::Elect(operator) => self.elect(operator),
            Happening::Wake(operator, at) => {
                if self.operators[operator].wake == at {
                    self.deliver(operator, Event::Tick);
                }
            }
            Happening::WriteLease(operator, sent, record) => {
                self.write_lease(operator, sent, record);
            }
            Happening::Fault => self.fault(),
            Happening::Revise => {
                if self.faults {
                    let bad = self.random.percent(20);
                    self.revise(bad);
                    let delay = 200 + self.random.below(9000);
                    self.after(delay, Happening::Revise);
                }
            }
        }
    }

    fn deliver(&mut self, operator: usize, event: Event) {
        match &event {
            Event::Pushed { id, attempt, .. } | Event::Probed { id, attempt, .. } => {
                let flights = &mut self.operators[operator].in_flight;
                if flights.get(id) == Some(attempt) {
                    flights.remove(id);
                }
            }
            Event::Role(role) => self.operators[operator].role = role.clone(),
            Event::Revision(_)
            | Event::Members(_)
            | Event::Allowed(_)
            | Event::Identity
            | Event::Tick => {}
        }
        let now = self.moment();
        let effects = self.operators[operator].fleet.handle(now, event);
        for effect in effects {
            self.perform(operator, effect);
        }
        let pushes = self.operators[operator].fleet.pushes_in_flight();
        assert!(pushes <= self.cap * 4, "S3: {pushes} pushes in flight");
    }

    fn perform(&mut self, operator: usize, effect: Effect) {
        let now = self.moment();
        match effect {
            Effect::Push(push) => {
                let role = &self.operators[operator].role;
                assert_eq!(role.term_at(now), Some(push.term), "S1: only a leader pushes");
                self.take_off(operator, &push.member.id, push.attempt);
                self.operators[operator].pushes += 1;
                self.after(0, Happening::Send(operator, push));
            }
            Effect::Probe(probe) => {
                self.take_off(operator, &probe.member.id, probe.attempt);
                let delay = self.latency();
                self.after(delay, Happening::ArriveProbe(operator, probe));
            }
            Effect::Wake(at) => {
                let delay = at.since(now).as_millis() as u64 + 1;
                let wake = self.now + delay;
                if self.operators[operator].wake != wake {
                    self.operators[operator].wake = wake;
                    self.after(delay, Happening::Wake(operator, wake));
                }
            }
            Effect::Note(Note::Synced { id, .. }) => {
                let newest = self.operators[operator].fleet.newest();
                let hash = newest.and_then(|newest| newest.hash(Dialect::Traditional));
                if let (Some(proxy), Some(hash)) = (self.proxies.get(&id), hash) {
                    assert!(proxy.seen_serving.contains(&hash), "S9: {id} was believed too early");
                }
                let now = self.now;
                self.synced.entry(id).or_insert(now);
            }
            Effect::Note(_) => {}
        }
    }

    fn take_off(&mut self, operator: usize, id: &InstanceId, attempt: u64) {
        let before = self.operators[operator].in_flight.insert(id.clone(), attempt);
        assert_eq!(before, None, "S3: two calls in flight to {id}");
    }

    fn send(&mut self, operator: usize, push: Push) {
        let term = self.operators[operator].role.term_at(self.moment());
        if term != Some(push.term) {
            return self.answer_push(operator, &push, 0, Pushed::Withheld);
        }
        let delay = self.latency();
        self.after(delay, Happening::ArrivePush(operator, push));
    }

    fn arrive_push(&mut self, operator: usize, push: &Push) {
        let id = push.member.id.clone();
        let trip = self.latency();
        let lost = self.faults && self.random.percent(3);
        // As stock Kong: stored at once, served a while later.
        let served_at = self.now + self.random.below(1_500);
        let Some(proxy) = self.proxies.get_mut(&id) else {
            return self.answer_push(
                operator,
                push,
                trip,
                Pushed::Failed(trouble(TroubleKind::Unreachable)),
            );
        };
        if !proxy.up {
            return self.answer_push(
                operator,
                push,
                trip,
                Pushed::Failed(trouble(TroubleKind::Unreachable)),
            );
        }
        if proxy.partitioned {
            return self.answer_push(
                operator,
                push,
                5000,
                Pushed::Failed(trouble(TroubleKind::Timeout)),
            );
        }
        let Some(body) = push.revision.body(push.dialect) else {
            panic!("pushed what was not rendered")
        };
        if proxy.fences && push.term < proxy.term {
            return self.answer_push(operator, push, trip, Pushed::Fenced);
        }
        proxy.term = proxy.term.max(push.term);
        let delay = trip + proxy.slow_ms;
        if body.bytes().starts_with(b"bad") || proxy.refuses.contains(&body.hash()) {
            let times = proxy.refused_in_this_boot.entry((operator, body.hash())).or_default();
            *times += 1;
            // Once more is right: a restart that is noticed after the refusal forgets the refusal.
            assert!(*times <= 2, "S5: {id} got again and again what it refused");
            let refusal = Refusal {
                cause: RefusalCause::Invalid,
                status: 400,
                message: "declarative config is invalid".into(),
                entities: Vec::new(),
            };
            return self.answer_push(operator, push, delay, Pushed::Refused(Arc::new(refusal)));
        }
        let refused_before = !proxy.refused_in_this_boot.is_empty();
        let this = (push.term, push.revision.number());
        if proxy.fences && !refused_before {
            assert!(proxy.last.is_none_or(|last| last <= this), "S2: {id} went back to {this:?}");
        }
        proxy.last = Some(this);
        proxy.served_before = (proxy.held, served_at);
        proxy.held = body.hash();
        let answer = if lost {
            Pushed::Failed(trouble(TroubleKind::Timeout))
        } else {
            Pushed::Accepted { status: 201 }
        };
        self.answer_push(operator, push, if lost { 5000 } else { delay }, answer);
    }

    fn answer_push(&mut self, operator: usize, push: &Push, delay: u64, answer: Pushed) {
        let event = Event::Pushed { id: push.member.id.clone(), attempt: push.attempt, answer };
        if self.faults && self.random.percent(2) {
            let later = delay + self.random.below(3000);
            self.after(later, Happening::Deliver(operator, event.clone()));
        }
        self.after(delay, Happening::Deliver(operator, event));
    }

    fn arrive_probe(&mut self, operator: usize, probe: &Probe) {
        let id = probe.member.id.clone();
        let mut delay = self.latency();
        let now = self.now;
        let answer = match self.proxies.get_mut(&id) {
            Some(proxy) if proxy.up && !proxy.partitioned => {
                delay += proxy.slow_ms;
                proxy.seen_serving.insert(proxy.served(now));
                Probed::Answered(Box::new(observation(proxy, now)))
            }
            Some(proxy) if proxy.up => {
                delay = 2000;
                Probed::Failed(trouble(TroubleKind::Timeout))
            }
            Some(_) | None => Probed::Failed(trouble(TroubleKind::Unreachable)),
        };
        self.after(
            delay,
            Happening::Deliver(operator, Event::Probed { id, attempt: probe.attempt, answer }),
        );
    }

    fn elect(&mut self, operator: usize) {
        let now = self.moment();
        let lease = self.lease.clone();
        let candidate = &mut self.operators[operator].candidate;
        candidate.observe(now, lease);
        let role = candidate.role();
        let identity = candidate.identity().to_owned();
        let step = candidate.step(now);
        self.tell_role(operator, role);
        let (version, term) = match step {
            Step::Create => (String::new(), 1),
            Step::Hold { version, term } => (version, term),
            Step::Wait(at) => {
                let delay = at.since(now).as_millis() as u64;
                return self.after(delay.max(1), Happening::Elect(operator));
            }
        };
        let record = Record { holder: identity, transitions: term, version };
        let delay = self.latency();
        self.after(delay, Happening::WriteLease(operator, now, record));
    }

    fn write_lease(&mut self, operator: usize, sent: Moment, mut record: Record) {
        let version = self.lease.as_ref().map_or(String::new(), |lease| lease.version.clone());
        if version == record.version {
            self.sequence += 1;
            record.version = self.sequence.to_string();
            self.lease = Some(record.clone());
            let candidate = &mut self.operators[operator].candidate;
            candidate.wrote(sent, record);
            let role = candidate.role();
            self.tell_role(operator, role);
        }
        self.after(5, Happening::Elect(operator));
    }

    fn tell_role(&mut self, operator: usize, role: Role) {
        if self.operators[operator].role != role {
            self.deliver(operator, Event::Role(role));
        }
    }

    fn fault(&mut self) {
        if !self.faults {
            return;
        }
        let count = self.proxies.len() as u64;
        let victim = self.proxies.keys().nth(self.random.below(count) as usize).cloned().unwrap();
        let choice = self.random.below(12);
        let (newest, boot) = (self.newest, self.random.next());
        let slow = self.random.below(4000);
        let persists = self.random.percent(50);
        if let Some(proxy) = self.proxies.get_mut(&victim) {
            match choice {
                0 => proxy.up = false,
                1 | 2 => {
                    // Back with nothing, or with what it kept on disk.
                    proxy.up = true;
                    proxy.boot = boot;
                    proxy.refused_in_this_boot.clear();
                    if !persists {
                        proxy.held = ConfigHash::EMPTY;
                    }
                }
                3 => proxy.partitioned = true,
                4 | 5 => proxy.partitioned = false,
                6 => proxy.slow_ms = slow,
                7 => proxy.held = ConfigHash::of(&boot.to_be_bytes()),
                8 => proxy.refuses.extend(newest),
                9..=11 => {}
                other => panic!("no fault {other}"),
            }
        }
        match choice {
            9 => {
                let operator = self.random.below(2) as usize;
                let stop = self.random.below(15_000);
                self.operators[operator].stopped_until = self.now + stop;
            }
            10 => {
                if !self.draining.remove(&victim) {
                    self.draining.insert(victim);
                }
                self.tell_members();
            }
            11 => {
                let new = id(100 + self.sequence);
                let mut proxy = self.proxies[&victim].clone();
                (proxy.up, proxy.held, proxy.boot, proxy.last) =
                    (true, ConfigHash::EMPTY, boot, None);
                proxy.refused_in_this_boot.clear();
                self.proxies.remove(&victim);
                self.proxies.insert(new, proxy);
                self.tell_members();
            }
            _ => {}
        }
        let delay = 50 + self.random.below(2500);
        self.after(delay, Happening::Fault);
    }

    fn stop_faults(&mut self) {
        self.faults = false;
        for proxy in self.proxies.values_mut() {
            (proxy.up, proxy.partitioned, proxy.slow_ms) = (true, false, 0);
        }
        self.draining.clear();
        self.tell_members();
        self.revise(false);
    }

    fn pushes(&self) -> usize {
        self.operators.iter().map(|operator| operator.pushes).sum()
    }
}

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble { kind, message: "as the fault wanted".into() }
}

impl Proxy {
    fn served(&self, now: u64) -> ConfigHash {
        let (before, until) = self.served_before;
        if now < until { before } else { self.held }
    }
}

fn observation(proxy: &Proxy, now: u64) -> Observation {
    Observation {
        node: Node {
            version: "3.9.3".into(),
            node_id: proxy.boot.to_string(),
            hostname: "pod".into(),
            dialect: Dialect::Traditional,
            db_less: true,
        },
        hash: proxy.held,
        served: Some(proxy.served(now)),
        identity: PeerIdentity {
            mode: IdentityMode::PodBound,
            subject: "spiffe://flotilla".into(),
            serial: "01".into(),
            not_after: 0,
        },
    }
}

fn settings() -> Settings {
    Settings {
        push_concurrency: 4,
        contest_window: Duration::from_secs(30),
        backoff_most: Duration::from_secs(10),
        ..Settings::default()
    }
}

fn history(seed: u64) {
    let mut world = World::new(seed, 8, &settings());
    world.revise(false);
    world.faults = true;
    world.after(3000, Happening::Fault);
    world.after(1000, Happening::Revise);
    world.run_until(90_000);
    world.stop_faults();
    world.run_until(90_000 + 100_000);
    let newest = world.newest.unwrap();
    for (id, proxy) in &world.proxies {
        assert_eq!(proxy.held, newest, "S8: {id} did not converge");
    }
    let pushes = world.pushes();
    world.run_until(90_000 + 100_000 + 600_000);
    assert_eq!(world.pushes(), pushes, "S6: pushes in quiet times");
    let mut operators = world.operators.iter();
    let leads = |it: &&Operator| it.role.term_at(world.moment()).is_some();
    let leader = operators.find(leads).expect("somebody leads");
    let view = leader.fleet.view();
    assert_eq!(view.instances.len(), world.proxies.len());
    for instance in view.instances.values() {
        assert_eq!(instance.sync, Sync::Synced, "I3: the view is true");
    }
}

#[test]
fn invariants_hold_under_faults_and_everything_converges_after_them() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return history(seed);
    }
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| history(seed));
        assert!(run.is_ok(), "replay with SIM_SEED={seed}");
    }
}

/// When the last well instance proved the second revision, with this share of them black-holed.
fn spread(seed: u64, black_holed: u64) -> u64 {
    let settings = Settings { push_concurrency: 64, ..Settings::default() };
    let mut world = World::new(seed, 300, &settings);
    world.revise(false);
    world.run_until(20_000);
    let stuck: BTreeSet<_> = (0..black_holed).map(|number| id(number * 10)).collect();
    for id in &stuck {
        world.proxies.get_mut(id).unwrap().partitioned = true;
    }
    world.synced.clear();
    world.revise(false);
    let start = world.now;
    world.run_until(60_000);
    let well = world.proxies.keys().filter(|id| !stuck.contains(*id));
    well.map(|id| world.synced.get(id).expect("S4: a well instance waits") - start).max().unwrap()
}

#[test]
fn black_holed_instances_delay_no_other() {
    let (clean, faulty) = (spread(1, 0), spread(1, 30));
    assert!(faulty <= clean + clean / 10 + 20, "S4: {faulty} ms instead of {clean} ms");
}

#[test]
fn leader_that_loses_its_lease_stops_pushing_before_another_starts() {
    let mut world = World::new(3, 3, &settings());
    world.revise(false);
    world.run_until(5000);
    let leads =
        |world: &World, it: usize| world.operators[it].role.term_at(world.moment()).is_some();
    let leader = usize::from(leads(&world, 1));
    assert!(leads(&world, leader) && !leads(&world, 1 - leader));
    world.operators[leader].stopped_until = world.now + 20_000;
    world.revise(false);
    world.run_until(15_000);
    assert!(leads(&world, 1 - leader), "the stand-by takes over");
    world.run_until(40_000);
    assert!(!leads(&world, leader), "the stopped one finds itself deposed");
    assert!(world.proxies.values().all(|proxy| Some(proxy.held) == world.newest));
}
