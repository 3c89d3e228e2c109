//! cors: which other origins a browser may call from.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use kong::pcre::Pattern;
use serde_json::Value;

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ALL_METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
const ANY: HeaderValue = HeaderValue::from_static("*");

struct Cors {
    origins: Origins,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    methods: HeaderValue,
    max_age: Option<HeaderValue>,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
}

enum Origins {
    /// Every one.
    Any,
    /// This one is told to everybody.
    One(HeaderValue),
    /// The caller's, where it matches.
    Listed(Vec<Entry>),
}

enum Entry {
    Any,
    Plain(String),
    /// Matches the whole origin, or only its host.
    Pattern {
        regex: Pattern,
        by_host: bool,
    },
}

/// The request was a preflight that someone else answers, or one that is answered already.
struct Done;

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let joined = |field: &'static str| {
        let list = config.list(field);
        if list.is_empty() {
            return Ok(None);
        }
        HeaderValue::from_bytes(list.join(",").as_bytes())
            .map(Some)
            .map_err(|_| BuildError::Field { plugin: "cors", field })
    };
    Ok(Box::new(Cors {
        origins: origins(&config.list("origins"))?,
        headers: joined("headers")?,
        exposed: joined("exposed_headers")?,
        methods: match config.config.get("methods") {
            None | Some(Value::Null) => HeaderValue::from_static(ALL_METHODS),
            Some(_) => joined("methods")?.unwrap_or(HeaderValue::from_static("")),
        },
        max_age: config.number("max_age").map(super::rate_limiting::number_header),
        credentials: config.flag("credentials"),
        private_network: config.flag("private_network"),
        preflight_continue: config.flag("preflight_continue"),
    }))
}

fn origins(list: &[String]) -> Result<Origins, BuildError> {
    match list {
        [] => return Ok(Origins::Any),
        [one] if one == "*" => return Ok(Origins::Any),
        [one] if is_plain(one) => {
            return HeaderValue::from_str(one)
                .map(Origins::One)
                .map_err(|_| BuildError::Field { plugin: "cors", field: "origins" });
        }
        _ => {}
    }
    let entry = |origin: &String| {
        if origin == "*" {
            return Ok(Entry::Any);
        }
        if is_plain(origin) {
            return Ok(Entry::Plain(normalized(origin)));
        }
        let regex = Pattern::new(&format!("^(?:{origin})$")).map_err(|source| {
            BuildError::Pattern { plugin: "cors", pattern: origin.clone(), source }
        })?;
        Ok(Entry::Pattern { regex, by_host: !origin.contains(':') })
    };
    list.iter().map(entry).collect::<Result<_, _>>().map(Origins::Listed)
}

/// Whether a text can be nothing but an origin.
fn is_plain(origin: &str) -> bool {
    origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/-".contains(&byte))
}

/// An origin without the default port of its scheme, letters as they are; what has no host stays whole.
fn normalized(origin: &str) -> String {
    match parts(origin) {
        Some((scheme, host, port)) => {
            format!("{scheme}://{host}{}", port.map_or_else(String::new, |port| format!(":{port}")))
        }
        None => origin.to_owned(),
    }
}

/// Scheme, host and port of an origin; the default port is none.
fn parts(origin: &str) -> Option<(&str, &str, Option<&str>)> {
    let (scheme, rest) = origin.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let port = port.filter(|port| !matches!((scheme, *port), ("http", "80") | ("https", "443")));
    (!host.is_empty()).then_some((scheme, host, port))
}

impl Plugin for Cors {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let request = &exchange.request.headers;
        let is_preflight = exchange.request.method == Method::OPTIONS
            && request.contains_key(ORIGIN)
            && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return Access::Continue;
        }
        exchange.notes.put(Done);
        if self.preflight_continue {
            return Access::Continue;
        }
        let mut answer = Answer::empty(StatusCode::OK);
        let request = &exchange.request.headers;
        self.allow_origin(request, &mut answer.headers, set_vary);
        if let Some(headers) =
            self.headers.as_ref().or_else(|| request.get(ACCESS_CONTROL_REQUEST_HEADERS))
        {
            answer.headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        answer.headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(max_age) = &self.max_age {
            answer.headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        if self.private_network && request.get(REQUEST_PRIVATE_NETWORK) == Some(&TRUE) {
            answer.headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        Access::respond(answer)
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        if exchange.notes.get::<Done>().is_some() {
            return;
        }
        self.allow_origin(&exchange.request.headers, &mut exchange.response.headers, add_vary);
        if let Some(exposed) = &self.exposed {
            exchange.response.headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

impl Cors {
    fn allow_origin(&self, request: &HeaderMap, answer: &mut HeaderMap, vary: fn(&mut HeaderMap)) {
        let any = match &self.origins {
            Origins::Any => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
                true
            }
            Origins::One(origin) => {
                vary(answer);
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                false
            }
            Origins::Listed(entries) => {
                vary(answer);
                let origin = request.get(ORIGIN).and_then(text).map(normalized);
                let found = origin.and_then(|origin| {
                    if entries.iter().any(|entry| matches!(entry, Entry::Any)) {
                        return Some((true, origin));
                    }
                    entries.iter().any(|entry| entry.matches(&origin)).then_some((false, origin))
                });
                match found {
                    None => answer.remove(ACCESS_CONTROL_ALLOW_ORIGIN),
                    Some((true, _)) => answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY),
                    Some((false, ref origin)) => HeaderValue::from_str(origin)
                        .ok()
                        .and_then(|origin| answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin)),
                };
                found.is_some_and(|(any, _)| any)
            }
        };
        if !self.credentials {
            return;
        }
        // Browsers refuse a star beside credentials: the caller's own origin takes its place.
        match (any, request.get(ORIGIN)) {
            (false, _) => {
                answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            }
            (true, Some(origin)) => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
                vary(answer);
            }
            (true, None) => {}
        }
    }
}

impl Entry {
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Plain(plain) => plain == origin,
            Self::Pattern { regex, by_host: false } => regex.is_match(origin),
            Self::Pattern { regex, by_host: true } => {
                regex.is_match(parts(origin).map_or(origin, |(_, host, _)| host))
            }
        }
    }
}

/// Says that an answer of the gateway's own depends on the origin.
fn set_vary(answer: &mut HeaderMap) {
    answer.insert(VARY, HeaderValue::from_static("Origin"));
}

/// Says it beside what the upstream's answer depends on.
fn add_vary(answer: &mut HeaderMap) {
    answer.append(VARY, HeaderValue::from_static("Origin"));
}
