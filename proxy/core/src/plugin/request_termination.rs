//! request-termination: an answer without asking the upstream.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::args::Args;
use super::{Access, BuildError, Config, Flow, Plugin, spellings};
use crate::answer::{Answer, status_text};
use crate::exchange::{Exchange, text};

struct RequestTermination {
    status: StatusCode,
    content: Content,
    echo: bool,
    trigger: Option<(Vec<HeaderName>, String)>,
}

enum Content {
    /// The status speaks for itself.
    None,
    Message(String),
    Body(Bytes, HeaderValue),
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let content = match (config.text("body"), config.text("message")) {
        (Some(body), _) => {
            let kind = config.text("content_type").unwrap_or("application/json; charset=utf-8");
            Content::Body(
                body.to_owned().into(),
                HeaderValue::from_str(kind).map_err(|_| BuildError::Field {
                    plugin: "request-termination",
                    field: "content_type",
                })?,
            )
        }
        (None, Some(message)) => Content::Message(message.to_owned()),
        (None, None) => Content::None,
    };
    let trigger = config.text("trigger").map(|name| (spellings(name), name.to_owned()));
    Ok(Box::new(RequestTermination {
        status: config.status("status_code", StatusCode::SERVICE_UNAVAILABLE),
        content,
        echo: config.flag("echo"),
        trigger,
    }))
}

impl Plugin for RequestTermination {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if let Some((headers, argument)) = &self.trigger {
            let in_query = exchange
                .request
                .query
                .as_deref()
                .is_some_and(|query| Args::parse(query).has(argument));
            let is_sent = |name: &HeaderName| exchange.request.headers.contains_key(name);
            if !in_query && !headers.iter().any(is_sent) {
                return Access::Continue;
            }
        }
        if self.echo {
            return Access::Later(Box::pin(self.repeat(exchange)));
        }
        Access::respond(self.answer(exchange))
    }
}

impl RequestTermination {
    fn answer(&self, exchange: &Exchange) -> Answer {
        match &self.content {
            Content::Body(body, kind) => {
                Answer::new(self.status, None, body.clone()).with(CONTENT_TYPE, kind.clone())
            }
            Content::Message(message) => Answer::message(self.status, message),
            Content::None => match status_text(self.status) {
                Some(text) => Answer::message(self.status, text),
                None => Answer::bare(exchange, self.status),
            },
        }
    }

    /// Tells the client what it asked.
    async fn repeat(&self, exchange: &mut Exchange) -> Flow {
        let body = exchange.request.read_body().await.unwrap_or_default();
        let request = &exchange.request;
        let mut headers = Map::new();
        for name in request.headers.keys() {
            let values: Vec<Value> =
                request.headers.get_all(name).iter().filter_map(text).map(Value::from).collect();
            let value = if values.len() == 1 { values[0].clone() } else { Value::Array(values) };
            headers.insert(name.as_str().to_owned(), value);
        }
        let mut query = Map::new();
        for (name, value) in Args::parse(request.query.as_deref().unwrap_or_default()).0 {
            let value = value.map_or(Value::Bool(true), Value::String);
            match query.get_mut(&name) {
                None => {
                    query.insert(name, value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = json!([first.clone(), value]),
            }
        }
        let captures = &exchange.matched.captures;
        let matched_route = exchange
            .matched
            .route
            .as_ref()
            .and_then(|route| serde_json::from_str::<Value>(&route.document).ok());
        let matched_service = exchange
            .matched
            .service
            .as_ref()
            .and_then(|service| serde_json::from_str::<Value>(&service.document).ok());
        let message = match &self.content {
            Content::Message(message) => Some(message.as_str()),
            Content::Body(..) | Content::None => status_text(self.status),
        };
        let answer = json!({
            "message": message,
            "request": {
                "headers": headers,
                "query": query,
                "raw_body": String::from_utf8_lossy(&body),
                "method": request.method.as_str(),
                "path": request.path,
                "raw_path": request.target.split('?').next(),
                "scheme": request.scheme,
                "host": request.host,
                "port": request.port,
                "uri_captures": { "unnamed": captures.unnamed, "named": captures.named.iter().cloned().collect::<std::collections::BTreeMap<_, _>>() },
            },
            "matched_route": matched_route,
            "matched_service": matched_service,
        });
        Flow::respond(Answer::json(self.status, &answer))
    }
}
