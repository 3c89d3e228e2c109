//! The status of a ProxyFleet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_api::{FleetCounts, IdentityMode, ProxyFleetStatus, RevisionRef};
use serde_json::json;

use super::condition::{Holds, Made, moved};
use super::{Act, FleetScene, Intent, Scene, Target};
use crate::fleet::discovery::Problem;
use crate::fleet::view::Sync;

/// The intent for a fleet, if its status says something else.
pub(super) fn intent(scene: &Scene<'_>, fleet: &FleetScene<'_>, intents: &mut Vec<Intent>) {
    let meta = &fleet.fleet.metadata;
    let none = ProxyFleetStatus::default();
    let before = fleet.fleet.status.as_ref().unwrap_or(&none);
    let status = status(scene, fleet, before);
    if fleet.fleet.status.as_ref() == Some(&status) {
        return;
    }
    let target = Target {
        group: operator_api::GROUP.to_owned(),
        version: operator_api::VERSION.to_owned(),
        kind: "ProxyFleet".to_owned(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    let transition = moved(&before.conditions, &status.conditions);
    intents.push(Intent { target, act: Act::Apply { status: json!(status) }, transition });
}

fn status(
    scene: &Scene<'_>,
    fleet: &FleetScene<'_>,
    before: &ProxyFleetStatus,
) -> ProxyFleetStatus {
    let generation = fleet.fleet.metadata.generation;
    let counts = counts(fleet);
    let staying = counts.total - counts.draining;
    let revision = fleet.view.revision.as_ref();
    let desired = revision.and_then(|revision| {
        let hash = revision.hashes.values().next()?;
        let number = i64::try_from(revision.number).unwrap_or(i64::MAX);
        Some(RevisionRef { revision: number, hash: hash.to_string(), short: hash.short() })
    });
    let made = Made::new(&before.conditions, generation, &scene.now);
    ProxyFleetStatus {
        observed_generation: generation,
        desired,
        summary: Some(format!("{}/{staying}", counts.synced)),
        instances: counts,
        conditions: conditions(made, fleet, counts),
    }
}

fn counts(fleet: &FleetScene<'_>) -> FleetCounts {
    let mut counts = FleetCounts::default();
    for instance in fleet.view.instances.values() {
        counts.total += 1;
        let count = match instance.sync {
            Sync::Pending | Sync::Applying | Sync::Held => &mut counts.applying,
            Sync::Synced => &mut counts.synced,
            Sync::Drifted => &mut counts.drifted,
            Sync::Rejected | Sync::Incompatible => &mut counts.rejected,
            Sync::Unreachable => &mut counts.unreachable,
            Sync::IdentityMismatch => &mut counts.unidentified,
            Sync::Draining => &mut counts.draining,
        };
        *count += 1;
    }
    counts
}

fn conditions(made: Made<'_>, fleet: &FleetScene<'_>, counts: FleetCounts) -> Vec<Condition> {
    let (ready, reason, message) = summary(fleet, counts);
    let made = made.set("Ready", ready, reason, message);
    let made = accepted(made, fleet);
    let behind = counts.applying + counts.drifted + counts.rejected;
    let made = match (counts.synced, behind) {
        (0, 0) => made.set("Programmed", Holds::False, "NoProxies", "no proxy serves yet"),
        (_, 0) => made.set("Programmed", Holds::True, "Programmed", ""),
        (_, _) => {
            let message =
                format!("{behind} reachable proxies do not serve the desired configuration");
            made.set("Programmed", Holds::False, "Progressing", message)
        }
    };
    let made = secured(made, fleet, counts);
    stalled(made, fleet, counts).finish()
}

/// Whether all is as it should be, why, and one sentence about it.
fn summary(fleet: &FleetScene<'_>, counts: FleetCounts) -> (bool, &'static str, String) {
    let staying = counts.total - counts.draining;
    if staying == 0 {
        let problem = fleet.problems.first().map(sentence);
        return (
            false,
            "NoProxies",
            problem.unwrap_or_else(|| "no proxy was discovered".to_owned()),
        );
    }
    let message = format!("{} of {staying} proxies serve the desired configuration", counts.synced);
    if counts.synced == staying {
        (true, "Synced", message)
    } else if let Some(trust) = fleet.trust {
        // What hinders nobody is told by `Accepted` only.
        (false, "TrustUnavailable", trust.to_owned())
    } else {
        (false, "Progressing", message)
    }
}

fn accepted<'a>(made: Made<'a>, fleet: &FleetScene<'_>) -> Made<'a> {
    let reason = match (fleet.problems.first(), fleet.trust) {
        (Some(Problem::NoAdminPort { slice: _, wanted: _ }), _) => "NoAdminPort",
        (Some(Problem::NotAnAddress { slice: _, address: _ }), _) => "NotAnAddress",
        (Some(Problem::NoSlices { service: _ }), _) => "ServiceNotFound",
        (None, Some(_)) => "TrustUnavailable",
        (None, None) => return made.set("Accepted", Holds::True, "Accepted", ""),
    };
    let problems = fleet.problems.iter().take(8).map(sentence);
    let all: Vec<String> = problems.chain(fleet.trust.map(str::to_owned)).collect();
    made.set("Accepted", Holds::False, reason, all.join("; "))
}

fn sentence(problem: &Problem) -> String {
    match problem {
        Problem::NoAdminPort { slice, wanted } => {
            format!("EndpointSlice {slice} has no port named {wanted}")
        }
        Problem::NotAnAddress { slice, address } => {
            format!("EndpointSlice {slice} lists {address}, which is no IP address")
        }
        Problem::NoSlices { service } => {
            format!("Service {service} has no EndpointSlices; does it exist?")
        }
    }
}

fn secured<'a>(made: Made<'a>, fleet: &FleetScene<'_>, counts: FleetCounts) -> Made<'a> {
    if fleet.fleet.spec.tls.identity == IdentityMode::InsecureNone {
        let message = "nobody proves who they are, since tls.identity is InsecureNone";
        return made.set("Secured", Holds::False, "InsecureNone", message);
    }
    if counts.unidentified > 0 {
        let message = format!("{} addresses are not answered by their proxy", counts.unidentified);
        return made.set("Secured", Holds::False, "IdentityMismatch", message);
    }
    let asked = fleet.view.instances.values().any(|instance| instance.identity.is_some());
    if asked {
        made.set("Secured", Holds::True, "Verified", "")
    } else {
        made.set("Secured", Holds::Unknown, "NotAsked", "")
    }
}

fn stalled<'a>(made: Made<'a>, fleet: &FleetScene<'_>, counts: FleetCounts) -> Made<'a> {
    if let Some(hold) = &fleet.view.hold {
        let message = format!(
            "the configuration {} keeps {} of {} {}: allow it with the annotation flotilla.dev/allow-shrink={}",
            hold.hash.short(),
            hold.after,
            hold.before,
            hold.kind,
            hold.hash
        );
        return made.set("Stalled", Holds::True, "ShrinkGuard", message);
    }
    if let Some(words) = fleet.unexplained {
        return made.set("Stalled", Holds::True, "ConfigurationRefused", words);
    }
    if counts.rejected > 0 {
        let message = format!("{} proxies refuse the desired configuration", counts.rejected);
        return made.set("Stalled", Holds::True, "ConfigurationRefused", message);
    }
    made.set("Stalled", Holds::False, "AsExpected", "")
}
