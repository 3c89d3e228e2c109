//! Races between operators, against one Secret in memory.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// One Secret with the API server's compare-and-swap.
#[derive(Clone, Default)]
struct Shelf {
    secret: Arc<Mutex<Option<Value>>>,
    writes: Arc<Mutex<usize>>,
}

impl Shelf {
    fn answer(&self, method: &Method, sent: Option<Value>) -> (StatusCode, Value) {
        let mut held = self.secret.lock().unwrap();
        let version = |secret: &Value| secret["metadata"]["resourceVersion"].clone();
        match (method, sent, held.as_ref()) {
            (&Method::GET, _, Some(secret)) => (StatusCode::OK, secret.clone()),
            (&Method::GET, _, None) => refuse(404),
            (&Method::POST, _, Some(_)) => refuse(409),
            (&Method::PUT, Some(sent), Some(found)) if version(&sent) != version(found) => {
                refuse(409)
            }
            (_, Some(mut sent), _) => {
                let mut writes = self.writes.lock().unwrap();
                *writes += 1;
                sent["metadata"]["resourceVersion"] = json!(writes.to_string());
                *held = Some(sent.clone());
                (StatusCode::OK, sent)
            }
            _ => refuse(400),
        }
    }

    fn client(&self) -> Client {
        let shelf = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let shelf = shelf.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                // Both racers have read before either writes.
                tokio::task::yield_now().await;
                let (status, answer) =
                    shelf.answer(&head.method, serde_json::from_slice(&body).ok());
                let body = Full::from(serde_json::to_vec(&answer).unwrap());
                let response = Response::builder().status(status).body(body).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        Client::new(service, "flotilla-system")
    }
}

fn refuse(code: u16) -> (StatusCode, Value) {
    let status = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": if code == 404 { "NotFound" } else { "Conflict" }, "message": "" });
    (StatusCode::from_u16(code).unwrap(), status)
}

async fn settle_at(shelf: &Shelf, now: i64) -> Keyring {
    settle(&shelf.client(), "flotilla-system", Role::Client, now).await.unwrap()
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn two_operators_that_start_at_once_end_with_one_authority() {
    let shelf = Shelf::default();
    let (one, other) = tokio::join!(settle_at(&shelf, 0), settle_at(&shelf, 0));
    assert_eq!(one.bundle(), other.bundle());
    assert_eq!(*shelf.writes.lock().unwrap(), 1);
}

#[tokio::test]
async fn empty_secret_of_the_chart_is_filled_and_then_left_alone() {
    let shelf = Shelf::default();
    let empty = json!({ "metadata": { "name": "flotilla-client-ca", "resourceVersion": "0" } });
    *shelf.secret.lock().unwrap() = Some(empty);
    let first = settle_at(&shelf, 0).await;
    assert_eq!(settle_at(&shelf, DAY).await.bundle(), first.bundle());
    assert_eq!(*shelf.writes.lock().unwrap(), 1);
}

#[tokio::test]
async fn secret_with_something_else_in_it_is_never_overwritten() {
    let shelf = Shelf::default();
    let data = json!({ "tls.crt": "aGVsbG8=", "tls.key": "aGVsbG8=" });
    *shelf.secret.lock().unwrap() = Some(json!({ "metadata": { "name": "x" }, "data": data }));
    let settled = settle(&shelf.client(), "flotilla-system", Role::Server, 0).await;
    assert!(matches!(settled, Err(CustodyError::Authority { .. })));
    assert_eq!(*shelf.writes.lock().unwrap(), 0);
}

#[tokio::test]
async fn replacement_keeps_the_old_authority_in_the_bundle_while_its_leaves_live() {
    let shelf = Shelf::default();
    let old = settle_at(&shelf, 0).await;
    let due = 3_650 * DAY / 3 * 2;
    let taught = settle_at(&shelf, due).await;
    assert!(
        taught.bundle().starts_with(&old.bundle()) && taught.bundle().len() > old.bundle().len()
    );
    let promoted = settle_at(&shelf, due + DAY + 60).await;
    assert_ne!(promoted.current().pem(), old.current().pem());
    assert!(promoted.bundle().contains(old.current().pem().trim_end()));
    let done = settle_at(&shelf, due + 4 * DAY).await;
    assert!(!done.bundle().contains(old.current().pem().trim_end()));
}
