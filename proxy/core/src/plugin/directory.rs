//! Consumers and their credentials, indexed once per configuration by what a request can show.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use kong::declarative::Entity;
use serde_json::Value;

/// The entities of a configuration, by Kong's name of their kind (`consumers`, `keyauth_credentials`, …).
pub trait Entities {
    /// All entities of a kind, in the order of their ids.
    fn of<'a>(&'a self, kind: &str) -> Box<dyn Iterator<Item = &'a Entity> + 'a>;
}

impl Entities for kong::declarative::Declared {
    fn of<'a>(&'a self, kind: &str) -> Box<dyn Iterator<Item = &'a Entity> + 'a> {
        Box::new(self.kind(kind).into_iter().flat_map(kong::declarative::Entities::values))
    }
}

/// A consumer, with the header values that announce it to upstreams.
#[derive(Debug, Default)]
pub struct Consumer {
    /// The id.
    pub id: Box<str>,
    /// The username.
    pub username: Option<Box<str>>,
    /// The custom id.
    pub custom_id: Option<Box<str>>,
    /// Its ACL groups, in the order of their entities' ids.
    pub groups: Vec<Box<str>>,
    /// The entity's JSON without nulls, for log records.
    pub document: Box<str>,
    pub(crate) id_header: Option<HeaderValue>,
    pub(crate) username_header: Option<HeaderValue>,
    pub(crate) custom_id_header: Option<HeaderValue>,
}

/// What proved who a consumer is.
#[derive(Debug)]
pub struct Credential {
    /// The id, or what stands for one.
    pub id: Box<str>,
    /// Whose it is.
    pub consumer: Option<Arc<Consumer>>,
    /// What `X-Credential-Identifier` says.
    pub identifier: Option<HeaderValue>,
    /// What it is checked with.
    pub kind: CredentialKind,
}

/// The part of a credential that only its own plugin reads.
#[derive(Clone)]
pub enum CredentialKind {
    /// An API key.
    Key,
    /// Username and the password's hash.
    Basic {
        /// `sha1(password ‖ consumer id)` in hexadecimal.
        hash: Box<str>,
    },
    /// A shared secret for signatures.
    Hmac {
        /// The secret.
        secret: Box<str>,
    },
    /// A JSON web token's key.
    Jwt {
        /// The algorithm that it is for.
        algorithm: Box<str>,
        /// The shared secret.
        secret: Box<str>,
        /// The public key of asymmetric algorithms, PEM.
        public_key: Box<str>,
    },
    /// An OAuth 2 application, as it stands in the configuration.
    OAuth2(Arc<Value>),
    /// Made by a plugin for one request: LDAP.
    Ephemeral,
}

impl std::fmt::Debug for CredentialKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CredentialKind")
    }
}

/// A token that a configuration declares.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) credential: Option<Arc<Credential>>,
    /// The only service that it opens.
    pub(super) service: Option<Box<str>>,
    pub(super) scope: Option<Box<str>>,
    /// The user in whose name it was given.
    pub(super) user: Option<Box<str>>,
    /// Seconds, and zero for ever.
    pub(super) expires_in: u64,
    pub(super) created_at: u64,
}

/// Everyone whom a configuration knows.
#[derive(Debug, Default)]
pub struct Directory {
    by_id: HashMap<Box<str>, Arc<Consumer>>,
    by_username: HashMap<Box<str>, Arc<Consumer>>,
    by_custom_id: HashMap<Box<str>, Arc<Consumer>>,
    keys: HashMap<Box<str>, Arc<Credential>>,
    basic: HashMap<Box<str>, Arc<Credential>>,
    hmac: HashMap<Box<str>, Arc<Credential>>,
    jwt: HashMap<Box<str>, Arc<Credential>>,
    oauth2: HashMap<Box<str>, Arc<Credential>>,
    tokens: HashMap<Box<str>, Arc<Token>>,
    refresh_tokens: HashMap<Box<str>, Arc<Token>>,
}

impl Directory {
    /// Indexes a configuration.
    #[must_use]
    pub fn build(entities: &dyn Entities) -> Self {
        let mut directory = Self::default();
        let mut groups: HashMap<String, Vec<Box<str>>> = HashMap::new();
        for acl in entities.of("acls").map(Entity::value) {
            if let (Some(consumer), Some(group)) =
                (reference(&acl, "consumer"), string(&acl, "group"))
            {
                groups.entry(consumer.to_owned()).or_default().push(group.into());
            }
        }
        for entity in entities.of("consumers").map(Entity::value) {
            let entity = &entity;
            let Some(id) = string(entity, "id") else { continue };
            let consumer = Arc::new(Consumer {
                id: id.into(),
                username: string(entity, "username").map(Into::into),
                custom_id: string(entity, "custom_id").map(Into::into),
                groups: groups.remove(id).unwrap_or_default(),
                document: compact(entity),
                id_header: header(id),
                username_header: string(entity, "username").and_then(header),
                custom_id_header: string(entity, "custom_id").and_then(header),
            });
            if let Some(username) = &consumer.username {
                directory.by_username.insert(username.clone(), Arc::clone(&consumer));
            }
            if let Some(custom_id) = &consumer.custom_id {
                directory.by_custom_id.insert(custom_id.clone(), Arc::clone(&consumer));
            }
            directory.by_id.insert(id.into(), consumer);
        }
        directory.add_credentials(entities);
        directory
    }

