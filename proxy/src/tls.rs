//! Certificates of a generation: which one a client is shown, and how upstreams are spoken to.

mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureAlgorithm};
use sha2::{Digest, Sha256};

use proxy_core::entrances::Clients;
use proxy_core::table::{Certificate, Table, UpstreamTls};
use runtime::tls::{Anyone, judged_by};

use crate::upstream::TlsPlan;

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not PEM.
    #[error("failed to read PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Not a key that can sign.
    #[error("failed to use the private key")]
    Key(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("failed to make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Reads a chain and its key.
pub fn certified(chain: &str, key: &str) -> Result<Arc<CertifiedKey>, KeyError> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The certificates that are shown when no other one fits: made by the gateway itself, for nobody.
#[derive(Debug)]
pub struct Defaults {
    elliptic: Arc<CertifiedKey>,
    /// Made when the first client comes that knows nothing newer.
    rsa: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl Defaults {
    /// Makes them.
    pub fn new() -> Result<Self, KeyError> {
        Ok(Self { elliptic: self_signed(&rcgen::KeyPair::generate()?)?, rsa: OnceLock::new() })
    }

    fn fitting(&self, hello: &ClientHello<'_>) -> Arc<CertifiedKey> {
        if fits(&self.elliptic, hello) {
            return Arc::clone(&self.elliptic);
        }
        let rsa = self.rsa.get_or_init(|| {
            let key =
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
            self_signed(&key.ok()?).ok()
        });
        Arc::clone(rsa.as_ref().unwrap_or(&self.elliptic))
    }
}

/// Whether a client can use a key: its schemes sign what is asked for, and before TLS 1.3 its kind is part of the suite.
fn fits(key: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    if key.key.choose_scheme(hello.signature_schemes()).is_none() {
        return false;
    }
    let rsa = key.key.algorithm() == SignatureAlgorithm::RSA;
    let own = if rsa { "TLS_ECDHE_RSA_" } else { "TLS_ECDHE_ECDSA_" };
    let names = || hello.cipher_suites().iter().filter_map(rustls::CipherSuite::as_str);
    // The suites of TLS 1.3 say nothing of keys, and some clients name them whatever versions they speak.
    names().any(|name| name.starts_with(own)) || !names().any(|name| name.starts_with("TLS_ECDHE_"))
}

fn self_signed(key: &rcgen::KeyPair) -> Result<Arc<CertifiedKey>, KeyError> {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    let mut name = rcgen::DistinguishedName::new();
    name.push(rcgen::DnType::CountryName, "US");
    name.push(rcgen::DnType::OrganizationName, "Flotilla");
    name.push(rcgen::DnType::CommonName, "localhost");
    params.distinguished_name = name;
    let certificate = params.self_signed(key)?;
    certified(&certificate.pem(), &key.serialize_pem())
}

/// A configuration for upstreams, and what tells it from others.
type Made = (Arc<ClientConfig>, [u8; 32]);

/// The certificates of one generation.
pub struct Store {
    keys: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    snis: Arc<HashMap<Box<str>, Box<str>>>,
    default: Arc<Defaults>,
    certificates: Arc<HashMap<Box<str>, Certificate>>,
    authorities: Arc<HashMap<Box<str>, Box<str>>>,
    trusted: Arc<RootCertStore>,
    verify: bool,
    clients: Mutex<HashMap<(UpstreamTls, bool), Option<Made>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// What a store has whatever the configuration says.
#[derive(Clone)]
pub struct Basics {
    /// The certificate for clients that no other fits.
    pub default: Arc<Defaults>,
    /// Authorities that are trusted where a service names none.
    pub trusted: Arc<RootCertStore>,
    /// Whether upstreams are verified where a service does not say.
    pub verify: bool,
}

impl Store {
    /// The store of a table.
    pub fn new(table: &Table, basics: &Basics) -> Self {
        Self::build(table, basics, |_, _| None)
    }

    /// The store of a table that comes after another's; keys that did not change are not read again.
    pub fn after(old: &Self, table: &Table, basics: &Basics) -> Self {
        Self::build(table, basics, |id, certificate| {
            let same = old.certificates.get(id) == Some(certificate);
            old.keys.get(id).filter(|_| same).cloned()
        })
    }

    fn build(
        table: &Table,
        basics: &Basics,
        kept: impl Fn(&str, &Certificate) -> Option<Vec<Arc<CertifiedKey>>>,
    ) -> Self {
        let mut keys = HashMap::with_capacity(table.certificates.len());
        for (id, certificate) in table.certificates.iter() {
            let usable = kept(id, certificate).unwrap_or_else(|| usable(id, certificate));
            keys.insert(id.clone(), usable);
        }
        Self {
            keys,
            snis: Arc::clone(&table.snis),
            default: Arc::clone(&basics.default),
            certificates: Arc::clone(&table.certificates),
            authorities: Arc::clone(&table.authorities),
            trusted: Arc::clone(&basics.trusted),
            verify: basics.verify,
            clients: Mutex::default(),
        }
    }

    fn lookup(&self, sni: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let sni = sni.to_ascii_lowercase();
        let by_name = |name: &str| self.snis.get(name).and_then(|id| self.keys.get(id));
        by_name(&sni)
            .or_else(|| sni.split_once('.').and_then(|(_, rest)| by_name(&format!("*.{rest}"))))
            .or_else(|| sni.rsplit_once('.').and_then(|(first, _)| by_name(&format!("{first}.*"))))
            .or_else(|| by_name("*"))
    }

    fn server_key(&self, hello: &ClientHello<'_>) -> Arc<CertifiedKey> {
        let keys = hello.server_name().and_then(|sni| self.lookup(sni));
        let key = keys.and_then(|keys| {
            keys.iter()
                .rev()
                .filter(|_| keys.len() > 1)
                .find(|key| fits(key, hello))
                .or_else(|| keys.first())
        });
        key.map_or_else(|| self.default.fitting(hello), Arc::clone)
    }

    /// How to speak to an upstream; none when its certificates cannot be used.
    pub fn client(
        &self,
        demands: &UpstreamTls,
        shown: Option<Box<str>>,
        name: &str,
    ) -> Option<TlsPlan> {
        let mut demands = demands.clone();
        demands.certificate = demands.certificate.or(shown);
        let verify = demands.verify.unwrap_or(self.verify);
        let key = (demands, verify);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let made =
            clients.entry(key).or_insert_with_key(|(demands, verify)| self.make(demands, *verify));
        let (config, fingerprint) = made.clone()?;
        Some(TlsPlan { config, fingerprint, name: name.into() })
    }

    fn make(&self, demands: &UpstreamTls, verify: bool) -> Option<Made> {
        let mut print = Sha256::new();
        print.update([u8::from(verify)]);
        print.update(demands.depth.unwrap_or(u32::MAX).to_le_bytes());
        for name in demands.dns_names.iter().chain(&demands.uris) {
            print.update(name.as_bytes());
            print.update([0]);
        }
        let builder = ClientConfig::builder().dangerous();
        let builder = if verify {
            let roots = self.roots(demands, &mut print);
            builder.with_custom_certificate_verifier(judged_by(verify::Chain::to(roots, demands)))
        } else {
            builder.with_custom_certificate_verifier(judged_by(Anyone))
        };
        let config = match demands.certificate.as_ref().and_then(|id| self.certificates.get(id)) {
            Some(certificate) => {
                print.update(certificate.chain.as_bytes());
                print.update(certificate.key.as_bytes());
                let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes());
                let chain = chain.collect::<Result<Vec<_>, _>>().ok()?;
                let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).ok()?;
                builder.with_client_auth_cert(chain, key).ok()?
            }
            None => builder.with_no_client_auth(),
        };
        Some((Arc::new(config), print.finalize().into()))
    }

    fn roots(&self, demands: &UpstreamTls, print: &mut Sha256) -> Arc<RootCertStore> {
        if demands.authorities.is_empty() && demands.roots.is_none() {
            return Arc::clone(&self.trusted);
        }
        let known = demands.authorities.iter().filter_map(|id| self.authorities.get(id));
        let mut roots = RootCertStore::empty();
        for pem in known.map(AsRef::as_ref).chain(demands.roots.as_deref()) {
            print.update(pem.as_bytes());
            let parsed = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
            roots.add_parsable_certificates(parsed);
        }
        Arc::new(roots)
    }
}

/// The keys of a certificate that can be used.
fn usable(id: &str, certificate: &Certificate) -> Vec<Arc<CertifiedKey>> {
    let mut pairs = vec![(&certificate.chain, &certificate.key)];
    pairs.extend(certificate.alternative.as_ref().map(|(chain, key)| (chain, key)));
    let mut usable = Vec::new();
    for (chain, key) in pairs {
        match certified(chain, key) {
            Ok(key) => usable.push(key),
            Err(error) => {
                tracing::warn!(certificate = %id, %error, "certificate cannot be used");
            }
        }
    }
    usable
}

/// How plugins speak to servers of their own: once with certificates verified, once without.
pub fn for_plugins(trusted: Arc<RootCertStore>) -> (Arc<ClientConfig>, Arc<ClientConfig>) {
    let with = |verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>| {
        let builder =
            ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier);
        Arc::new(builder.with_no_client_auth())
    };
    (with(judged_by(verify::Chain::to(trusted, &UpstreamTls::default()))), with(judged_by(Anyone)))
}

/// Shows clients what the current generation has for them.
pub struct Resolver<F>(pub F);

impl<F> std::fmt::Debug for Resolver<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Resolver").finish()
    }
}

impl<F: Fn() -> Arc<Store> + Send + Sync> ResolvesServerCert for Resolver<F> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some((self.0)().server_key(&hello))
    }
}

/// Takes clients that show a certificate that is wanted, or asks for it and takes all.
pub fn clients(wanted: &Clients) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    if wanted.optional {
        return Ok(Arc::new(verify::Asked::default()));
    }
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::pem_slice_iter(wanted.authorities.as_bytes());
    roots.add_parsable_certificates(pem.flatten());
    WebPkiClientVerifier::builder(Arc::new(roots)).build()
}

/// The configuration of a listener whose certificates follow the current generation.
pub fn server<F: Fn() -> Arc<Store> + Send + Sync + 'static>(
    current: F,
    http2: bool,
    clients: Arc<dyn ClientCertVerifier>,
) -> ServerConfig {
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Resolver(current)));
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    config
}
