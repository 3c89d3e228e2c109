//! The one spelling of a configuration, and the hashes of its bytes.

use md5::{Digest, Md5};
use serde::Serialize;
use sha2::Sha256;

/// The hash that a gateway reports for a configuration without entities.
pub const EMPTY_HASH: ConfigHash = ConfigHash([0; 16]);

/// What a gateway reports as `configuration_hash`: the MD5 of the bytes that were posted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash([u8; 16]);

impl ConfigHash {
    /// The hash of a configuration that is posted as these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }

    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl std::fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for ConfigHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The canonical bytes of a value: JSON without blanks, keys sorted.
///
/// # Errors
/// When the value cannot be JSON (a map whose keys are not text).
pub fn bytes(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&serde_json::to_value(value)?)
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
