//! Who receives a configuration, and who never does.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::images;
use e2e::place::NODE_ADDRESS;
use e2e::product::{Product, RELEASE};
use e2e::wait::eventually;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

/// A TLS server on the node's address that counts what it is told.
struct Impostor {
    port: u16,
    greeted: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
}

impl Impostor {
    fn start(config: ServerConfig) -> Result<Self> {
        let listener = TcpListener::bind((NODE_ADDRESS, 0)).context("failed to listen")?;
        let port = listener.local_addr()?.port();
        let impostor = Self { port, greeted: Arc::default(), heard: Arc::default() };
        let (config, greeted, heard) =
            (Arc::new(config), Arc::clone(&impostor.greeted), Arc::clone(&impostor.heard));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (config, heard) = (Arc::clone(&config), Arc::clone(&heard));
                greeted.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || -> Option<()> {
                    let mut connection = ServerConnection::new(config).ok()?;
                    let mut tls = Stream::new(&mut connection, &mut stream);
                    let mut buffer = [0; 4096];
                    loop {
                        let size = tls.read(&mut buffer).ok().filter(|size| *size > 0)?;
                        heard.fetch_add(size, Ordering::Relaxed);
                    }
                });
            }
        });
        Ok(impostor)
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A certificate of the release's own server authority, bound to the pod `uid`.
fn certificate(product: &Product, uid: &str) -> Result<ServerConfig> {
    let secret = product.read(&["secret", "flotilla-server-ca", "--namespace", RELEASE])?;
    let read = |key: &str| -> Result<String> {
        let text =
            secret["data"][key].as_str().with_context(|| format!("the authority has no {key}"))?;
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    let issuer =
        Issuer::from_ca_cert_pem(&read("tls.crt")?, KeyPair::from_pem(&read("tls.key")?)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let identity = format!("spiffe://cluster.local/ns/{RELEASE}/sa/{RELEASE}-proxy/pod/{uid}");
    params.subject_alt_names.push(SanType::URI(identity.as_str().try_into()?));
    let leaf = params.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key)?)
}

/// Points the fleet's discovery at `port` as if `pod` listened there.
fn announce(product: &Product, pod: &str, uid: &str, port: u16) -> Result<()> {
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: reused, namespace: {RELEASE}, labels: {{kubernetes.io/service-name: flotilla-proxy-admin}}}}
addressType: IPv4
endpoints:
- addresses: [{NODE_ADDRESS}]
  targetRef: {{kind: Pod, name: {pod}, namespace: {RELEASE}, uid: {uid}}}
ports: [{{name: admin-tls, port: {port}}}]
"
    );
    product.apply(&slice).map(drop)
}

fn forget(product: &Product) -> Result<()> {
    product.kubectl_here(&["delete", "endpointslice", "reused", "--ignore-not-found"])?;
    product.kubectl_here(&[
        "delete",
        "pod",
        "tenant",
        "--grace-period=0",
        "--force",
        "--ignore-not-found",
    ])?;
    product.wait_for_proxies(3).map(drop)
}

pub(crate) fn stolen_certificate(product: &Product) -> Result<()> {
    let victim = product.wait_for_proxies(3)?.swap_remove(0);
    let tenant = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: tenant, namespace: {RELEASE}}}
spec: {{containers: [{{name: idle, image: \"{}\", imagePullPolicy: Never}}]}}
",
        images::PAUSE
    );
    product.apply(&tenant)?;
    let uid = product.kubectl_here(&["get", "pod", "tenant", "-o=jsonpath={.metadata.uid}"])?;

    let impostor = Impostor::start(certificate(product, &victim.uid)?)?;
    announce(product, "tenant", &uid, impostor.port)?;
    let judged = eventually("the impostor is found out", || {
        let instances = product.instances(RELEASE)?;
        let found = instances.iter().find(|one| one["spec"]["pod"]["uid"] == uid.as_str());
        let found = found.context("the tenant has no instance")?;
        ensure!(found["status"]["sync"] == "IdentityMismatch", "{}", found["status"]);
        ensure!(found["status"]["identity"]["mode"] == "Failed", "{}", found["status"]);
        Ok(())
    });
    ensure!(impostor.greeted.load(Ordering::Relaxed) > 0, "the operator never called");
    let heard = impostor.heard();

    // The same place with the pod's own certificate is spoken to: the silence above was the certificate's.
    let honest = Impostor::start(certificate(product, &uid)?)?;
    announce(product, "tenant", &uid, honest.port)?;
    let spoken = eventually("the pod itself is spoken to", || {
        ensure!(honest.heard() > 0, "not a byte");
        Ok(())
    });
    ensure!(heard == 0 && impostor.heard() == 0, "the impostor heard {heard} bytes");
    forget(product)?;
    judged.and(spoken)
}
