//! Leader election on a Lease, as decisions: what to write, when, and what a role allows.
//!
//! Expiry is judged by local monotonic time since the record was last seen to change, never by
//! the timestamps in it: no two clocks are compared. The holder stops acting earlier (`renew_within`)
//! than anyone else may take over (`duration`), so two leaders never overlap. `transitions` counts
//! the changes of holder and is the *term*: pushes carry it, and proxies refuse an older one.

use std::sync::Arc;
use std::time::Duration;

use crate::moment::Moment;

/// What this replica may do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Watches, translates and probes; never pushes or writes.
    Standby {
        /// The holder of the lease, as last seen.
        leader: Option<Arc<str>>,
    },
    /// Pushes and writes, until the lease would have to be renewed.
    Leader {
        /// The term: larger is newer.
        term: u64,
        /// From here on the role must not be used.
        until: Moment,
    },
}

impl Role {
    /// The role of an operator that has no rivals, as in standalone mode.
    pub const SOLE: Self = Self::Leader { term: 1, until: Moment::NEVER };

    /// The term under which this replica may push and write at `now`.
    #[must_use]
    pub fn term_at(&self, now: Moment) -> Option<u64> {
        match self {
            Self::Leader { term, until } if now < *until => Some(*term),
            Self::Leader { .. } | Self::Standby { .. } => None,
        }
    }
}

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a record must stand unchanged before another replica may take it.
    pub duration: Duration,
    /// How long after its last renewal the holder still acts.
    pub renew_within: Duration,
    /// The pause between renewals, and between attempts of those who wait.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(6),
            renew_within: Duration::from_millis(4500),
            retry: Duration::from_millis(1500),
        }
    }
}

/// The part of a Lease that elections read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty once released.
    pub holder: String,
    /// How often the holder changed.
    pub transitions: u64,
    /// The version to compare and swap against.
    pub version: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the Lease, held by us in term 1.
    Create,
    /// Replace the record of this version by one held by us in this term.
    Hold {
        /// The version to compare and swap against.
        version: String,
        /// The term to write.
        term: u64,
    },
    /// Look again at this moment, or when the record changes.
    Wait(Moment),
}

/// One replica's view of the election.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: Arc<str>,
    timing: Timing,
    seen: Option<Seen>,
    held: Option<Held>,
    vanished: Option<Moment>,
}

#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    since: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    term: u64,
    renewed: Moment,
}

impl Candidate {
    /// A candidate whose identity no other process ever uses.
    #[must_use]
    pub const fn new(identity: Arc<str>, timing: Timing) -> Self {
        Self { identity, timing, seen: None, held: None, vanished: None }
    }

    /// The name written into the Lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The record was read, or an event showed it; `None` when there is none.
    pub fn observe(&mut self, now: Moment, record: Option<Record>) {
        let Some(record) = record else {
            self.held = None;
            if self.seen.take().is_some() {
                self.vanished = Some(now);
            }
            return;
        };
        self.vanished = None;
        if record.holder != *self.identity {
            self.held = None;
        }
        match &self.seen {
            Some(seen) if seen.record == record => {}
            Some(_) | None => self.seen = Some(Seen { record, since: now }),
        }
    }

    /// A write succeeded. `sent` is when its request left: the lease counts from there.
    pub fn wrote(&mut self, sent: Moment, record: Record) {
        self.held = Some(Held { term: record.transitions, renewed: sent });
        self.seen = Some(Seen { record, since: sent });
    }

    /// The next step at `now`.
    #[must_use]
    pub fn step(&self, now: Moment) -> Step {
        let Some(seen) = &self.seen else {
            // Whoever held a lease that somebody deleted may not know yet, and acts for as long as it lasts.
            let free = self.vanished.map(|since| since.after(self.timing.duration));
            return free.filter(|free| now < *free).map_or(Step::Create, Step::Wait);
        };
        let version = seen.record.version.clone();
        if let Some(held) = self.held {
            let due = held.renewed.after(self.timing.retry);
            if now < due {
                return Step::Wait(due);
            }
            return Step::Hold { version, term: held.term };
        }
        let expires = seen.since.after(self.timing.duration);
        if seen.record.holder.is_empty() || seen.record.holder == *self.identity || now >= expires {
            return Step::Hold { version, term: seen.record.transitions.saturating_add(1) };
        }
        Step::Wait(expires.min(now.after(self.timing.retry)))
    }

