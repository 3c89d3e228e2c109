//! One instance: what is known about it, and what it needs next.
//!
//! Nothing in here looks at another instance, which is why one bad proxy cannot delay the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::event::{
    IdentityMode, Node, Observation, PeerIdentity, Refusal, Trouble, TroubleKind,
};
use crate::fleet::member::{Member, Presence};
use crate::fleet::schedule::{Lane, Rank, Want};
use crate::fleet::view::{Apply, Reported, Sync, Verified};
use crate::fleet::{DriftPolicy, Settings};
use crate::moment::Moment;
use crate::revision::{ConfigHash, Dialect, Revision};

/// How many refused configurations an instance remembers.
const REFUSALS_KEPT: usize = 8;
/// Failures in a row before an instance counts as unreachable.
const LOST_AFTER: u32 = 3;
/// The same for one that never answered: it may still be starting.
const NEVER_THERE_AFTER: u32 = 10;

/// What the fleet wants of all instances, as one of them sees it.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) now: Moment,
    pub(crate) settings: &'a Settings,
    pub(crate) leads: bool,
    /// The newest revision.
    pub(crate) newest: Option<&'a Arc<Revision>>,
    /// The newest revision that some instance took, by dialect.
    pub(crate) good: Option<&'a Arc<Revision>>,
    /// Hashes of revisions of this life.
    pub(crate) known: &'a VecDeque<ConfigHash>,
    /// The newest revision holds no routes, and a person has not said that this is right.
    pub(crate) blank: bool,
}

/// A call in flight.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) attempt: u64,
    pub(crate) lane: Lane,
    pub(crate) started: Moment,
    /// What is being pushed.
    pub(crate) revision: Option<Arc<Revision>>,
}

/// A configuration that this instance does not take.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) hash: ConfigHash,
    pub(crate) number: u64,
    pub(crate) at: Moment,
    pub(crate) refusal: Arc<Refusal>,
}

/// A configuration that somebody else put there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drift {
    pub(crate) found: ConfigHash,
    /// The newest revision when it was found: a newer one overrides every drift policy.
    pub(crate) number: u64,
}

/// Everything known about one instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) member: Member,
    pub(crate) found_at: Moment,
    pub(crate) absent_since: Option<Moment>,
    pub(crate) node: Option<Node>,
    pub(crate) identity: Option<PeerIdentity>,
    pub(crate) reported: Option<Reported>,
    pub(crate) verified: Option<Verified>,
    pub(crate) last_apply: Option<Apply>,
    pub(crate) refused: VecDeque<Refused>,
    pub(crate) drift: Option<Drift>,
    pub(crate) corrections: VecDeque<Moment>,
    pub(crate) contested_until: Option<Moment>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) failures: u32,
    pub(crate) server_errors: u32,
    pub(crate) unverified: Option<Arc<Revision>>,
    /// Looks in a row at which the data path served something else than the Admin API reported.
    pub(crate) behind: u32,
    pub(crate) not_before: Moment,
    pub(crate) probe_at: Moment,
    pub(crate) flight: Option<Flight>,
}

/// What a probe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It holds what it held.
    Same,
    /// It holds something else that is ours, or nothing: it restarted, or took a push.
    Moved,
    /// It holds something that nobody here gave it, or not what it was just given.
    Foreign,
}

impl Instance {
    pub(crate) fn new(member: Member, now: Moment) -> Self {
        Self {
            member,
            found_at: now,
            absent_since: None,
            node: None,
            identity: None,
            reported: None,
            verified: None,
            last_apply: None,
            refused: VecDeque::new(),
            drift: None,
            corrections: VecDeque::new(),
            contested_until: None,
            trouble: None,
            failures: 0,
            server_errors: 0,
            unverified: None,
            behind: 0,
            not_before: now,
            probe_at: now,
            flight: None,
        }
    }

    pub(crate) fn dialect(&self) -> Option<Dialect> {
        self.node.as_ref().map(|node| node.dialect)
    }

    pub(crate) fn draining(&self) -> bool {
        self.member.presence == Presence::Draining
    }

    /// Whether the fleet waits for it: it is there, stays, and answers.
    pub(crate) fn counts(&self) -> bool {
        self.absent_since.is_none() && !self.draining() && !self.lost()
    }

    pub(crate) fn holds(&self, hash: ConfigHash) -> bool {
        self.reported.is_some_and(|reported| reported.hash == hash)
    }

    pub(crate) fn refused(&self, hash: ConfigHash) -> Option<&Refused> {
        self.refused.iter().find(|refused| refused.hash == hash)
    }

