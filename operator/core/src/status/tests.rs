//! What the objects of a fleet should say, for a fleet in memory.

use std::net::SocketAddr;
use std::time::Duration;

use operator_api::{Discovery, ProxyFleetSpec};
use serde_json::json;

use super::*;
use crate::fleet::event::{
    IdentityMode, Node, PeerIdentity, Refusal, RefusalCause, RefusedEntity, Trouble, TroubleKind,
};
use crate::fleet::member::{InstanceId, Member, Presence};
use crate::fleet::view::{Desired, InstanceView, Rejected, Reported, Sync};
use crate::moment::Moment;
use crate::object::Kind;
use crate::outcome::Verdict;
use crate::revision::{ConfigHash, Dialect};

/// A world of one fleet, written back as the API server would.
struct World {
    fleet: ProxyFleet,
    view: FleetView,
    instances: Vec<Arc<ProxyInstance>>,
    snapshot: Snapshot,
    outcomes: Vec<Arc<Outcome>>,
    now: u64,
}

fn world() -> World {
    let discovery = Discovery { services: vec!["admin".into()], ..Discovery::default() };
    let spec = ProxyFleetSpec { discovery, ..ProxyFleetSpec::default() };
    let mut fleet = ProxyFleet::new("edge", spec);
    fleet.metadata.namespace = Some("gw".into());
    fleet.metadata.generation = Some(3);
    World {
        fleet,
        view: FleetView::unknown(),
        instances: Vec::new(),
        snapshot: Snapshot::default(),
        outcomes: Vec::new(),
        now: 0,
    }
}

fn instance(name: &str, sync: Sync) -> (InstanceId, Arc<InstanceView>) {
    let id = InstanceId::Pod(format!("uid-{name}").into());
    let member = Member {
        id: id.clone(),
        namespace: "gw".into(),
        name: name.into(),
        admin: SocketAddr::from(([10, 0, 0, 1], 8444)),
        data: None,
        node: Some("node-1".into()),
        zone: None,
        service: "admin".into(),
        presence: Presence::Ready,
    };
    let hash = ConfigHash::of(b"one");
    let at = Moment::at(Duration::from_secs(5));
    let view = InstanceView {
        member,
        sync,
        since: at,
        found_at: at,
        desired: Some(Desired { number: 1, hash }),
        reported: Some(Reported { hash, at }),
        behind: false,
        verified: None,
        last_apply: None,
        identity: Some(PeerIdentity {
            mode: IdentityMode::PodBound,
            subject: "spiffe://cluster.local/ns/gw/sa/proxy/pod/uid".into(),
            serial: "01".into(),
            not_after: 1_900_000_000,
        }),
        node: Some(Node {
            version: "0.1.0".into(),
            node_id: "node".into(),
            hostname: name.into(),
            dialect: Dialect::Expressions,
            db_less: true,
        }),
        rejected: None,
        trouble: None,
        contested_until: None,
    };
    (id, Arc::new(view))
}

impl World {
    fn with(mut self, name: &str, sync: Sync) -> Self {
        let (id, view) = instance(name, sync);
        self.view.instances.insert(id, view);
        self
    }

    fn derive(&self) -> Vec<Intent> {
        let wall = Wall::new(Duration::from_secs(1_700_000_000));
        let now = wall.time(Moment::at(Duration::from_secs(self.now)));
        let scene = Scene {
            snapshot: &self.snapshot,
            instances: &self.instances,
            wall,
            now,
            publish: None,
        };
        let options = Options::default();
        let none = BTreeMap::new();
        let fleet = FleetScene {
            fleet: &self.fleet,
            view: &self.view,
            outcomes: &self.outcomes,
            number: 0,
            excluded: &none,
            unexplained: None,
            problems: &[],
            trust: None,
            options: &options,
        };
        derive(&scene, &[fleet])
    }

