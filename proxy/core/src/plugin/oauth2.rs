//! oauth2: tokens of applications.
//!
//! Tokens that the configuration declares open services, as in Kong. The endpoints check a request to its end; issuing a
//! token needs a place to keep it, which a gateway without a database does not have, so that ends in 500, as in Kong.

mod endpoint;

use std::sync::Arc;

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;

use super::args::{Args, Found};
use super::auth::{Strangers, authenticate, challenge};
use super::{Access, BuildError, Config, Directory, Flow, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const SCOPE: HeaderName = HeaderName::from_static("x-authenticated-scope");
const USER: HeaderName = HeaderName::from_static("x-authenticated-userid");
const ACCESS_TOKEN: &str = "access_token";
const EXPIRED: &str = "The access token is invalid or has expired";

pub(super) struct OAuth2 {
    scopes: Vec<String>,
    mandatory_scope: bool,
    provision_key: String,
    pkce: String,
    authorization_code: bool,
    implicit: bool,
    client_credentials: bool,
    password: bool,
    hide: bool,
    global: bool,
    header: HeaderName,
    challenge: HeaderValue,
    strangers: Strangers,
    directory: Arc<Directory>,
    services: Arc<dyn Services>,
}

/// Why a token does not open the service.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    text: &'static str,
    /// What `WWW-Authenticate` says more.
    more: Option<(&'static str, &'static str)>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let header = config.text("auth_header_name").unwrap_or("authorization").parse();
    Ok(Box::new(OAuth2 {
        scopes: config.list("scopes"),
        mandatory_scope: config.flag("mandatory_scope"),
        provision_key: config.string("provision_key"),
        pkce: config.string("pkce"),
        authorization_code: config.flag("enable_authorization_code"),
        implicit: config.flag("enable_implicit_grant"),
        client_credentials: config.flag("enable_client_credentials"),
        password: config.flag("enable_password_grant"),
        hide: config.flag("hide_credentials"),
        global: config.flag("global_credentials"),
        header: header
            .map_err(|_| BuildError::Field { plugin: "oauth2", field: "auth_header_name" })?,
        challenge: challenge("Bearer", config.text("realm")),
        strangers: Strangers::of(config),
        directory: Arc::clone(config.directory),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for OAuth2 {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if self.strangers.known(exchange) {
            return Access::Continue;
        }
        if exchange.request.method == Method::POST {
            let path = exchange.request.path.trim_end_matches('/');
            if path.ends_with("/oauth2/token") {
                return Access::Later(Box::pin(endpoint::token(self, exchange)));
            }
            if path.ends_with("/oauth2/authorize") {
                return Access::Later(Box::pin(endpoint::authorize(self, exchange)));
            }
        }
        Access::Later(Box::pin(self.open(exchange)))
    }
}

impl OAuth2 {
    /// Lets through who has a token, or whom the configuration lets through without.
    async fn open(&self, exchange: &mut Exchange) -> Flow {
        let token = self.given(exchange).await;
        let Err(refusal) = self.verify(exchange, token) else { return Flow::Continue };
        let flow = self.strangers.refuse(exchange, |_| self.answer(&refusal));
        if matches!(flow, Flow::Continue) {
            exchange.request.headers.remove(SCOPE);
            exchange.request.headers.remove(USER);
        }
        flow
    }

    fn answer(&self, refusal: &Refusal) -> Answer {
        let mut challenge = String::from_utf8_lossy(self.challenge.as_bytes()).into_owned();
        if let Some((error, text)) = refusal.more {
            challenge.push_str(&format!(" error=\"{error}\" error_description=\"{text}\""));
        }
        let challenge =
            HeaderValue::from_str(&challenge).unwrap_or_else(|_| self.challenge.clone());
        let body = json!({ "error": refusal.error, "error_description": refusal.text });
        Answer::json(refusal.status, &body).with(WWW_AUTHENTICATE, challenge)
    }

    fn verify(&self, exchange: &mut Exchange, given: Option<String>) -> Result<(), Refusal> {
        let unauthorized =
            |error, text, more| Refusal { status: StatusCode::UNAUTHORIZED, error, text, more };
        let invalid = |text| unauthorized("invalid_token", text, Some(("invalid_token", EXPIRED)));
        let Some(given) = given else {
            return Err(self.missing(exchange));
        };
        let token = self.directory.token(&given).ok_or_else(|| invalid(EXPIRED))?;
        let service = exchange.matched.service.as_ref().map(|service| service.id.as_ref());
        if !self.global {
            match token.service.as_deref() {
                None => {
                    return Err(invalid(
                        "The access token is global, but the current plugin is configured without 'global_credentials'",
                    ));
                }
                Some(own) if Some(own) != service => return Err(invalid(EXPIRED)),
                Some(_) => {}
            }
        }
        let now = self.services.now().as_secs();
        if token.expires_in > 0 && token.created_at.saturating_add(token.expires_in) < now {
            return Err(invalid(EXPIRED));
        }
        let credential = token.credential.as_ref().ok_or_else(|| invalid(EXPIRED))?;
        authenticate(exchange, credential.consumer.clone(), Some(Arc::clone(credential)));
        for (name, value) in [(SCOPE, &token.scope), (USER, &token.user)] {
            match value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                Some(value) => {
                    exchange.request.headers.insert(name, value);
                }
                None => {
                    exchange.request.headers.remove(name);
                }
            }
        }
        Ok(())
    }

    fn missing(&self, exchange: &Exchange) -> Refusal {
        let path = exchange.request.path.trim_end_matches('/');
        let wrong_method = |text| Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            error: "invalid_method",
            text,
            more: Some(("invalid_method", text)),
        };
        match (exchange.request.method.as_str(), path) {
            ("GET", path) if path.ends_with("/oauth2/token") => {
                wrong_method("The HTTP method GET is invalid for the token endpoint")
            }
            ("GET", path) if path.ends_with("/oauth2/authorize") => {
                wrong_method("The HTTP method GET is invalid for the authorization endpoint")
            }
            _ => Refusal {
                status: StatusCode::UNAUTHORIZED,
                error: "invalid_request",
                text: "The access token is missing",
                more: None,
            },
        }
    }

    /// The token of the header, after `bearer` or `token` in any case or alone, or else of the query or the body.
    async fn given(&self, exchange: &mut Exchange) -> Option<String> {
        let header = exchange.request.headers.get(&self.header).and_then(text).map(str::to_owned);
        let (token, in_header) = match header {
            Some(value) => {
                let words: Vec<&str> = value.split_whitespace().collect();
                match words[..] {
                    [scheme, token]
                        if ["bearer", "token"]
                            .iter()
                            .any(|known| scheme.eq_ignore_ascii_case(known)) =>
                    {
                        (token.to_owned(), true)
                    }
                    _ => (value, false),
                }
            }
            None => match endpoint::arguments(exchange).await.find(ACCESS_TOKEN) {
                Found::One(token) => (token.to_owned(), false),
                Found::Nothing | Found::Bare | Found::Many => return None,
            },
        };
        if self.hide && in_header {
            exchange.request.headers.remove(&self.header);
        } else if self.hide {
            hide(exchange).await;
        }
        (!token.is_empty()).then_some(token)
    }
}

/// Takes the token out of the query, and out of a form.
async fn hide(exchange: &mut Exchange) {
    let mut query = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
    query.remove(ACCESS_TOKEN);
    exchange.request.query = Some(query.encode()).filter(|query| !query.is_empty());
    let kind = exchange.request.headers.get(CONTENT_TYPE).and_then(text).unwrap_or_default();
    if exchange.request.method != Method::GET && kind.contains("application/x-www-form-urlencoded")
    {
        let body = exchange.request.read_body().await.unwrap_or_default();
        let mut form = Args::parse(&String::from_utf8_lossy(&body));
        form.remove(ACCESS_TOKEN);
        exchange.request.set_body(form.encode().into());
    }
}
