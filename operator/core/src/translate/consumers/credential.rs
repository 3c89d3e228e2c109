//! One credential, read from a labelled Secret. Values never enter a message.

use crate::secret::Secret;
use kong::model::{
    Acl, BasicAuth, Consumer, HmacAuth, JwtSecret, KeyAuth, MtlsAuth, OAuth2Credential, Reference,
    Tags,
};

use crate::names;
use crate::object::Object as _;

/// The label that says which kind of credential a Secret holds.
const LABEL: &str = "konghq.com/credential";

/// A credential of one of the seven kinds.
pub(super) enum Credential {
    Key(KeyAuth),
    Basic(BasicAuth),
    Hmac(HmacAuth),
    Jwt(JwtSecret),
    OAuth2(OAuth2Credential),
    Acl(Acl),
    Mtls(MtlsAuth),
}

impl Credential {
    /// Gives the credential to `consumer`.
    pub(super) fn add(self, consumer: &mut Consumer) {
        match self {
            Self::Key(credential) => consumer.keyauth_credentials.push(credential),
            Self::Basic(credential) => consumer.basicauth_credentials.push(credential),
            Self::Hmac(credential) => consumer.hmacauth_credentials.push(credential),
            Self::Jwt(credential) => consumer.jwt_secrets.push(credential),
            Self::OAuth2(credential) => consumer.oauth2_credentials.push(credential),
            Self::Acl(credential) => consumer.acls.push(credential),
            Self::Mtls(credential) => consumer.mtls_auth_credentials.push(credential),
        }
    }
}

/// A value that only one consumer may have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    index: &'static str,
    value: String,
}

impl Claim {
    /// Which kind and field it is.
    pub(super) fn index(&self) -> &'static str {
        self.index
    }
}

/// What a Secret holds.
pub(super) struct Found {
    /// The credential.
    pub(super) credential: Credential,
    /// What it claims for its consumer alone.
    pub(super) claim: Option<Claim>,
    /// Values that could not be read and are left out.
    pub(super) notes: Vec<&'static str>,
}

impl Found {
    fn new(credential: Credential, claim: Option<Claim>) -> Self {
        Self { credential, claim, notes: Vec::new() }
    }
}

/// Reads the credential in `secret`.
pub(super) fn read(secret: &Secret) -> Result<Found, String> {
    let Some(kind) = secret.label(LABEL) else {
        let (namespace, name) = (secret.namespace(), secret.name());
        return Err(format!(
            "could not load credential from Secret: Secret {namespace}/{name} used as credential, but lacks {LABEL} label"
        ));
    };
    let provision = |error: String| format!("failed to provision credential: {error}");
    let found = match kind {
        "key-auth" => key_auth(secret),
        "basic-auth" => basic_auth(secret),
        "hmac-auth" => hmac_auth(secret),
        "jwt" => jwt(secret),
        "oauth2" => oauth2(secret),
        "acl" => acl(secret),
        "mtls-auth" => mtls(secret),
        _ => Err(format!("unsupported credential type: {kind:?}")),
    };
    found.map_err(provision)
}

type Read = Result<Found, String>;

/// A field of a Secret as text.
fn field(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok()
}

fn need(secret: &Secret, kind: &str, key: &str) -> Result<String, String> {
    field(secret, key)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| format!("{kind} is invalid: no {key}"))
}

fn tags(secret: &Secret) -> Option<Tags> {
    Some(names::tags_of(secret))
}

fn key_auth(secret: &Secret) -> Read {
    let key = need(secret, "key-auth", "key")?;
    let claim = Claim { index: "key-auth on 'key'", value: key.clone() };
    let ttl = field(secret, "ttl").map(|text| text.trim().parse().ok());
    let credential =
        KeyAuth { key: Some(key), ttl: ttl.flatten(), tags: tags(secret), ..KeyAuth::default() };
    let mut found = Found::new(Credential::Key(credential), Some(claim));
    if ttl == Some(None) {
        found.notes.push("ttl is no whole number of seconds and is left out");
    }
    Ok(found)
}

fn basic_auth(secret: &Secret) -> Read {
    let username = need(secret, "basic-auth", "username")?;
    let claim = Claim { index: "basic-auth on 'username'", value: username.clone() };
    let credential = BasicAuth {
        username: Some(username),
        password: field(secret, "password"),
        tags: tags(secret),
        ..BasicAuth::default()
    };
    Ok(Found::new(Credential::Basic(credential), Some(claim)))
}

fn hmac_auth(secret: &Secret) -> Read {
    let username = need(secret, "hmac-auth", "username")?;
    let claim = Claim { index: "hmac-auth on 'username'", value: username.clone() };
    let credential = HmacAuth {
        username: Some(username),
        secret: field(secret, "secret"),
        tags: tags(secret),
        ..HmacAuth::default()
    };
    Ok(Found::new(Credential::Hmac(credential), Some(claim)))
}

fn jwt(secret: &Secret) -> Read {
    let key = need(secret, "jwt-auth for", "key")?;
    let claim = Claim { index: "jwt-auth on 'key'", value: key.clone() };
    let credential = JwtSecret {
        key: Some(key),
        secret: field(secret, "secret"),
        rsa_public_key: field(secret, "rsa_public_key"),
        algorithm: field(secret, "algorithm").filter(|a| !a.is_empty()).or(Some("HS256".into())),
        tags: tags(secret),
        ..JwtSecret::default()
    };
    Ok(Found::new(Credential::Jwt(credential), Some(claim)))
}

fn oauth2(secret: &Secret) -> Read {
    let client_id = need(secret, "oauth2", "client_id")?;
    let name = need(secret, "oauth2", "name")?;
    let claim = Claim { index: "oauth2-credentials on 'client_id'", value: client_id.clone() };
    let uris = field(secret, "redirect_uris");
    let hash = field(secret, "hash_secret").map(|text| crate::annotations::boolean(&text));
    let credential = OAuth2Credential {
        name: Some(name),
        client_id: Some(client_id),
        client_secret: field(secret, "client_secret"),
        redirect_uris: uris.map(|uris| uris.split(',').map(str::to_owned).collect()),
        hash_secret: hash.map(|hash| hash.unwrap_or(false)),
        client_type: field(secret, "client_type"),
        tags: tags(secret),
        ..OAuth2Credential::default()
    };
    let mut found = Found::new(Credential::OAuth2(credential), Some(claim));
    if hash == Some(None) {
        found.notes.push("hash_secret is neither true nor false and counts as false");
    }
    Ok(found)
}

fn acl(secret: &Secret) -> Read {
    let group = need(secret, "acl", "group")?;
    let credential = Acl { group: Some(group), tags: tags(secret), ..Acl::default() };
    Ok(Found::new(Credential::Acl(credential), None))
}

fn mtls(secret: &Secret) -> Read {
    let subject_name = need(secret, "mtls-auth", "subject_name")?;
    let claim = Claim { index: "mtls-auth on 'subject_name'", value: subject_name.clone() };
    let credential = MtlsAuth {
        subject_name: Some(subject_name),
        ca_certificate: field(secret, "ca_certificate").map(|id| Reference::id(id.trim())),
        tags: tags(secret),
        ..MtlsAuth::default()
    };
    Ok(Found::new(Credential::Mtls(credential), Some(claim)))
}
