//! Secrets as the translation reads them: their contents are wiped from memory once nobody holds them any more.
//!
//! What is wiped: the bytes of each key, and the base64 text that they were decoded from. Not wiped are the answers of the
//! API server on their way here and the configurations that are made of the contents: those are shown to proxies anyway.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize as _;

/// A Secret of the core group, without the fields that nobody reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Secret {
    /// Name, labels and the like.
    pub metadata: ObjectMeta,
    /// The contents by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<BTreeMap<String, Contents>>,
}

/// What a key of a Secret holds. Wiped when it is dropped, and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Contents(pub Vec<u8>);

impl Drop for Contents {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0.len())
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(Base64)
    }
}

/// Reads base64, and wipes the text that it is given to keep.
struct Base64;

impl Visitor<'_> for Base64 {
    type Value = Contents;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Contents, E> {
        // The decoder's own error would show part of the text.
        BASE64_STANDARD.decode(text).map(Contents).map_err(|_| E::custom("not base64"))
    }

    fn visit_string<E: Error>(self, mut text: String) -> Result<Contents, E> {
        let contents = self.visit_str(&text);
        text.zeroize();
        contents
    }

    fn visit_unit<E: Error>(self) -> Result<Contents, E> {
        Ok(Contents::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn contents_come_back_and_are_never_shown() {
        let json = json!({ "metadata": { "name": "a" }, "data": { "key": "c2VjcmV0" } });
        let secret: Secret = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(secret.data.as_ref().unwrap()["key"].0, b"secret");
        assert_eq!(serde_json::to_value(&secret).unwrap(), json);
        assert!(!format!("{secret:?}").contains("secret"));
    }

    #[test]
    fn what_is_no_base64_is_refused_without_being_shown() {
        let json = json!({ "metadata": {}, "data": { "key": "hunter2!" } });
        let error = serde_json::from_value::<Secret>(json).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
