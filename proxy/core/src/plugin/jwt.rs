//! jwt: a signed token names the consumer through its issuer.

use std::sync::Arc;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, Mac};
use http::header::{COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};

use super::args::Args;
use super::auth::{Strangers, authenticate, challenge};
use super::{Access, BuildError, Config, Credential, CredentialKind, Directory, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

struct Jwt {
    params: Vec<String>,
    cookies: Vec<String>,
    headers: Vec<String>,
    claim: String,
    base64_secret: bool,
    verify_exp: bool,
    verify_nbf: bool,
    maximum_expiration: f64,
    on_preflight: bool,
    realm: Option<String>,
    strangers: Strangers,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

/// Why a token is not accepted.
enum Refusal {
    /// Nothing was shown.
    NoToken,
    /// This is wrong with it.
    Invalid(String),
    /// These claims are wrong.
    Claims(Map<String, Value>),
    /// Kong breaks down on it.
    Broken,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let claims = config.list("claims_to_verify");
    Ok(Box::new(Jwt {
        params: config.list("uri_param_names"),
        cookies: config.list("cookie_names"),
        headers: config.list("header_names"),
        claim: config.string("key_claim_name"),
        base64_secret: config.flag("secret_is_base64"),
        verify_exp: claims.iter().any(|claim| claim == "exp"),
        verify_nbf: claims.iter().any(|claim| claim == "nbf"),
        maximum_expiration: config.number("maximum_expiration").unwrap_or(0.0),
        on_preflight: config.flag("run_on_preflight"),
        realm: config.text("realm").map(str::to_owned),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for Jwt {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if (!self.on_preflight && exchange.request.method == Method::OPTIONS)
            || self.strangers.known(exchange)
        {
            return Access::Continue;
        }
        match self.verify(exchange) {
            Ok(credential) => {
                authenticate(exchange, credential.consumer.clone(), Some(credential));
                Access::Continue
            }
            Err(Refusal::Broken) => {
                Access::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
            }
            Err(refusal) => self.strangers.refuse(exchange, |_| self.answer(refusal)).into(),
        }
    }
}

impl Jwt {
    fn answer(&self, refusal: Refusal) -> Answer {
        let plain = challenge("Bearer", self.realm.as_deref());
        let with_error = || {
            let text =
                format!("{} error=\"invalid_token\"", String::from_utf8_lossy(plain.as_bytes()));
            HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| plain.clone())
        };
        match refusal {
            Refusal::NoToken | Refusal::Broken => {
                Answer::message(StatusCode::UNAUTHORIZED, "Unauthorized")
                    .with(WWW_AUTHENTICATE, plain)
            }
            Refusal::Invalid(message) => Answer::message(StatusCode::UNAUTHORIZED, &message)
                .with(WWW_AUTHENTICATE, with_error()),
            Refusal::Claims(claims) => {
                Answer::json(StatusCode::UNAUTHORIZED, &Value::Object(claims))
                    .with(WWW_AUTHENTICATE, with_error())
            }
        }
    }

    fn verify(&self, exchange: &Exchange) -> Result<Arc<Credential>, Refusal> {
        let invalid = |message: &str| Refusal::Invalid(message.to_owned());
        let token = self.token(exchange)?;
        let decoded = Token::decode(&token)
            .map_err(|reason| Refusal::Invalid(format!("Bad token; {reason}")))?;
        let claim = match &decoded.claims {
            Value::Object(claims) => claims.get(&self.claim),
            Value::Array(_) | Value::String(_) => None,
            Value::Null | Value::Bool(_) | Value::Number(_) => return Err(Refusal::Broken),
        };
        let key = match claim.or_else(|| decoded.header.get(&self.claim)) {
            None | Some(Value::Bool(false)) => {
                return Err(Refusal::Invalid(format!("No mandatory '{}' in claims", self.claim)));
            }
            Some(Value::String(key)) if key.is_empty() => {
                return Err(Refusal::Invalid(format!("Invalid '{}' in claims", self.claim)));
            }
            Some(Value::String(key)) => key,
            Some(_) => return Err(Refusal::Broken),
        };
        let credential = self.directory.jwt(key).ok_or_else(|| {
            Refusal::Invalid(format!("No credentials found for given '{}'", self.claim))
        })?;
        let CredentialKind::Jwt { algorithm, secret, public_key } = &credential.kind else {
            return Err(Refusal::Broken);
        };
        if **algorithm != *decoded.algorithm {
            return Err(invalid("Invalid algorithm"));
        }
        let genuine = if algorithm.starts_with("HS") {
            let secret = if self.base64_secret {
                decode_secret(secret)
            } else {
                Some(secret.as_bytes().to_vec())
            };
            secret.is_some_and(|secret| decoded.is_signed_with(&secret))
        } else {
            decoded.is_signed_by(public_key)
        };
        if !genuine {
            return Err(invalid("Invalid signature"));
        }
        self.verify_claims(&decoded.claims)?;
        Ok(Arc::clone(credential))
    }

    fn verify_claims(&self, claims: &Value) -> Result<(), Refusal> {
        let now = self.services.now().as_secs_f64();
        let mut errors = Map::new();
        let mut check = |claim: &str, holds: &dyn Fn(f64) -> bool, message: &str| {
            let error = match claims.get(claim).and_then(Value::as_f64) {
                None => "must be a number",
                Some(number) if holds(number) => return,
                Some(_) => message,
            };
            errors.insert(claim.to_owned(), error.into());
        };
        if self.verify_exp {
            check("exp", &|exp| exp > now, "token expired");
        }
        if self.verify_nbf {
            check("nbf", &|nbf| nbf <= now, "token not valid yet");
        }
        if errors.is_empty() && self.maximum_expiration > 0.0 {
            let limit = now.floor() + self.maximum_expiration;
            if claims.get("exp").and_then(Value::as_f64).is_none_or(|exp| exp > limit) {
                errors.insert("exp".to_owned(), "exceeds maximum allowed expiration".into());
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Refusal::Claims(errors)) }
    }

    /// The one token of query, cookies and headers.
    fn token(&self, exchange: &Exchange) -> Result<String, Refusal> {
        let mut tokens: Vec<String> = Vec::new();
        let mut add = |token: &str| {
            if !tokens.iter().any(|known| known == token) {
                tokens.push(token.to_owned());
            }
        };
        if let Some(query) = &exchange.request.query {
            let args = Args::parse(query);
            for (name, value) in args.0.iter().filter(|(name, _)| self.params.contains(name)) {
                match value.as_deref() {
                    Some("") => {}
                    Some(token) => add(token),
                    None if args.has(name) => {
                        return Err(Refusal::Invalid("Unrecognizable token".into()));
                    }
                    None => {}
                }
            }
        }
        for cookies in exchange.request.headers.get_all(COOKIE).iter().filter_map(text) {
            for (name, value) in
                cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='))
            {
                if !value.is_empty() && self.cookies.iter().any(|known| known == name) {
                    add(value);
                }
            }
        }
        for header in &self.headers {
            let value = exchange.request.headers.get(header.as_str()).and_then(text);
            if let Some(token) = value.and_then(bearer) {
                add(token);
            }
        }
        match tokens.len() {
            0 => Err(Refusal::NoToken),
            1 => tokens.pop().ok_or(Refusal::NoToken),
            _ => Err(Refusal::Invalid("Multiple tokens provided".into())),
        }
    }
}

/// The word after `Bearer` or `bearer`.
fn bearer(value: &str) -> Option<&str> {
    let value = value.trim_start();
    let rest = value.strip_prefix("Bearer").or_else(|| value.strip_prefix("bearer"))?;
    let token = rest.trim_start();
    (token.len() < rest.len() && !token.is_empty()).then_some(token)
}

fn decode_secret(secret: &str) -> Option<Vec<u8>> {
    let url_alphabet = secret.replace('+', "-").replace('/', "_");
    LENIENT.decode(url_alphabet).ok()
}

/// A token taken apart, not yet believed.
struct Token {
    header: Value,
    claims: Value,
    algorithm: String,
    signature: Vec<u8>,
    signed: String,
}

impl Token {
    fn decode(token: &str) -> Result<Self, &'static str> {
        let mut words = token.splitn(3, '.');
        let (header_word, claims_word, signature_word) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
        let json = |word: &str| -> Option<Value> {
            serde_json::from_slice(&LENIENT.decode(word).ok()?).ok()
        };
        let (Some(header), Some(claims), Some(signature_word)) =
            (json(header_word), json(claims_word), signature_word)
        else {
            return Err("invalid JSON");
        };
        let signature = LENIENT.decode(signature_word).map_err(|_| "invalid signature")?;
        if header
            .get("typ")
            .is_some_and(|kind| !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("jwt")))
        {
            return Err("invalid typ");
        }
        let algorithm =
            header.get("alg").and_then(Value::as_str).filter(|name| ALGORITHMS.contains(name));
        let algorithm = algorithm.ok_or("invalid alg")?.to_owned();
        let signed = format!("{header_word}.{claims_word}");
        Ok(Self { header, claims, algorithm, signature, signed })
    }

    fn is_signed_with(&self, secret: &[u8]) -> bool {
        fn check<M: Mac + hmac::digest::KeyInit>(secret: &[u8], token: &Token) -> bool {
            <M as Mac>::new_from_slice(secret).is_ok_and(|mac| {
                mac.chain_update(&token.signed).verify_slice(&token.signature).is_ok()
            })
        }
        match self.algorithm.as_str() {
            "HS256" => check::<Hmac<sha2::Sha256>>(secret, self),
            "HS384" => check::<Hmac<sha2::Sha384>>(secret, self),
            "HS512" => check::<Hmac<sha2::Sha512>>(secret, self),
            _ => false,
        }
    }

    fn is_signed_by(&self, public_key: &str) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.algorithm.as_str() {
            "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
            "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
            "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
            "ES256" => &signature::ECDSA_P256_SHA256_FIXED,
            "ES384" => &signature::ECDSA_P384_SHA384_FIXED,
            "ES512" => &signature::ECDSA_P521_SHA512_FIXED,
            "EdDSA" => &signature::ED25519,
            _ => return false,
        };
        let body: String =
            public_key.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        STANDARD.decode(body).is_ok_and(|key| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
        })
    }
}
