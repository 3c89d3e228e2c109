//! session: a cookie in place of credentials. The cookie holds everything, sealed with the configured secret.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::args::Args;
use super::auth::authenticate;
use super::{
    Access, BuildError, Config, Credential, CredentialKind, Directory, Flow, Plugin, Services,
};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const NONCE: usize = 12;

struct Session {
    key: LessSafeKey,
    audience: String,
    cookie: String,
    /// Everything behind the cookie's value.
    attributes: String,
    idling: u64,
    rolling: u64,
    absolute: u64,
    logout_methods: Vec<Method>,
    logout_query: String,
    logout_post: String,
    read_body: bool,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

/// What the cookie holds.
#[derive(Serialize, Deserialize)]
struct Sealed {
    audience: String,
    consumer: String,
    credential: String,
    identifier: Option<String>,
    created: u64,
    renewed: u64,
}

/// The session that the request came with.
struct Current(Sealed);

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let services = Arc::clone(&config.context.services);
    let mut secret = Sha256::digest(config.string("secret"));
    if config.text("secret").is_none_or(str::is_empty) {
        services.random(&mut secret);
    }
    let unusable = || BuildError::Field { plugin: "session", field: "secret" };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| unusable())?);
    let seconds =
        |field: &str, default: f64| config.number(field).unwrap_or(default).max(0.0) as u64;
    let mut attributes = String::new();
    if let Some(domain) = config.text("cookie_domain") {
        attributes.push_str(&format!("; Domain={domain}"));
    }
    attributes.push_str(&format!("; Path={}", config.text("cookie_path").unwrap_or("/")));
    attributes
        .push_str(&format!("; SameSite={}", config.text("cookie_same_site").unwrap_or("Strict")));
    for (field, attribute) in [("cookie_secure", "; Secure"), ("cookie_http_only", "; HttpOnly")] {
        if config.flag(field) {
            attributes.push_str(attribute);
        }
    }
    let methods = config.list("logout_methods");
    Ok(Box::new(Session {
        key,
        audience: config.string("audience"),
        cookie: config.string("cookie_name"),
        attributes,
        idling: seconds("idling_timeout", 900.0),
        rolling: seconds("rolling_timeout", 3_600.0),
        absolute: seconds("absolute_timeout", 86_400.0),
        logout_methods: methods
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
        logout_query: config.string("logout_query_arg"),
        logout_post: config.string("logout_post_arg"),
        read_body: config.flag("read_body_for_logout"),
        directory: Arc::clone(config.directory),
        services,
    }))
}

impl Plugin for Session {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let Some(sealed) = self.open(exchange) else { return Access::Continue };
        if self.logout_methods.contains(&exchange.request.method) {
            let query = exchange.request.query.as_deref().unwrap_or_default();
            if Args::parse(query).has(&self.logout_query) {
                return Access::respond(self.goodbye());
            }
            let form = exchange.request.headers.get(CONTENT_TYPE).and_then(text);
            if self.read_body
                && form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
            {
                return Access::Later(Box::pin(self.look_into_body(exchange, sealed)));
            }
        }
        self.enter(exchange, sealed);
        Access::Continue
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let now = self.services.now().as_secs();
        let sealed = match exchange.notes.take::<Current>() {
            Some(Current(mut sealed)) => {
                let due = (self.idling / 3).min(self.rolling / 4 * 3);
                if now.saturating_sub(sealed.renewed) <= due {
                    return;
                }
                sealed.renewed = now;
                sealed
            }
            None => {
                let identity = &exchange.identity;
                let (Some(consumer), Some(credential)) = (&identity.consumer, &identity.credential)
                else {
                    return;
                };
                Sealed {
                    audience: self.audience.clone(),
                    consumer: consumer.id.to_string(),
                    credential: credential.id.to_string(),
                    identifier: credential.identifier.as_ref().and_then(text).map(str::to_owned),
                    created: now,
                    renewed: now,
                }
            }
        };
        if let Some(cookie) = self.seal(&sealed) {
            exchange.response.headers.append(SET_COOKIE, cookie);
        }
    }
}

impl Session {
    fn enter(&self, exchange: &mut Exchange, sealed: Sealed) {
        let Some(consumer) = self.directory.consumer(&sealed.consumer) else {
            exchange.early.append(SET_COOKIE, self.expired());
            return;
        };
        let credential = Credential {
            id: sealed.credential.as_str().into(),
            consumer: Some(Arc::clone(consumer)),
            identifier: sealed
                .identifier
                .as_deref()
                .and_then(|text| HeaderValue::from_str(text).ok()),
            kind: CredentialKind::Ephemeral,
        };
        authenticate(exchange, Some(Arc::clone(consumer)), Some(Arc::new(credential)));
        exchange.notes.put(Current(sealed));
    }

    async fn look_into_body(&self, exchange: &mut Exchange, sealed: Sealed) -> Flow {
        let body = exchange.request.read_body().await.unwrap_or_default();
        if Args::parse(&String::from_utf8_lossy(&body)).has(&self.logout_post) {
            return Flow::respond(self.goodbye());
        }
        self.enter(exchange, sealed);
        Flow::Continue
    }

    fn goodbye(&self) -> Answer {
        Answer::empty(StatusCode::OK).with(SET_COOKIE, self.expired())
    }

    fn expired(&self) -> HeaderValue {
        let text = format!(
            "{}={}; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0",
            self.cookie, self.attributes
        );
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }

    fn seal(&self, sealed: &Sealed) -> Option<HeaderValue> {
        let mut nonce = [0; NONCE];
        self.services.random(&mut nonce);
        let mut data = serde_json::to_vec(sealed).ok()?;
        let aad = Aad::from(self.cookie.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut data)
            .ok()?;
        let value = URL_SAFE_NO_PAD.encode([&nonce[..], &data].concat());
        HeaderValue::from_str(&format!("{}={value}{}", self.cookie, self.attributes)).ok()
    }

    /// The session of the request's cookie, where it is ours and still good.
    fn open(&self, exchange: &Exchange) -> Option<Sealed> {
        let mut cookies = exchange
            .request
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(text)
            .flat_map(|line| line.split(';'));
        let value = cookies
            .find_map(|cookie| {
                cookie.trim().split_once('=').filter(|(name, _)| *name == self.cookie)
            })?
            .1;
        let mut data = URL_SAFE_NO_PAD.decode(value).ok()?;
        let nonce: [u8; NONCE] = data.get(..NONCE)?.try_into().ok()?;
        let mut sealed = data.split_off(NONCE);
        let aad = Aad::from(self.cookie.as_bytes());
        let plain =
            self.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let sealed: Sealed = serde_json::from_slice(plain).ok()?;
        let now = self.services.now().as_secs();
        let within = |since: u64, limit: u64| limit == 0 || now.saturating_sub(since) <= limit;
        let good = sealed.audience == self.audience
            && within(sealed.renewed, self.idling)
            && within(sealed.renewed, self.rolling)
            && within(sealed.created, self.absolute);
        good.then_some(sealed)
    }
}
