//! basic-auth: a username and a password name the consumer.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderName, PROXY_AUTHORIZATION};
use sha1::{Digest, Sha1};

use super::auth::{Strangers, authenticate, challenge, same, unauthorized};
use super::{Access, BuildError, Config, Credential, CredentialKind, Directory, Plugin};
use crate::exchange::{Exchange, text};

/// Clients leave the padding out now and then.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

struct BasicAuth {
    hide: bool,
    challenge: HeaderValue,
    strangers: Strangers,
    directory: Arc<Directory>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(BasicAuth {
        hide: config.flag("hide_credentials"),
        challenge: challenge("Basic", config.text("realm")),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
    }))
}

impl Plugin for BasicAuth {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if self.strangers.known(exchange) {
            return Access::Continue;
        }
        // Proxy-Authorization decides as soon as it holds a name and a password, right or wrong.
        let given = [PROXY_AUTHORIZATION, AUTHORIZATION]
            .into_iter()
            .find_map(|header| self.given(exchange, &header));
        let found = given.and_then(|(username, password)| self.check(&username, &password));
        match found {
            Some(credential) => {
                authenticate(exchange, credential.consumer.clone(), Some(credential));
                Access::Continue
            }
            None => self
                .strangers
                .refuse(exchange, |exchange| {
                    unauthorized(exchange, "Unauthorized", &self.challenge)
                })
                .into(),
        }
    }
}

impl BasicAuth {
    fn given(&self, exchange: &mut Exchange, header: &HeaderName) -> Option<(String, String)> {
        let value = exchange.request.headers.get(header).and_then(text)?;
        let parsed = parse(value);
        if self.hide && parsed.is_some() {
            exchange.request.headers.remove(header);
        }
        parsed
    }

    fn check(&self, username: &str, password: &str) -> Option<Arc<Credential>> {
        let credential = self.directory.basic(username)?;
        let CredentialKind::Basic { hash } = &credential.kind else { return None };
        let salt = credential.consumer.as_ref().map_or("", |consumer| &consumer.id);
        let digest = Sha1::new().chain_update(password).chain_update(salt).finalize();
        same(hex::encode(digest).as_bytes(), hash.as_bytes()).then(|| Arc::clone(credential))
    }
}

/// `Basic` or `basic`, then the first base64 word; both parts must be there.
fn parse(value: &str) -> Option<(String, String)> {
    let rest = value
        .trim_start()
        .strip_prefix("Basic")
        .or_else(|| value.trim_start().strip_prefix("basic"))?
        .trim_start();
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
        .unwrap_or(rest.len());
    let decoded = LENIENT.decode(rest.get(..end)?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    (!username.is_empty() && !password.is_empty())
        .then(|| (username.to_owned(), password.to_owned()))
}
