//! The watches against a small API server in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use runtime::{Readiness, Shutdown};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

type Answer = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::io::Error>;

/// Answers lists from a table by path; a watch stays open and carries what a test sends.
#[derive(Clone, Default)]
struct World {
    lists: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
    watches: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<String>>>>,
    /// The path whose lists are wrongly empty, and how often a doubter asked for one object.
    emptied: Arc<Mutex<Option<(String, usize)>>>,
}

impl World {
    fn put(&self, path: &str, items: Vec<Value>) {
        self.lists.lock().unwrap().insert(path.to_owned(), items);
    }

    /// Sends an event to the open watch of `path`, once there is one.
    async fn send(&self, path: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        loop {
            let open = self.watches.lock().unwrap().get(path).cloned();
            if open.is_some_and(|watch| watch.send(line.clone()).is_ok()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn answer(&self, request: &Request<Body>) -> Response<Answer> {
        let (path, query) = (request.uri().path().to_owned(), request.uri().query());
        if query.is_some_and(|query| query.contains("watch=true")) {
            let (sender, receiver) = mpsc::unbounded_channel::<String>();
            self.watches.lock().unwrap().insert(path, sender);
            let frames = futures::stream::unfold(receiver, |mut receiver| async {
                let line = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(http_body::Frame::data(line.into())), receiver))
            });
            return Response::new(http_body_util::StreamBody::new(frames).boxed_unsync());
        }
        let mut items = self.lists.lock().unwrap().get(&path).cloned().unwrap_or_default();
        if let Some((_, doubts)) = self.emptied.lock().unwrap().as_mut().filter(|one| one.0 == path)
        {
            match query.is_some_and(|query| query.split('&').any(|one| one == "limit=1")) {
                true => *doubts += 1,
                false => items.clear(),
            }
        }
        let list = json!({ "metadata": { "resourceVersion": "10" }, "items": items });
        let whole = http_body_util::Full::from(serde_json::to_vec(&list).unwrap());
        Response::new(whole.map_err(|never| match never {}).boxed_unsync())
    }

    fn client(&self) -> Client {
        let world = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = world.answer(&request);
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        Client::new(service, "flotilla-system")
    }
}

const INGRESSES: &str = "/apis/networking.k8s.io/v1/ingresses";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PLUGINS: &str = "/apis/configuration.konghq.com/v1/kongplugins";

fn ingress(name: &str, spec: &Value) -> Value {
    let metadata =
        json!({ "name": name, "namespace": "shop", "uid": name, "resourceVersion": "1" });
    json!({ "metadata": metadata, "spec": spec })
}

fn plugin_definition() -> Value {
    json!({
        "metadata": { "name": "kongplugins.configuration.konghq.com", "resourceVersion": "11" },
        "spec": {
            "group": "configuration.konghq.com",
            "names": { "kind": "KongPlugin", "plural": "kongplugins" },
            "versions": [{ "name": "v1", "served": true }],
        },
        "status": { "conditions": [{ "type": "Established", "status": "True" }] },
    })
}

fn start(world: &World) -> (Tasks, Stores, Readiness) {
    let mut tasks = Tasks::new(Shutdown::new());
    let readiness = Readiness::new();
    let stores = spawn(&mut tasks, &world.client(), readiness.gate("first lists"));
    (tasks, stores, readiness)
}

/// Waits until what the stores hold satisfies `wanted`.
async fn until(stores: &Stores, wanted: impl Fn(&Snapshot) -> bool) {
    let mut dirty = stores.dirty.clone();
    let all = async {
        while !wanted(&stores.snapshot()) {
            dirty.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
}

#[tokio::test]
async fn nothing_is_ready_before_every_first_list_and_then_everything_is() {
    let world = World::default();
    world.put(INGRESSES, vec![ingress("web", &json!({}))]);
    let (_tasks, stores, readiness) = start(&world);
    assert!(!readiness.is_ready());
    stores.ready.clone().wait_for(|ready| *ready).await.unwrap();
    assert!(readiness.is_ready());
    assert_eq!(stores.snapshot().ingresses.len(), 1);
}

#[tokio::test]
async fn unreadable_object_is_reported_beside_its_neighbors_until_it_is_deleted() {
    let world = World::default();
    let broken = ingress("broken", &json!({ "rules": "none" }));
    world.put(INGRESSES, vec![broken.clone(), ingress("web", &json!({}))]);
    let (_tasks, stores, _readiness) = start(&world);
    until(&stores, |seen| seen.ingresses.len() == 1 && seen.unreadable.len() == 1).await;
    assert_eq!(stores.snapshot().unreadable[0].object.name, "broken");
    world.send(INGRESSES, "DELETED", &broken).await;
    until(&stores, |seen| seen.unreadable.is_empty()).await;
}

#[tokio::test]
async fn optional_kind_appears_and_vanishes_with_its_definition() {
    let world = World::default();
    let (_tasks, stores, _readiness) = start(&world);
    stores.ready.clone().wait_for(|ready| *ready).await.unwrap();
    let metadata = json!({ "name": "limit", "namespace": "shop", "resourceVersion": "1" });
    world.put(PLUGINS, vec![json!({ "metadata": metadata, "plugin": "rate-limiting" })]);
    world.send(DEFINITIONS, "ADDED", &plugin_definition()).await;
    until(&stores, |seen| seen.kong_plugins.len() == 1).await;
    world.send(DEFINITIONS, "DELETED", &plugin_definition()).await;
    until(&stores, |seen| seen.kong_plugins.is_empty()).await;
}

#[tokio::test]
async fn list_that_is_wrongly_empty_deletes_nothing() {
    let world = World::default();
    world.put(INGRESSES, vec![ingress("web", &json!({}))]);
    let (_tasks, stores, _readiness) = start(&world);
    stores.ready.clone().wait_for(|ready| *ready).await.unwrap();
    *world.emptied.lock().unwrap() = Some((INGRESSES.to_owned(), 0));
    let gone = json!({ "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "" });
    world.send(INGRESSES, "ERROR", &gone).await;
    while world.emptied.lock().unwrap().as_ref().unwrap().1 == 0 {
        tokio::task::yield_now().await;
    }
    *world.emptied.lock().unwrap() = None;
    world.put(INGRESSES, vec![ingress("web", &json!({})), ingress("api", &json!({}))]);
    until(&stores, |seen| {
        assert!(!seen.ingresses.is_empty());
        seen.ingresses.len() == 2
    })
    .await;
}
