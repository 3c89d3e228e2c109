//! The translator against a simulated fleet that refuses, with and without saying what.

use std::sync::Arc;
use std::time::Duration;

use operator::fleet::Blame;
use operator::translator::{Inputs, Outputs, Scene, Translated, Translator, TranslatorMetrics};
use operator_core::fleet::event::{Refusal, RefusalCause, RefusedEntity};
use operator_core::fleet::member::{InstanceId, Member, Presence};
use operator_core::fleet::view::{FleetView, InstanceView, Sync, Verified};
use operator_core::moment::Moment;
use operator_core::object::{Kind, ObjectRef};
use operator_core::options::Options;
use operator_core::revision::{Dialect, Revision};
use operator_core::snapshot::Loader;
use runtime::Shutdown;
use runtime::telemetry::Metrics;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the fleet refuses what it does not like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tongue {
    /// It names the route.
    Names,
    /// It says no more than that it refuses.
    Mute,
}

/// A translator and a fleet of one proxy that refuses every configuration with a path that contains `bad`.
struct Scenario {
    scenes: watch::Sender<Option<Scene>>,
    translated: watch::Receiver<Arc<Translated>>,
    held: watch::Receiver<String>,
    _tasks: JoinSet<()>,
    _options: watch::Sender<Options>,
}

impl Scenario {
    fn with(tongue: Tongue) -> Self {
        let (scenes, scenes_seen) = watch::channel(None);
        let (options, options_seen) = watch::channel(Options::default());
        let (view, view_seen) = watch::channel(Arc::new(FleetView::unknown()));
        let (blame, blame_seen) = watch::channel(None);
        let (revision, revisions) = watch::channel(None);
        let (translated, translated_seen) = watch::channel(Arc::default());
        let (held, held_seen) = watch::channel(String::new());
        let inputs = Inputs {
            scenes: scenes_seen,
            options: options_seen,
            view: view_seen,
            blame: blame_seen,
        };
        let metrics = TranslatorMetrics::register(&Metrics::new());
        let translator = Translator::new(inputs, Outputs { revision, translated }, metrics);
        let mut tasks = JoinSet::new();
        tasks.spawn(translator.run(Shutdown::new()));
        tasks.spawn(judge(revisions, tongue, view, blame, held));
        Self {
            scenes,
            translated: translated_seen,
            held: held_seen,
            _tasks: tasks,
            _options: options,
        }
    }

