//! ldap-auth: a name and a password that a directory knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use super::auth::{Strangers, authenticate, challenge, unauthorized};
use super::{
    Access, BuildError, Config, Credential, CredentialKind, Directory, Flow, Ldap, Plugin, Services,
};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

/// Answers of the directory that are remembered at once.
const MAX_KNOWN: usize = 10_000;

struct LdapAuth {
    server: Ldap,
    base: String,
    attribute: String,
    scheme: String,
    hide: bool,
    ttl: Duration,
    /// What the directory said of a name and a password, and until when that counts.
    known: Mutex<HashMap<[u8; 32], (Duration, bool)>>,
    challenge: HeaderValue,
    strangers: Strangers,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let scheme = config.text("header_type").unwrap_or("ldap").to_owned();
    let shown = if scheme == "ldap" { "LDAP" } else { &scheme };
    Ok(Box::new(LdapAuth {
        server: Ldap {
            host: config.string("ldap_host"),
            port: config.number("ldap_port").unwrap_or(389.0) as u16,
            ldaps: config.flag("ldaps"),
            start_tls: config.flag("start_tls"),
            verify: config.flag("verify_ldap_host"),
            timeout: Duration::from_secs_f64(
                config.number("timeout").unwrap_or(10_000.0).max(1.0) / 1_000.0,
            ),
        },
        base: config.string("base_dn"),
        attribute: config.string("attribute"),
        challenge: challenge(shown, config.text("realm")),
        scheme,
        hide: config.flag("hide_credentials"),
        ttl: Duration::from_secs_f64(config.number("cache_ttl").unwrap_or(60.0).max(0.0)),
        known: Mutex::default(),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for LdapAuth {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if self.strangers.known(exchange) {
            return Access::Continue;
        }
        let given = [PROXY_AUTHORIZATION, AUTHORIZATION]
            .into_iter()
            .find_map(|header| self.given(exchange, &header));
        match given {
            None => self.refuse(exchange).into(),
            Some((user, password)) => Access::Later(Box::pin(self.ask(exchange, user, password))),
        }
    }
}

impl LdapAuth {
    fn refuse(&self, exchange: &mut Exchange) -> Flow {
        self.strangers
            .refuse(exchange, |exchange| unauthorized(exchange, "Unauthorized", &self.challenge))
    }

    fn given(&self, exchange: &mut Exchange, header: &HeaderName) -> Option<(String, String)> {
        let value = exchange.request.headers.get(header).and_then(text)?.trim();
        let (scheme, rest) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case(&self.scheme) {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (user, password) =
            decoded.split_once(':').filter(|(user, word)| !user.is_empty() && !word.is_empty())?;
        let given = (user.to_owned(), password.to_owned());
        if self.hide {
            exchange.request.headers.remove(header);
        }
        Some(given)
    }

    async fn ask(&self, exchange: &mut Exchange, user: String, password: String) -> Flow {
        let key: [u8; 32] = Sha256::new()
            .chain_update(&user)
            .chain_update([0])
            .chain_update(&password)
            .finalize()
            .into();
        let good = match self.remembered(&key) {
            Some(good) => good,
            None => {
                let dn = format!("{}={},{}", self.attribute, escaped(&user), self.base);
                match self.services.ldap_bind(&self.server, &dn, &password).await {
                    Ok(good) => {
                        self.remember(key, good);
                        good
                    }
                    Err(_) => {
                        return Flow::respond(Answer::status_error(
                            exchange,
                            StatusCode::INTERNAL_SERVER_ERROR,
                        ));
                    }
                }
            }
        };
        if !good {
            return self.refuse(exchange);
        }
        let consumer = self.directory.known_as(&user).cloned();
        let credential = Credential {
            id: user.as_str().into(),
            consumer: consumer.clone(),
            identifier: HeaderValue::from_str(&user).ok(),
            kind: CredentialKind::Ephemeral,
        };
        authenticate(exchange, consumer, Some(Arc::new(credential)));
        Flow::Continue
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<bool> {
        let now = self.services.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| *until > now).map(|(_, good)| *good)
    }

    fn remember(&self, key: [u8; 32], good: bool) {
        let now = self.services.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() < MAX_KNOWN {
            known.insert(key, (now + self.ttl, good));
        }
    }
}

/// A value inside a distinguished name (RFC 4514): what has a meaning there is escaped.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            '\0' => {
                text.push_str("\\00");
                continue;
            }
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.push('\\'),
            ' ' if at == 0 || at == last => text.push('\\'),
            '#' if at == 0 => text.push('\\'),
            _ => {}
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place_in_the_dn() {
        assert_eq!(escaped("a,dc=evil"), "a\\,dc\\=evil");
        assert_eq!(escaped(" #x "), "\\ #x\\ ");
    }
}
