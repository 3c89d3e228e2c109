//! The ProxyInstances of a fleet.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use operator_api::{
    Endpoint, IdentityProof, InstanceIdentity, LastApply, ObjectRef, PodRef, ProxyInfo,
    ProxyInstance, ProxyInstanceSpec, ProxyInstanceStatus, RejectedEntity, Reported, RevisionRef,
    SyncState, Verified,
};
use serde_json::json;

use super::condition::{Holds, Made, moved, shorten};
use super::wall::time_of;
use super::{Act, FleetScene, Intent, Scene, Target};
use crate::fleet::event::{IdentityMode, RefusedEntity, TroubleKind};
use crate::fleet::member::InstanceId;
use crate::fleet::view::{InstanceView, Sync};

/// How many refused entities a status lists.
const REJECTED_MOST: usize = 32;

/// The label that names the fleet.
pub(super) const FLEET_LABEL: &str = "flotilla.dev/fleet";

/// Intents for each instance of a fleet.
pub(super) fn intents(scene: &Scene<'_>, fleet: &FleetScene<'_>, intents: &mut Vec<Intent>) {
    let name = fleet.fleet.metadata.name.as_deref().unwrap_or_default();
    for (id, view) in &fleet.view.instances {
        let spec = spec(name, id, view);
        let known = find(scene, &view.member.namespace, &view.member.name);
        let target = target(&view.member.namespace, &view.member.name);
        if let Some(other) = known.filter(|known| known.spec != spec) {
            // A pod may take the name of another one: the object of the old pod goes first.
            let uid = other.metadata.uid.clone().unwrap_or_default();
            intents.push(Intent { target, act: Act::Delete { uid }, transition: true });
            continue;
        }
        let before = known.and_then(|known| known.status.as_ref());
        let status = status(scene, view, known);
        let Some(before) = before.filter(|_| known.is_some()) else {
            let object = object(&target, &spec, view);
            let status = json!(status);
            let act = match known {
                Some(_) => Act::Apply { status },
                None => Act::Create { object, status },
            };
            intents.push(Intent { target, act, transition: true });
            continue;
        };
        if *before != status {
            let transition =
                before.sync != status.sync || moved(&before.conditions, &status.conditions);
            let status = json!(status);
            intents.push(Intent { target, act: Act::Apply { status }, transition });
        }
    }
}

/// Intents for instances that are no fleet's any more.
pub(super) fn leftovers(scene: &Scene<'_>, fleets: &[FleetScene<'_>], intents: &mut Vec<Intent>) {
    let alive: BTreeSet<(&str, &str)> = fleets
        .iter()
        .flat_map(|fleet| fleet.view.instances.values())
        .map(|view| (&*view.member.namespace, &*view.member.name))
        .collect();
    for instance in scene.instances {
        let meta = &instance.metadata;
        let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (text(&meta.namespace), text(&meta.name));
        // A fleet that has not looked yet knows nothing of its members.
        let looking = fleets.iter().any(|fleet| {
            fleet.fleet.metadata.namespace.as_deref() == Some(&namespace)
                && fleet.fleet.metadata.name.as_deref() == Some(&instance.spec.fleet)
                && fleet.view.revision.is_none()
                && fleet.view.instances.is_empty()
        });
        if meta.deletion_timestamp.is_none() && !looking && !alive.contains(&(&*namespace, &*name))
        {
            let act = Act::Delete { uid: text(&meta.uid) };
            intents.push(Intent { target: target(&namespace, &name), act, transition: true });
        }
    }
}

fn find<'a>(scene: &'a Scene<'_>, namespace: &str, name: &str) -> Option<&'a ProxyInstance> {
    let key = |instance: &ProxyInstance| {
        let meta = &instance.metadata;
        (meta.namespace.as_deref() == Some(namespace)) && (meta.name.as_deref() == Some(name))
    };
    scene.instances.iter().find(|instance| key(instance)).map(|instance| &**instance)
}

