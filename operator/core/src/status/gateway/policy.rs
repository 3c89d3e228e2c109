//! BackendTLSPolicies: one entry a Gateway through which a policy has effect.

use std::collections::BTreeSet;

use super::{Scene, Status, Wanted};
use crate::gateway_api::{BackendTlsPolicy, GROUP, ParentRef, PolicyAncestor, PolicyStatus};
use crate::object::{Kind, Object as _};
use crate::outcome::{Reason, Verdict};
use crate::status::condition::Made;
use crate::translate::gateway::attach::{Gateways, RouteView, controller, of_another_fleet};

/// The number of ancestors that the specification has room for.
const MOST: usize = 16;

/// Policies with a Service that routes of our Gateways lead to.
pub(super) fn all(scene: &Scene<'_>, gateways: &Gateways<'_>, wanted: &mut Vec<Wanted>) {
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
        for (namespace, name) in through(scene, gateways, policy) {
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

/// The Gateways whose HTTPRoutes lead to a Service that the policy names.
fn through<'a>(
    scene: &'a Scene<'_>,
    gateways: &Gateways<'a>,
    policy: &BackendTlsPolicy,
) -> BTreeSet<(&'a str, &'a str)> {
    let mut through = BTreeSet::new();
    for route in &scene.snapshot.http_routes {
        let targeted = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs).any(|backend| {
            backend.is_service()
                && backend.namespace_or(route.namespace()) == policy.namespace()
                && policy.spec.target_refs.iter().any(|target| target.name == backend.name)
        });
        if targeted {
            let view = RouteView {
                kind: Kind::HttpRoute.name(),
                namespace: route.namespace(),
                parents: &route.spec.parent_refs,
                hostnames: Some(&route.spec.hostnames),
            };
            let attachments = gateways.attach(view);
            let admitted = attachments.iter().filter(|attachment| attachment.verdict.is_ok());
            through.extend(admitted.map(|attachment| attachment.gateway));
        }
    }
    through
}

type Fault = Option<(&'static str, String)>;

/// What is wrong with a policy: as such, and with its references.
fn faults(scene: &Scene<'_>, policy: &BackendTlsPolicy) -> (Fault, Fault) {
    let object = policy.reference();
    let Some(Verdict::Rejected { reason, message }) = scene.verdict(&object) else {
        return (None, None);
    };
    let known = |kind: &str| matches!(kind, "Secret" | "ConfigMap");
    if policy.spec.validation.ca_certificate_refs.iter().any(|one| !known(&one.kind)) {
        let fault = |reason| Some((reason, message.clone()));
        return (fault("NoValidCACertificate"), fault("InvalidKind"));
    }
    match reason {
        Reason::Conflicted => (Some(("Conflicted", message.clone())), None),
        Reason::RefNotFound | Reason::RefNotPermitted => (
            Some(("NoValidCACertificate", message.clone())),
            Some(("InvalidCACertificateRef", message.clone())),
        ),
        Reason::Invalid | Reason::UnsupportedValue | Reason::Unreadable => {
            (Some(("Invalid", message.clone())), None)
        }
    }
}
