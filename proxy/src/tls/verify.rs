//! What is demanded of an upstream's certificate: nothing, or a chain to known authorities that is short enough.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

/// Takes any certificate, though not any signature.
#[derive(Debug)]
pub(super) struct Anything(CryptoProvider);

impl Anything {
    /// The verifier.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(aws_lc_rs::default_provider()))
    }
}

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a chain is refused beyond what webpki refuses.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no authority is trusted")]
    NoAuthority,
    #[error("the upstream is named by its address")]
    Address,
}

/// Takes a certificate for the name, through so many authorities at most.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    any: Anything,
    depth: Option<u32>,
}

impl Verifier {
    /// A verifier for authorities.
    pub(super) fn new(roots: Arc<RootCertStore>, depth: Option<u32>) -> Arc<Self> {
        let inner = WebPkiServerVerifier::builder(roots).build().ok();
        Arc::new(Self { inner, any: Anything(aws_lc_rs::default_provider()), depth })
    }
}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let inner = self.inner.as_ref().ok_or_else(|| refuse(Refusal::NoAuthority))?;
        if matches!(name, ServerName::IpAddress(_)) {
            return Err(refuse(Refusal::Address));
        }
        let most =
            self.depth.map_or(rest.len(), |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        inner.verify_server_cert(leaf, &rest[..most.min(rest.len())], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}
