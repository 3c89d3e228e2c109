//! Judges a proxy during the handshake, before a byte of configuration can leave.

use std::sync::Arc;

use runtime::tls::{Judge, Shown, judged_by};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};

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

/// A verifier of the one peer that is expected: its certificate must chain to the proxies' authority
/// *and* be that peer's.
#[must_use]
pub fn peer_verifier(roots: Arc<RootCertStore>, expected: Expected) -> Arc<dyn ServerCertVerifier> {
    judged_by(Peer { roots, expected })
}

#[derive(Debug)]
struct Peer {
    roots: Arc<RootCertStore>,
    expected: Expected,
}

impl Peer {
    fn expect(
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

impl Judge for Peer {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let Shown { leaf, rest, name: _, now, algorithms } = shown;
        let parsed = ParsedCertificate::try_from(*leaf)?;
        let (roots, known) = (&self.roots, algorithms.all);
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, rest, *now, known)?;
        self.expect(leaf, &parsed)
    }
}

#[cfg(test)]
mod tests;
