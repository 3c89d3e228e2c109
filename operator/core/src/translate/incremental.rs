//! A translation that is kept, and follows the cluster change by change.
//!
//! The steps are those of [`translate`](super::translate), and so is their result, byte for byte. What differs is how much
//! of it is taken again. Each step (an Ingress, a Kong service, a plugin, all consumers, all certificates) remembers which
//! objects it looked up; when objects change, the steps behind them are taken again and the others stand. Entities are kept
//! as printed JSON. Whatever a step cannot follow, a change of Gateways or classes say, has everything translated anew.

mod changes;
mod print;
mod state;
mod steps;
mod told;

use std::sync::Arc;

use bytes::Bytes;

use crate::options::Options;
use crate::outcome::Outcome;
use crate::revision::Census;
use crate::snapshot::Snapshot;
use state::State;
use steps::Steps;

/// Namespace and name, with a zero byte between them: they order as pairs do.
type Name = Arc<str>;

fn name(namespace: &str, name: &str) -> Name {
    [namespace, "\0", name].concat().into()
}

/// The name under which stands what comes of all plugins together: behind every other.
fn last() -> Name {
    "\u{10ffff}".into()
}

/// Namespace and name of a [`Name`].
fn pair(name: &Name) -> (&str, &str) {
    name.split_once('\0').unwrap_or_default()
}

/// A step of a translation: something that is taken again as a whole. In the order in which they are heard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Objects that could not be read.
    Unreadable,
    /// One Ingress, as far as it goes without looking at its Services.
    Ingress(Name),
    /// One HTTPRoute, as far as it goes without looking into its Services.
    HttpRoute(Name),
    /// All other sources of rules, and default backends.
    Foreign,
    /// One Kong service.
    Service(Arc<str>),
    /// All consumers and their groups.
    Consumers,
    /// One name by which a plugin is looked for.
    Plugin(Name),
    /// What comes of all plugins together.
    LastPlugins,
    /// Licenses and vaults, and entities of custom types.
    Others,
    /// The authorities that are trusted.
    Authorities,
    /// All certificates.
    Certificates,
}

impl Part {
    const FIRST: Self = Self::Unreadable;
    const LAST: Self = Self::Certificates;
}

/// More changed than steps can follow.
#[derive(Clone, Copy, Debug)]
struct TooMuch;

/// How a translation came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Everything was translated.
    Whole,
    /// So many steps were taken again.
    Steps(usize),
}

/// The translation of the newest snapshot that it was shown.
#[derive(Debug)]
pub struct Incremental {
    options: Options,
    snapshot: Arc<Snapshot>,
    state: State,
}

impl Incremental {
    /// Translates a snapshot.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, options: Options) -> Self {
        let state = Steps::whole(&snapshot, &options);
        Self { options, snapshot, state }
    }

    /// What it is a translation for.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Translates a newer snapshot.
    pub fn follow(&mut self, snapshot: Arc<Snapshot>) -> Followed {
        let changes = changes::between(&self.snapshot, &snapshot, &self.options, &self.state);
        // A step that fails leaves the state half changed: it is made anew.
        let followed = changes
            .and_then(|changes| Steps::again(&mut self.state, &snapshot, &self.options, changes));
        let followed = match followed {
            Ok(count) => Followed::Steps(count),
            Err(TooMuch) => {
                self.state = Steps::whole(&snapshot, &self.options);
                Followed::Whole
            }
        };
        self.snapshot = snapshot;
        followed
    }

    /// The configuration as JSON: the bytes of a printed [`Document`](kong::model::Document).
    #[must_use]
    pub fn print(&self) -> Bytes {
        print::configuration(&self.state)
    }

    /// How many entities of each kind the configuration holds.
    #[must_use]
    pub fn census(&self) -> Census {
        print::census(&self.state)
    }

    /// The verdict on every object that was looked at, by kind, namespace and name.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Arc<Outcome>> {
        self.state.told.outcomes().cloned().collect()
    }
}
