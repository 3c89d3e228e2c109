//! TLS configurations that follow their certificates: a handshake uses what the channel holds at
//! that moment, so a rotated leaf or a changed authority needs no restart and breaks no connection.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use tokio::sync::watch;

mod judge;

pub use self::judge::{Anyone, Judge, Shown, judged_by};

/// A certificate chain with its private key, and what the other side must chain to.
///
/// `Debug` shows no key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Why certificates, keys or authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or none of the wanted kind in it.
    #[error("failed to read {what}: it must be PEM")]
    Pem {
        /// What was read: `certificate chain`, `private key`, `authorities`.
        what: &'static str,
        /// Where it breaks.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The PEM text holds nothing.
    #[error("failed to read {what}: no certificate in it")]
    Empty {
        /// What was read.
        what: &'static str,
    },
    /// rustls refuses it: a key that does not fit, an unusable algorithm.
    #[error("failed to build the TLS configuration")]
    Config(#[from] rustls::Error),
    /// The authorities that clients must chain to cannot be used.
    #[error("failed to build the client verifier")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl Identity {
    /// An identity from its parts; `roots` are the authorities that the *other* side must chain to.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: RootCertStore,
    ) -> Self {
        Self { chain, key, roots: Arc::new(roots) }
    }

    /// An identity from PEM texts: chain (leaf first), key, and the other side's authorities.
    ///
    /// # Errors
    /// When one of them is not PEM, or empty.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain, "certificate chain")?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| TlsError::Pem { what: "private key", source })?;
        Ok(Self::new(chain, key, roots_from_pem(roots)?))
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The authorities that the other side must chain to.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// A server that demands a client certificate from [`Identity::roots`].
    ///
    /// # Errors
    /// When the key does not fit the chain, or the authorities cannot be used.
    pub fn server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder(self.roots.clone()).build()?;
        let builder = ServerConfig::builder().with_client_cert_verifier(verifier);
        self.finish_server(builder, alpn)
    }

    /// A server that asks its clients for no certificate.
    ///
    /// # Errors
    /// When the key does not fit the chain.
    pub fn open_server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        self.finish_server(ServerConfig::builder().with_no_client_auth(), alpn)
    }

    fn finish_server(
        &self,
        builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
        alpn: &[&[u8]],
    ) -> Result<ServerConfig, TlsError> {
        let mut config = builder.with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    /// A client that shows this identity and judges the server by `verifier`.
    ///
    /// # Errors
    /// When the key does not fit the chain.
    pub fn client(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TlsError> {
        let builder =
            ClientConfig::builder_with_protocol_versions(&[&version::TLS13, &version::TLS12]);
        // "Dangerous" is rustls' word for any verifier but its own; ours check more, not less.
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        Ok(builder.with_client_auth_cert(self.chain.clone(), self.key.clone_key())?)
    }
}

/// Authorities from PEM text.
///
/// # Errors
/// When the text is not PEM, holds no certificate, or one that cannot be an authority.
pub fn roots_from_pem(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "authorities")? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// All certificates of a PEM text; `what` names it in the error.
///
/// # Errors
/// When the text is not PEM, or holds no certificate.
pub fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if chain.is_empty() { Err(TlsError::Empty { what }) } else { Ok(chain) }
}

/// A server's TLS configuration that follows a channel. `None` in the channel means that no
/// certificate is there yet: handshakes wait for one.
#[derive(Clone, Debug)]
pub struct Reloading {
    configs: watch::Receiver<Option<Arc<ServerConfig>>>,
}

impl Reloading {
    /// Follows `configs`.
    pub fn new(configs: watch::Receiver<Option<Arc<ServerConfig>>>) -> Self {
        Self { configs }
    }

    /// One that never changes.
    pub fn fixed(config: ServerConfig) -> Self {
        let (_, configs) = watch::channel(Some(Arc::new(config)));
        Self { configs }
    }

    /// The configuration for the next handshake; waits for the first one. `None` when none ever
    /// comes, because whoever supplies it has ended.
    pub async fn current(&mut self) -> Option<Arc<ServerConfig>> {
        self.configs.wait_for(Option::is_some).await.ok().and_then(|config| config.clone())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn identity(name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = certificate.pem();
        Identity::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes(), pem.as_bytes()).unwrap()
    }

    #[test]
    fn text_that_is_no_pem_is_named() {
        let error = Identity::from_pem(b"hello", b"", b"").unwrap_err();
        assert_eq!(error.to_string(), "failed to read certificate chain: no certificate in it");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        crate::install_crypto_provider();
        let (one, other) = (identity("one"), identity("other"));
        let mixed = Identity { chain: one.chain, key: other.key, roots: other.roots };
        assert!(matches!(mixed.server(&[]), Err(TlsError::Config(_))));
    }

    #[tokio::test]
    async fn a_handshake_waits_for_the_first_certificate_and_sees_the_newest() {
        crate::install_crypto_provider();
        let (sender, configs) = watch::channel(None);
        let mut reloading = Reloading::new(configs);
        let first = Arc::new(identity("first").server(&[]).unwrap());
        let second = Arc::new(identity("second").server(&[]).unwrap());
        let sent = first.clone();
        let (got, ()) = tokio::join!(reloading.current(), async {
            sender.send_replace(Some(sent));
        });
        assert!(Arc::ptr_eq(&got.unwrap(), &first));
        sender.send_replace(Some(second.clone()));
        assert!(Arc::ptr_eq(&reloading.current().await.unwrap(), &second));
    }
}
