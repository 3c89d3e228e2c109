//! The status of KongUpstreamPolicies: one entry for each Service or facade that names one.

use operator_api::kong::upstream::{AncestorRef, PolicyAncestor, PolicyStatus};
use serde_json::json;

use super::super::condition::{Holds, Made, moved};
use super::super::gateway::Delivery;
use super::super::{Act, Intent, Scene};
use super::{BTreeMap, Object, ObjectRef, Outcome, target};
use crate::object::Kind;
use crate::options::KIC_GATEWAY_CONTROLLER;
use crate::outcome::Verdict;

/// The number of ancestors that the definition has room for.
const MOST: usize = 16;

/// The annotation that names a policy.
const ANNOTATION: &str = "konghq.com/upstream-policy";

/// The intent for a policy that is in the configuration.
pub(super) fn intent(
    scene: &Scene<'_>,
    outcome: &Outcome,
    delivery: &Delivery,
    refused: &BTreeMap<ObjectRef, String>,
) -> Option<Intent> {
    let object = &outcome.object;
    let found = scene.snapshot.kong_upstream_policies.get(&object.namespace, &object.name)?;
    let before = found.status.as_ref().map_or(&[][..], |status| &status.ancestors);
    let mut ancestors = Vec::new();
    let mut transition = false;
    for ancestor_ref in attached(scene, object) {
        let same = |entry: &&PolicyAncestor| {
            entry.controller_name == KIC_GATEWAY_CONTROLLER && entry.ancestor_ref == ancestor_ref
        };
        let old = before.iter().find(same).map_or(&[][..], |entry| &entry.conditions);
        let (accepted, why, message) = match (&outcome.verdict, refused.get(object)) {
            (Verdict::Rejected { reason, message }, _) => {
                (Holds::False, reason.as_str(), message.clone())
            }
            (Verdict::Configured | Verdict::Ignored { .. }, Some(words)) => {
                (Holds::False, "Invalid", words.clone())
            }
            (Verdict::Configured | Verdict::Ignored { .. }, None) => {
                (Holds::True, "Accepted", String::new())
            }
        };
        let served = matches!(delivery, Delivery::Serving) && accepted == Holds::True;
        let (programmed, state) =
            if served { (Holds::True, "Programmed") } else { (Holds::False, "Pending") };
        let conditions = Made::new(old, found.meta().generation, &scene.now)
            .set("Accepted", accepted, why, message)
            .set("Programmed", programmed, state, String::new())
            .finish();
        transition |= moved(old, &conditions);
        let controller_name = KIC_GATEWAY_CONTROLLER.to_owned();
        ancestors.push(PolicyAncestor { ancestor_ref, controller_name, conditions });
    }
    let others = before.iter().filter(|entry| entry.controller_name != KIC_GATEWAY_CONTROLLER);
    ancestors.extend(others.cloned());
    ancestors.truncate(MOST);
    if ancestors == before {
        return None;
    }
    let status = json!(PolicyStatus { ancestors });
    Some(Intent { target: target(object), act: Act::Apply { status }, transition })
}

/// The Services and facades that name the policy.
fn attached(scene: &Scene<'_>, policy: &ObjectRef) -> Vec<AncestorRef> {
    let services =
        scene.snapshot.services.iter().map(|it| (it.reference(), it.annotation(ANNOTATION)));
    let facades = scene.snapshot.kong_service_facades.iter();
    let facades = facades.map(|it| (it.reference(), it.annotation(ANNOTATION)));
    let ours = services.chain(facades).filter(|(object, named)| {
        object.namespace == policy.namespace && *named == Some(policy.name.as_str())
    });
    ours.map(|(object, _)| ancestor(object.kind, object.namespace, object.name)).collect()
}

fn ancestor(kind: Kind, namespace: String, name: String) -> AncestorRef {
    AncestorRef {
        group: Some(if kind == Kind::Service { "core" } else { kind.group() }.to_owned()),
        kind: Some(kind.name().to_owned()),
        namespace: Some(namespace),
        name,
        ..AncestorRef::default()
    }
}
