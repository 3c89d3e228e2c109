//! An authority through its replacement, and the pair of them. No IO.

use std::collections::BTreeMap;

use operator_core::trust::{AuthorityStep, AuthorityView, Overlap, Validity, authority_step};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use zeroize::Zeroizing;

use super::authority::{Authority, AuthorityError, IssuedLeaf, Purpose, Role};
use super::{ClientIdentity, inspect};

/// How long the operator's own client certificate lives, in seconds.
pub(super) const CLIENT_LEAF_SECONDS: i64 = 24 * 3_600;

/// How long a proxy's certificate lives, in seconds.
pub(super) const SERVER_LEAF_SECONDS: i64 = 24 * 3_600;

/// How long the certificate that proxies read from a Secret lives, in seconds: they read it when they
/// start, so it must outlast them.
const SHARED_LEAF_SECONDS: i64 = 365 * 24 * 3_600;

/// How long a new authority is published before it signs, in seconds: long enough for kubelets to
/// bring the bundle to every pod, and for every proxy to renew once.
const TEACH_SECONDS: i64 = 24 * 3_600;

/// The authority of one role: the one that signs, and those around it while it is being replaced.
#[derive(Debug)]
pub struct Keyring {
    role: Role,
    current: Authority,
    next: Option<Authority>,
    previous: Option<(String, Validity)>,
}

impl Keyring {
    /// A new authority.
    ///
    /// # Errors
    /// When the machine yields no key.
    pub fn make(role: Role, now: i64) -> Result<Self, AuthorityError> {
        Ok(Self { role, current: Authority::make(role, now)?, next: None, previous: None })
    }

    /// Reads a keyring from the data of its Secret.
    ///
    /// # Errors
    /// When a field is missing or cannot be read.
    pub fn read(role: Role, data: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let text = |key: &'static str| {
            let bytes = data.get(key)?;
            String::from_utf8(bytes.clone()).ok()
        };
        let need = |key: &'static str| text(key).ok_or(AuthorityError::Missing(key));
        let current =
            Authority::from_pem(role, &need("tls.crt")?, &Zeroizing::new(need("tls.key")?))?;
        let next = match (text("next.crt"), text("next.key")) {
            (Some(pem), Some(key)) => Some(Authority::from_pem(role, &pem, &Zeroizing::new(key))?),
            (None, _) | (_, None) => None,
        };
        let previous = match text("previous.crt") {
            Some(pem) => {
                let der =
                    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(AuthorityError::Pem)?;
                Some((pem, inspect::certificate(&der)?.validity()))
            }
            None => None,
        };
        Ok(Self { role, current, next, previous })
    }

    /// The data of the keyring's Secret. `tls.crt`, `tls.key` and `ca.crt` mean what they mean in any
    /// TLS Secret: the authority that signs, and the bundle to trust.
    #[must_use]
    pub fn write(&self) -> BTreeMap<String, Vec<u8>> {
        let Self { role: _, current, next, previous } = self;
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| data.insert(key.to_owned(), text.into());
        put("tls.crt", current.pem());
        put("tls.key", &current.key_pem());
        put("ca.crt", &self.bundle());
        if let Some(next) = next {
            put("next.crt", next.pem());
            put("next.key", &next.key_pem());
        }
        if let Some((pem, _)) = previous {
            put("previous.crt", pem);
        }
        data
    }

    /// Everything that must be trusted now, in PEM: the one that signs first.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(Authority::pem);
        let previous = self.previous.as_ref().map(|(pem, _)| pem.as_str());
        let all = [Some(self.current.pem()), next, previous];
        all.into_iter().flatten().map(|pem| format!("{}\n", pem.trim_end())).collect()
    }

    /// The authority that signs.
    #[must_use]
    pub fn current(&self) -> &Authority {
        &self.current
    }

    /// What is to be done about it now.
    #[must_use]
    pub fn step(&self, now: i64) -> AuthorityStep {
        let view = AuthorityView {
            current: self.current.validity(),
            next: self.next.as_ref().map(Authority::validity),
            previous: self.previous.as_ref().map(|(_, validity)| *validity),
        };
        // Only the server authority signs what is shared.
        let leaf_life = match self.role {
            Role::Server => SHARED_LEAF_SECONDS.max(SERVER_LEAF_SECONDS),
            Role::Client => CLIENT_LEAF_SECONDS,
        };
        authority_step(now, view, Overlap { teach: TEACH_SECONDS, leaf_life })
    }

    /// Carries out a step.
    ///
    /// # Errors
    /// When the machine yields no key.
    pub fn apply(mut self, step: AuthorityStep, now: i64) -> Result<Self, AuthorityError> {
        match step {
            AuthorityStep::Keep { until: _ } => {}
            AuthorityStep::Introduce => self.next = Some(Authority::make(self.role, now)?),
            AuthorityStep::Promote => {
                if let Some(next) = self.next.take() {
                    let old = std::mem::replace(&mut self.current, next);
                    self.previous = Some((old.pem().to_owned(), old.validity()));
                }
            }
            AuthorityStep::Retire => self.previous = None,
            AuthorityStep::Replace => self = Self::make(self.role, now)?,
        }
        Ok(self)
    }
}