    fn add_credentials(&mut self, entities: &dyn Entities) {
        self.keys = self
            .credentials(entities.of("keyauth_credentials"), "key", "id", |_| CredentialKind::Key);
        self.basic = self.credentials(
            entities.of("basicauth_credentials"),
            "username",
            "username",
            |entity| CredentialKind::Basic { hash: field(entity, "password") },
        );
        self.hmac = self.credentials(
            entities.of("hmacauth_credentials"),
            "username",
            "username",
            |entity| CredentialKind::Hmac { secret: field(entity, "secret") },
        );
        self.jwt = self.credentials(entities.of("jwt_secrets"), "key", "key", |entity| {
            CredentialKind::Jwt {
                algorithm: field(entity, "algorithm"),
                secret: field(entity, "secret"),
                public_key: field(entity, "rsa_public_key"),
            }
        });
        self.oauth2 = self.credentials(
            entities.of("oauth2_credentials"),
            "client_id",
            "client_id",
            |entity| CredentialKind::OAuth2(Arc::new(entity.clone())),
        );
        let by_id: HashMap<&str, &Arc<Credential>> =
            self.oauth2.values().map(|credential| (credential.id.as_ref(), credential)).collect();
        let number = |entity: &Value, name: &str| {
            entity.get(name).and_then(Value::as_f64).unwrap_or(0.0) as u64
        };
        let token = |entity: &Entity| {
            let entity = &entity.value();
            let credential = reference(entity, "credential").and_then(|id| by_id.get(id));
            let token = Token {
                credential: credential.map(|found| Arc::clone(found)),
                service: reference(entity, "service").map(Into::into),
                scope: string(entity, "scope").map(Into::into),
                user: string(entity, "authenticated_userid").map(Into::into),
                expires_in: number(entity, "expires_in"),
                created_at: number(entity, "created_at"),
            };
            let token = Arc::new(token);
            if let Some(text) = string(entity, "refresh_token") {
                self.refresh_tokens.insert(text.into(), Arc::clone(&token));
            }
            if let Some(text) = string(entity, "access_token") {
                self.tokens.insert(text.into(), token);
            }
        };
        entities.of("oauth2_tokens").for_each(token);
    }

    fn credentials<'a>(
        &self,
        entities: impl Iterator<Item = &'a Entity>,
        key: &str,
        identifier: &str,
        kind: impl Fn(&Value) -> CredentialKind,
    ) -> HashMap<Box<str>, Arc<Credential>> {
        entities
            .filter_map(|entity| {
                let entity = &entity.value();
                let credential = Credential {
                    id: field(entity, "id"),
                    consumer: reference(entity, "consumer")
                        .and_then(|id| self.by_id.get(id))
                        .cloned(),
                    identifier: string(entity, identifier).and_then(header),
                    kind: kind(entity),
                };
                // A credential with a time to live never exists without a database.
                let expires = entity.get("ttl").is_some_and(|ttl| !ttl.is_null());
                (!expires)
                    .then(|| string(entity, key).map(|key| (key.into(), Arc::new(credential))))?
            })
            .collect()
    }

    /// The consumer with this id.
    #[must_use]
    pub fn consumer(&self, id: &str) -> Option<&Arc<Consumer>> {
        self.by_id.get(id)
    }

    /// The consumer with this id or username, as `anonymous` names it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_id.get(name).or_else(|| self.by_username.get(name))
    }

    /// The consumer with this username or custom id, as ldap-auth looks for it.
    #[must_use]
    pub fn known_as(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_username.get(name).or_else(|| self.by_custom_id.get(name))
    }

    /// The credential of an API key.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&Arc<Credential>> {
        self.keys.get(key)
    }

    /// The basic-auth credential of a username.
    #[must_use]
    pub fn basic(&self, username: &str) -> Option<&Arc<Credential>> {
        self.basic.get(username)
    }

    /// The hmac-auth credential of a username.
    #[must_use]
    pub fn hmac(&self, username: &str) -> Option<&Arc<Credential>> {
        self.hmac.get(username)
    }

    /// The jwt credential of an issuer.
    #[must_use]
    pub fn jwt(&self, key: &str) -> Option<&Arc<Credential>> {
        self.jwt.get(key)
    }

    /// The declared token of this text.
    pub(super) fn token(&self, text: &str) -> Option<&Token> {
        self.tokens.get(text).map(AsRef::as_ref)
    }

    /// The declared token that this text refreshes.
    pub(super) fn refresh_token(&self, text: &str) -> Option<&Token> {
        self.refresh_tokens.get(text).map(AsRef::as_ref)
    }

    /// The OAuth 2 application of a client id.
    #[must_use]
    pub fn oauth2(&self, client_id: &str) -> Option<&Arc<Credential>> {
        self.oauth2.get(client_id)
    }
}

fn string<'a>(entity: &'a Value, name: &str) -> Option<&'a str> {
    entity.get(name)?.as_str()
}

fn field(entity: &Value, name: &str) -> Box<str> {
    string(entity, name).unwrap_or_default().into()
}

/// The id that a foreign key holds.
pub(crate) fn reference<'a>(entity: &'a Value, name: &str) -> Option<&'a str> {
    let key = entity.get(name)?;
    key.as_str().or_else(|| key.get("id")?.as_str())
}

fn header(value: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(value).or_else(|_| HeaderValue::from_bytes(value.as_bytes())).ok()
}

/// An entity's JSON without its nulls, for log records.
#[must_use]
pub fn compact(entity: &Value) -> Box<str> {
    let mut kept = without_nulls(entity);
    if let Value::Object(fields) = &mut kept {
        fields.insert("ws_id".into(), DEFAULT_WORKSPACE.into());
    }
    kept.to_string().into()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

/// The id of the one workspace.
pub const DEFAULT_WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";