    /// Does what the intents say.
    fn write(&mut self, intents: &[Intent]) {
        for Intent { target, act, transition: _ } in intents {
            let index = self
                .instances
                .iter()
                .position(|one| one.metadata.name.as_deref() == Some(&target.name));
            match (target.kind.as_str(), act) {
                ("ProxyFleet", Act::Apply { status }) => {
                    self.fleet.status = Some(serde_json::from_value(status.clone()).unwrap());
                }
                ("ProxyInstance", Act::Create { object, status }) => {
                    let mut object = object.clone();
                    object["metadata"]["generation"] = json!(1);
                    object["metadata"]["uid"] = json!(target.name);
                    object["status"] = status.clone();
                    self.instances.push(Arc::new(serde_json::from_value(object).unwrap()));
                }
                ("ProxyInstance", Act::Apply { status }) => {
                    let mut new = (*self.instances[index.unwrap()]).clone();
                    new.status = Some(serde_json::from_value(status.clone()).unwrap());
                    self.instances[index.unwrap()] = Arc::new(new);
                }
                ("ProxyInstance", Act::Delete { uid: _ }) => {
                    self.instances.remove(index.unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(mut self) -> Self {
        let intents = self.derive();
        self.write(&intents);
        self
    }

    fn condition(
        &self,
        name: &str,
        kind: &str,
    ) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
        let found = self.instances.iter().find(|one| one.metadata.name.as_deref() == Some(name));
        let status = found.unwrap().status.clone().unwrap();
        operator_api::condition(&status.conditions, kind).unwrap().clone()
    }
}

#[test]
fn once_written_nothing_is_left_to_write() {
    let world = world().with("a", Sync::Synced).with("b", Sync::Applying).settle();
    assert_eq!(world.instances.len(), 2);
    assert_eq!(world.derive(), []);
}

#[test]
fn instance_is_owned_by_its_pod_by_uid() {
    let world = world().with("a", Sync::Synced).settle();
    let owner = &world.instances[0].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "uid-a"));
    assert_eq!(world.instances[0].metadata.finalizers, None);
}

#[test]
fn transition_time_moves_only_with_the_status() {
    let mut world = world().with("a", Sync::Applying).settle();
    let first = world.condition("a", "Ready");
    world.now = 60;
    world = world.with("a", Sync::Pending).settle();
    let second = world.condition("a", "Ready");
    assert_eq!((first.status.as_str(), second.reason.as_str()), ("False", "Pending"));
    assert_eq!(first.last_transition_time, second.last_transition_time);
    world = world.with("a", Sync::Synced).settle();
    assert_ne!(world.condition("a", "Ready").last_transition_time, first.last_transition_time);
}

#[test]
fn instance_that_left_the_fleet_is_removed() {
    let mut world = world().with("a", Sync::Synced).with("b", Sync::Synced).settle();
    world.view.instances.pop_first();
    world = world.settle();
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn nothing_is_removed_before_the_fleet_was_looked_at() {
    let mut world = world().with("a", Sync::Synced).settle();
    world.view = FleetView::unknown();
    let removed = world.derive().into_iter().any(|intent| matches!(intent.act, Act::Delete { .. }));
    assert!(!removed);
}

#[test]
fn pod_that_takes_a_name_gets_an_instance_of_its_own() {
    let mut world = world().with("a", Sync::Synced).settle();
    let (_, view) = world.view.instances.pop_first().unwrap();
    world.view.instances.insert(InstanceId::Pod("other".into()), view);
    let intents = world.derive();
    let acts: Vec<_> = intents.iter().filter(|one| one.target.kind == "ProxyInstance").collect();
    assert!(matches!(&acts[..], [Intent { act: Act::Delete { uid }, .. }] if uid == "a"));
    world = world.settle().settle();
    assert_eq!(world.instances[0].spec.pod.as_ref().unwrap().uid, "other");
}

#[test]
fn object_that_waits_says_for_how_many_proxies_and_why() {
    let mut world = world().with("a", Sync::Synced);
    let mut lost = (*instance("b", Sync::Unreachable).1).clone();
    lost.trouble = Some(Trouble { kind: TroubleKind::Timeout, message: "no answer in 5 s".into() });
    let mut refusing = (*instance("c", Sync::Rejected).1).clone();
    let (number, hash, at) = (1, ConfigHash::of(b"one"), Moment::ORIGIN);
    let refusal = Refusal {
        cause: RefusalCause::Invalid,
        status: 400,
        message: "declarative config is invalid".into(),
        entities: Vec::new(),
    };
    refusing.rejected = Some(Rejected { number, hash, at, refusal: Arc::new(refusal) });
    for view in [lost, refusing] {
        world.view.instances.insert(view.member.id.clone(), Arc::new(view));
    }
    let mut loader = crate::snapshot::Loader::new();
    let plugin = json!({
        "apiVersion": "configuration.konghq.com/v1", "kind": "KongPlugin",
        "metadata": {"name": "keys", "namespace": "shop"}, "plugin": "key-auth",
    });
    loader.document("test", plugin);
    world.snapshot = loader.finish().0;
    let object = ObjectRef::new(Kind::KongPlugin, "shop", "keys");
    world.outcomes =
        vec![Arc::new(Outcome { object, verdict: Verdict::Configured, warnings: Vec::new() })];
    let intents = world.derive();
    let told = intents.iter().find(|intent| intent.target.kind == "KongPlugin").unwrap();
    let Act::Apply { status } = &told.act else { panic!("{told:?}") };
    assert_eq!(
        status["conditions"][0]["message"],
        "1 of 3 proxies serve it; 1 refused it (declarative config is invalid), 1 unreachable (no answer in 5 s)"
    );
}

#[test]
fn refused_entities_name_the_object_behind_them() {
    let mut world = world();
    let (id, view) = instance("a", Sync::Rejected);
    let mut view = (*view).clone();
    let tags =
        ["k8s-name:web", "k8s-namespace:shop", "k8s-kind:Ingress", "k8s-group:networking.k8s.io"];
    let entity = RefusedEntity {
        kind: "route".into(),
        id: None,
        name: Some("shop.web".into()),
        tags: tags.map(str::to_owned).to_vec(),
        errors: vec!["invalid regex".into()],
    };
    let refusal = Refusal {
        cause: RefusalCause::Invalid,
        status: 400,
        message: "declarative config is invalid".into(),
        entities: vec![entity],
    };
    let (number, hash, at) = (1, ConfigHash::of(b"one"), Moment::ORIGIN);
    view.rejected = Some(Rejected { number, hash, at, refusal: Arc::new(refusal) });
    world.view.instances.insert(id, Arc::new(view));
    world = world.settle();
    let status = world.instances[0].status.clone().unwrap();
    let object = status.rejected[0].object.clone().unwrap();
    assert_eq!((object.kind.as_str(), object.name.as_str()), ("Ingress", "web"));
    assert_eq!(world.condition("a", "Stalled").status, "True");
}

#[test]
fn fleet_is_ready_when_everyone_who_stays_is_synced() {
    let world = world().with("a", Sync::Synced).with("b", Sync::Draining).settle();
    let status = world.fleet.status.clone().unwrap();
    assert_eq!(status.summary.as_deref(), Some("1/1"));
    assert_eq!(operator_api::condition(&status.conditions, "Ready").unwrap().status, "True");
}

#[test]
fn state_is_told_once_and_its_end_once() {
    let mut story = story::Story::new();
    let mut world = world().with("a", Sync::Rejected);
    let object = ObjectRef::new(Kind::Ingress, "shop", "web");
    let verdict =
        Verdict::Rejected { reason: crate::outcome::Reason::RefNotFound, message: "gone".into() };
    world.outcomes = vec![Arc::new(Outcome { object, verdict, warnings: Vec::new() })];
    let tell = |story: &mut story::Story, world: &World| -> Vec<(String, String)> {
        let (options, none) = (Options::default(), BTreeMap::new());
        let scene = FleetScene {
            fleet: &world.fleet,
            view: &world.view,
            outcomes: &world.outcomes,
            number: 0,
            excluded: &none,
            unexplained: None,
            problems: &[],
            trust: None,
            options: &options,
        };
        let told = story.tell(&[scene]);
        told.into_iter().map(|told| (told.about.kind, told.reason)).collect()
    };
    let pair = |kind: &str, reason: &str| (kind.to_owned(), reason.to_owned());
    let first = [
        pair("Pod", "KongConfigurationApplyFailed"),
        pair("Ingress", "KongConfigurationTranslationFailed"),
    ];
    assert_eq!(tell(&mut story, &world), first);
    assert_eq!(tell(&mut story, &world), []);
    world = world.with("a", Sync::Applying);
    assert_eq!(tell(&mut story, &world), []);
    world = world.with("a", Sync::Synced);
    assert_eq!(tell(&mut story, &world), [pair("Pod", "KongConfigurationSucceeded")]);
    assert_eq!(tell(&mut story, &world), []);
}
