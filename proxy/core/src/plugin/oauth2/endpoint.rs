//! `/oauth2/token` and `/oauth2/authorize`: what is checked, in which order, and how it is refused.
//!
//! Kong looks at everything and answers with the last thing that it found wrong, so the order of the checks matters.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::OAuth2;
use crate::answer::Answer;
use crate::exchange::{Exchange, text};
use crate::plugin::args::Args;
use crate::plugin::auth::same;
use crate::plugin::{Credential, CredentialKind, Flow};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    error: &'static str,
    words: String,
    /// The client named itself in a header, and is told so.
    challenged: bool,
}

/// A refusal, and where it is told to.
type Told = (Refusal, Option<String>);

impl Refusal {
    fn new(error: &'static str, words: impl Into<String>) -> Self {
        Self { error, words: words.into(), challenged: false }
    }

    fn client(challenged: bool) -> Self {
        Self { challenged, ..Self::new("invalid_client", "Invalid client authentication") }
    }
}

/// Who asks for a token, by its own word.
struct Claim {
    id: Option<String>,
    secret: Option<String>,
    from_header: bool,
}

/// Asks for a token.
pub(super) async fn token(plugin: &OAuth2, exchange: &mut Exchange) -> Flow {
    let args = arguments(exchange).await;
    let secure = secure(exchange);
    Flow::respond(match secure.and_then(|()| check_token(plugin, exchange, &args)) {
        Err(refusal) => refuse(&refusal, None, &args),
        // Nothing can be kept without a database.
        Ok(()) => Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR),
    })
}

/// Asks for a code, or for a token at once.
pub(super) async fn authorize(plugin: &OAuth2, exchange: &mut Exchange) -> Flow {
    let args = arguments(exchange).await;
    let checked = secure(exchange)
        .map_err(|refusal| (refusal, None))
        .and_then(|()| check_authorize(plugin, &args));
    Flow::respond(match checked {
        Err((refusal, redirect)) => refuse(&refusal, redirect.as_deref(), &args),
        Ok(()) => Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR),
    })
}

/// The fields of body and query; those of the body win.
pub(super) async fn arguments(exchange: &mut Exchange) -> Args {
    let kind = exchange.request.headers.get(CONTENT_TYPE).and_then(text);
    let kind = kind.unwrap_or_default().to_owned();
    let mut args = Args::default();
    if ["POST", "PUT", "PATCH"].contains(&exchange.request.method.as_str()) {
        let body = exchange.request.read_body().await.unwrap_or_default();
        if kind.starts_with("application/json") {
            if let Ok(Value::Object(fields)) = serde_json::from_slice(&body) {
                let fields = fields
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, Some(value.as_str()?.to_owned()))));
                args.0.extend(fields);
            }
        } else {
            args = Args::parse(&String::from_utf8_lossy(&body));
        }
    }
    let mut query = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
    query.0.retain(|(name, _)| !args.has(name));
    args.0.extend(query.0);
    args
}

fn argument<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.0.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_deref())
}

fn secure(exchange: &Exchange) -> Result<(), Refusal> {
    if exchange.request.scheme == "https" {
        Ok(())
    } else {
        Err(Refusal::new("access_denied", "You must use HTTPS"))
    }
}

fn check_token(plugin: &OAuth2, exchange: &Exchange, args: &Args) -> Result<(), Refusal> {
    let grant = argument(args, "grant_type").unwrap_or_default();
    let enabled = match grant {
        "client_credentials" => plugin.client_credentials,
        "password" => plugin.password,
        "authorization_code" | "refresh_token" => true,
        _ => false,
    };
    let mut wrong =
        (!enabled).then(|| Refusal::new("unsupported_grant_type", "Invalid grant_type"));
    let claim = claim(plugin, exchange, args);
    let client = claim.id.as_deref().and_then(|id| plugin.directory.oauth2(id));
    if grant != "client_credentials" {
        wrong = match client.and_then(redirect_uris) {
            None => Some(Refusal::client(claim.from_header)),
            Some(uris) => check_redirect(&uris, args).err().or(wrong),
        };
    }
    if let Some(client) = client {
        wrong = check_secret(client, &claim).err().or(wrong);
    }
    match wrong {
        Some(refusal) => Err(refusal),
        None => check_grant(plugin, exchange, (grant, client), args),
    }
}

/// What a kind of grant asks for more.
fn check_grant(
    plugin: &OAuth2,
    exchange: &Exchange,
    (grant, client): (&str, Option<&Arc<Credential>>),
    args: &Args,
) -> Result<(), Refusal> {
    match grant {
        "authorization_code" => Err(Refusal::new("invalid_request", "Invalid code")),
        "client_credentials" => {
            if argument(args, "authenticated_userid").is_some() {
                check_key(plugin, args)?;
            }
            client.ok_or(Refusal::client(false))?;
            check_scope(plugin, args)
        }
        "password" => {
            check_provision(plugin, args)?;
            check_scope(plugin, args)
        }
        _ => check_refresh(plugin, exchange, client, args),
    }
}