fn target(namespace: &str, name: &str) -> Target {
    Target {
        group: operator_api::GROUP.to_owned(),
        version: operator_api::VERSION.to_owned(),
        kind: "ProxyInstance".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn spec(fleet: &str, id: &InstanceId, view: &InstanceView) -> ProxyInstanceSpec {
    let fleet = fleet.to_owned();
    match id {
        InstanceId::Pod(uid) => {
            let pod = PodRef { name: view.member.name.to_string(), uid: uid.to_string() };
            ProxyInstanceSpec { fleet, pod: Some(pod), endpoint: None }
        }
        InstanceId::Endpoint { slice, address } => {
            let slice = slice.rsplit_once('/').map_or(&**slice, |(_, name)| name).to_owned();
            let endpoint = Endpoint { slice, address: address.to_string() };
            ProxyInstanceSpec { fleet, pod: None, endpoint: Some(endpoint) }
        }
    }
}

fn object(target: &Target, spec: &ProxyInstanceSpec, view: &InstanceView) -> serde_json::Value {
    let mut object = json!({
        "apiVersion": format!("{}/{}", target.group, target.version),
        "kind": target.kind,
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "labels": { FLEET_LABEL: spec.fleet },
        },
        "spec": spec,
    });
    if let Some(pod) = &spec.pod {
        // The instance goes with its pod, even when no operator is there to see it.
        object["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid }]);
    }
    if let Some(zone) = &view.member.zone {
        object["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
    }
    object
}

/// The status of one instance, with the times that `known` remembers.
fn status(
    scene: &Scene<'_>,
    view: &InstanceView,
    known: Option<&ProxyInstance>,
) -> ProxyInstanceStatus {
    let before = known.and_then(|known| known.status.as_ref());
    // The spec never changes, so the generation is that of the creation.
    let generation = known.and_then(|known| known.metadata.generation).or(Some(1));
    let none: &[Condition] = &[];
    let made = Made::new(before.map_or(none, |before| &before.conditions), generation, &scene.now);
    ProxyInstanceStatus {
        observed_generation: generation,
        sync: sync(view.sync),
        desired: view.desired.map(|desired| RevisionRef {
            revision: number(desired.number),
            hash: desired.hash.to_string(),
            short: desired.hash.short(),
        }),
        reported: view.reported.map(|reported| {
            let hash = reported.hash.to_string();
            let held = before.and_then(|before| before.reported.as_ref());
            let held = held.filter(|held| held.hash == hash).map(|held| held.observed_at.clone());
            let observed_at = held.unwrap_or_else(|| scene.wall.time(reported.at));
            Reported { hash, short: reported.hash.short(), observed_at }
        }),
        verified: view.verified.map(|verified| Verified {
            revision: number(verified.number),
            at: scene.wall.time(verified.at),
            lag_ms: i64::try_from(verified.lag.as_millis()).ok(),
        }),
        last_apply: view.last_apply.as_ref().map(|apply| LastApply {
            at: scene.wall.time(apply.at),
            duration_ms: i64::try_from(apply.took.as_millis()).unwrap_or(i64::MAX),
            http_status: apply.status.map(i32::from),
            attempts: i32::try_from(apply.attempts).unwrap_or(i32::MAX),
            message: apply.message.clone().map(shorten),
        }),
        identity: identity(view),
        proxy: proxy(scene, view, before),
        rejected: rejected(view),
        conditions: conditions(made, view),
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn sync(sync: Sync) -> SyncState {
    match sync {
        Sync::Pending => SyncState::Pending,
        Sync::Applying => SyncState::Applying,
        Sync::Synced => SyncState::Synced,
        Sync::Held => SyncState::Held,
        Sync::Drifted => SyncState::Drifted,
        Sync::Rejected => SyncState::Rejected,
        Sync::Incompatible => SyncState::Incompatible,
        Sync::Unreachable => SyncState::Unreachable,
        Sync::IdentityMismatch => SyncState::IdentityMismatch,
        Sync::Draining => SyncState::Draining,
    }
}

fn identity(view: &InstanceView) -> InstanceIdentity {
    let failed = view.trouble.as_ref().is_some_and(|trouble| breaks_identity(trouble.kind));
    let Some(proved) = view.identity.as_ref().filter(|_| !failed) else {
        let mode = if failed { IdentityProof::Failed } else { IdentityProof::Unknown };
        return InstanceIdentity { mode, ..InstanceIdentity::default() };
    };
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    InstanceIdentity {
        mode: match proved.mode {
            IdentityMode::PodBound => IdentityProof::Pod,
            IdentityMode::Shared => IdentityProof::Shared,
            IdentityMode::None => IdentityProof::None,
        },
        subject: text(&proved.subject),
        serial: text(&proved.serial),
        not_after: time_of(proved.not_after),
    }
}

fn breaks_identity(trouble: TroubleKind) -> bool {
    match trouble {
        TroubleKind::Handshake | TroubleKind::IdentityMismatch => true,
        TroubleKind::Unreachable
        | TroubleKind::Timeout
        | TroubleKind::Unauthorized
        | TroubleKind::NotAnAdminApi
        | TroubleKind::ServerError
        | TroubleKind::NotDbLess => false,
    }
}

fn proxy(
    scene: &Scene<'_>,
    view: &InstanceView,
    before: Option<&ProxyInstanceStatus>,
) -> ProxyInfo {
    let node = view.node.as_ref();
    let node_id = node.map(|node| node.node_id.clone());
    let held = before.map(|before| &before.proxy).filter(|held| held.node_id == node_id);
    let started_at = match (&node_id, held.and_then(|held| held.started_at.clone())) {
        (Some(_), Some(held)) => Some(held),
        (Some(_), None) => Some(scene.now.clone()),
        (None, _) => None,
    };
    ProxyInfo {
        address: Some(view.member.admin.ip().to_string()),
        node: view.member.node.as_deref().map(str::to_owned),
        version: node.map(|node| node.version.clone()),
        node_id,
        started_at,
    }
}

fn rejected(view: &InstanceView) -> Vec<RejectedEntity> {
    let entities = view.rejected.iter().flat_map(|rejected| &rejected.refusal.entities);
    entities.take(REJECTED_MOST).map(rejected_entity).collect()
}

fn rejected_entity(entity: &RefusedEntity) -> RejectedEntity {
    let RefusedEntity { kind, id, name, tags, errors } = entity;
    let object = kong::tag::ObjectRef::from_tags(tags.iter().map(String::as_str));
    RejectedEntity {
        entity_type: kind.clone(),
        name: name.clone().or_else(|| id.clone()),
        message: shorten(errors.join("; ")),
        object: object.map(|object| ObjectRef {
            group: object.group,
            kind: object.kind,
            namespace: Some(object.namespace).filter(|namespace| !namespace.is_empty()),
            name: object.name,
        }),
    }
}

fn conditions(made: Made<'_>, view: &InstanceView) -> Vec<Condition> {
    let (ready, message) = summary(view);
    let (programmed, reason) = match view.sync {
        Sync::Synced => (Holds::True, "Verified"),
        // It serves something, but what that is cannot be told.
        Sync::Unreachable | Sync::IdentityMismatch => (Holds::Unknown, view.sync.as_str()),
        other => (Holds::False, other.as_str()),
    };
    let made = made.set("Ready", ready, view.sync.as_str(), message.clone());
    let made = reachable(made, view);
    let made = verified(made, view);
    let made = made.set("Programmed", programmed, reason, message.clone());
    let stalled = match view.sync {
        Sync::Rejected | Sync::Incompatible | Sync::Held | Sync::IdentityMismatch => true,
        Sync::Pending
        | Sync::Applying
        | Sync::Synced
        | Sync::Drifted
        | Sync::Unreachable
        | Sync::Draining => false,
    };
    let (reason, message) =
        if stalled { (view.sync.as_str(), message) } else { ("AsExpected", String::new()) };
    made.set("Stalled", stalled, reason, message).finish()
}

fn reachable<'a>(made: Made<'a>, view: &InstanceView) -> Made<'a> {
    match (&view.trouble, &view.node) {
        (Some(trouble), _) => {
            made.set("Reachable", Holds::False, trouble.kind.as_str(), trouble.message.clone())
        }
        (None, Some(_)) => made.set("Reachable", Holds::True, "Answering", ""),
        (None, None) => made.set("Reachable", Holds::Unknown, "NotAsked", ""),
    }
}

fn verified<'a>(made: Made<'a>, view: &InstanceView) -> Made<'a> {
    let kind = "IdentityVerified";
    match (&view.trouble, &view.identity) {
        (Some(trouble), _) if breaks_identity(trouble.kind) => {
            made.set(kind, Holds::False, trouble.kind.as_str(), trouble.message.clone())
        }
        (_, Some(identity)) => match identity.mode {
            IdentityMode::PodBound => made.set(kind, Holds::True, "PodBound", ""),
            IdentityMode::Shared => made.set(
                kind,
                Holds::True,
                "SharedCertificate",
                "the certificate proves the fleet, not the pod",
            ),
            IdentityMode::None => made.set(
                kind,
                Holds::False,
                "InsecureNone",
                "the fleet asks for no proof: anyone at this address could be the proxy",
            ),
        },
        (_, None) => made.set(kind, Holds::Unknown, "NotAsked", ""),
    }
}

/// Whether the instance is as it should be, and one sentence about it.
fn summary(view: &InstanceView) -> (bool, String) {
    let trouble = || view.trouble.as_ref().map(|trouble| trouble.message.clone());
    let refusal = || view.rejected.as_ref().map(|rejected| rejected.refusal.message.clone());
    match view.sync {
        Sync::Synced => (true, "holds the desired configuration".to_owned()),
        Sync::Pending => {
            (false, trouble().unwrap_or_else(|| "waits for its configuration".to_owned()))
        }
        Sync::Applying if view.behind => {
            (false, "the configuration is stored, but the traffic port serves another".to_owned())
        }
        Sync::Applying => (false, "a configuration is on its way".to_owned()),
        Sync::Held => (false, "a guard holds the desired configuration back".to_owned()),
        Sync::Drifted => (false, "holds a configuration that somebody else gave it".to_owned()),
        Sync::Rejected | Sync::Incompatible => (
            false,
            refusal().or_else(trouble).unwrap_or_else(|| "refuses the configuration".to_owned()),
        ),
        Sync::Unreachable | Sync::IdentityMismatch => {
            (false, trouble().unwrap_or_else(|| "does not answer".to_owned()))
        }
        Sync::Draining => (false, "its pod is being terminated".to_owned()),
    }
}
