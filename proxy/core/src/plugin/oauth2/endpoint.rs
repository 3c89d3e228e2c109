//! `/oauth2/token` and `/oauth2/authorize`: what is checked, in which order, and how it is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::OAuth2;
use crate::answer::Answer;
use crate::exchange::{Exchange, text};
use crate::plugin::args::Args;
use crate::plugin::auth::same;
use crate::plugin::{Credential, CredentialKind, Flow};

/// What a URI component may hold as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why a request is refused: an error code and its words.
type Refusal = (&'static str, String);

/// Asks for a token.
pub(super) async fn token(plugin: &OAuth2, exchange: &mut Exchange) -> Flow {
    let args = arguments(exchange).await;
    let secure = secure(exchange);
    match secure.and_then(|()| check_token(plugin, exchange, &args)) {
        Err(refusal) => Flow::respond(refuse(&refusal, None)),
        // Nothing can be kept without a database.
        Ok(()) => Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// Asks for a code, or for a token at once.
pub(super) async fn authorize(plugin: &OAuth2, exchange: &mut Exchange) -> Flow {
    let args = arguments(exchange).await;
    let checked = secure(exchange)
        .map_err(|refusal| (refusal, None))
        .and_then(|()| check_authorize(plugin, &args));
    match checked {
        Err((refusal, redirect)) => Flow::respond(refuse(&refusal, redirect.as_deref())),
        Ok(()) => Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// The fields of query and body.
async fn arguments(exchange: &mut Exchange) -> Args {
    let mut args = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
    let kind =
        exchange.request.headers.get(CONTENT_TYPE).and_then(text).unwrap_or_default().to_owned();
    let body = exchange.request.read_body().await.unwrap_or_default();
    if kind.starts_with("application/json") {
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&body) {
            let fields = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, Some(value.as_str()?.to_owned()))));
            args.0.extend(fields);
        }
    } else {
        args.0.extend(Args::parse(&String::from_utf8_lossy(&body)).0);
    }
    args
}

fn argument<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.0.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref())
}

fn secure(exchange: &Exchange) -> Result<(), Refusal> {
    if exchange.request.scheme == "https" {
        Ok(())
    } else {
        Err(("access_denied", "You must use HTTPS".into()))
    }
}

fn check_token(plugin: &OAuth2, exchange: &Exchange, args: &Args) -> Result<(), Refusal> {
    let grant = argument(args, "grant_type").unwrap_or_default();
    let enabled = match grant {
        "authorization_code" => plugin.authorization_code,
        "client_credentials" => plugin.client_credentials,
        "password" => plugin.password,
        "refresh_token" => true,
        _ => false,
    };
    if !enabled {
        return Err(("unsupported_grant_type", "Invalid grant_type".into()));
    }
    let basic = exchange.request.headers.get(AUTHORIZATION).and_then(text).and_then(|value| {
        let decoded = STANDARD.decode(value.split_once(' ')?.1.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        decoded.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
    });
    let owned = |name: &str| argument(args, name).unwrap_or_default().to_owned();
    let (id, secret) = basic.unwrap_or_else(|| (owned("client_id"), owned("client_secret")));
    let unknown = || ("invalid_client", "Invalid client authentication".to_owned());
    let client = plugin.directory.oauth2(&id).ok_or_else(unknown)?;
    let expected = setting(client, "client_secret").unwrap_or_default();
    if !same(expected.as_bytes(), secret.as_bytes()) {
        return Err(unknown());
    }
    match grant {
        "authorization_code" => Err(("invalid_request", "Invalid code".into())),
        "refresh_token" => Err(("invalid_request", "Invalid refresh_token".into())),
        "password" => {
            check_provision(plugin, args)?;
            check_scope(plugin, args)
        }
        _ => check_scope(plugin, args),
    }
}

fn check_provision(plugin: &OAuth2, args: &Args) -> Result<(), Refusal> {
    if argument(args, "provision_key") != Some(&plugin.provision_key) {
        return Err(("invalid_provision_key", "Invalid provision_key".into()));
    }
    if argument(args, "authenticated_userid").is_none_or(str::is_empty) {
        return Err((
            "invalid_authenticated_userid",
            "Missing authenticated_userid parameter".into(),
        ));
    }
    Ok(())
}

fn check_scope(plugin: &OAuth2, args: &Args) -> Result<(), Refusal> {
    let asked = argument(args, "scope").unwrap_or_default();
    if asked.is_empty() {
        return if plugin.mandatory_scope {
            Err(("invalid_scope", "You must specify a scope".into()))
        } else {
            Ok(())
        };
    }
    match asked.split_whitespace().find(|scope| !plugin.scopes.iter().any(|known| known == scope)) {
        Some(scope) => Err(("invalid_scope", format!("\"{scope}\" is an invalid scope"))),
        None => Ok(()),
    }
}

/// Once the client is known, a refusal is told to where it wants its answers.
fn check_authorize(plugin: &OAuth2, args: &Args) -> Result<(), (Refusal, Option<String>)> {
    check_provision(plugin, args).map_err(|refusal| (refusal, None))?;
    let client = argument(args, "client_id").and_then(|id| plugin.directory.oauth2(id));
    let Some(client) = client else {
        return Err((("invalid_client", "Invalid client authentication".into()), None));
    };
    let uris = redirect_uris(client);
    let own = uris.first().cloned();
    let told = |refusal: Refusal| (refusal, own.clone());
    let enabled = match argument(args, "response_type") {
        Some("code") => plugin.authorization_code,
        Some("token") => plugin.implicit,
        Some(_) | None => false,
    };
    if !enabled {
        return Err(told(("unsupported_response_type", "Invalid response_type".into())));
    }
    check_scope(plugin, args).map_err(told)?;
    if argument(args, "redirect_uri").is_some_and(|asked| !uris.iter().any(|uri| uri == asked)) {
        let text = "Invalid redirect_uri that does not match with any redirect_uri created with the application";
        return Err(told(("invalid_request", text.into())));
    }
    Ok(())
}

fn setting<'a>(client: &'a Credential, name: &str) -> Option<&'a str> {
    match &client.kind {
        CredentialKind::OAuth2(entity) => entity.get(name)?.as_str(),
        CredentialKind::Key
        | CredentialKind::Basic { .. }
        | CredentialKind::Hmac { .. }
        | CredentialKind::Jwt { .. }
        | CredentialKind::Ephemeral => None,
    }
}

fn redirect_uris(client: &Credential) -> Vec<String> {
    match &client.kind {
        CredentialKind::OAuth2(entity) => crate::plugin::texts(entity.get("redirect_uris")),
        CredentialKind::Key
        | CredentialKind::Basic { .. }
        | CredentialKind::Hmac { .. }
        | CredentialKind::Jwt { .. }
        | CredentialKind::Ephemeral => Vec::new(),
    }
}

fn refuse((error, words): &Refusal, redirect: Option<&str>) -> Answer {
    let body = match redirect {
        Some(uri) => {
            let join = if uri.contains('?') { '&' } else { '?' };
            let words = utf8_percent_encode(words, ESCAPED);
            json!({ "redirect_uri": format!("{uri}{join}error={error}&error_description={words}") })
        }
        None => json!({ "error": error, "error_description": words }),
    };
    Answer::json(StatusCode::BAD_REQUEST, &body)
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(PRAGMA, HeaderValue::from_static("no-cache"))
}
