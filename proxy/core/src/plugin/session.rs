//! session: a cookie in place of credentials. The cookie holds everything, sealed with the configured secret.
//!
//! With `remember` a second cookie that lasts stands in where the first one is gone. Sessions that are to be kept in
//! Kong's database are never begun: there is none.

mod headers;

use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::args::Args;
use super::auth::authenticate;
use super::{
    Access, BuildError, Config, Consumer, Credential, CredentialKind, Directory, Flow, Plugin,
    Services,
};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const NONCE: usize = 12;

/// The secret of plugins whose configuration names none: it lasts as long as the process.
static UNSAID: OnceLock<[u8; 32]> = OnceLock::new();

struct Session {
    key: LessSafeKey,
    audience: String,
    /// The cookie of a visit.
    visit: Cookie,
    /// The cookie that lasts, where there is one.
    remember: Option<Cookie>,
    /// Everything behind a cookie's value.
    attributes: String,
    /// What upstreams and clients are told of a session.
    told: headers::Told,
    logout_methods: Vec<Method>,
    logout_query: String,
    logout_post: String,
    read_body: bool,
    /// Whether there is a place to keep sessions.
    has_storage: bool,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

/// A cookie's name and how many seconds it is good for; zero is for ever.
struct Cookie {
    name: String,
    idling: u64,
    rolling: u64,
    absolute: u64,
}

/// What the cookie holds.
#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    id: String,
    audience: String,
    subject: String,
    consumer: String,
    credential: String,
    identifier: Option<String>,
    created: u64,
    renewed: u64,
}

/// The session that the request came with, and whether by the cookie that lasts.
struct Current {
    sealed: Sealed,
    remembered: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let services = Arc::clone(&config.context.services);
    let secret = match config.text("secret").filter(|secret| !secret.is_empty()) {
        Some(secret) => Sha256::digest(secret).into(),
        None => *UNSAID.get_or_init(|| {
            let mut secret = [0; 32];
            services.random(&mut secret);
            secret
        }),
    };
    let unusable = || BuildError::Field { plugin: "session", field: "secret" };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| unusable())?);
    let seconds =
        |field: &str, default: f64| config.number(field).unwrap_or(default).max(0.0) as u64;
    let visit = Cookie {
        name: config.string("cookie_name"),
        idling: seconds("idling_timeout", 900.0),
        rolling: seconds("rolling_timeout", 3_600.0),
        absolute: seconds("absolute_timeout", 86_400.0),
    };
    let remember = config.flag("remember").then(|| Cookie {
        name: config.string("remember_cookie_name"),
        idling: 0,
        rolling: seconds("remember_rolling_timeout", 604_800.0),
        absolute: seconds("remember_absolute_timeout", 2_592_000.0),
    });
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
        visit,
        remember,
        attributes,
        told: headers::Told::of(config),
        logout_methods: methods
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
        logout_query: config.string("logout_query_arg"),
        logout_post: config.string("logout_post_arg"),
        read_body: config.flag("read_body_for_logout"),
        has_storage: config.text("storage") != Some("kong"),
        directory: Arc::clone(config.directory),
        services,
    }))
}

impl Plugin for Session {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let Some(current) = self.open(exchange) else { return Access::Continue };
        if self.logout_methods.contains(&exchange.request.method) {
            let query = exchange.request.query.as_deref().unwrap_or_default();
            if Args::parse(query).has(&self.logout_query) {
                return Access::respond(self.goodbye());
            }
            let form = exchange.request.headers.get(CONTENT_TYPE).and_then(text);
            if self.read_body
                && form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
            {
                return Access::Later(Box::pin(self.look_into_body(exchange, current)));
            }
        }
        self.enter(exchange, current);
        Access::Continue
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let identity = &exchange.identity;
        let (Some(consumer), Some(credential)) = (&identity.consumer, &identity.credential) else {
            return;
        };
        let now = self.services.now().as_secs();
        let kept = exchange.notes.get::<Current>().filter(|current| {
            *current.sealed.consumer == *consumer.id && *current.sealed.credential == *credential.id
        });
        let sealed = match kept {
            Some(current) => {
                let sealed = &current.sealed;
                self.told.answer(sealed, &self.visit, now, &mut exchange.response.headers);
                let due = (self.visit.idling / 3).min(self.visit.rolling / 4 * 3);
                if !current.remembered && now.saturating_sub(sealed.renewed) <= due {
                    return;
                }
                Sealed { renewed: now, ..sealed.clone() }
            }
            None if self.has_storage => self.begin(consumer, credential, now),
            None => return,
        };
        for cookie in std::iter::once(&self.visit).chain(&self.remember) {
            if let Some(cookie) = self.seal(cookie, &sealed) {
                exchange.response.headers.append(SET_COOKIE, cookie);
            }
        }
        self.told.answer(&sealed, &self.visit, now, &mut exchange.response.headers);
    }
}

