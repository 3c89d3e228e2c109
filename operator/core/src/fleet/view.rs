//! What everyone else may know about a fleet: statuses, metrics, the table and the dashboard.
//!
//! A view is cheap to clone: instances are shared and replaced only when they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::election::Role;
use crate::fleet::event::{Node, PeerIdentity, Refusal, Trouble};
use crate::fleet::guard::Hold;
use crate::fleet::member::{InstanceId, Member};
use crate::moment::Moment;
use crate::revision::{Census, ConfigHash, Dialect};

/// The state of an instance in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sync {
    /// Found, and not yet up to date.
    Pending,
    /// A push is under way, or waits for its proof.
    Applying,
    /// Holds the newest revision, as read back.
    Synced,
    /// A guard holds the configuration that it should get.
    Held,
    /// Holds what somebody else gave it.
    Drifted,
    /// Refused the newest revision and keeps what it had.
    Rejected,
    /// Cannot take our configuration at all (database mode, dialect).
    Incompatible,
    /// Does not answer.
    Unreachable,
    /// Somebody else answers at its address: nothing was sent.
    IdentityMismatch,
    /// Is going away.
    Draining,
}

impl Sync {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Applying,
        Self::Synced,
        Self::Held,
        Self::Drifted,
        Self::Rejected,
        Self::Incompatible,
        Self::Unreachable,
        Self::IdentityMismatch,
        Self::Draining,
    ];

    /// The CamelCase word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Applying => "Applying",
            Self::Synced => "Synced",
            Self::Held => "Held",
            Self::Drifted => "Drifted",
            Self::Rejected => "Rejected",
            Self::Incompatible => "Incompatible",
            Self::Unreachable => "Unreachable",
            Self::IdentityMismatch => "IdentityMismatch",
            Self::Draining => "Draining",
        }
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// What an instance said it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The hash.
    pub hash: ConfigHash,
    /// When it said so.
    pub at: Moment,
}

/// The newest revision that an instance proved to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: ConfigHash,
    /// When it was proved.
    pub at: Moment,
    /// From the first change behind the revision to the proof.
    pub lag: Duration,
}

/// The last push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The revision.
    pub number: u64,
    /// When it ended.
    pub at: Moment,
    /// How long it took.
    pub took: Duration,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// Pushes of this revision so far.
    pub attempts: u32,
    /// What went wrong, if anything.
    pub message: Option<String>,
}

/// What an instance should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The newest revision.
    pub number: u64,
    /// Its hash in the instance's dialect.
    pub hash: ConfigHash,
}

/// What an instance does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The refused revision.
    pub number: u64,
    /// Its hash.
    pub hash: ConfigHash,
    /// When it was refused.
    pub at: Moment,
    /// Why.
    pub refusal: Arc<Refusal>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// The member that discovery found.
    pub member: Member,
    /// When it was found.
    pub found_at: Moment,
    /// Its state in one word.
    pub sync: Sync,
    /// Since when it is in that state.
    pub since: Moment,
    /// What it should hold, once its dialect is known.
    pub desired: Option<Desired>,
    /// What it said it holds.
    pub reported: Option<Reported>,
    /// Its data path still serves something else than it said it holds.
    pub behind: bool,
    /// What it proved to hold.
    pub verified: Option<Verified>,
    /// The last push.
    pub last_apply: Option<Apply>,
    /// Who it proved to be.
    pub identity: Option<PeerIdentity>,
    /// Its software.
    pub node: Option<Node>,
    /// The newest revision, if it refused it.
    pub rejected: Option<Rejected>,
    /// Why there is no useful answer.
    pub trouble: Option<Trouble>,
    /// Someone keeps overwriting it; it is left alone until then.
    pub contested_until: Option<Moment>,
}

/// The newest revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionView {
    /// Its number.
    pub number: u64,
    /// Its hash by dialect.
    pub hashes: BTreeMap<Dialect, ConfigHash>,
    /// Its size in bytes by dialect.
    pub sizes: BTreeMap<Dialect, usize>,
    /// What it holds.
    pub census: Census,
    /// When the first change behind it was seen.
    pub changed_at: Moment,
}

/// How many instances are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Pending or applying.
    pub pending: usize,
    /// Synced.
    pub synced: usize,
    /// Held by a guard.
    pub held: usize,
    /// Drifted.
    pub drifted: usize,
    /// Rejected or incompatible.
    pub rejected: usize,
    /// Unreachable, or somebody else at their address.
    pub unreachable: usize,
    /// Draining.
    pub draining: usize,
}

/// A fleet at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetView {
    /// What this replica may do.
    pub role: Role,
    /// The newest revision.
    pub revision: Option<RevisionView>,
    /// A configuration that a guard holds.
    pub hold: Option<Hold>,
    /// All instances.
    pub instances: BTreeMap<InstanceId, Arc<InstanceView>>,
}

impl FleetView {
    /// A fleet of which nothing is known yet.
    #[must_use]
    pub const fn unknown() -> Self {
        let role = Role::Standby { leader: None };
        Self { role, revision: None, hold: None, instances: BTreeMap::new() }
    }

    /// What the instances that answered understand.
    #[must_use]
    pub fn dialects(&self) -> BTreeSet<Dialect> {
        let nodes = self.instances.values().filter_map(|instance| instance.node.as_ref());
        nodes.map(|node| node.dialect).collect()
    }

    /// Counts instances by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { total: self.instances.len(), ..Counts::default() };
        for instance in self.instances.values() {
            let count = match instance.sync {
                Sync::Pending | Sync::Applying => &mut counts.pending,
                Sync::Synced => &mut counts.synced,
                Sync::Held => &mut counts.held,
                Sync::Drifted => &mut counts.drifted,
                Sync::Rejected | Sync::Incompatible => &mut counts.rejected,
                Sync::Unreachable | Sync::IdentityMismatch => &mut counts.unreachable,
                Sync::Draining => &mut counts.draining,
            };
            *count += 1;
        }
        counts
    }

    /// Whether there are instances, and each that stays holds the newest revision.
    #[must_use]
    pub fn converged(&self) -> bool {
        let counts = self.counts();
        counts.synced > 0 && counts.synced + counts.draining == counts.total
    }
}
