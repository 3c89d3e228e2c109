//! One certificate authority: its certificate, its key, and what it signs. No IO.

use std::net::IpAddr;
use std::time::Duration;

use operator_core::trust::{BACKDATE_SECONDS, Validity};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use super::inspect;

/// How long an authority lives: ten years.
const AUTHORITY_LIFE_SECONDS: i64 = 3_650 * 86_400;

/// What an authority signs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// What proxies and the enrollment server show.
    Server,
    /// What the operator shows to proxies.
    Client,
}

impl Role {
    /// The word in names and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Whom a leaf is for. The key usage follows from the role of the authority.
#[derive(Clone, Debug, Default)]
pub struct Purpose {
    /// Its DNS names.
    pub dns_names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its URIs.
    pub uris: Vec<String>,
}

/// A certificate with the key that was made for it. `Debug` shows no key.
pub struct IssuedLeaf {
    /// The certificate, in PEM.
    pub chain: String,
    /// The key, in PEM.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for IssuedLeaf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IssuedLeaf").finish_non_exhaustive()
    }
}

/// Why an authority could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Making or signing failed, or a key or request cannot be read.
    #[error("failed to {verb}")]
    Generate {
        /// What was tried.
        verb: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate is not PEM.
    #[error("failed to read authority certificate: it must be PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The certificate is not X.509.
    #[error("failed to read authority certificate")]
    Certificate(#[from] inspect::NotCertificate),
    /// A field is missing where the authority is kept.
    #[error("failed to read authority: key {0} is missing")]
    Missing(&'static str),
    /// The key is not that of the certificate.
    #[error("failed to read authority: the key does not fit the certificate")]
    Mismatch,
}

fn failed(verb: &'static str) -> impl FnOnce(rcgen::Error) -> AuthorityError {
    move |source| AuthorityError::Generate { verb, source }
}

/// A certificate authority with its key. `Debug` shows no key.
pub struct Authority {
    role: Role,
    pem: String,
    validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { role, pem: _, validity, issuer: _ } = self;
        formatter
            .debug_struct("Authority")
            .field("role", role)
            .field("validity", validity)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority, valid from `now`.
    ///
    /// # Errors
    /// When the machine yields no key.
    pub fn make(role: Role, now: i64) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(failed("make authority key"))?;
        let validity = Validity::starting(now, AUTHORITY_LIFE_SECONDS);
        let mut params = params(validity);
        let mut name = DistinguishedName::new();
        // The time keeps the names of an authority and of its successor apart.
        name.push(DnType::CommonName, format!("flotilla {} authority {now}", role.word()));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).map_err(failed("sign authority"))?.pem();
        Ok(Self { role, pem, validity, issuer: Issuer::new(params, key) })
    }

    /// Reads an authority from its certificate and key.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn from_pem(role: Role, pem: &str, key: &str) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(AuthorityError::Pem)?;
        let validity = inspect::certificate(&der)?.validity();
        let key = KeyPair::from_pem(key).map_err(failed("read authority key"))?;
        if !inspect::holds_key(&der, &key.subject_public_key_info())? {
            return Err(AuthorityError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(failed("read authority"))?;
        Ok(Self { role, pem: pem.to_owned(), validity, issuer })
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key, in PEM.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// From when until when it is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Makes a key and signs a leaf for it.
    ///
    /// # Errors
    /// When the machine yields no key, or a name cannot stand in a certificate.
    pub fn issue(
        &self,
        purpose: &Purpose,
        validity: Validity,
    ) -> Result<IssuedLeaf, AuthorityError> {
        let key = KeyPair::generate().map_err(failed("make leaf key"))?;
        let chain = self.sign(purpose, validity, &key)?;
        Ok(IssuedLeaf { chain, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// Signs a leaf for the key of a signing request in PEM. Only the key is taken from the request,
    /// whose signature proves that the asker holds it: names and usages are the operator's to say.
    ///
    /// # Errors
    /// When the request cannot be read, or is not signed with its own key.
    pub fn sign_request(
        &self,
        request: &str,
        purpose: &Purpose,
        validity: Validity,
    ) -> Result<String, AuthorityError> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(failed("read signing request"))?;
        self.sign(purpose, validity, &request.public_key)
    }

    fn sign(
        &self,
        purpose: &Purpose,
        validity: Validity,
        key: &impl PublicKeyData,
    ) -> Result<String, AuthorityError> {
        let Purpose { dns_names, addresses, uris } = purpose;
        // A leaf never outlives the authority that signs it.
        let not_after = validity.not_after.min(self.validity.not_after);
        let mut params = params(Validity { not_after, ..validity });
        let mut names = Vec::new();
        for uri in uris {
            let uri = uri.as_str().try_into().map_err(failed("write a URI into a certificate"))?;
            names.push(SanType::URI(uri));
        }
        for dns in dns_names {
            let dns = dns.as_str().try_into().map_err(failed("write a name into a certificate"))?;
            names.push(SanType::DnsName(dns));
        }
        names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match self.role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let leaf = params.signed_by(key, &self.issuer).map_err(failed("sign leaf"))?;
        Ok(leaf.pem())
    }
}

fn params(validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after.max(validity.not_before + BACKDATE_SECONDS));
    params
}
