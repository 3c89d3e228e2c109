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
    /// Single objects by path.
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Every path that was asked for with what was accepted.
    asked: Arc<Mutex<Vec<(String, String)>>>,
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
        let accept = request.headers().get("accept").map(|value| value.to_str().unwrap());
        let asked = (path.clone(), accept.unwrap_or_default().to_owned());
        self.asked.lock().unwrap().push(asked);
        if let Some(object) = self.objects.lock().unwrap().get(&path) {
            let whole = http_body_util::Full::from(serde_json::to_vec(object).unwrap());
            return Response::new(whole.map_err(|never| match never {}).boxed_unsync());
        }
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
const SECRETS_PATH: &str = "/api/v1/secrets";
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

/// A Secret without contents, as metadata alone is told.
fn sealed(name: &str, version: &str, labels: &Value) -> Value {
    let metadata = json!({
        "name": name, "namespace": "shop", "uid": name, "resourceVersion": version, "labels": labels,
    });
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata })
}

/// Puts a Secret where it is read by name.
fn place(world: &World, name: &str, version: &str, value: &str) {
    let path = format!("/api/v1/namespaces/shop/secrets/{name}");
    let metadata = json!({ "name": name, "namespace": "shop", "resourceVersion": version });
    let secret = json!({ "metadata": metadata, "data": { "value": value } });
    world.objects.lock().unwrap().insert(path, secret);
}

fn values(stores: &Stores) -> Vec<(String, Vec<u8>)> {
    let all = stores.snapshot();
    let value =
        |secret: &operator_core::secret::Secret| secret.data.as_ref().unwrap()["value"].0.clone();
    let named = |secret: &operator_core::secret::Secret| secret.metadata.name.clone().unwrap();
    all.secrets.iter().map(|secret| (named(secret), value(secret))).collect()
}

#[tokio::test]
async fn contents_of_secrets_are_read_only_where_something_refers_to_them() {
    let world = World::default();
    let tls = json!({ "tls": [{ "hosts": ["shop.example"], "secretName": "shop-tls" }] });
    world.put(INGRESSES, vec![ingress("web", &tls)]);
    let key = json!({ "konghq.com/credential": "key-auth" });
    let listed = [
        sealed("shop-tls", "1", &json!({})),
        sealed("other", "1", &json!({})),
        sealed("key", "1", &key),
    ];
    world.put(SECRETS_PATH, listed.to_vec());
    for name in ["shop-tls", "other", "key"] {
        place(&world, name, "1", "b25l");
    }
    let (_tasks, stores, _readiness) = start(&world);
    stores.ready.clone().wait_for(|ready| *ready).await.unwrap();
    assert!(values(&stores).is_empty(), "contents before anybody asked");
    let read = stores.secrets.read(&stores.snapshot()).await;
    assert!(read.changed && read.complete);
    let both = vec![("key".to_owned(), b"one".to_vec()), ("shop-tls".to_owned(), b"one".to_vec())];
    assert_eq!(values(&stores), both);
    assert!(!stores.secrets.read(&stores.snapshot()).await.changed, "what is read is read once");

    place(&world, "shop-tls", "2", "dHdv");
    let mut dirty = stores.dirty.clone();
    dirty.borrow_and_update();
    world.send(SECRETS_PATH, "MODIFIED", &sealed("shop-tls", "2", &json!({}))).await;
    dirty.changed().await.unwrap();
    assert!(stores.secrets.read(&stores.snapshot()).await.changed);
    assert_eq!(values(&stores)[1], ("shop-tls".to_owned(), b"two".to_vec()));

    world.send(INGRESSES, "DELETED", &ingress("web", &tls)).await;
    until(&stores, |seen| seen.ingresses.is_empty()).await;
    assert!(stores.secrets.read(&stores.snapshot()).await.changed);
    assert_eq!(values(&stores).len(), 1, "what nothing refers to is forgotten");

    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().all(|(path, _)| !path.ends_with("/other")), "{asked:?}");
    let lists = asked.iter().filter(|(path, _)| path == SECRETS_PATH);
    let partial = |accept: &str| accept.contains("PartialObjectMetadata");
    assert!(lists.clone().count() > 0 && lists.clone().all(|(_, accept)| partial(accept)));
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
