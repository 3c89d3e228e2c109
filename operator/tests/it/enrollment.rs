//! A proxy enrolls with the operator over loopback, and the operator then recognizes its pod.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube::client::Body;
use operator::trust::enroll::{self, Judge};
use operator::trust::{BuiltIn, Expected, PeerError, Purpose, peer_verifier};
use runtime::{Readiness, Shutdown, SystemClock, Tasks};
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const UID: &str = "0d3adbee-0000-4000-8000-000000000001";

/// What the API server knows: one fleet, its Service, one pod, one good token.
fn answer(method: &Method, path: &str, sent: &Value) -> Value {
    let list =
        |items: Vec<Value>| json!({ "metadata": { "resourceVersion": "1" }, "items": items });
    let labels = json!({ "app": "proxy" });
    match (method, path) {
        (&Method::GET, "/apis/flotilla.dev/v1alpha1/proxyfleets") => list(vec![json!({
            "metadata": { "name": "edge", "namespace": "gw" },
            "spec": { "discovery": { "services": ["admin"] } },
        })]),
        (&Method::GET, "/api/v1/services") => list(vec![json!({
            "metadata": { "name": "admin", "namespace": "gw" },
            "spec": { "selector": labels },
        })]),
        (&Method::GET, "/api/v1/namespaces/gw/pods/proxy-0") => json!({
            "metadata": { "name": "proxy-0", "namespace": "gw", "uid": UID, "labels": labels },
            "spec": { "serviceAccountName": "proxy", "containers": [] },
            "status": { "podIPs": [{ "ip": "10.0.0.7" }] },
        }),
        (&Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews") => {
            let good = sent["spec"]["token"] == "good";
            let extra = json!({
                "authentication.kubernetes.io/pod-name": ["proxy-0"],
                "authentication.kubernetes.io/pod-uid": [UID],
            });
            let user = json!({ "username": "system:serviceaccount:gw:proxy", "extra": extra });
            let audiences = &sent["spec"]["audiences"];
            let status = json!({ "authenticated": good, "user": user, "audiences": audiences });
            json!({ "spec": sent["spec"], "status": status })
        }
        _ => list(Vec::new()),
    }
}

fn client() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let (head, body) = request.into_parts();
        if head.uri.query().is_some_and(|query| query.contains("watch=")) {
            return std::future::pending().await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let sent = serde_json::from_slice(&body).unwrap_or_default();
        let answer = answer(&head.method, head.uri.path(), &sent);
        let body = Full::from(serde_json::to_vec(&answer).unwrap());
        Ok::<_, std::convert::Infallible>(Response::new(body))
    });
    Client::new(service, "flotilla")
}

struct World {
    authorities: Arc<BuiltIn>,
    tasks: Tasks,
    address: SocketAddr,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Starts an operator's enrollment server.
async fn operator() -> World {
    runtime::install_crypto_provider();
    let mut tasks = Tasks::new(Shutdown::new());
    let stores = operator::watch::spawn(&mut tasks, &client(), Readiness::new().gate("lists"));
    stores.ready.clone().wait_for(|ready| *ready).await.unwrap();

    let authorities = Arc::new(BuiltIn::make(now()).unwrap());
    let purpose = Purpose { addresses: vec![[127, 0, 0, 1].into()], ..Purpose::default() };
    let leaf = authorities.server_leaf(&purpose, now()).unwrap();
    let clients = authorities.client.bundle();
    let (chain, key) = (leaf.chain.as_bytes(), leaf.key.as_bytes());
    let identity = runtime::tls::Identity::from_pem(chain, key, clients.as_bytes()).unwrap();
    let tls = identity.open_server(&[b"http/1.1"]).unwrap();
    let (_, held) = watch::channel(Some(authorities.clone()));
    let (_, tls) = watch::channel(Some(Arc::new(tls)));
    let settings = enroll::Settings {
        judge: Judge::new(client(), &stores, "cluster.local".to_owned()),
        authorities: held,
        tls,
        clock: Arc::new(SystemClock::new()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("enrollment", enroll::serve(listener, settings, shutdown.clone()));

    World { authorities, tasks, address }
}

impl World {
    /// Starts a proxy with the good token.
    fn proxy(&mut self, folder: &Path) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        let (ca_file, token_file) = (folder.join("ca.crt"), folder.join("token"));
        std::fs::write(&ca_file, self.authorities.server.bundle()).unwrap();
        std::fs::write(&token_file, "good").unwrap();
        let url = format!("https://{}", self.address);
        let settings = proxy::enroll::Settings { url, token_file, ca_file };
        let (sender, enrolled) = watch::channel(None);
        let shutdown = self.tasks.shutdown().clone();
        self.tasks.spawn("proxy", proxy::enroll::run(settings, sender, shutdown));
        enrolled
    }

    /// Asks for a certificate with this token.
    async fn ask(&self, token: &str) -> reqwest::StatusCode {
        let bundle = self.authorities.server.bundle();
        let roots = reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only(roots).build().unwrap();
        let url = format!("https://{}{}", self.address, enroll::PATH);
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let body = json!({ "csr": csr.pem().unwrap() });
        client.post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
    }

    async fn end(self) {
        self.tasks.shutdown().begin();
        self.tasks.finish().await.unwrap();
    }
}

/// Handshakes as the operator does before it sends anything.
async fn reach(world: &World, served: Arc<ServerConfig>, uid: &str) -> Result<(), std::io::Error> {
    let identity = world.authorities.client_identity("cluster.local", now()).unwrap();
    let expected = Expected::Pod { uid: uid.to_owned() };
    let verifier = peer_verifier(identity.server_roots(), expected);
    let config = identity.tls.client(verifier).unwrap();
    let (near, far) = tokio::io::duplex(65_536);
    let (acceptor, connector) = (TlsAcceptor::from(served), TlsConnector::from(Arc::new(config)));
    let name = ServerName::try_from("10.0.0.7").unwrap();
    let (served, dialed) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
    dialed?;
    served.map(drop)
}

#[tokio::test]
async fn enrolled_proxy_is_recognized_by_its_pod_and_taken_for_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = operator().await;
    let mut enrolled = world.proxy(folder.path());
    let waited = tokio::time::timeout(Duration::from_secs(60), enrolled.wait_for(Option::is_some));
    let served = waited.await.unwrap().unwrap().clone().unwrap();
    reach(&world, served.clone(), UID).await.unwrap();
    let error = reach(&world, served, "another").await.unwrap_err();
    let wanted = PeerError::OtherPod { found: UID.to_owned(), wanted: "another".to_owned() };
    assert_eq!(PeerError::find(&error), Some(&wanted));
    world.end().await;
}

#[tokio::test]
async fn token_that_the_api_server_does_not_know_gets_nothing() {
    let world = operator().await;
    assert_eq!(world.ask("good").await, reqwest::StatusCode::OK);
    assert_eq!(world.ask("forged").await, reqwest::StatusCode::UNAUTHORIZED);
    world.end().await;
}
