//! Redirects of Gateway API: every part of the address may be replaced, the others are the request's.

use http::{HeaderValue, StatusCode, header::LOCATION};
use serde_json::Value;

use super::whole;
use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::uri;

/// What the location is made of.
pub(super) struct Redirect {
    scheme: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
    /// The new path, or what takes the place of the prefix.
    path: Option<String>,
    prefix: Option<String>,
    status: StatusCode,
    /// The listeners' ports behind the ports that requests come in at.
    listeners: Vec<(u16, u16)>,
}

impl Redirect {
    pub(super) fn parse(value: &Value) -> Self {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let port = |value: &Value, field: &str| {
            whole(value, field).and_then(|port| u16::try_from(port).ok())
        };
        let status = port(value, "status_code").and_then(|code| StatusCode::from_u16(code).ok());
        let listeners = value.get("listeners").and_then(Value::as_array).into_iter().flatten();
        let listeners =
            listeners.filter_map(|one| Some((port(one, "entrance")?, port(one, "port")?)));
        Self {
            scheme: text("scheme"),
            hostname: text("hostname"),
            port: port(value, "port"),
            path: text("path"),
            prefix: text("prefix"),
            status: status.unwrap_or(StatusCode::FOUND),
            listeners: listeners.collect(),
        }
    }

    pub(super) fn answer(&self, exchange: &Exchange) -> Answer {
        let answer = Answer::empty(self.status);
        match HeaderValue::from_bytes(self.location(exchange).as_bytes()) {
            Ok(location) => answer.with(LOCATION, location),
            Err(_) => answer,
        }
    }

    fn location(&self, exchange: &Exchange) -> String {
        let request = &exchange.request;
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let host = self.hostname.as_deref().unwrap_or(&request.host);
        let usual = |scheme: &str| if scheme == "https" { 443 } else { 80 };
        let listener = || {
            let found = self.listeners.iter().find(|(entrance, _)| *entrance == request.port);
            found.map(|(_, port)| *port)
        };
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => Some(port),
            (None, Some(_)) => None,
            (None, None) => listener(),
        };
        let port = port.filter(|port| *port != usual(scheme));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = request.query.as_deref().filter(|query| !query.is_empty());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{}{query}", uri::escape(&self.path(&request.path)))
    }

    fn path(&self, asked: &str) -> String {
        let Some(path) = &self.path else { return asked.to_owned() };
        let Some(prefix) = &self.prefix else { return path.clone() };
        let rest = asked.strip_prefix(prefix.trim_end_matches('/')).unwrap_or_default();
        let path = path.trim_end_matches('/');
        match (path.is_empty(), rest.is_empty()) {
            (true, true) => "/".to_owned(),
            (_, true) => path.to_owned(),
            (_, false) if rest.starts_with('/') => format!("{path}{rest}"),
            (_, false) => format!("{path}/{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, prefix: Option<&str>, asked: &str, expected: &str) {
        let value = serde_json::json!({ "path": path, "prefix": prefix });
        assert_eq!(Redirect::parse(&value).path(asked), expected);
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments() {
        check("/new", Some("/old"), "/old/a", "/new/a");
        check("/new/", Some("/old/"), "/old", "/new");
        check("/", Some("/old"), "/old/a", "/a");
        check("/", Some("/old"), "/old", "/");
        check("/new", Some("/"), "/a", "/new/a");
    }

    #[test]
    fn a_full_path_takes_the_place_of_all() {
        check("/new", None, "/old/a", "/new");
    }
}
