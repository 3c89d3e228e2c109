//! Reads certificates: what they say of whom, until when.

use operator_core::trust::{PodIdentity, Validity};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate says, as far as the operator cares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificate {
    /// The name that a person should see: the URI, else the first DNS name, else the subject.
    pub name: String,
    /// The URIs among its names.
    pub uris: Vec<String>,
    /// The DNS names among its names.
    pub dns_names: Vec<String>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Its first second, since the Unix epoch.
    pub not_before: i64,
    /// Its last second, since the Unix epoch.
    pub not_after: i64,
}

impl Certificate {
    /// From when until when it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }

    /// The pod that it is bound to, when it is bound to one.
    #[must_use]
    pub fn pod(&self) -> Option<PodIdentity> {
        self.uris.iter().find_map(|uri| uri.parse().ok())
    }
}

/// Bytes that are no certificate.
#[derive(Debug, thiserror::Error)]
#[error("failed to read certificate: it is not X.509")]
pub struct NotCertificate;

/// Reads a certificate.
///
/// # Errors
/// When the bytes are no certificate.
pub fn certificate(der: &CertificateDer<'_>) -> Result<Certificate, NotCertificate> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| NotCertificate)?;
    let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
    // A malformed extension leaves the names empty: nothing is then proved.
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => dns_names.push((*dns).to_owned()),
                _ => {}
            }
        }
    }
    let name = uris.first().or(dns_names.first()).cloned();
    Ok(Certificate {
        name: name.unwrap_or_else(|| parsed.subject().to_string()),
        uris,
        dns_names,
        serial: hex::encode(parsed.raw_serial()),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// Whether `der` is the certificate of the key whose public part is `spki`, in DER.
///
/// # Errors
/// When the bytes are no certificate.
pub fn holds_key(der: &CertificateDer<'_>, spki: &[u8]) -> Result<bool, NotCertificate> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| NotCertificate)?;
    Ok(parsed.public_key().raw == spki)
}