    /// The cluster now holds Ingresses with these names and paths.
    fn apply(&self, ingresses: &[(&str, &str)]) {
        let mut loader = Loader::new();
        for (name, path) in ingresses {
            loader.add("", &format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: ns}}\nspec: {{ingressClassName: kong, rules: [{{host: {name}.example.com, http: {{paths: [{{path: {path}, pathType: ImplementationSpecific, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n"
            ));
        }
        let snapshot = Arc::new(loader.finish().0);
        self.scenes.send_replace(Some(Scene { snapshot, changed_at: Moment::ORIGIN }));
    }

    /// Waits until the proxy holds all of `wanted` and nothing of `unwanted`.
    async fn holds(&mut self, wanted: &[&str], unwanted: &[&str]) {
        let fits = |held: &String| {
            wanted.iter().all(|text| held.contains(text))
                && !unwanted.iter().any(|text| held.contains(text))
        };
        let waited =
            tokio::time::timeout(Duration::from_secs(60), self.held.wait_for(fits)).await.is_ok();
        assert!(waited, "the proxy holds {}", *self.held.borrow());
    }

    /// Waits until just these are told to be left out or replaced.
    async fn told(&mut self, names: &[&str]) {
        let fits = |translated: &Arc<Translated>| {
            let wanted = names.iter().map(|name| ObjectRef::new(Kind::Ingress, "ns", name));
            translated.excluded.keys().cloned().eq(wanted) && translated.unexplained.is_none()
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), self.translated.wait_for(fits));
        let waited = waited.await.is_ok();
        assert!(waited, "told: {:?}", self.translated.borrow().excluded);
    }
}

/// The proxy: takes or refuses each revision.
async fn judge(
    mut revisions: watch::Receiver<Option<Arc<Revision>>>,
    tongue: Tongue,
    view: watch::Sender<Arc<FleetView>>,
    blame: watch::Sender<Option<Blame>>,
    held: watch::Sender<String>,
) {
    while revisions.changed().await.is_ok() {
        let Some(revision) = revisions.borrow_and_update().clone() else { continue };
        let body = revision.body(Dialect::Own).unwrap();
        let document = serde_json::from_slice(body.bytes()).unwrap();
        let text: String = routes(&document).map(|(_, expression)| expression).collect();
        if text.contains("/bad") {
            let refusal = Refusal {
                cause: RefusalCause::Invalid,
                status: 400,
                message: "declarative config is invalid".into(),
                entities: if tongue == Tongue::Names { named(&document) } else { Vec::new() },
            };
            blame.send_replace(Some(Blame {
                number: revision.number(),
                dialect: Dialect::Own,
                refusal: Arc::new(refusal),
            }));
        } else {
            view.send_replace(Arc::new(holding(&revision)));
            held.send_replace(text);
        }
    }
}

/// Names and expressions of all routes.
fn routes(document: &serde_json::Value) -> impl Iterator<Item = (&str, &str)> {
    let services = document["services"].as_array().into_iter().flatten();
    let routes = services.flat_map(|service| service["routes"].as_array().into_iter().flatten());
    routes.map(|route| (route["name"].as_str().unwrap(), route["expression"].as_str().unwrap()))
}

/// The routes with a bad path, as a proxy names them: by name alone.
fn named(document: &serde_json::Value) -> Vec<RefusedEntity> {
    let bad = routes(document).filter(|(_, expression)| expression.contains("/bad"));
    bad.map(|(name, _)| RefusedEntity {
        kind: "route".into(),
        id: None,
        name: Some(name.into()),
        tags: Vec::new(),
        errors: vec!["expression: bad".into()],
    })
    .collect()
}

fn holding(revision: &Revision) -> FleetView {
    let id = InstanceId::Pod("uid".into());
    let member = Member {
        id: id.clone(),
        namespace: "ns".into(),
        name: "proxy".into(),
        admin: ([127, 0, 0, 1], 8444).into(),
        data: None,
        node: None,
        zone: None,
        service: "proxy".into(),
        presence: Presence::Ready,
    };
    let verified = Verified {
        number: revision.number(),
        hash: revision.hash(Dialect::Own).unwrap(),
        at: Moment::ORIGIN,
        lag: Duration::ZERO,
    };
    let instance = InstanceView {
        member,
        found_at: Moment::ORIGIN,
        sync: Sync::Synced,
        since: Moment::ORIGIN,
        desired: None,
        reported: None,
        verified: Some(verified),
        behind: false,
        last_apply: None,
        identity: None,
        node: None,
        rejected: None,
        trouble: None,
        contested_until: None,
    };
    let mut view = FleetView::unknown();
    view.instances.insert(id, Arc::new(instance));
    view
}

#[tokio::test]
async fn named_culprit_is_left_out_and_its_neighbors_go_on() {
    let mut scenario = Scenario::with(Tongue::Names);
    scenario.apply(&[("a", "/a"), ("b", "/bad"), ("c", "/c")]);
    scenario.holds(&["\"/a\"", "\"/c\""], &["/bad"]).await;
    scenario.told(&["b"]).await;
}

#[tokio::test]
async fn last_good_version_of_a_culprit_goes_on_until_it_is_mended() {
    let mut scenario = Scenario::with(Tongue::Names);
    scenario.apply(&[("a", "/a"), ("b", "/b")]);
    scenario.holds(&["\"/b\""], &[]).await;
    scenario.apply(&[("a", "/new"), ("b", "/bad")]);
    scenario.holds(&["\"/new\"", "\"/b\""], &["/bad"]).await;
    scenario.told(&["b"]).await;
    scenario.apply(&[("a", "/new"), ("b", "/mended")]);
    scenario.holds(&["\"/mended\""], &["\"/b\""]).await;
    scenario.told(&[]).await;
}

#[tokio::test]
async fn culprits_that_nobody_names_are_found_by_halves() {
    let mut scenario = Scenario::with(Tongue::Mute);
    let names: Vec<String> = (0..24).map(|n| format!("i{n:02}")).collect();
    let path = |n: usize| if n == 5 || n == 17 { format!("/bad{n}") } else { format!("/p{n}") };
    let paths: Vec<String> = (0..24).map(path).collect();
    let all: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(paths.iter().map(String::as_str)).collect();
    scenario.apply(&all);
    let good: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| !path.starts_with("/bad")).collect();
    scenario.holds(&good, &["/bad"]).await;
    scenario.told(&["i05", "i17"]).await;
}

#[tokio::test]
async fn change_during_a_search_puts_no_blame_on_who_is_tried() {
    let mut scenario = Scenario::with(Tongue::Mute);
    let paths: Vec<String> =
        (0..24).map(|n| if n == 5 { "/bad".to_owned() } else { format!("/p{n}") }).collect();
    let names: Vec<String> = (0..24).map(|n| format!("i{n:02}")).collect();
    let mut all: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(paths.iter().map(String::as_str)).collect();
    scenario.apply(&all);
    // The proxy takes nothing before the search holds the suspects back.
    scenario.held.changed().await.unwrap();
    all.push(("late", "/bad"));
    scenario.apply(&all);
    scenario.told(&["i05", "late"]).await;
    let good: Vec<&str> =
        paths.iter().map(String::as_str).filter(|path| !path.starts_with("/bad")).collect();
    scenario.holds(&good, &["/bad"]).await;
}

#[tokio::test]
async fn unnamed_culprit_among_changes_leaves_what_did_not_change_alone() {
    let mut scenario = Scenario::with(Tongue::Mute);
    scenario.apply(&[("a", "/a"), ("b", "/b"), ("c", "/c")]);
    scenario.holds(&["\"/b\""], &[]).await;
    scenario.apply(&[("a", "/a"), ("b", "/bad"), ("c", "/changed")]);
    scenario.holds(&["\"/a\"", "\"/b\"", "\"/changed\""], &["/bad"]).await;
    scenario.told(&["b"]).await;
}
