//! The operator's pure core: from objects to configurations, and from configurations to a fleet.
//!
//! No IO, no clock, no randomness of its own and no unordered iteration: the same inputs give the same
//! bytes and the same decisions on any machine. What is wrong with an object is data, not an error.

pub mod admission;
pub mod annotations;
pub mod check;
pub mod election;
pub mod fallback;
pub mod fleet;
pub mod gateway_api;
pub mod moment;
pub mod names;
pub mod object;
pub mod options;
pub mod outcome;
pub mod revision;
pub mod secret;
pub mod snapshot;
pub mod status;
pub mod translate;
pub mod trust;