    /// What the instance needs next.
    pub(crate) fn want(&self, wanted: Wanted<'_>) -> Want {
        if self.flight.is_some() {
            return Want::Nothing;
        }
        if let Some(since) = self.absent_since {
            return Want::Wait(since.after(wanted.settings.forget_after));
        }
        if self.draining() {
            let well = self.failures == 0 && self.reported.is_some() && self.unverified.is_none();
            let behind = well && self.target(wanted).is_some();
            return if behind { Want::Push(Rank::Last) } else { Want::Nothing };
        }
        if wanted.now < self.not_before {
            return Want::Wait(self.not_before);
        }
        if self.failures > 0 {
            return Want::Probe(Rank::Last);
        }
        if self.reported.is_none() || self.unverified.is_some() {
            return Want::Probe(Rank::Urgent);
        }
        if self.target(wanted).is_some() {
            let empty = self.reported.is_some_and(|reported| reported.hash.is_empty());
            return Want::Push(if empty { Rank::Urgent } else { Rank::Usual });
        }
        if self.behind > 0 {
            return Want::Probe(Rank::Urgent);
        }
        if wanted.now >= self.probe_at {
            return Want::Probe(Rank::Usual);
        }
        let retry = self.contested_until.filter(|until| *until > wanted.now);
        Want::Wait(retry.map_or(self.probe_at, |until| until.min(self.probe_at)))
    }