    /// What this replica may do.
    #[must_use]
    pub fn role(&self) -> Role {
        if let Some(held) = self.held {
            return Role::Leader {
                term: held.term,
                until: held.renewed.after(self.timing.renew_within),
            };
        }
        let holder = self.seen.as_ref().map(|seen| seen.record.holder.as_str());
        Role::Standby { leader: holder.filter(|holder| !holder.is_empty()).map(Arc::from) }
    }

    /// The version to release against, when this replica holds the lease.
    #[must_use]
    pub fn release(&mut self) -> Option<Record> {
        self.held.take()?;
        let seen = self.seen.as_ref()?;
        Some(Record { holder: String::new(), ..seen.record.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn record(holder: &str, transitions: u64, version: &str) -> Record {
        Record { holder: holder.into(), transitions, version: version.into() }
    }

    fn candidate() -> Candidate {
        Candidate::new(Arc::from("us"), Timing::default())
    }

    #[test]
    fn missing_lease_is_created_and_held() {
        let mut us = candidate();
        us.observe(at(0), None);
        assert_eq!(us.step(at(0)), Step::Create);
        us.wrote(at(0), record("us", 1, "7"));
        assert_eq!(us.role().term_at(at(1)), Some(1));
    }

    #[test]
    fn deleted_lease_is_made_again_only_after_its_holder_must_have_stopped() {
        let mut us = candidate();
        us.observe(at(0), Some(record("them", 3, "9")));
        us.observe(at(1), None);
        us.observe(at(5), None);
        assert_eq!(us.step(at(5)), Step::Wait(at(7)));
        assert_eq!(us.step(at(7)), Step::Create);
    }

    #[test]
    fn record_that_changes_is_never_taken() {
        let mut us = candidate();
        for second in 0..60 {
            us.observe(at(second), Some(record("them", 3, &second.to_string())));
            assert!(matches!(us.step(at(second)), Step::Wait(_)), "at {second} s");
        }
    }

    #[test]
    fn record_that_stands_still_is_taken_in_the_next_term() {
        let mut us = candidate();
        us.observe(at(0), Some(record("them", 3, "9")));
        assert!(matches!(us.step(at(5)), Step::Wait(_)));
        assert_eq!(us.step(at(6)), Step::Hold { version: "9".into(), term: 4 });
    }

    #[test]
    fn released_record_is_taken_at_once() {
        let mut us = candidate();
        us.observe(at(0), Some(record("", 3, "9")));
        assert_eq!(us.step(at(0)), Step::Hold { version: "9".into(), term: 4 });
    }

    #[test]
    fn holder_that_cannot_renew_stops_before_anyone_takes_over() {
        let timing = Timing::default();
        assert!(timing.renew_within < timing.duration);
        let mut us = candidate();
        us.wrote(at(10), record("us", 4, "9"));
        assert_eq!(us.role().term_at(at(14)), Some(4));
        assert_eq!(us.role().term_at(at(15)), None);
    }

    #[test]
    fn foreign_holder_ends_the_role() {
        let mut us = candidate();
        us.wrote(at(10), record("us", 4, "9"));
        us.observe(at(11), Some(record("them", 5, "10")));
        assert_eq!(us.role(), Role::Standby { leader: Some(Arc::from("them")) });
    }

    #[test]
    fn earlier_life_of_the_same_name_starts_a_new_term() {
        let mut us = candidate();
        us.observe(at(0), Some(record("us", 4, "9")));
        assert_eq!(us.step(at(0)), Step::Hold { version: "9".into(), term: 5 });
    }
}