fn claim(plugin: &OAuth2, exchange: &Exchange, args: &Args) -> Claim {
    let owned = |name: &str| argument(args, name).map(str::to_owned);
    let (id, secret) = (owned("client_id"), owned("client_secret"));
    let header = exchange.request.headers.get(&plugin.header).and_then(text);
    let Some(header) = header.filter(|_| id.is_none() || secret.is_none()) else {
        // Without a secret only a public client can be meant.
        return Claim { id, secret, from_header: false };
    };
    let basic = ["Basic", "basic"].iter().find_map(|scheme| header.split_once(scheme));
    let decoded = basic.and_then(|(_, word)| {
        let word = word.trim();
        let bytes = STANDARD.decode(word).or_else(|_| STANDARD_NO_PAD.decode(word)).ok()?;
        String::from_utf8(bytes).ok()
    });
    let mut parts = decoded.iter().flat_map(|pair| pair.split(':').map(str::to_owned));
    Claim { id: parts.next(), secret: parts.next(), from_header: true }
}

fn check_secret(client: &Credential, claim: &Claim) -> Result<(), Refusal> {
    let given = claim.secret.as_deref().unwrap_or_default();
    if setting(client, "client_type") == Some("public") {
        return if given.trim().is_empty() {
            Ok(())
        } else {
            let words = "client_secret is disallowed for public clients";
            Err(Refusal::new("invalid_request", words))
        };
    }
    let expected = setting(client, "client_secret").unwrap_or_default();
    if same(expected.as_bytes(), given.as_bytes()) && !given.is_empty() {
        Ok(())
    } else {
        Err(Refusal::client(claim.from_header))
    }
}

fn check_refresh(
    plugin: &OAuth2,
    exchange: &Exchange,
    client: Option<&Arc<Credential>>,
    args: &Args,
) -> Result<(), Refusal> {
    let invalid = || Refusal::new("invalid_request", "Invalid refresh_token");
    let token = argument(args, "refresh_token")
        .and_then(|text| plugin.directory.refresh_token(text))
        .ok_or_else(invalid)?;
    let service = exchange.matched.service.as_ref().map(|service| service.id.as_ref());
    if !plugin.global && token.service.as_deref() != service {
        return Err(invalid());
    }
    let owner = token.credential.as_ref().map(|credential| &credential.id);
    if owner != client.map(|client| &client.id) {
        return Err(Refusal::client(false));
    }
    let mut scopes = token.scope.as_deref().unwrap_or_default().split_whitespace();
    if scopes.all(|scope| plugin.scopes.iter().any(|known| known == scope)) {
        Ok(())
    } else {
        Err(Refusal::new("invalid_scope", "Scope mismatch"))
    }
}

fn check_key(plugin: &OAuth2, args: &Args) -> Result<(), Refusal> {
    if argument(args, "provision_key") == Some(&plugin.provision_key) {
        Ok(())
    } else {
        Err(Refusal::new("invalid_provision_key", "Invalid provision_key"))
    }
}

fn check_provision(plugin: &OAuth2, args: &Args) -> Result<(), Refusal> {
    check_key(plugin, args)?;
    if argument(args, "authenticated_userid").is_none_or(|user| user.trim().is_empty()) {
        let words = "Missing authenticated_userid parameter";
        return Err(Refusal::new("invalid_authenticated_userid", words));
    }
    Ok(())
}

fn check_scope(plugin: &OAuth2, args: &Args) -> Result<(), Refusal> {
    let Some(asked) = argument(args, "scope") else {
        return if plugin.mandatory_scope {
            Err(Refusal::new("invalid_scope", "You must specify a scope"))
        } else {
            Ok(())
        };
    };
    match asked.split_whitespace().find(|scope| !plugin.scopes.iter().any(|known| known == scope)) {
        Some(scope) => {
            Err(Refusal::new("invalid_scope", format!("\"{scope}\" is an invalid scope")))
        }
        None => Ok(()),
    }
}

fn check_redirect(uris: &[String], args: &Args) -> Result<(), Refusal> {
    let asked = argument(args, "redirect_uri").or_else(|| uris.first().map(String::as_str));
    if asked.is_some_and(|asked| uris.iter().any(|uri| uri == asked)) {
        return Ok(());
    }
    let words = "Invalid redirect_uri that does not match with any redirect_uri created with the application";
    Err(Refusal::new("invalid_request", words))
}

