//! What is demanded of an upstream's certificate: nothing, or a chain to known authorities that is short enough.

use std::sync::Arc;

use runtime::tls::{Judge, Shown};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error, OtherError, RootCertStore};

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
pub(super) struct Chain {
    inner: Option<Arc<WebPkiServerVerifier>>,
    depth: Option<u32>,
}

impl Chain {
    /// A judge that knows these authorities.
    pub(super) fn to(roots: Arc<RootCertStore>, depth: Option<u32>) -> Self {
        Self { inner: WebPkiServerVerifier::builder(roots).build().ok(), depth }
    }
}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

impl Judge for Chain {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let Shown { leaf, rest, name, now, algorithms: _ } = shown;
        let inner = self.inner.as_ref().ok_or_else(|| refuse(Refusal::NoAuthority))?;
        if matches!(name, ServerName::IpAddress(_)) {
            return Err(refuse(Refusal::Address));
        }
        let most =
            self.depth.map_or(rest.len(), |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        inner.verify_server_cert(leaf, &rest[..most.min(rest.len())], name, &[], *now).map(drop)
    }
}
