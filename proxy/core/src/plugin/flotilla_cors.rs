//! flotilla-cors: which other origins a browser may call from, in Gateway API's words.
//!
//! What is allowed in general is told to a preflight as the browser asks for it; an origin that does not match is told
//! nothing, and the browser draws its conclusion.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: &str = "*";

struct Cors {
    origins: Vec<String>,
    methods: Allowed,
    headers: Allowed,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

/// What a preflight is told of methods or headers.
enum Allowed {
    /// What it asks for.
    Asked,
    /// These.
    Listed(HeaderValue),
    /// Nothing.
    Unsaid,
}

/// The preflight is answered already.
struct Done;

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let joined = |field: &'static str| {
        let value = HeaderValue::try_from(config.list(field).join(", "));
        value.map_err(|_| BuildError::Field { plugin: "flotilla-cors", field })
    };
    let allowed = |field: &'static str| {
        let list = config.list(field);
        Ok(match list.iter().any(|one| one == ANY) {
            _ if list.is_empty() => Allowed::Unsaid,
            true => Allowed::Asked,
            false => Allowed::Listed(joined(field)?),
        })
    };
    let exposed = joined("exposed_headers")?;
    let max_age = config.number("max_age").unwrap_or(5.0);
    Ok(Box::new(Cors {
        origins: config.list("origins"),
        methods: allowed("methods")?,
        headers: allowed("headers")?,
        exposed: Some(exposed).filter(|exposed| !exposed.is_empty()),
        credentials: config.flag("credentials"),
        max_age: HeaderValue::from(max_age as u64),
    }))
}

impl Cors {
    /// Whether an origin may call, and whether every one may.
    fn admits(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| matches(pattern, origin))
    }

    fn open(&self) -> bool {
        !self.credentials && self.origins.iter().any(|origin| origin == ANY)
    }

    /// Tells an origin that it may call.
    fn greet(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        if self.open() {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static(ANY));
        } else {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(exposed) = &self.exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    fn preflight(&self, origin: &HeaderValue, asked: &HeaderMap) -> Answer {
        let mut answer = Answer::empty(StatusCode::NO_CONTENT);
        if !text(origin).is_some_and(|origin| self.admits(origin)) {
            return answer;
        }
        self.greet(origin, &mut answer.headers);
        let mut tell = |name: HeaderName, allowed: &Allowed, by: &HeaderName| {
            let told = match allowed {
                Allowed::Asked => asked.get(by).cloned(),
                Allowed::Listed(list) => Some(list.clone()),
                Allowed::Unsaid => None,
            };
            if let Some(told) = told {
                answer.headers.insert(name, told);
            }
        };
        tell(ACCESS_CONTROL_ALLOW_METHODS, &self.methods, &ACCESS_CONTROL_REQUEST_METHOD);
        tell(ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, &ACCESS_CONTROL_REQUEST_HEADERS);
        answer.headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        answer
    }
}

/// Whether an origin is the pattern's, in which a star stands for any characters.
fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern.eq_ignore_ascii_case(origin),
        Some((before, after)) => {
            origin.len() > before.len() + after.len()
                && origin.starts_with(before)
                && origin.ends_with(after)
        }
    }
}

impl Plugin for Cors {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let request = &exchange.request;
        let preflight = request.method == Method::OPTIONS
            && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match request.headers.get(ORIGIN) {
            Some(origin) if preflight => {
                let answer = self.preflight(origin, &request.headers);
                exchange.notes.put(Done);
                Access::respond(answer)
            }
            _ => Access::Continue,
        }
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        if exchange.notes.get::<Done>().is_some() {
            return;
        }
        let Some(origin) = exchange.request.headers.get(ORIGIN).cloned() else { return };
        let headers = &mut exchange.response.headers;
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if text(&origin).is_some_and(|origin| self.admits(origin)) {
            self.greet(&origin, headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_number_of_labels_and_never_for_none() {
        assert!(matches("https://*.example.com", "https://a.b.example.com"));
        assert!(!matches("https://*.example.com", "https://.example.com"));
        assert!(!matches("https://*.example.com", "https://a.example.org"));
        assert!(matches("*", "https://a.example.org"));
        assert!(matches("https://a.example.com", "https://a.example.com"));
    }
}
