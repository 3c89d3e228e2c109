//! Certificates, server names, keys and vaults.

use serde_json::{Map, Number, Value};

use super::{Reference, Tags, entity};

entity! {
    /// A certificate with its key, and optionally a second pair of another key type.
    Certificate {
        /// Unique id.
        id: String,
        /// PEM.
        cert: String,
        /// PEM.
        key: String,
        /// PEM of the second pair.
        cert_alt: String,
        /// PEM of the second pair.
        key_alt: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// The names that it serves.
        snis: Sni,
    }
}

entity! {
    /// A name that a certificate serves.
    Sni {
        /// Unique id.
        id: String,
        /// The name, with a wildcard as first or last label.
        name: String,
        /// The certificate.
        certificate: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
}

entity! {
    /// An authority that is trusted.
    CaCertificate {
        /// Unique id.
        id: String,
        /// PEM.
        cert: String,
        /// SHA-256 of the certificate.
        cert_digest: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
}

entity! {
    /// A set of keys.
    KeySet {
        /// Unique id.
        id: String,
        /// Unique name.
        name: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// Its keys.
        keys: Key,
    }
}

entity! {
    /// A key, as JWK or PEM.
    Key {
        /// Unique id.
        id: String,
        /// Its set.
        set: Reference,
        /// Unique name.
        name: String,
        /// Key id.
        kid: String,
        /// JSON Web Key as text.
        jwk: String,
        /// PEM pair.
        pem: KeyPair,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
}

entity! {
    /// A PEM pair.
    KeyPair {
        /// Private key.
        private_key: String,
        /// Public key.
        public_key: String,
    }
}

entity! {
    /// Where secrets come from.
    Vault {
        /// Unique id.
        id: String,
        /// Kind of vault.
        name: String,
        /// How references name it.
        prefix: String,
        /// For people.
        description: String,
        /// Its configuration.
        config: Map<String, Value>,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
}
