//! Statuses that the operator wants its objects to have: derived, never remembered.
//!
//! [`derive`] compares what is known of the fleets with what the objects say, and returns an
//! [`Intent`] for each object that says something else; when all say what is true, it returns
//! nothing. A condition's transition time moves only with its status. [`budget`] says how fast
//! intents may be written, [`story`] what is worth an event.

pub mod budget;
mod condition;
mod entrances;
mod fleet;
pub mod gateway;
mod instance;
mod served;
pub mod story;
mod wall;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use operator_api::{ProxyFleet, ProxyInstance};
use serde_json::Value;

use crate::fleet::discovery::Problem;
use crate::fleet::view::FleetView;
use crate::object::ObjectRef;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::snapshot::Snapshot;

pub use wall::Wall;

/// An object by what the API server calls it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its API version.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for objects outside namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is to be done to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The object.
    pub target: Target,
    /// What is to be done.
    pub act: Act,
    /// Whether somebody waits for it: a state changed, not only a figure.
    pub transition: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Make the object, and then give it its status.
    Create {
        /// The object without its status.
        object: Value,
        /// Its status.
        status: Value,
    },
    /// Make the object, or make it so again: fields that somebody else keeps stay.
    Ensure {
        /// The object, which has no status of ours.
        object: Value,
    },
    /// Apply a status: fields that somebody else keeps stay.
    Apply {
        /// The status.
        status: Value,
    },
    /// Replace the status as a whole.
    Replace {
        /// The status.
        status: Value,
        /// The version that it was derived from: of a newer one, nothing is written.
        resource_version: Option<String>,
    },
    /// Remove the object, if it is still this one.
    Delete {
        /// Its UID.
        uid: String,
    },
}

/// What is known of one fleet.
#[derive(Clone, Debug)]
pub struct FleetScene<'a> {
    /// The fleet as the API server has it.
    pub fleet: &'a ProxyFleet,
    /// Its instances.
    pub view: &'a FleetView,
    /// What became of its objects.
    pub outcomes: &'a [Arc<Outcome>],
    /// The number of the revision that the outcomes belong to.
    pub number: u64,
    /// Objects that are left out, since proxies refuse them, and what they say.
    pub excluded: &'a BTreeMap<ObjectRef, String>,
    /// What proxies say to a revision for which no object can be blamed.
    pub unexplained: Option<&'a str>,
    /// Why slices or endpoints gave no members.
    pub problems: &'a [Problem],
    /// What is wrong with the fleet's certificates.
    pub trust: Option<&'a str>,
    /// What its objects were translated with.
    pub options: &'a Options,
}

/// What all fleets share.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// The objects.
    pub snapshot: &'a Snapshot,
    /// The instances as the API server has them.
    pub instances: &'a [Arc<ProxyInstance>],
    /// Turns moments into wall-clock times.
    pub wall: Wall,
    /// The time that new transitions get, in whole seconds.
    pub now: Time,
    /// The Service whose addresses are published for fleets that say nothing: namespace and name.
    pub publish: Option<(&'a str, &'a str)>,
}

/// Derives what is to be written, of all fleets.
#[must_use]
pub fn derive(scene: &Scene<'_>, fleets: &[FleetScene<'_>]) -> Vec<Intent> {
    let mut intents = Vec::new();
    for fleet in fleets {
        instance::intents(scene, fleet, &mut intents);
        fleet::intent(scene, fleet, &mut intents);
        entrances::intents(scene, fleet, &mut intents);
        served::intents(scene, fleet, &mut intents);
    }
    served::leavers(scene, fleets, &mut intents);
    instance::leftovers(scene, fleets, &mut intents);
    intents
}

#[cfg(test)]
mod tests;
