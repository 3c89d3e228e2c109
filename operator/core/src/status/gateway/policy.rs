//! BackendTLSPolicies: one entry a Gateway through which a policy has effect.

use std::collections::BTreeSet;

use super::{Scene, Status, Wanted};
use crate::gateway_api::{
    BackendTlsPolicy, GROUP, ParentRef, PolicyAncestor, PolicyStatus, PolicyTargetRef,
};
use crate::object::{Kind, Object as _};
use crate::outcome::{Reason, Verdict};
use crate::status::condition::Made;
use crate::translate::gateway::attach::{Gateways, controller, of_another_fleet};
use crate::translate::gateway::policy::{authority, is_service, routed};

/// The number of ancestors that the specification has room for.
const MOST: usize = 16;

/// Policies with a Service that routes of our Gateways lead to.
pub(super) fn all(scene: &Scene<'_>, gateways: &Gateways<'_>, wanted: &mut Vec<Wanted>) {
    if scene.snapshot.backend_tls_policies.is_empty() {
        return;
    }
    let routed = routed(scene.snapshot, scene.options, gateways);
    for policy in &scene.snapshot.backend_tls_policies {
        let before = policy.status.as_ref().map_or(&[][..], |status| &status.ancestors);
        let ours = |entry: &&PolicyAncestor| {
            let parent = &entry.ancestor_ref;
            let namespace = parent.namespace_or(policy.namespace());
            let gateway = scene.snapshot.gateways.get(namespace, &parent.name);
            scene.options.gateway_controllers.contains(&entry.controller_name)
                && !gateway
                    .is_some_and(|gateway| of_another_fleet(scene.snapshot, scene.options, gateway))
        };
        let mut ancestors: Vec<PolicyAncestor> =
            before.iter().filter(|entry| !ours(entry)).cloned().collect();
        let targets = policy.spec.target_refs.iter().filter(|target| is_service(target));
        let services = targets.filter_map(|one| routed.get(&(policy.namespace(), &*one.name)));
        let through: BTreeSet<(&str, &str)> = services.flatten().copied().collect();
        for (namespace, name) in through {
            let Some(entry) = gateways.entries.get(&(namespace, name)) else { continue };
            let Some(controller) = controller(scene.snapshot, scene.options, entry.gateway) else {
                continue;
            };
            let ancestor_ref = ParentRef {
                group: Some(GROUP.to_owned()),
                kind: Some(Kind::Gateway.name().to_owned()),
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
                ..ParentRef::default()
            };
            let same = |entry: &&PolicyAncestor| {
                entry.controller_name == controller && entry.ancestor_ref == ancestor_ref
            };
            let old = before.iter().find(same).map_or(&[][..], |entry| &entry.conditions);
            let (accepted, resolved) = faults(scene, policy);
            let conditions = Made::new(old, policy.metadata.generation, &scene.now)
                .unless("Accepted", "Accepted", accepted.as_ref().map(|(r, m)| (*r, m.as_str())))
                .unless(
                    "ResolvedRefs",
                    "ResolvedRefs",
                    resolved.as_ref().map(|(r, m)| (*r, m.as_str())),
                );
            ancestors.push(PolicyAncestor {
                ancestor_ref,
                controller_name: controller.to_owned(),
                conditions: conditions.finish(),
            });
        }
        ancestors.truncate(MOST);
        if ancestors != before {
            let status = Status::Policy(PolicyStatus { ancestors });
            wanted.push(Wanted { object: policy.reference(), status });
        }
    }
}

type Fault = Option<(&'static str, String)>;

/// What is wrong with a policy: as such, and with its references.
fn faults(scene: &Scene<'_>, policy: &BackendTlsPolicy) -> (Fault, Fault) {
    let references = policy.spec.validation.ca_certificate_refs.iter();
    let looked_at = references
        .map(|reference| authority(scene.snapshot, scene.options, policy.namespace(), reference));
    let (good, bad): (Vec<_>, Vec<_>) = looked_at.partition(Result::is_ok);
    let resolved = bad.into_iter().find_map(Result::err).map(|bad| (bad.condition, bad.message));
    let missing = target_fault(scene, policy);
    let Some(Verdict::Rejected { reason, message }) = scene.verdict(&policy.reference()) else {
        return (missing, resolved);
    };
    let reason = match reason {
        Reason::Conflicted => "Conflicted",
        _ if resolved.is_some() && good.is_empty() => "NoValidCACertificate",
        Reason::RefNotFound
        | Reason::RefNotPermitted
        | Reason::Invalid
        | Reason::UnsupportedValue
        | Reason::Unreadable => "Invalid",
    };
    (Some((reason, message.clone())), resolved)
}

/// Says so when nothing that the policy names exists.
fn target_fault(scene: &Scene<'_>, policy: &BackendTlsPolicy) -> Fault {
    let exists = |target: &PolicyTargetRef| {
        let service = scene.snapshot.services.get(policy.namespace(), &target.name);
        let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_ref());
        let named =
            |name: &str| ports.into_iter().flatten().any(|port| port.name.as_deref() == Some(name));
        service.is_some() && target.section_name.as_deref().is_none_or(named)
    };
    let mut targets = policy.spec.target_refs.iter().filter(|target| is_service(target));
    let message = "no Service or port that it names exists".to_owned();
    (!targets.any(exists)).then_some(("TargetNotFound", message))
}
