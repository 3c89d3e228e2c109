//! The certificates, keys and kubeconfigs of a cluster.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::place::{API_ENDPOINT, API_SERVICE_ADDRESS, NODE_ADDRESS, Place};

/// A user of the API server: its name, its group, and the file that its kubeconfig goes to.
struct User {
    file: &'static str,
    name: String,
    group: &'static str,
}

/// Writes every certificate and kubeconfig into the cluster's folder.
pub fn write(place: &Place) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "kubernetes");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let ca = params.self_signed(&key)?.pem();
    keep(place, "pki/ca.crt", &ca)?;
    keep(place, "pki/ca.key", &key.serialize_pem())?;
    let issuer = Issuer::new(params, key);

    let mut serving = subject("kube-apiserver", "");
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for address in [NODE_ADDRESS, API_SERVICE_ADDRESS, "127.0.0.1"] {
        serving.subject_alt_names.push(SanType::IpAddress(address.parse::<IpAddr>()?));
    }
    for name in [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ] {
        serving.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    issue(place, "apiserver", &serving, &issuer)?;
    issue(
        place,
        "apiserver-kubelet",
        &client("kube-apiserver-kubelet", "system:masters"),
        &issuer,
    )?;

    let tokens = KeyPair::generate()?;
    keep(place, "pki/tokens.key", &tokens.serialize_pem())?;
    keep(place, "pki/tokens.pub", &tokens.public_key_pem())?;

    for user in users(place) {
        let (certificate, key) = issue(place, user.file, &client(&user.name, user.group), &issuer)?;
        keep(place, &format!("{}.kubeconfig", user.file), &kubeconfig(&ca, &certificate, &key))?;
    }
    Ok(())
}

fn users(place: &Place) -> [User; 5] {
    let user = |file: &'static str, name: &str, group| User { file, name: name.to_owned(), group };
    [
        user("admin", "admin", "system:masters"),
        user("controller-manager", "system:kube-controller-manager", ""),
        user("scheduler", "system:kube-scheduler", ""),
        user("kube-proxy", "system:kube-proxy", ""),
        user("kubelet", &format!("system:node:{}", place.network()), "system:nodes"),
    ]
}

fn subject(name: &str, group: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn client(name: &str, group: &str) -> CertificateParams {
    let mut params = subject(name, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Issues a certificate, keeps it and its key, and returns both.
fn issue(
    place: &Place,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate =
        params.signed_by(&key, issuer).with_context(|| format!("failed to issue {name}"))?.pem();
    keep(place, &format!("pki/{name}.crt"), &certificate)?;
    keep(place, &format!("pki/{name}.key"), &key.serialize_pem())?;
    Ok((certificate, key.serialize_pem()))
}

fn kubeconfig(ca: &str, certificate: &str, key: &str) -> String {
    let [ca, certificate, key] = [ca, certificate, key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: flotilla
  cluster: {{server: \"{API_ENDPOINT}\", certificate-authority-data: {ca}}}
users:
- name: flotilla
  user: {{client-certificate-data: {certificate}, client-key-data: {key}}}
contexts:
- name: flotilla
  context: {{cluster: flotilla, user: flotilla}}
current-context: flotilla
"
    )
}

fn keep(place: &Place, name: &str, text: &str) -> Result<()> {
    fs::write(place.path(name), text).with_context(|| format!("failed to write {name}"))
}
