//! What is demanded of an upstream's certificate: nothing, or a chain to known authorities that is short enough, for the
//! name that was asked for or for one of a list. And of a client's, where it is asked for and does not decide.

use std::sync::Arc;

use proxy_core::table::UpstreamTls;
use runtime::tls::{Judge, Shown};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::UnixTime;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

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
    roots: Arc<RootCertStore>,
    depth: Option<u32>,
    dns_names: Vec<ServerName<'static>>,
    uris: Vec<Box<str>>,
    /// Whether names are listed: then the name that was asked for does not count.
    listed: bool,
}

impl Chain {
    /// A judge that knows these authorities.
    pub(super) fn to(roots: Arc<RootCertStore>, demands: &UpstreamTls) -> Self {
        let UpstreamTls { dns_names, uris, depth, .. } = demands;
        let names = dns_names.iter().filter_map(|name| ServerName::try_from(name.to_string()).ok());
        Self {
            inner: WebPkiServerVerifier::builder(Arc::clone(&roots)).build().ok(),
            roots,
            depth: *depth,
            dns_names: names.collect(),
            uris: uris.clone(),
            listed: !dns_names.is_empty() || !uris.is_empty(),
        }
    }

    /// Whether a certificate carries one of the listed names.
    fn carries(&self, leaf: &CertificateDer<'_>) -> Result<bool, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        if self.dns_names.iter().any(|name| verify_server_name(&parsed, name).is_ok()) {
            return Ok(true);
        }
        let (_, certificate) = X509Certificate::from_der(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut names = names.iter().flat_map(|names| &names.value.general_names);
        Ok(names.any(|name| match name {
            GeneralName::URI(uri) => self.uris.iter().any(|wanted| **wanted == **uri),
            _ => false,
        }))
    }
}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

impl Judge for Chain {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let Shown { leaf, rest, name, now, algorithms } = shown;
        let inner = self.inner.as_ref().ok_or_else(|| refuse(Refusal::NoAuthority))?;
        let most =
            self.depth.map_or(rest.len(), |depth| usize::try_from(depth).unwrap_or(usize::MAX));
        let rest = &rest[..most.min(rest.len())];
        if self.listed {
            let parsed = ParsedCertificate::try_from(*leaf)?;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                rest,
                *now,
                algorithms.all,
            )?;
            return match self.carries(leaf)? {
                true => Ok(()),
                false => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
            };
        }
        if matches!(name, ServerName::IpAddress(_)) {
            return Err(refuse(Refusal::Address));
        }
        inner.verify_server_cert(leaf, rest, name, &[], *now).map(drop)
    }
}

/// Asks clients for certificates and takes whatever they show, or none: `AllowInsecureFallback` of Gateway API.
#[derive(Debug)]
pub(super) struct Asked {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Default for Asked {
    fn default() -> Self {
        Self { algorithms: aws_lc_rs::default_provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for Asked {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