/// Once the client is known, a refusal is told to where it wants its answers.
fn check_authorize(plugin: &OAuth2, args: &Args) -> Result<(), Told> {
    check_provision(plugin, args).map_err(|refusal| (refusal, None))?;
    let enabled = match argument(args, "response_type") {
        Some("code") => plugin.authorization_code,
        Some("token") => plugin.implicit,
        Some(_) | None => false,
    };
    let mut wrong =
        (!enabled).then(|| Refusal::new("unsupported_response_type", "Invalid response_type"));
    wrong = check_scope(plugin, args).err().or(wrong);
    let client = argument(args, "client_id").and_then(|id| plugin.directory.oauth2(id));
    let mut redirect = None;
    match client.and_then(redirect_uris) {
        None => wrong = Some(Refusal::client(false)),
        Some(uris) => match check_redirect(&uris, args) {
            Ok(()) => {
                let asked = argument(args, "redirect_uri").map(str::to_owned);
                redirect = asked.or_else(|| uris.first().cloned());
            }
            Err(refusal) => {
                wrong = Some(refusal);
                redirect = uris.first().cloned();
            }
        },
    }
    wrong = check_challenge(plugin, client, args).err().or(wrong);
    wrong.map_or(Ok(()), |refusal| Err((refusal, redirect)))
}

/// Proof keys (PKCE): who must send a challenge, and of which kind.
fn check_challenge(
    plugin: &OAuth2,
    client: Option<&Arc<Credential>>,
    args: &Args,
) -> Result<(), Refusal> {
    let invalid = |words: String| Err(Refusal::new("invalid_request", words));
    let method = argument(args, "code_challenge_method");
    if argument(args, "code_challenge").is_some() {
        return match method {
            None | Some("S256" | "s256") => Ok(()),
            Some(_) => invalid("code_challenge_method is not supported, must be S256".to_owned()),
        };
    }
    if method.is_some() {
        return invalid("code_challenge is required when code_method is present".to_owned());
    }
    let Some(client) = client else { return Ok(()) };
    let kind = setting(client, "client_type").unwrap_or("confidential");
    let required = match kind {
        "public" => plugin.pkce != "none",
        _ => plugin.pkce == "strict",
    };
    if required {
        return invalid(format!("code_challenge is required for {kind} clients"));
    }
    Ok(())
}

fn entity(client: &Credential) -> Option<&Value> {
    match &client.kind {
        CredentialKind::OAuth2(entity) => Some(entity),
        CredentialKind::Key
        | CredentialKind::Basic { .. }
        | CredentialKind::Hmac { .. }
        | CredentialKind::Jwt { .. }
        | CredentialKind::Ephemeral => None,
    }
}

fn setting<'a>(client: &'a Credential, name: &str) -> Option<&'a str> {
    entity(client)?.get(name)?.as_str()
}

/// Where a client wants its answers; nothing where it does not say.
fn redirect_uris(client: &Arc<Credential>) -> Option<Vec<String>> {
    let uris = entity(client)?.get("redirect_uris").filter(|uris| uris.is_array())?;
    Some(crate::plugin::texts(Some(uris)))
}

fn refuse(refusal: &Refusal, redirect: Option<&str>, args: &Args) -> Answer {
    let mut members = vec![("error", refusal.error), ("error_description", &refusal.words)];
    members.extend(argument(args, "state").map(|state| ("state", state)));
    let body: Map<String, Value> = match redirect {
        Some(uri) => {
            Map::from_iter([("redirect_uri".to_owned(), Value::from(with(uri, &members)))])
        }
        None => {
            members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
        }
    };
    let status =
        if refusal.challenged { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    let mut answer = Answer::json(status, &Value::Object(body))
        .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with(PRAGMA, HeaderValue::from_static("no-cache"));
    if refusal.challenged {
        let challenge = HeaderValue::from_static("Basic realm=\"OAuth2.0\"");
        answer.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// A URI with more arguments, over those that it has.
fn with(uri: &str, members: &[(&str, &str)]) -> String {
    let (rest, fragment) = uri.split_once('#').map_or((uri, None), |(rest, end)| (rest, Some(end)));
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut args = Args::parse(query);
    for (name, value) in members {
        args.remove(name);
        args.0.push(((*name).to_owned(), Some((*value).to_owned())));
    }
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{base}?{}{fragment}", args.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_joins_the_arguments_that_a_redirect_has() {
        let members = [("error", "e"), ("state", "a b")];
        assert_eq!(with("http://a/cb", &members), "http://a/cb?error=e&state=a%20b");
        assert_eq!(
            with("http://a/cb?z=1&error=x#f", &members),
            "http://a/cb?error=e&state=a%20b&z=1#f"
        );
    }
}
