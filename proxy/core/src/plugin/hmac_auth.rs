//! hmac-auth: a signature over chosen headers, and a digest of the body, name the consumer.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::HeaderValue;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use regex::Regex;
use sha2::{Digest, Sha256};

use super::auth::{Strangers, authenticate, challenge, same, unauthorized};
use super::{
    Access, BuildError, Config, Credential, CredentialKind, Directory, Flow, Plugin, Services,
};
use crate::exchange::{Exchange, text};

const CANNOT_VERIFY: &str = "HMAC signature cannot be verified";
const NO_DATE: &str = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication";
const NO_MATCH: &str = "HMAC signature does not match";

/// The parts must come in this order; blanks after the commas do not matter.
static FIELDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"[Hh]mac\s*username="(.+)",\s*algorithm="(.+)",\s*headers="(.+)",\s*signature="(.+)""#,
    )
    .ok()
});

struct HmacAuth {
    hide: bool,
    skew: f64,
    algorithms: Vec<String>,
    enforced: Vec<String>,
    check_body: bool,
    challenge: HeaderValue,
    strangers: Strangers,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

struct Signature {
    username: String,
    algorithm: String,
    headers: Vec<String>,
    value: String,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(HmacAuth {
        hide: config.flag("hide_credentials"),
        skew: config.number("clock_skew").unwrap_or(300.0),
        algorithms: config.list("algorithms"),
        enforced: config.list("enforce_headers"),
        check_body: config.flag("validate_request_body"),
        challenge: challenge("hmac", config.text("realm")),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for HmacAuth {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if self.strangers.known(exchange) {
            return Access::Continue;
        }
        match self.verify(exchange) {
            Err(message) => self.refuse(exchange, message).into(),
            Ok(credential) if self.check_body => {
                Access::Later(Box::pin(self.verify_body(exchange, credential)))
            }
            Ok(credential) => {
                authenticate(exchange, credential.consumer.clone(), Some(credential));
                Access::Continue
            }
        }
    }
}

impl HmacAuth {
    fn refuse(&self, exchange: &mut Exchange, message: &str) -> Flow {
        self.strangers.refuse(exchange, |exchange| unauthorized(exchange, message, &self.challenge))
    }

    fn verify(&self, exchange: &mut Exchange) -> Result<Arc<Credential>, &'static str> {
        let headers = &exchange.request.headers;
        if !headers.contains_key(AUTHORIZATION) && !headers.contains_key(PROXY_AUTHORIZATION) {
            return Err("Unauthorized");
        }
        if !["x-date", "date"]
            .into_iter()
            .any(|header| self.is_recent(exchange.request.header(header)))
        {
            return Err(NO_DATE);
        }
        let found = [PROXY_AUTHORIZATION, AUTHORIZATION].into_iter().find_map(|header| {
            let value = exchange.request.headers.get(&header).and_then(text)?;
            parse(value).map(|signature| (header, signature))
        });
        let (header, signature) = found.ok_or(CANNOT_VERIFY)?;
        if self.hide {
            exchange.request.headers.remove(header);
        }
        let covers = |name: &String| signature.headers.contains(name);
        if !self.algorithms.contains(&signature.algorithm) || !self.enforced.iter().all(covers) {
            return Err(CANNOT_VERIFY);
        }
        let credential = self.directory.hmac(&signature.username).ok_or(CANNOT_VERIFY)?;
        let CredentialKind::Hmac { secret } = &credential.kind else { return Err(CANNOT_VERIFY) };
        let signed = sign(
            &signature.algorithm,
            secret.as_bytes(),
            signing_text(exchange, &signature).as_bytes(),
        );
        let given = STANDARD.decode(&signature.value).unwrap_or_default();
        match signed {
            Some(signed) if same(&signed, &given) => Ok(Arc::clone(credential)),
            Some(_) | None => Err(NO_MATCH),
        }
    }

    async fn verify_body(&self, exchange: &mut Exchange, credential: Arc<Credential>) -> Flow {
        let Some(given) = exchange.request.header("digest").map(str::to_owned) else {
            return self.refuse(exchange, NO_MATCH);
        };
        let body = exchange.request.read_body().await.unwrap_or_default();
        let digest = format!("SHA-256={}", STANDARD.encode(Sha256::digest(&body)));
        if !same(digest.as_bytes(), given.as_bytes()) {
            return self.refuse(exchange, NO_MATCH);
        }
        authenticate(exchange, credential.consumer.clone(), Some(credential));
        Flow::Continue
    }

    fn is_recent(&self, date: Option<&str>) -> bool {
        let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
            return false;
        };
        let now = self.services.now().as_secs_f64();
        (now - date.timestamp().as_second() as f64).abs() <= self.skew
    }
}

fn parse(value: &str) -> Option<Signature> {
    let found = FIELDS.as_ref()?.captures(value)?;
    let [username, algorithm, headers, value] = [1, 2, 3, 4].map(|group| found[group].to_owned());
    Some(Signature {
        username,
        algorithm,
        headers: headers.split(' ').map(str::to_owned).collect(),
        value,
    })
}

fn signing_text(exchange: &Exchange, signature: &Signature) -> String {
    let request = &exchange.request;
    let line = |name: &String| match (request.header(name), name.as_str()) {
        (Some(value), _) => format!("{name}: {value}"),
        (None, "@request-target") => {
            format!("{name}: {} {}", request.method.as_str().to_ascii_lowercase(), request.target)
        }
        (None, "request-line") => {
            format!("{} {} {}", request.method, request.target, version(request.version))
        }
        (None, _) => format!("{name}:"),
    };
    signature.headers.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

fn sign(algorithm: &str, secret: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    fn with<M: Mac + hmac::digest::KeyInit>(secret: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let mac = <M as Mac>::new_from_slice(secret).ok()?;
        Some(mac.chain_update(text).finalize().into_bytes().to_vec())
    }
    match algorithm {
        "hmac-sha1" => with::<Hmac<sha1::Sha1>>(secret, text),
        "hmac-sha256" => with::<Hmac<Sha256>>(secret, text),
        "hmac-sha384" => with::<Hmac<sha2::Sha384>>(secret, text),
        "hmac-sha512" => with::<Hmac<sha2::Sha512>>(secret, text),
        _ => None,
    }
}
