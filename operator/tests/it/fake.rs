//! A small Admin API over mutual TLS that can misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use operator::trust::{BuiltIn, Purpose};
use operator_core::fleet::member::{InstanceId, Member, Presence};
use operator_core::revision::ConfigHash;
use runtime::tls::Identity;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As Kong does.
    Well,
    /// Refuses every configuration, naming the route of Ingress shop/web.
    Refusing,
    /// Answers with web pages.
    Html,
    /// Takes requests and never answers.
    Mute,
}

/// What it holds and has seen.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mode: Mode,
    pub(crate) held: ConfigHash,
    /// What the data path serves, when that is something else.
    pub(crate) serves: Option<ConfigHash>,
    pub(crate) node_id: String,
    pub(crate) pushes: usize,
    pub(crate) term: u64,
}

/// The Admin API of one pod.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) uid: String,
    pub(crate) address: SocketAddr,
    /// Where its traffic would arrive.
    data: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    /// Requests that got through the handshake.
    pub(crate) requests: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Fake {
    /// Starts one whose certificate is bound to this pod.
    pub(crate) async fn start(authorities: &BuiltIn, uid: &str, now: i64) -> Self {
        let purpose = Purpose {
            uris: vec![format!("spiffe://cluster.local/ns/gateways/sa/proxy/pod/{uid}")],
            ..Purpose::default()
        };
        let leaf = authorities.server_leaf(&purpose, now).unwrap();
        let clients = authorities.client.bundle();
        let identity =
            Identity::from_pem(leaf.chain.as_bytes(), leaf.key.as_bytes(), clients.as_bytes());
        let acceptor = TlsAcceptor::from(Arc::new(identity.unwrap().server(&[]).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            mode: Mode::Well,
            held: ConfigHash::EMPTY,
            serves: None,
            node_id: "first".into(),
            pushes: 0,
            term: 0,
        };
        let (state, requests) = (Arc::new(Mutex::new(state)), Arc::new(AtomicUsize::new(0)));
        let mut server = JoinSet::new();
        let data = serve_traffic(&mut server, state.clone()).await;
        let (held, seen) = (state.clone(), requests.clone());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, held, seen) = (acceptor.clone(), held.clone(), seen.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        seen.fetch_add(1, Ordering::SeqCst);
                        answer(held.clone(), request)
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { uid: uid.to_owned(), address, data, state, requests, _server: server }
    }

    /// The pod as discovery finds it.
    pub(crate) fn member(&self) -> Member {
        Member {
            id: InstanceId::Pod(self.uid.as_str().into()),
            namespace: "gateways".into(),
            name: self.uid.as_str().into(),
            admin: self.address,
            data: Some(self.data),
            node: None,
            zone: None,
            service: "admin".into(),
            presence: Presence::Ready,
        }
    }
}

/// The port of traffic: knows one question.
async fn serve_traffic(server: &mut JoinSet<()>, state: Arc<Mutex<State>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let state = state.clone();
            connections.spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    assert_eq!(request.uri().path(), "/.flotilla/revision");
                    assert_eq!(request.headers()["x-flotilla-probe"], "1");
                    let state = state.lock().unwrap();
                    let served = state.serves.unwrap_or(state.held);
                    let reply = reply(StatusCode::OK, "text/plain", served.to_string());
                    std::future::ready(Ok::<_, hyper::Error>(reply))
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mode = state.lock().unwrap().mode;
    if mode == Mode::Mute {
        std::future::pending::<()>().await;
    }
    if mode == Mode::Html {
        return Ok(reply(StatusCode::OK, "text/html", "<html>welcome</html>".into()));
    }
    let json = |status, text: String| Ok(reply(status, "application/json", text));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (method, path.as_str()) {
        (Method::GET, "/") => {
            let node = state.lock().unwrap().node_id.clone();
            json(
                StatusCode::OK,
                serde_json::json!({
                    "version": "3.9.3", "node_id": node, "hostname": "pod",
                    "configuration": {"router_flavor": "traditional_compatible", "database": "off"},
                })
                .to_string(),
            )
        }
        (Method::GET, "/status") => {
            let held = state.lock().unwrap().held;
            json(StatusCode::OK, format!(r#"{{"configuration_hash":"{held}"}}"#))
        }
        (Method::POST, "/config") => {
            let term = request.headers().get("x-flotilla-term").unwrap().to_str().unwrap().parse();
            let body = request.into_body().collect().await?.to_bytes();
            let mut state = state.lock().unwrap();
            let term: u64 = term.unwrap();
            if term < state.term {
                return json(StatusCode::CONFLICT, format!(r#"{{"term":{}}}"#, state.term));
            }
            state.term = term;
            state.pushes += 1;
            if mode == Mode::Refusing {
                return json(StatusCode::BAD_REQUEST, REFUSAL.to_owned());
            }
            state.held = ConfigHash::of(&body);
            json(StatusCode::CREATED, "{}".to_owned())
        }
        _ => json(StatusCode::NOT_FOUND, r#"{"message":"Not found"}"#.to_owned()),
    }
}

const REFUSAL: &str = r#"{"code":14,"message":"declarative config is invalid: {}","fields":{},
  "flattened_errors":[{"entity_type":"route","entity_name":"r",
    "entity_tags":["k8s-name:web","k8s-namespace:shop","k8s-kind:Ingress","k8s-group:networking.k8s.io"],
    "errors":[{"type":"field","field":"paths.1","message":"should start with: /"}]}]}"#;

fn reply(status: StatusCode, kind: &str, text: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("content-type", kind);
    response.body(Full::new(text.into())).unwrap()
}
