//! Consumers, their credentials and groups.

use serde_json::Number;

use super::{Plugin, Reference, Tags, entity};

entity! {
    /// Someone who sends requests.
    Consumer {
        /// Unique id.
        id: String,
        /// Unique name.
        username: String,
        /// Unique id in another system.
        custom_id: String,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
        /// Seconds.
        updated_at: Number,
    }
    children {
        /// Keys.
        keyauth_credentials: KeyAuth,
        /// Names and passwords.
        basicauth_credentials: BasicAuth,
        /// Names and shared secrets.
        hmacauth_credentials: HmacAuth,
        /// Token issuers.
        jwt_secrets: JwtSecret,
        /// Groups for the acl plugin.
        acls: Acl,
        /// OAuth clients.
        oauth2_credentials: OAuth2Credential,
        /// Client certificates.
        mtls_auth_credentials: MtlsAuth,
        /// Its plugins.
        plugins: Plugin,
    }
}

entity! {
    /// A key.
    KeyAuth {
        /// Unique id.
        id: String,
        /// The key.
        key: String,
        /// Whose it is.
        consumer: Reference,
        /// Seconds to live.
        ttl: u64,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// A name and a password.
    BasicAuth {
        /// Unique id.
        id: String,
        /// The name.
        username: String,
        /// The password, hashed in filled entities.
        password: String,
        /// Whose it is.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// A name and a shared secret.
    HmacAuth {
        /// Unique id.
        id: String,
        /// The name.
        username: String,
        /// The secret.
        secret: String,
        /// Whose it is.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// An issuer of tokens.
    JwtSecret {
        /// Unique id.
        id: String,
        /// The issuer.
        key: String,
        /// Shared secret.
        secret: String,
        /// Public key.
        rsa_public_key: String,
        /// `HS256`, `RS256`, ….
        algorithm: String,
        /// Whose it is.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// A group for the acl plugin.
    Acl {
        /// Unique id.
        id: String,
        /// The group.
        group: String,
        /// Who is in it.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// An OAuth client.
    OAuth2Credential {
        /// Unique id.
        id: String,
        /// Name of the application.
        name: String,
        /// Client id.
        client_id: String,
        /// Client secret.
        client_secret: String,
        /// Whether the secret is stored as a hash.
        hash_secret: bool,
        /// Where answers may be sent.
        redirect_uris: Vec<String>,
        /// `confidential` or `public`.
        client_type: String,
        /// Whose it is.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// A client certificate (Enterprise).
    MtlsAuth {
        /// Unique id.
        id: String,
        /// Subject of the certificate.
        subject_name: String,
        /// Authority of the certificate.
        ca_certificate: Reference,
        /// Whose it is.
        consumer: Reference,
        /// Labels.
        tags: Tags,
        /// Seconds.
        created_at: Number,
    }
}

entity! {
    /// A group of consumers (Enterprise).
    ConsumerGroup {
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
        /// Its plugins.
        plugins: Plugin,
    }
}

entity! {
    /// That a consumer is in a group (Enterprise).
    ConsumerGroupConsumer {
        /// Unique id.
        id: String,
        /// The consumer.
        consumer: Reference,
        /// The group.
        consumer_group: Reference,
    }
}