/// The two built-in authorities. Also what `flotilla standalone` issues from, without a cluster.
#[derive(Debug)]
pub struct BuiltIn {
    /// Signs what proxies and the enrollment server show.
    pub server: Keyring,
    /// Signs what the operator shows.
    pub client: Keyring,
}

impl BuiltIn {
    /// Two new authorities.
    ///
    /// # Errors
    /// When the machine yields no key.
    pub fn make(now: i64) -> Result<Self, AuthorityError> {
        Ok(Self {
            server: Keyring::make(Role::Server, now)?,
            client: Keyring::make(Role::Client, now)?,
        })
    }

    /// Makes the operator's client identity. Its key exists in this value only.
    ///
    /// # Errors
    /// When the machine yields no key.
    pub fn client_identity(
        &self,
        trust_domain: &str,
        now: i64,
    ) -> Result<ClientIdentity, IdentityError> {
        let purpose = Purpose {
            uris: vec![format!("spiffe://{trust_domain}/flotilla/controller")],
            ..Purpose::default()
        };
        let validity = Validity::starting(now, CLIENT_LEAF_SECONDS);
        let leaf = self.client.current().issue(&purpose, validity)?;
        Ok(ClientIdentity::from_pem(&leaf.chain, &leaf.key, &self.server.bundle())?)
    }

    /// Makes a key and a certificate for a server.
    ///
    /// # Errors
    /// When the machine yields no key, or a name cannot stand in a certificate.
    pub fn server_leaf(&self, purpose: &Purpose, now: i64) -> Result<IssuedLeaf, AuthorityError> {
        self.server.current().issue(purpose, Validity::starting(now, SERVER_LEAF_SECONDS))
    }

    /// Makes a key and a certificate that the proxies of a fleet share.
    ///
    /// # Errors
    /// When the machine yields no key, or a name cannot stand in a certificate.
    pub fn shared_leaf(&self, purpose: &Purpose, now: i64) -> Result<IssuedLeaf, AuthorityError> {
        self.server.current().issue(purpose, self.shared_validity(now))
    }

    /// From when until when a shared certificate is valid that is made now.
    #[must_use]
    pub fn shared_validity(&self, now: i64) -> Validity {
        let Validity { not_before, not_after } = Validity::starting(now, SHARED_LEAF_SECONDS);
        Validity {
            not_before,
            not_after: not_after.min(self.server.current().validity().not_after),
        }
    }
}

/// Why an identity could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The authority could not sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The result cannot be used.
    #[error(transparent)]
    Tls(#[from] runtime::tls::TlsError),
}
