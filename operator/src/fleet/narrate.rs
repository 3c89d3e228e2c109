//! Log lines for what happens to a fleet: transitions only, steady state says nothing.

use operator_core::fleet::Fleet;
use operator_core::fleet::event::{Note, Refusal};
use operator_core::fleet::member::InstanceId;
use tracing::{debug, error, info, warn};

/// Writes the line of one note.
pub(super) fn note(fleet: &Fleet, note: &Note) {
    let name = |id: &InstanceId| {
        fleet.instance(id).map_or_else(|| id.to_string(), |it| it.member.name.to_string())
    };
    match note {
        Note::Discovered(id) => info!(instance = %name(id), "instance discovered"),
        Note::Removed(id) => info!(instance = %id, "instance removed"),
        Note::Synced { id, number, lag } => {
            let lag_ms = lag.as_millis();
            debug!(instance = %name(id), revision = number, lag_ms, "configuration verified");
        }
        Note::Converged { number, lag, instances } => {
            let lag_ms = lag.as_millis();
            info!(revision = number, instances, lag_ms, "fleet converged");
        }
        Note::Drifted { id, expected, found } => {
            warn!(instance = %name(id), %expected, %found, "foreign configuration found");
        }
        Note::Contested(id) => {
            error!(instance = %name(id), "someone else keeps changing this instance; leaving it alone");
        }
        Note::Refused { id, number, refusal } => {
            let cause = refusal.cause.as_str();
            let message = first_words(refusal);
            warn!(instance = %name(id), revision = number, cause, error = message, "configuration refused");
        }
        Note::RevisionRefused { number, dialect, refusal } => {
            let entities = refusal.entities.len();
            warn!(revision = number, %dialect, entities, "revision refused by every instance");
        }
        Note::Lost { id, trouble } => {
            let (reason, message) = (trouble.kind.as_str(), &trouble.message);
            warn!(instance = %name(id), reason, error = message, "instance lost");
        }
        Note::Recovered(id) => info!(instance = %name(id), "instance answers again"),
        Note::Held(hold) => {
            let (kind, before, after) = (hold.kind, hold.before, hold.after);
            error!(revision = hold.number, hash = %hold.hash, kind, before, after, "configuration held");
        }
    }
}

/// What is wrong with the first refused entity, or else the instance's own words.
fn first_words(refusal: &Refusal) -> String {
    let Some(entity) = refusal.entities.first() else { return refusal.message.clone() };
    let label = entity.name.as_deref().or(entity.id.as_deref()).unwrap_or_default();
    format!("{} {label}: {}", entity.kind, entity.errors.join("; "))
}
