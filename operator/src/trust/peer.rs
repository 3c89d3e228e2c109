//! Judges a proxy during the handshake, before a byte of configuration can leave.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::inspect;

/// Whom the operator means to reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// The pod with this UID.
    Pod {
        /// The UID that the EndpointSlice names.
        uid: String,
    },
    /// Any holder of the certificate with this DNS name.
    Shared {
        /// The name that it must carry.
        name: String,
    },
}

/// Why a certificate that is valid in itself is not that of the expected peer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// It is bound to another pod.
    #[error("peer is pod {found}, not pod {wanted}")]
    OtherPod {
        /// The UID in the certificate.
        found: String,
        /// The UID that was expected.
        wanted: String,
    },
    /// It is bound to no pod.
    #[error("peer certificate is bound to no pod, pod {wanted} was expected")]
    NoPod {
        /// The UID that was expected.
        wanted: String,
    },
}

impl PeerError {
    /// Finds a [`PeerError`] in a TLS error, however deep it sits.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))) =
                error.downcast_ref::<Error>()
                && let Some(found) = inner.downcast_ref::<Self>()
            {
                return Some(found);
            }
            // An IO error hides the TLS error that it wraps from `source`.
            if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref())
                && let Some(found) = Self::find(inner)
            {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// Verifies that a server chains to the proxies' authority *and* is the expected one.
#[derive(Debug)]
pub struct PeerVerifier {
    roots: Arc<RootCertStore>,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    /// A verifier of one peer.
    #[must_use]
    pub fn new(roots: Arc<RootCertStore>, expected: Expected) -> Arc<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { roots, expected, algorithms })
    }

    fn check_peer(
        &self,
        der: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
    ) -> Result<(), Error> {
        match &self.expected {
            Expected::Shared { name } => {
                let name = ServerName::try_from(name.as_str())
                    .map_err(|_| CertificateError::NotValidForName)?;
                verify_server_name(parsed, &name)
            }
            Expected::Pod { uid } => {
                let found = inspect::certificate(der)
                    .map_err(|_| CertificateError::BadEncoding)?
                    .pod()
                    .map(|pod| pod.pod_uid);
                let wanted = uid.clone();
                let error = match found {
                    Some(found) if found == wanted => return Ok(()),
                    Some(found) => PeerError::OtherPod { found, wanted },
                    None => PeerError::NoPod { wanted },
                };
                Err(CertificateError::Other(OtherError(Arc::new(error))).into())
            }
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.check_peer(end_entity, &parsed)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
