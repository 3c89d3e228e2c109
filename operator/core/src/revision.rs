//! A revision: one numbered configuration, frozen, ready to be pushed.
//!
//! A translation becomes a revision exactly once. The bytes are serialised once per dialect and
//! hashed once; every instance of the fleet gets the very same bytes, so that the hash which a
//! proxy reports is known before the first push. Only a `Revision` can be pushed.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use kong::model::{Consumer, Document};
use md5::{Digest, Md5};

use crate::moment::Moment;
use crate::options::{Engine, RouterFlavor};

/// What a proxy understands: the grammar of routes it was started with, and whether it is our own.
///
/// Kong fixes its router flavor at start and refuses the fields of the other one; our own proxy does so too, and does more
/// than Kong's model has words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Routes as lists of hosts, paths, methods and headers (`traditional`, `traditional_compatible`).
    Traditional,
    /// Routes as expressions with priorities of their own (`expressions`).
    Expressions,
    /// Our own proxy with routes as lists.
    OwnTraditional,
    /// Our own proxy with routes as expressions.
    Own,
}

impl Dialect {
    /// The dialect of a proxy that reports this `router_flavor`, and of which its `Server` header says whether it is ours.
    #[must_use]
    pub fn of(flavor: &str, own: bool) -> Self {
        match (flavor == "expressions", own) {
            (false, false) => Self::Traditional,
            (true, false) => Self::Expressions,
            (false, true) => Self::OwnTraditional,
            (true, true) => Self::Own,
        }
    }

    /// How the proxy takes routes.
    #[must_use]
    pub const fn flavor(self) -> RouterFlavor {
        match self {
            Self::Traditional | Self::OwnTraditional => RouterFlavor::Traditional,
            Self::Expressions | Self::Own => RouterFlavor::Expressions,
        }
    }

    /// What the proxy is.
    #[must_use]
    pub const fn engine(self) -> Engine {
        match self {
            Self::Traditional | Self::Expressions => Engine::Kong,
            Self::OwnTraditional | Self::Own => Engine::Flotilla,
        }
    }

    /// The word used in logs, metrics and statuses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::Expressions => "expressions",
            Self::OwnTraditional => "own-traditional",
            Self::Own => "own",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The hash of a configuration as Kong reports it: the MD5 of the bytes that were posted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash([u8; 16]);

impl ConfigHash {
    /// What Kong reports before its first configuration, and for one that holds nothing.
    pub const EMPTY: Self = Self([0; 16]);

    /// The hash that a proxy will report once it holds exactly these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }

    /// Reads the 32 hexadecimal digits of a `configuration_hash`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut raw = [0; 16];
        hex::decode_to_slice(text, &mut raw).ok()?;
        Some(Self(raw))
    }

    /// Whether this is the hash of a proxy that holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// The first twelve digits, for tables and logs.
    #[must_use]
    pub fn short(self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One configuration in one dialect: the bytes and their hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    bytes: Bytes,
    hash: ConfigHash,
}

impl Body {
    /// Freezes the bytes of a configuration.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let hash = ConfigHash::of(&bytes);
        Self { bytes, hash }
    }

    /// The exact bytes to post.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The hash that a proxy reports for them.
    #[must_use]
    pub const fn hash(&self) -> ConfigHash {
        self.hash
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes hold credentials and keys.
        write!(out, "Body({}, {} bytes)", self.hash, self.bytes.len())
    }
}

/// How many entities of each kind a configuration holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, usize>);

impl Census {
    /// Counts given as pairs of kind and number.
    #[must_use]
    pub fn new(counts: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// The number of entities of one kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// The number of entities of all kinds.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Kinds and their counts, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(kind, count)| (kind.as_str(), *count))
    }
}

impl Census {
    /// Counts entities by kind, nested ones too.
    #[must_use]
    pub fn of_document(document: &Document) -> Self {
        let Document { services, routes, upstreams, plugins, consumers, consumer_groups, .. } =
            document;
        let of_services = || services.iter().flat_map(|service| &service.routes);
        let all_routes = || of_services().chain(routes);
        let on_routes: usize = all_routes().map(|route| route.plugins.len()).sum();
        let on_services: usize = services.iter().map(|service| service.plugins.len()).sum();
        let counts = [
            ("services", services.len()),
            ("routes", all_routes().count()),
            ("upstreams", upstreams.len()),
            ("targets", upstreams.iter().map(|upstream| upstream.targets.len()).sum()),
            ("plugins", plugins.len() + on_routes + on_services),
            ("consumers", consumers.len()),
            ("consumer_groups", consumer_groups.len()),
            ("certificates", document.certificates.len()),
            ("snis", document.certificates.iter().map(|certificate| certificate.snis.len()).sum()),
            ("ca_certificates", document.ca_certificates.len()),
            ("vaults", document.vaults.len()),
        ];
        let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count));
        let custom = document.custom.iter().map(|(kind, entities)| (kind.clone(), entities.len()));
        Self::new(counts.chain(custom).chain(credentials(consumers)))
    }
}

