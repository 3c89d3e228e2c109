//! Scheduling: who gets the next slot, how long a failure waits, and when to look again.
//!
//! Every instance stands in at most one place: waiting for a push slot, for a probe slot, or for a
//! moment. A slot counts against the cap only while its call is young: a proxy that accepts and never
//! answers must not hold up the others, so an old call moves to a second, larger allowance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::fleet::member::InstanceId;
use crate::moment::Moment;

/// Randomness that is seeded by the caller (SplitMix64): spreads retries, decides nothing.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between three and five quarters of `span`.
    pub(crate) fn around(&mut self, span: Duration) -> Duration {
        let per_mille = 750 + u32::try_from(self.next() % 501).unwrap_or(0);
        span.saturating_mul(per_mille) / 1000
    }
}

/// How long the `failures`-th failure in a row waits: doubles from `first` up to `most`.
pub(crate) fn backoff(failures: u32, first: Duration, most: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(most)
}

/// Who goes first when slots are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Serves nothing, or waits for its proof.
    Urgent,
    /// Serves something older.
    Usual,
    /// May not answer, or is going away.
    Last,
}

/// What an instance needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Push(Rank),
    Probe(Rank),
    Wait(Moment),
    Nothing,
}

/// The kind of a call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Push,
    Probe,
}

/// How many calls may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) young: usize,
    pub(crate) old: usize,
    pub(crate) old_after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    lane: Lane,
    started: Moment,
}

/// Every instance's place, and every call in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    places: BTreeMap<InstanceId, Want>,
    pushes: BTreeSet<(Rank, InstanceId)>,
    probes: BTreeSet<(Rank, InstanceId)>,
    timers: BTreeSet<(Moment, InstanceId)>,
    flights: BTreeMap<u64, Flight>,
}

impl Schedule {
    /// Moves an instance to the place that it wants.
    pub(crate) fn place(&mut self, id: &InstanceId, want: Want) {
        if self.places.get(id) == Some(&want) {
            return;
        }
        self.remove(id);
        match want {
            Want::Push(rank) => self.pushes.insert((rank, id.clone())),
            Want::Probe(rank) => self.probes.insert((rank, id.clone())),
            Want::Wait(at) => self.timers.insert((at, id.clone())),
            Want::Nothing => return,
        };
        self.places.insert(id.clone(), want);
    }

    /// Takes an instance out of all queues.
    pub(crate) fn remove(&mut self, id: &InstanceId) {
        match self.places.remove(id) {
            Some(Want::Push(rank)) => self.pushes.remove(&(rank, id.clone())),
            Some(Want::Probe(rank)) => self.probes.remove(&(rank, id.clone())),
            Some(Want::Wait(at)) => self.timers.remove(&(at, id.clone())),
            Some(Want::Nothing) | None => false,
        };
    }

    /// The instances whose moment has come; they leave the queue.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<InstanceId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.remove(&id);
            due.push(id);
        }
        due
    }

    /// The next instance of this lane, if a slot is free.
    pub(crate) fn next(&mut self, now: Moment, lane: Lane, slots: Slots) -> Option<InstanceId> {
        if !self.has_slot(now, lane, slots) {
            return None;
        }
        let (_, id) = self.queue(lane).first().cloned()?;
        self.remove(&id);
        Some(id)
    }

    fn queue(&self, lane: Lane) -> &BTreeSet<(Rank, InstanceId)> {
        match lane {
            Lane::Push => &self.pushes,
            Lane::Probe => &self.probes,
        }
    }

    fn has_slot(&self, now: Moment, lane: Lane, slots: Slots) -> bool {
        let flights = self.flights.values().filter(|flight| flight.lane == lane);
        let (mut young, mut all) = (0, 0);
        for flight in flights {
            all += 1;
            young += usize::from(now.since(flight.started) < slots.old_after);
        }
        young < slots.young && all < slots.young + slots.old
    }

    /// A call started.
    pub(crate) fn launch(&mut self, now: Moment, attempt: u64, lane: Lane) {
        self.flights.insert(attempt, Flight { lane, started: now });
    }

    /// A call ended.
    pub(crate) fn land(&mut self, attempt: u64) {
        self.flights.remove(&attempt);
    }

    /// How many pushes are in flight.
    pub(crate) fn pushes_in_flight(&self) -> usize {
        self.flights.values().filter(|flight| flight.lane == Lane::Push).count()
    }

    /// When to look again: the next moment somebody waits for, or when a young call turns old while
    /// others queue behind it.
    pub(crate) fn wake(&self, now: Moment, pushes: Slots, probes: Slots) -> Option<Moment> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let freed = [(Lane::Push, pushes), (Lane::Probe, probes)].into_iter().filter_map(
            |(lane, slots)| {
                let queued = !self.queue(lane).is_empty();
                let flights = self.flights.values().filter(|flight| queued && flight.lane == lane);
                flights
                    .map(|flight| flight.started.after(slots.old_after))
                    .filter(|at| *at > now)
                    .min()
            },
        );
        freed.chain(timer).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId::Pod(name.into())
    }

    const SLOTS: Slots = Slots { young: 1, old: 1, old_after: Duration::from_millis(300) };

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        let waits: Vec<_> = (1..8)
            .map(|n| backoff(n, Duration::from_millis(500), Duration::from_secs(10)).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn jitter_stays_near_and_replays() {
        let (mut one, mut two) = (Jitter::new(7), Jitter::new(7));
        for _ in 0..1000 {
            let wait = one.around(Duration::from_secs(4));
            assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&wait));
            assert_eq!(wait, two.around(Duration::from_secs(4)));
        }
    }

    #[test]
    fn stuck_call_frees_its_slot_after_a_while() {
        let mut schedule = Schedule::default();
        let start = Moment::ORIGIN;
        schedule.place(&id("stuck"), Want::Push(Rank::Urgent));
        schedule.place(&id("well"), Want::Push(Rank::Usual));
        assert_eq!(schedule.next(start, Lane::Push, SLOTS), Some(id("stuck")));
        schedule.launch(start, 1, Lane::Push);
        assert_eq!(schedule.next(start, Lane::Push, SLOTS), None);
        let freed = schedule.wake(start, SLOTS, SLOTS);
        assert_eq!(freed, Some(start.after(SLOTS.old_after)));
        assert_eq!(
            schedule.next(start.after(SLOTS.old_after), Lane::Push, SLOTS),
            Some(id("well"))
        );
    }

    #[test]
    fn instance_stands_in_one_place_only() {
        let mut schedule = Schedule::default();
        schedule.place(&id("a"), Want::Push(Rank::Usual));
        schedule.place(&id("a"), Want::Wait(Moment::ORIGIN));
        assert_eq!(schedule.next(Moment::ORIGIN, Lane::Push, SLOTS), None);
        assert_eq!(schedule.due(Moment::ORIGIN), [id("a")]);
        assert!(schedule.due(Moment::ORIGIN).is_empty());
    }
}
