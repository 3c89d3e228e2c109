//! Whom the verifier lets pass, judged by real handshakes in memory.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::trust::{BuiltIn, Purpose};

const NOW: fn() -> i64 = || jiff::Timestamp::now().as_second();

fn pod(uid: &str) -> Purpose {
    let uri = format!("spiffe://cluster.local/ns/gw/sa/proxy/pod/{uid}");
    Purpose { uris: vec![uri], ..Purpose::default() }
}

/// Handshakes with a server that shows a certificate for `shown`, signed by `signer`.
async fn handshake(
    signer: &BuiltIn,
    shown: &Purpose,
    expected: Expected,
    operator: &BuiltIn,
) -> Result<(), std::io::Error> {
    runtime::install_crypto_provider();
    let leaf = signer.server_leaf(shown, NOW()).unwrap();
    let clients = operator.client.bundle();
    let server = runtime::tls::Identity::from_pem(
        leaf.chain.as_bytes(),
        leaf.key.as_bytes(),
        clients.as_bytes(),
    )
    .unwrap()
    .server(&[])
    .unwrap();
    let identity = operator.client_identity("cluster.local", NOW()).unwrap();
    let verifier = peer_verifier(identity.server_roots(), expected);
    let client = identity.tls.client(verifier).unwrap();
    let (near, far) = tokio::io::duplex(65_536);
    let name = ServerName::try_from("192.0.2.1").unwrap();
    let (served, dialed) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(far),
        TlsConnector::from(Arc::new(client)).connect(name, near)
    );
    dialed?;
    served.map(|_| ())
}

#[tokio::test]
async fn expected_pod_passes() {
    let own = BuiltIn::make(NOW()).unwrap();
    handshake(&own, &pod("a"), Expected::Pod { uid: "a".into() }, &own).await.unwrap();
}

#[tokio::test]
async fn another_pod_with_a_valid_certificate_is_refused_by_name() {
    let own = BuiltIn::make(NOW()).unwrap();
    let expected = Expected::Pod { uid: "a".into() };
    let error = handshake(&own, &pod("b"), expected, &own).await.unwrap_err();
    let wanted = PeerError::OtherPod { found: "b".into(), wanted: "a".into() };
    assert_eq!(PeerError::find(&error), Some(&wanted));
}

#[tokio::test]
async fn certificate_without_a_pod_is_refused() {
    let own = BuiltIn::make(NOW()).unwrap();
    let shown = Purpose { dns_names: vec!["shared".into()], ..Purpose::default() };
    let expected = Expected::Pod { uid: "a".into() };
    let error = handshake(&own, &shown, expected, &own).await.unwrap_err();
    assert_eq!(PeerError::find(&error), Some(&PeerError::NoPod { wanted: "a".into() }));
}

#[tokio::test]
async fn pod_of_another_authority_is_refused() {
    let (own, other) = (BuiltIn::make(NOW()).unwrap(), BuiltIn::make(NOW()).unwrap());
    let expected = Expected::Pod { uid: "a".into() };
    assert!(handshake(&other, &pod("a"), expected, &own).await.is_err());
}

#[tokio::test]
async fn shared_certificate_passes_by_its_name_only() {
    let own = BuiltIn::make(NOW()).unwrap();
    let shown = Purpose { dns_names: vec!["shared.internal".into()], ..Purpose::default() };
    let expected = |name: &str| Expected::Shared { name: name.into() };
    handshake(&own, &shown, expected("shared.internal"), &own).await.unwrap();
    assert!(handshake(&own, &shown, expected("other.internal"), &own).await.is_err());
}

#[tokio::test]
async fn leaves_of_an_authority_under_replacement_pass_at_every_step() {
    use operator_core::trust::AuthorityStep::{Introduce, Promote};
    let mut own = BuiltIn::make(NOW()).unwrap();
    let expected = Expected::Pod { uid: "a".into() };
    for step in [Introduce, Promote] {
        own.server = own.server.apply(step, NOW()).unwrap();
        own.client = own.client.apply(step, NOW()).unwrap();
        handshake(&own, &pod("a"), expected.clone(), &own).await.unwrap();
    }
}
