//! The fleet driver against Admin APIs on loopback, over mutual TLS.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use operator::admin::Deadlines;
use operator::fleet::{AllFleetMetrics, Blame, Driver, IdentityPolicy, Inputs, Outputs, Policy};
use operator::ticks::Ticks;
use operator::trust::{BuiltIn, Identities};
use operator_core::election::Role;
use operator_core::fleet::Settings;
use operator_core::fleet::discovery::Members;
use operator_core::fleet::event::TroubleKind;
use operator_core::fleet::member::InstanceId;
use operator_core::fleet::view::{FleetView, InstanceView, Sync};
use operator_core::moment::Moment;
use operator_core::revision::{Census, ConfigHash, Dialect, Revision};
use runtime::telemetry::Metrics;
use runtime::{Clock, Shutdown, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fake::{Fake, Mode};

/// A driver with its channels, and the Admin APIs that it drives.
struct Scenario {
    authorities: BuiltIn,
    now: i64,
    fakes: Vec<Fake>,
    members: watch::Sender<Members>,
    role: watch::Sender<Role>,
    revisions: watch::Sender<Option<Arc<Revision>>>,
    identities: watch::Sender<Identities>,
    view: watch::Receiver<Arc<FleetView>>,
    blame: watch::Receiver<Option<Blame>>,
    number: u64,
    _policy: watch::Sender<Policy>,
    _driver: JoinSet<()>,
}

impl Scenario {
    /// A fleet of so many pods, led by us.
    async fn with(pods: usize) -> Self {
        runtime::install_crypto_provider();
        let now = i64::try_from(SystemClock::new().wall().as_secs()).unwrap();
        let authorities = BuiltIn::make(now).unwrap();
        let mut fakes = Vec::new();
        for pod in 0..pods {
            fakes.push(Fake::start(&authorities, &format!("uid-{pod}"), now).await);
        }
        let identity = Arc::new(authorities.client_identity("cluster.local", now).unwrap());
        let (members, members_seen) = watch::channel(Members::new());
        let (role, role_seen) = watch::channel(Role::SOLE);
        let (revisions, revisions_seen) = watch::channel(None);
        let (identities, identities_seen) = watch::channel(Identities::built_in(identity));
        let (policy, policy_seen) = watch::channel(policy());
        let (view, view_seen) = watch::channel(Arc::new(FleetView::unknown()));
        let (blame, blame_seen) = watch::channel(None);
        let inputs = Inputs {
            revisions: revisions_seen,
            members: members_seen,
            role: role_seen,
            identities: identities_seen,
            policy: policy_seen,
        };
        let metrics = AllFleetMetrics::register(&Metrics::new()).of("test");
        let driver = Driver::new(inputs, Outputs { view, blame, metrics }, Ticks::start(), 7);
        let mut driving = JoinSet::new();
        driving.spawn(driver.run(Shutdown::new()));
        let scenario = Self {
            authorities,
            now,
            fakes,
            members,
            role,
            revisions,
            identities,
            view: view_seen,
            blame: blame_seen,
            number: 0,
            _policy: policy,
            _driver: driving,
        };
        scenario.discover();
        scenario
    }

    fn discover(&self) {
        let members = self.fakes.iter().map(Fake::member);
        self.members.send_replace(members.map(|it| (it.id.clone(), it)).collect());
    }

    /// A new configuration; returns its hash.
    fn apply(&mut self, text: &'static str) -> ConfigHash {
        self.number += 1;
        let census = Census::new([("routes".to_owned(), 1)]);
        let body = [(Dialect::Traditional, text.into())];
        let revision = Revision::new(self.number, body, census, Moment::ORIGIN);
        self.revisions.send_replace(Some(Arc::new(revision)));
        ConfigHash::of(text.as_bytes())
    }

    /// Waits until the view of one instance is as wanted.
    async fn until(&self, pod: usize, wanted: impl Fn(&InstanceView) -> bool) -> Arc<InstanceView> {
        let id = InstanceId::Pod(self.fakes[pod].uid.as_str().into());
        let mut view = self.view.clone();
        let seen = view.wait_for(|view| view.instances.get(&id).is_some_and(|it| wanted(it)));
        let seen = tokio::time::timeout(Duration::from_secs(30), seen).await;
        match seen {
            Ok(view) => Arc::clone(&view.unwrap().instances[&id]),
            Err(_) => panic!("not in time: {:#?}", self.view.borrow().instances[&id]),
        }
    }

    async fn synced(&self, pod: usize, hash: ConfigHash) {
        self.until(pod, |it| it.sync == Sync::Synced && it.reported.unwrap().hash == hash).await;
        assert_eq!(self.fakes[pod].state.lock().unwrap().held, hash);
    }
}

fn policy() -> Policy {
    Policy {
        namespace: "gateways".into(),
        name: "test".into(),
        settings: Settings {
            probe_every: Duration::from_millis(200),
            backoff_first: Duration::from_millis(50),
            backoff_most: Duration::from_millis(500),
            ..Settings::default()
        },
        identity: IdentityPolicy::Pod { shared_name: "test".into() },
        allowed: None,
        deadlines: Deadlines { answer: Duration::from_secs(1), ..Deadlines::default() },
    }
}

#[tokio::test]
async fn every_member_takes_a_revision_and_proves_its_hash() {
    let mut scenario = Scenario::with(3).await;
    for text in ["one", "two"] {
        let hash = scenario.apply(text);
        for pod in 0..3 {
            scenario.synced(pod, hash).await;
        }
    }
    assert!(scenario.fakes.iter().all(|fake| fake.state.lock().unwrap().pushes == 2));
}

#[tokio::test]
async fn stored_configuration_counts_once_the_traffic_port_serves_it() {
    let mut scenario = Scenario::with(1).await;
    let old = scenario.apply("old");
    scenario.synced(0, old).await;
    scenario.fakes[0].state.lock().unwrap().serves = Some(old);
    let new = scenario.apply("new");
    let stored = scenario.until(0, |it| it.behind).await;
    assert_eq!((stored.reported.unwrap().hash, stored.sync), (new, Sync::Applying));
    assert_eq!(stored.verified.unwrap().hash, old);
    scenario.fakes[0].state.lock().unwrap().serves = None;
    scenario.synced(0, new).await;
    assert_eq!(scenario.fakes[0].state.lock().unwrap().pushes, 2);
}

#[tokio::test]
async fn strangers_configuration_is_found_and_replaced() {
    let mut scenario = Scenario::with(2).await;
    let hash = scenario.apply("ours");
    scenario.synced(0, hash).await;
    scenario.fakes[0].state.lock().unwrap().held = ConfigHash::of(b"theirs");
    scenario.until(0, |it| it.reported.unwrap().hash != hash).await;
    scenario.synced(0, hash).await;
}

#[tokio::test]
async fn proxy_that_comes_back_empty_is_filled_again() {
    let mut scenario = Scenario::with(1).await;
    let hash = scenario.apply("ours");
    scenario.synced(0, hash).await;
    {
        let mut state = scenario.fakes[0].state.lock().unwrap();
        (state.held, state.node_id) = (ConfigHash::EMPTY, "second".into());
    }
    scenario.until(0, |it| it.reported.unwrap().hash.is_empty()).await;
    scenario.synced(0, hash).await;
}

#[tokio::test]
async fn refused_revision_names_its_object_once_and_leaves_the_last_good_one() {
    let mut scenario = Scenario::with(2).await;
    let good = scenario.apply("good");
    for pod in 0..2 {
        scenario.synced(pod, good).await;
        scenario.fakes[pod].state.lock().unwrap().mode = Mode::Refusing;
    }
    scenario.apply("bad");
    let refused = scenario.until(0, |it| it.sync == Sync::Rejected).await;
    let refusal = &refused.rejected.as_ref().unwrap().refusal;
    assert!(refusal.entities[0].tags.contains(&"k8s-name:web".to_owned()));
    scenario.until(1, |it| it.sync == Sync::Rejected).await;
    let mut blame = scenario.blame.clone();
    blame.wait_for(|blame| blame.as_ref().is_some_and(|blame| blame.number == 2)).await.unwrap();
    let pushes = scenario.fakes[0].state.lock().unwrap().pushes;
    // Three more looks: nothing is sent again.
    for _ in 0..3 {
        let seen = scenario.view.borrow().instances.values().next().unwrap().reported.unwrap().at;
        scenario.until(0, |it| it.reported.unwrap().at > seen).await;
    }
    let state = scenario.fakes[0].state.lock().unwrap();
    assert_eq!((state.pushes, state.held), (pushes, good));
}

#[tokio::test]
async fn bad_admin_apis_are_named_and_delay_no_other() {
    let mut scenario = Scenario::with(3).await;
    scenario.fakes[0].state.lock().unwrap().mode = Mode::Html;
    scenario.fakes[1].state.lock().unwrap().mode = Mode::Mute;
    let hash = scenario.apply("ours");
    scenario.synced(2, hash).await;
    let kind = |it: &InstanceView| it.trouble.as_ref().map(|trouble| trouble.kind);
    scenario.until(0, |it| kind(it) == Some(TroubleKind::NotAnAdminApi)).await;
    scenario.until(1, |it| kind(it) == Some(TroubleKind::Timeout)).await;
    for pod in [0, 1] {
        scenario.fakes[pod].state.lock().unwrap().mode = Mode::Well;
        scenario.synced(pod, hash).await;
    }
}

#[tokio::test]
async fn expired_client_certificate_is_named_and_a_new_one_is_used_at_once() {
    let mut scenario = Scenario::with(1).await;
    let long_ago = scenario.now - 30 * 24 * 3600;
    let expired = scenario.authorities.client_identity("cluster.local", long_ago).unwrap();
    let fresh = scenario.identities.send_replace(Identities::built_in(Arc::new(expired)));
    // A new pod: no connection stands from before.
    scenario.fakes = vec![Fake::start(&scenario.authorities, "uid-new", scenario.now).await];
    scenario.discover();
    let hash = scenario.apply("ours");
    let seen = scenario.until(0, |it| it.trouble.is_some()).await;
    let trouble = seen.trouble.as_ref().unwrap();
    assert_eq!(trouble.kind, TroubleKind::Unauthorized, "{trouble:?}");
    assert_eq!(scenario.fakes[0].requests.load(Ordering::SeqCst), 0);
    scenario.identities.send_replace(fresh);
    scenario.synced(0, hash).await;
}

#[tokio::test]
async fn another_pod_at_the_address_gets_nothing() {
    let mut scenario = Scenario::with(1).await;
    scenario.apply("secret");
    // The address of the pod that discovery names is now that of another one.
    let other = Fake::start(&scenario.authorities, "uid-other", scenario.now).await;
    let mut member = other.member();
    member.id = InstanceId::Pod("uid-expected".into());
    scenario.members.send_replace([(member.id.clone(), member)].into());
    scenario.fakes[0].uid = "uid-expected".into();
    let seen = scenario.until(0, |it| it.trouble.is_some()).await;
    assert_eq!(seen.sync, Sync::IdentityMismatch, "{:?}", seen.trouble);
    assert_eq!(other.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn standby_pushes_nothing_and_an_older_term_is_refused() {
    let mut scenario = Scenario::with(1).await;
    scenario.role.send_replace(Role::Standby { leader: None });
    let hash = scenario.apply("ours");
    scenario.until(0, |it| it.reported.is_some() && it.desired.is_some()).await;
    assert_eq!(scenario.fakes[0].state.lock().unwrap().pushes, 0);
    scenario.fakes[0].state.lock().unwrap().term = 5;
    scenario.role.send_replace(Role::Leader { term: 4, until: Moment::NEVER });
    scenario.until(0, |it| it.last_apply.as_ref().is_some_and(|it| it.status == Some(409))).await;
    assert_eq!(scenario.fakes[0].state.lock().unwrap().pushes, 0);
    scenario.role.send_replace(Role::Leader { term: 6, until: Moment::NEVER });
    scenario.synced(0, hash).await;
}
