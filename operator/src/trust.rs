//! Identity: the only place of the operator that touches private keys.
//!
//! Two authorities that share nothing: the *server* authority signs what proxies show, the *client*
//! authority signs what the operator shows. [`Keyring`] holds one of them through its replacement,
//! [`BuiltIn`] both. [`custody`] keeps them in Secrets, [`keeper`] renews, publishes and hands out
//! the operator's own [`ClientIdentity`] through a channel; [`enroll`] signs the keys of proxies that
//! prove which pod they are; [`peer_verifier`] is how the operator judges a proxy before it sends
//! anything. Decisions about time are pure and live in [`operator_core::trust`].

mod authority;
pub mod custody;
pub mod enroll;
pub mod inspect;
pub mod keeper;
mod keyring;
mod peer;
pub mod publish;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::tls::{Identity, TlsError};
use rustls::RootCertStore;

pub use authority::{Authority, AuthorityError, IssuedLeaf, Purpose, Role};
pub use inspect::Certificate;
pub use keyring::{BuiltIn, IdentityError, Keyring};
pub use peer::{Expected, PeerError, peer_verifier};

/// What the operator shows a proxy, and what it demands from it. Kept in memory only.
#[derive(Debug)]
pub struct ClientIdentity {
    /// The client certificate with its key, and the authorities that proxies must chain to.
    pub tls: Identity,
    /// What the client certificate says.
    pub certificate: Certificate,
}

impl ClientIdentity {
    /// An identity from PEM texts: the client's chain and key, and the proxies' authorities.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn from_pem(chain: &str, key: &str, server_ca: &str) -> Result<Self, TlsError> {
        let tls = Identity::from_pem(chain.as_bytes(), key.as_bytes(), server_ca.as_bytes())?;
        let certificate = tls.chain().first().map(|leaf| inspect::certificate(leaf)).transpose();
        let certificate = certificate.ok().flatten().unwrap_or_default();
        Ok(Self { tls, certificate })
    }

    /// The authorities that proxies must chain to.
    #[must_use]
    pub fn server_roots(&self) -> Arc<RootCertStore> {
        self.tls.roots().clone()
    }
}

/// The name of a fleet: namespace and name.
pub type FleetName = (String, String);

/// The operator's identities: the built-in one, and those of fleets that bring another issuer.
/// Cheap to clone; a new value is sent whenever one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    built_in: Option<Arc<ClientIdentity>>,
    fleets: BTreeMap<FleetName, Option<Arc<ClientIdentity>>>,
}

impl Identities {
    /// Only the built-in identity, which then serves every fleet.
    #[must_use]
    pub fn built_in(identity: Arc<ClientIdentity>) -> Self {
        Self { built_in: Some(identity), fleets: BTreeMap::new() }
    }

    /// Puts `new` in its place. Returns whether that is news.
    fn replace_by(&mut self, new: Self) -> bool {
        let same = |a: &Option<Arc<ClientIdentity>>, b: &Option<Arc<ClientIdentity>>| {
            let leaf = |one: &Option<Arc<ClientIdentity>>| {
                one.as_ref().map(|one| (one.tls.chain().to_vec(), one.tls.roots().roots.clone()))
            };
            leaf(a) == leaf(b)
        };
        let equal = same(&self.built_in, &new.built_in)
            && self.fleets.len() == new.fleets.len()
            && self
                .fleets
                .iter()
                .all(|(name, own)| new.fleets.get(name).is_some_and(|other| same(own, other)));
        if !equal {
            *self = new;
        }
        !equal
    }

    /// The identity for a fleet. `None`: its source has nothing yet, so nothing can be sent.
    #[must_use]
    pub fn for_fleet(&self, namespace: &str, name: &str) -> Option<&Arc<ClientIdentity>> {
        match self.fleets.get(&(namespace.to_owned(), name.to_owned())) {
            Some(own) => own.as_ref(),
            None => self.built_in.as_ref(),
        }
    }
}
