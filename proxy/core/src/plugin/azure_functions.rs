//! azure-functions: a function of Azure answers in place of an upstream.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};

use super::{Access, BuildError, Config, Flow, HttpCall, HttpReply, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::Exchange;

struct AzureFunctions {
    origin: String,
    path: String,
    keys: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    verify: bool,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let scheme = if config.flag("https") { "https" } else { "http" };
    let prefix = config.string("routeprefix");
    let prefix = match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("/{prefix}"),
    };
    let function = config.string("functionname");
    let mut keys = Vec::new();
    for (name, field) in [("x-functions-key", "apikey"), ("x-functions-clientid", "clientid")] {
        if let Some(key) = config.text(field) {
            let unusable = |_| BuildError::Field { plugin: "azure-functions", field };
            keys.push((
                HeaderName::from_static(name),
                HeaderValue::from_str(key).map_err(unusable)?,
            ));
        }
    }
    let timeout = config.number("timeout").unwrap_or(600_000.0).max(1.0);
    Ok(Box::new(AzureFunctions {
        origin: format!("{scheme}://{}.{}", config.string("appname"), config.string("hostdomain")),
        path: format!("{prefix}/{}", function.trim_matches('/')),
        keys,
        timeout: Duration::from_secs_f64(timeout / 1_000.0),
        verify: config.flag("https_verify"),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for AzureFunctions {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(self.invoke(exchange)))
    }
}

impl AzureFunctions {
    async fn invoke(&self, exchange: &mut Exchange) -> Flow {
        let body = exchange.request.read_body().await.unwrap_or_default();
        let mut headers = exchange.request.headers.clone();
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        for (name, value) in &self.keys {
            headers.insert(name, value.clone());
        }
        let call = HttpCall {
            method: exchange.request.method.clone(),
            url: format!("{}{}", self.origin, self.target(exchange)),
            headers,
            body,
            timeout: self.timeout,
            verify: self.verify,
            proxy: None,
        };
        match self.services.http(call).await {
            Ok(reply) => Flow::respond(answer(reply, self.services.product())),
            Err(_) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Flow::respond(Answer::status_error(exchange, status))
            }
        }
    }

    /// The function's path, what the request's own adds to it, and the query.
    fn target(&self, exchange: &Exchange) -> String {
        let own = &exchange.upstream.path;
        let slash = if own.starts_with('/') || own.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{own}", self.path);
        match exchange.request.query.as_deref() {
            Some(query) if !query.is_empty() => format!("{path}?{query}"),
            Some(_) | None => path,
        }
    }
}

/// What a function said, passed on by a gateway that says so.
pub(super) fn answer(reply: HttpReply, product: &str) -> Answer {
    let HttpReply { status, headers, body } = reply;
    let mut answer = Answer::new(status, None, body);
    for (name, value) in &headers {
        let ours = *name == CONTENT_LENGTH
            || *name == TRANSFER_ENCODING
            || matches!(
                name.as_str(),
                "connection" | "keep-alive" | "proxy-connection" | "upgrade"
            );
        if !ours {
            answer.headers.append(name.clone(), value.clone());
        }
    }
    let own = format!("1.1 {product}");
    let via = match headers.get("via").and_then(|via| via.to_str().ok()) {
        Some(via) => format!("{via}, {own}"),
        None => own,
    };
    if let Ok(via) = HeaderValue::from_str(&via) {
        answer.headers.insert("via", via);
    }
    answer
}
