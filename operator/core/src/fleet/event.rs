//! What happens to a fleet, what it asks for, and the answers that come back.

use std::sync::Arc;
use std::time::Duration;

use crate::election::Role;
use crate::fleet::discovery::Members;
use crate::fleet::guard::Hold;
use crate::fleet::member::{InstanceId, Member};
use crate::moment::Moment;
use crate::revision::{ConfigHash, Dialect, Revision};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new configuration for the whole fleet.
    Revision(Arc<Revision>),
    /// Discovery ran: these are all members.
    Members(Members),
    /// The role of this replica changed or was renewed.
    Role(Role),
    /// A person allowed a configuration that a guard holds, by its hash.
    Allowed(ConfigHash),
    /// Our own client identity changed: whoever refused the old one may be asked again at once.
    Identity,
    /// The answer to [`Effect::Push`].
    Pushed {
        /// The instance.
        id: InstanceId,
        /// The attempt that is answered; late answers of other attempts are dropped.
        attempt: u64,
        /// The answer.
        answer: Pushed,
    },
    /// The answer to [`Effect::Probe`].
    Probed {
        /// The instance.
        id: InstanceId,
        /// The attempt that is answered.
        attempt: u64,
        /// The answer.
        answer: Probed,
    },
    /// A deadline asked for by [`Effect::Wake`] has come.
    Tick,
}

/// Something to do. The driver answers every push and every probe exactly once.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Post the configuration to this member.
    Push(Push),
    /// Ask this member who it is and what it holds.
    Probe(Probe),
    /// Call [`Fleet::handle`](crate::fleet::Fleet::handle) with a [`Event::Tick`] at this moment; replaces earlier ones.
    Wake(Moment),
    /// Something worth a log line, a metric or a Kubernetes event.
    Note(Note),
}

/// One push.
#[derive(Clone, Debug)]
pub struct Push {
    /// To whom.
    pub member: Member,
    /// Which attempt this is.
    pub attempt: u64,
    /// What.
    pub revision: Arc<Revision>,
    /// In which dialect.
    pub dialect: Dialect,
    /// What the instance reported last: a delta may start there.
    pub base: Option<ConfigHash>,
    /// The term to push under. The driver checks the role again before the first byte.
    pub term: u64,
}

/// One probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Whom to ask.
    pub member: Member,
    /// Which attempt this is.
    pub attempt: u64,
}

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Stored (201), or held already (304). Truth comes from the probe that follows.
    Accepted {
        /// The HTTP status.
        status: u16,
    },
    /// The configuration is refused; the instance keeps what it had.
    Refused(Arc<Refusal>),
    /// Another load is running: not a failure.
    Busy {
        /// What `Retry-After` asked for.
        retry_after: Duration,
    },
    /// The instance has seen a newer term: this replica is no longer the leader.
    Fenced,
    /// The role ended before the first byte left.
    Withheld,
    /// The instance is going away.
    Leaving,
    /// No answer, or one that makes no sense.
    Failed(Trouble),
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The instance told about itself.
    Answered(Box<Observation>),
    /// No answer, or one that makes no sense.
    Failed(Trouble),
}

/// What an instance told about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Its software.
    pub node: Node,
    /// The hash of what it holds; [`ConfigHash::EMPTY`] when it holds nothing.
    pub hash: ConfigHash,
    /// The hash of what its data path serves, when that was asked and it knows the question.
    pub served: Option<ConfigHash>,
    /// Who it proved to be.
    pub identity: PeerIdentity,
}

/// An instance's software, as `GET /` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `3.9.3`, or the version of our own proxy.
    pub version: String,
    /// A UUID that is new at each start of the process.
    pub node_id: String,
    /// The host name it reports: a pod's name, in a cluster.
    pub hostname: String,
    /// The dialect that its router understands.
    pub dialect: Dialect,
    /// Whether it keeps its configuration in memory (`database: off`).
    pub db_less: bool,
}

/// Who an instance proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// How strong the proof is.
    pub mode: IdentityMode,
    /// The name that was verified.
    pub subject: String,
    /// The certificate's serial number, in hexadecimal.
    pub serial: String,
    /// When the certificate expires, in seconds of the Unix epoch.
    pub not_after: i64,
}