    /// What to push to it, if anything may be pushed now.
    pub(crate) fn target<'a>(&self, wanted: Wanted<'a>) -> Option<&'a Arc<Revision>> {
        let node = self.node.as_ref()?;
        let reported = self.reported?;
        if !wanted.leads || !node.db_less || self.stands_aside(wanted) {
            return None;
        }
        let newest = wanted.newest?;
        let hash = newest.hash(node.dialect)?;
        if reported.hash == hash {
            return None;
        }
        if self.refused(hash).is_none() {
            return Some(newest);
        }
        // It does not take the newest: leave it what it has, unless it has nothing of ours.
        if wanted.known.contains(&reported.hash) && !reported.hash.is_empty() {
            return None;
        }
        let good = wanted.good?;
        let last = good.hash(node.dialect)?;
        (last != reported.hash && self.refused(last).is_none()).then_some(good)
    }

    /// Whether its configuration is foreign and must be left alone for now.
    fn stands_aside(&self, wanted: Wanted<'_>) -> bool {
        if wanted.blank && self.verified.is_none() && self.holds_something_unknown(wanted) {
            return true;
        }
        let Some(drift) = self.drift else { return false };
        let newer = wanted.newest.is_some_and(|newest| newest.number() > drift.number);
        let contested = self.contested_until.is_some_and(|until| wanted.now < until);
        !newer && (contested || wanted.settings.drift == DriftPolicy::Report)
    }

    fn holds_something_unknown(&self, wanted: Wanted<'_>) -> bool {
        self.reported.is_some_and(|it| !it.hash.is_empty() && !wanted.known.contains(&it.hash))
    }

    /// A new look at the same member: it moved, became ready, or drains.
    pub(crate) fn update(&mut self, member: Member, now: Moment) {
        self.absent_since = None;
        if self.member == member {
            return;
        }
        let moved = self.member.admin != member.admin;
        self.member = member;
        self.not_before = now;
        if self.failures > 0 || moved {
            self.probe_at = now;
        }
    }

    /// The answer of a probe.
    pub(crate) fn observed(&mut self, seen: Observation, wanted: Wanted<'_>) -> Seen {
        let Observation { node, hash, served, identity } = seen;
        let restarted = self.node.as_ref().is_some_and(|known| known.node_id != node.node_id);
        let upgraded = self
            .node
            .as_ref()
            .is_some_and(|known| known.version != node.version || known.dialect != node.dialect);
        if restarted || upgraded {
            // Another process may take what the last one refused.
            self.refused.clear();
            self.server_errors = 0;
        }
        let before = self.reported.map(|reported| reported.hash);
        let pushed = self.unverified.take();
        let expected = pushed.as_ref().and_then(|revision| revision.hash(node.dialect));
        self.node = Some(node);
        self.identity = Some(identity);
        self.reported = Some(Reported { hash, at: wanted.now });
        self.trouble = None;
        self.failures = 0;
        self.behind = match served {
            Some(served) if served != hash => self.behind.saturating_add(1),
            Some(_) | None => 0,
        };
        if self.drift.is_some_and(|drift| drift.found != hash) {
            self.drift = None;
        }
        if before == Some(hash) && (expected.is_none() || expected == Some(hash)) {
            return Seen::Same;
        }
        let first = before.is_none() && pushed.is_none();
        let ours = expected
            .map_or(hash.is_empty() || wanted.known.contains(&hash), |expected| expected == hash);
        if ours || first || restarted { Seen::Moved } else { Seen::Foreign }
    }

    /// Somebody else's configuration was found. Tells whether the instance is contested from now on.
    pub(crate) fn drifted(&mut self, found: ConfigHash, wanted: Wanted<'_>) -> bool {
        let number = wanted.newest.map_or(0, |newest| newest.number());
        self.drift = Some(Drift { found, number });
        let window = wanted.settings.contest_window;
        while self.corrections.front().is_some_and(|at| wanted.now.since(*at) > window) {
            self.corrections.pop_front();
        }
        self.corrections.push_back(wanted.now);
        let contested = self.corrections.len() > wanted.settings.contest_after;
        if contested {
            self.corrections.pop_front();
            self.contested_until = Some(wanted.now.after(window));
        }
        contested
    }

    /// It does not take this configuration.
    pub(crate) fn refuse(&mut self, refused: Refused) {
        self.refused.retain(|known| known.hash != refused.hash);
        if self.refused.len() == REFUSALS_KEPT {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
    }

    /// Why what answers cannot be the pod, although its certificate fits: one that several pods share
    /// proves the fleet only, so its own word about where it runs must fit as well.
    pub(crate) fn stranger(&self, seen: &Observation) -> Option<Trouble> {
        let Observation { node, hash: _, served: _, identity } = seen;
        let shared = identity.mode == IdentityMode::Shared && self.member.id.pod_uid().is_some();
        // A pod on the network of its node has the node's name.
        let here = node.hostname.is_empty()
            || node.hostname == *self.member.name
            || self.member.node.as_deref() == Some(&node.hostname);
        (shared && !here).then(|| Trouble {
            kind: TroubleKind::IdentityMismatch,
            message: format!(
                "the gateway that answers says that it runs on {}, not in pod {}",
                node.hostname, self.member.name
            ),
        })
    }

    /// There was no useful answer. Tells whether the instance is lost from now on.
    pub(crate) fn failed(&mut self, trouble: Trouble, now: Moment, wait: Duration) -> bool {
        let was_lost = self.lost();
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(trouble);
        self.not_before = now.after(wait);
        self.probe_at = self.not_before;
        self.lost() && !was_lost
    }

    /// Whether it counts as unreachable.
    pub(crate) fn lost(&self) -> bool {
        let bound = if self.node.is_some() { LOST_AFTER } else { NEVER_THERE_AFTER };
        self.failures >= bound
            || self.trouble.as_ref().is_some_and(|it| it.kind == TroubleKind::IdentityMismatch)
    }

    /// Its state in one word.
    pub(crate) fn sync(&self, wanted: Wanted<'_>, held: bool) -> Sync {
        if self.absent_since.is_some() || self.draining() {
            return Sync::Draining;
        }
        match self.trouble.as_ref().map(|trouble| trouble.kind) {
            Some(TroubleKind::IdentityMismatch) => return Sync::IdentityMismatch,
            Some(_) if self.lost() => return Sync::Unreachable,
            Some(_) | None => {}
        }
        let (Some(node), Some(reported)) = (&self.node, self.reported) else {
            return Sync::Pending;
        };
        let Some(newest) = wanted.newest else { return Sync::Pending };
        if !node.db_less {
            return Sync::Incompatible;
        }
        // The next revision is rendered in its dialect too.
        let Some(hash) = newest.hash(node.dialect) else { return Sync::Pending };
        let pushing = self.flight.as_ref().is_some_and(|flight| flight.lane == Lane::Push);
        if self.refused(hash).is_some() {
            return Sync::Rejected;
        }
        if reported.hash == hash && self.unverified.is_none() {
            if self.behind > 0 {
                return Sync::Applying;
            }
            return if held { Sync::Held } else { Sync::Synced };
        }
        if pushing || self.unverified.is_some() {
            return Sync::Applying;
        }
        if self.drift.is_some() {
            return Sync::Drifted;
        }
        if held || (wanted.blank && self.stands_aside(wanted)) { Sync::Held } else { Sync::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::member::InstanceId;

    #[track_caller]
    fn check(mode: IdentityMode, hostname: &str, stranger: bool) {
        let member = Member {
            id: InstanceId::Pod("uid".into()),
            namespace: "gateways".into(),
            name: "proxy-7".into(),
            admin: ([10, 0, 0, 1], 8444).into(),
            data: None,
            node: Some("node-1".into()),
            zone: None,
            service: "admin".into(),
            presence: Presence::Ready,
        };
        let seen = Observation {
            node: Node {
                version: "3.9.3".into(),
                node_id: "one".into(),
                hostname: hostname.into(),
                dialect: Dialect::Traditional,
                db_less: true,
            },
            hash: ConfigHash::EMPTY,
            served: None,
            identity: PeerIdentity {
                mode,
                subject: "edge.gateways".into(),
                serial: "01".into(),
                not_after: 0,
            },
        };
        let instance = Instance::new(member, Moment::ORIGIN);
        assert_eq!(instance.stranger(&seen).is_some(), stranger, "{mode:?} {hostname}");
    }

    #[test]
    fn shared_certificate_is_believed_from_the_pod_itself_only() {
        check(IdentityMode::Shared, "proxy-7", false);
        check(IdentityMode::Shared, "node-1", false);
        check(IdentityMode::Shared, "", false);
        check(IdentityMode::Shared, "proxy-8", true);
        // A certificate that names the pod needs no other word.
        check(IdentityMode::PodBound, "proxy-8", false);
    }
}
