//! What upstreams and clients are told of a session: `Session-Id`, `Session-Subject`, how long it will still last.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::{Cookie, Sealed};
use crate::plugin::Config;

/// The properties that are told, by Kong's names.
pub(super) struct Told {
    request: Vec<String>,
    answer: Vec<String>,
    hash_subject: bool,
}

impl Told {
    pub(super) fn of(config: &Config<'_>) -> Self {
        Self {
            request: config.list("request_headers"),
            answer: config.list("response_headers"),
            hash_subject: config.flag("hash_subject"),
        }
    }

    /// Tells the upstream.
    pub(super) fn request(&self, sealed: &Sealed, cookie: &Cookie, now: u64, to: &mut HeaderMap) {
        self.write(&self.request, (sealed, cookie, now), to);
    }

    /// Tells the client.
    pub(super) fn answer(&self, sealed: &Sealed, cookie: &Cookie, now: u64, to: &mut HeaderMap) {
        self.write(&self.answer, (sealed, cookie, now), to);
    }

    fn write(&self, names: &[String], of: (&Sealed, &Cookie, u64), to: &mut HeaderMap) {
        for name in names {
            let header = format!("session-{name}").parse::<HeaderName>();
            let value = self.property(name, of).map(|text| HeaderValue::from_str(&text));
            if let (Ok(header), Some(Ok(value))) = (header, value) {
                to.insert(header, value);
            }
        }
    }

    fn property(
        &self,
        name: &str,
        (sealed, cookie, now): (&Sealed, &Cookie, u64),
    ) -> Option<String> {
        let left =
            |since: u64, limit: u64| (limit > 0).then(|| (since + limit).saturating_sub(now));
        let idling = left(sealed.renewed, cookie.idling);
        let rolling = left(sealed.renewed, cookie.rolling);
        let absolute = left(sealed.created, cookie.absolute);
        let seconds = match name {
            "id" => return Some(sealed.id.clone()),
            "audience" => return Some(sealed.audience.clone()),
            "subject" if self.hash_subject => {
                return Some(URL_SAFE_NO_PAD.encode(Sha256::digest(&sealed.subject)));
            }
            "subject" => return Some(sealed.subject.clone()),
            "idling-timeout" => idling,
            "rolling-timeout" => rolling,
            "absolute-timeout" => absolute,
            "timeout" => [idling, rolling, absolute].into_iter().flatten().min(),
            _ => None,
        };
        seconds.map(|seconds| seconds.to_string())
    }
}