impl Session {
    fn begin(&self, consumer: &Consumer, credential: &Credential, now: u64) -> Sealed {
        let mut id = [0; 32];
        self.services.random(&mut id);
        let name = consumer.username.as_deref().or(consumer.custom_id.as_deref());
        Sealed {
            id: URL_SAFE_NO_PAD.encode(id),
            audience: self.audience.clone(),
            subject: name.unwrap_or(&consumer.id).to_owned(),
            consumer: consumer.id.to_string(),
            credential: credential.id.to_string(),
            identifier: credential.identifier.as_ref().and_then(text).map(str::to_owned),
            created: now,
            renewed: now,
        }
    }

    fn enter(&self, exchange: &mut Exchange, current: Current) {
        let sealed = &current.sealed;
        let Some(consumer) = self.directory.consumer(&sealed.consumer) else {
            self.forget(&mut exchange.early);
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
        let now = self.services.now().as_secs();
        self.told.request(sealed, &self.visit, now, &mut exchange.request.headers);
        exchange.notes.put(current);
    }

    async fn look_into_body(&self, exchange: &mut Exchange, current: Current) -> Flow {
        let body = exchange.request.read_body().await.unwrap_or_default();
        if Args::parse(&String::from_utf8_lossy(&body)).has(&self.logout_post) {
            return Flow::respond(self.goodbye());
        }
        self.enter(exchange, current);
        Flow::Continue
    }

    fn goodbye(&self) -> Answer {
        let mut answer = Answer::empty(StatusCode::OK);
        self.forget(&mut answer.headers);
        answer
    }

    /// Has the client forget its cookies.
    fn forget(&self, headers: &mut HeaderMap) {
        for cookie in std::iter::once(&self.visit).chain(&self.remember) {
            let text = format!(
                "{}={}; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0",
                cookie.name, self.attributes
            );
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(SET_COOKIE, value);
            }
        }
    }

    fn seal(&self, cookie: &Cookie, sealed: &Sealed) -> Option<HeaderValue> {
        let mut nonce = [0; NONCE];
        self.services.random(&mut nonce);
        let mut data = serde_json::to_vec(sealed).ok()?;
        let aad = Aad::from(cookie.name.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut data)
            .ok()?;
        let value = URL_SAFE_NO_PAD.encode([&nonce[..], &data].concat());
        let mut text = format!("{}={value}{}", cookie.name, self.attributes);
        if !std::ptr::eq(cookie, &self.visit) && cookie.rolling > 0 {
            let end = i64::try_from(sealed.renewed + cookie.rolling).ok()?;
            let end = jiff::Timestamp::from_second(end).ok()?;
            let date = end.strftime("%a, %d %b %Y %H:%M:%S GMT");
            text.push_str(&format!("; Expires={date}; Max-Age={}", cookie.rolling));
        }
        HeaderValue::from_str(&text).ok()
    }

    /// The session of the request's cookies, where it is ours and still good.
    fn open(&self, exchange: &Exchange) -> Option<Current> {
        if !self.has_storage {
            return None;
        }
        let current = |remembered| move |sealed| Current { sealed, remembered };
        let visit = self.unseal(&self.visit, exchange).map(current(false));
        visit.or_else(|| self.unseal(self.remember.as_ref()?, exchange).map(current(true)))
    }

    fn unseal(&self, cookie: &Cookie, exchange: &Exchange) -> Option<Sealed> {
        let mut cookies = exchange
            .request
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(text)
            .flat_map(|line| line.split(';'));
        let value = cookies
            .find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == cookie.name))?
            .1;
        let mut data = URL_SAFE_NO_PAD.decode(value).ok()?;
        let nonce: [u8; NONCE] = data.get(..NONCE)?.try_into().ok()?;
        let mut sealed = data.split_off(NONCE);
        let aad = Aad::from(cookie.name.as_bytes());
        let plain =
            self.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let sealed: Sealed = serde_json::from_slice(plain).ok()?;
        let now = self.services.now().as_secs();
        let within = |since: u64, limit: u64| limit == 0 || now.saturating_sub(since) <= limit;
        let good = sealed.audience == self.audience
            && within(sealed.renewed, cookie.idling)
            && within(sealed.renewed, cookie.rolling)
            && within(sealed.created, cookie.absolute);
        good.then_some(sealed)
    }
}