/// How strong the proof of an instance's identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentityMode {
    /// The certificate names the pod's UID.
    PodBound,
    /// The certificate is shared by several proxies.
    Shared,
    /// Nothing was verified, because the fleet says so.
    None,
}

/// Why there was no useful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble, in one word.
    pub kind: TroubleKind,
    /// A sentence for people; holds no secret.
    pub message: String,
}

/// What kind of trouble: the reason in conditions, events and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// No connection.
    Unreachable,
    /// A connection, but no answer in time.
    Timeout,
    /// The TLS handshake failed.
    Handshake,
    /// The peer is somebody else: nothing was sent.
    IdentityMismatch,
    /// The peer refuses our identity.
    Unauthorized,
    /// Whatever answers is not an Admin API (HTML, no JSON).
    NotAnAdminApi,
    /// The Admin API answered with a server error.
    ServerError,
    /// The instance keeps its configuration in a database and takes none.
    NotDbLess,
}

impl TroubleKind {
    /// The CamelCase word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Timeout => "Timeout",
            Self::Handshake => "HandshakeFailed",
            Self::IdentityMismatch => "IdentityMismatch",
            Self::Unauthorized => "Unauthorized",
            Self::NotAnAdminApi => "NotAnAdminApi",
            Self::ServerError => "ServerError",
            Self::NotDbLess => "NotDbLess",
        }
    }
}

/// Why an instance refused a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause, in one word.
    pub cause: RefusalCause,
    /// The HTTP status.
    pub status: u16,
    /// The instance's own words, shortened.
    pub message: String,
    /// The entities at fault, when it named them.
    pub entities: Vec<RefusedEntity>,
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCause {
    /// It breaks the schema or refers to something missing.
    Invalid,
    /// The request is larger than the Admin API's listener takes (`nginx_admin_client_max_body_size`).
    BodyTooLarge,
    /// It does not fit the proxy's store (`lmdb_map_size`).
    StoreFull,
    /// The proxy failed on it again and again.
    ServerError,
}

impl RefusalCause {
    /// The CamelCase word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "InvalidConfiguration",
            Self::BodyTooLarge => "PayloadTooLarge",
            Self::StoreFull => "StoreFull",
            Self::ServerError => "ServerError",
        }
    }
}

/// One entity that an instance refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedEntity {
    /// Kong's word for its kind, such as `route`.
    pub kind: String,
    /// Its id, when told.
    pub id: Option<String>,
    /// Its name, when told.
    pub name: Option<String>,
    /// Its tags: they name the Kubernetes object.
    pub tags: Vec<String>,
    /// What is wrong, one sentence a field.
    pub errors: Vec<String>,
}

/// Something worth telling: each is a transition, never a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An instance was found.
    Discovered(InstanceId),
    /// An instance is gone.
    Removed(InstanceId),
    /// An instance holds the newest revision, as read back.
    Synced {
        /// The instance.
        id: InstanceId,
        /// The revision.
        number: u64,
        /// From the first change behind the revision to this proof.
        lag: Duration,
    },
    /// Every reachable instance holds the newest revision.
    Converged {
        /// The revision.
        number: u64,
        /// From the first change behind it to the last proof.
        lag: Duration,
        /// How many hold it.
        instances: usize,
    },
    /// An instance holds what nobody here gave it.
    Drifted {
        /// The instance.
        id: InstanceId,
        /// What it should hold.
        expected: ConfigHash,
        /// What it holds.
        found: ConfigHash,
    },
    /// Someone keeps overwriting an instance: it is left alone for a while.
    Contested(InstanceId),
    /// An instance refused a configuration.
    Refused {
        /// The instance.
        id: InstanceId,
        /// The revision.
        number: u64,
        /// Why.
        refusal: Arc<Refusal>,
    },
    /// No instance of this dialect takes the newest revision.
    RevisionRefused {
        /// The revision.
        number: u64,
        /// The dialect.
        dialect: Dialect,
        /// The refusal of the instance that answered last.
        refusal: Arc<Refusal>,
    },
    /// An instance stopped answering.
    Lost {
        /// The instance.
        id: InstanceId,
        /// Why.
        trouble: Trouble,
    },
    /// An instance answers again.
    Recovered(InstanceId),
    /// A guard holds a configuration.
    Held(Hold),
}