/// Counts the credentials of consumers.
fn credentials(consumers: &[Consumer]) -> [(String, usize); 7] {
    let mut counts = [
        ("keyauth_credentials", 0),
        ("basicauth_credentials", 0),
        ("hmacauth_credentials", 0),
        ("jwt_secrets", 0),
        ("oauth2_credentials", 0),
        ("acls", 0),
        ("mtls_auth_credentials", 0),
    ];
    for consumer in consumers {
        let lengths = [
            consumer.keyauth_credentials.len(),
            consumer.basicauth_credentials.len(),
            consumer.hmacauth_credentials.len(),
            consumer.jwt_secrets.len(),
            consumer.oauth2_credentials.len(),
            consumer.acls.len(),
            consumer.mtls_auth_credentials.len(),
        ];
        for ((_, count), more) in counts.iter_mut().zip(lengths) {
            *count += more;
        }
    }
    counts.map(|(kind, count)| (kind.to_owned(), count))
}

/// One numbered configuration of a fleet.
#[derive(Clone, Debug)]
pub struct Revision {
    number: u64,
    bodies: BTreeMap<Dialect, Body>,
    census: Census,
    changed_at: Moment,
}

impl Revision {
    /// Freezes a configuration under a number that its translator never used before.
    ///
    /// `changed_at` is when the first of the changes behind it was seen: convergence is measured
    /// from there.
    #[must_use]
    pub fn new(
        number: u64,
        bodies: impl IntoIterator<Item = (Dialect, Bytes)>,
        census: Census,
        changed_at: Moment,
    ) -> Self {
        let bodies =
            bodies.into_iter().map(|(dialect, bytes)| (dialect, Body::new(bytes))).collect();
        Self { number, bodies, census, changed_at }
    }

    /// The number; larger is newer.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The configuration in one dialect, if it was rendered for it.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> Option<&Body> {
        self.bodies.get(&dialect)
    }

    /// The hash in one dialect.
    #[must_use]
    pub fn hash(&self, dialect: Dialect) -> Option<ConfigHash> {
        self.body(dialect).map(Body::hash)
    }

    /// All dialects that were rendered, with their bodies.
    pub fn bodies(&self) -> impl Iterator<Item = (Dialect, &Body)> {
        self.bodies.iter().map(|(dialect, body)| (*dialect, body))
    }

    /// What the configuration holds.
    #[must_use]
    pub const fn census(&self) -> &Census {
        &self.census
    }

    /// When the first change behind this revision was seen.
    #[must_use]
    pub const fn changed_at(&self) -> Moment {
        self.changed_at
    }

    /// Whether another revision asks every proxy for the very same bytes.
    #[must_use]
    pub fn same_bytes(&self, other: &Self) -> bool {
        self.bodies == other.bodies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_md5_of_exact_bytes() {
        let body = Body::new(Bytes::from_static(b"{\"_format_version\":\"3.0\"}"));
        assert_eq!(
            body.hash().to_string(),
            hex::encode(Md5::digest(b"{\"_format_version\":\"3.0\"}"))
        );
        assert_eq!(ConfigHash::parse(&body.hash().to_string()), Some(body.hash()));
    }

    #[test]
    fn zeros_mean_empty_and_anything_else_does_not_parse() {
        assert_eq!(ConfigHash::parse(&"0".repeat(32)), Some(ConfigHash::EMPTY));
        assert_eq!(ConfigHash::parse("not a hash"), None);
        assert_eq!(ConfigHash::parse(&"0".repeat(31)), None);
    }

    #[test]
    fn debug_shows_no_byte_of_the_configuration() {
        let body = Body::new(Bytes::from_static(b"secret"));
        assert!(!format!("{body:?}").contains("secret"));
    }

    #[test]
    fn nested_entities_are_counted_and_plugin_settings_are_not() {
        let document = serde_json::json!({
            "_format_version": "3.0",
            "services": [{"name": "a", "routes": [{"name": "r", "paths": ["/"]}]}],
            "plugins": [{"name": "x", "config": {"rules": [{"a": 1}]}}],
        });
        let census = Census::of_document(&serde_json::from_value(document).unwrap());
        assert_eq!(census.of("routes"), 1);
        assert_eq!(census.of("rules"), 0);
        assert_eq!(census.total(), 3);
    }
}
