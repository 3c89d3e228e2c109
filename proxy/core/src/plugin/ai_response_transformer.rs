//! ai-response-transformer: a language model rewrites the upstream's answer.
//!
//! As in Kong the plugin asks the upstream itself, once and past the balancer, because the model must have read the
//! answer before its head goes out.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::llm::{Rewriter, limit, raw_body, refusal};
use super::{Access, BuildError, Config, Flow, HttpReply, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::Exchange;

struct AiResponseTransformer {
    rewriter: Rewriter,
    takes_instructions: bool,
    limit: usize,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let rewriter = Rewriter::of(config).ok_or(BuildError::Field {
        plugin: "ai-response-transformer",
        field: "transformation_extract_pattern",
    })?;
    Ok(Box::new(AiResponseTransformer {
        rewriter,
        takes_instructions: config.flag("parse_llm_response_json_instructions"),
        limit: limit(config),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for AiResponseTransformer {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            match self.run(exchange).await {
                Ok(answer) | Err(answer) => Flow::respond(answer),
            }
        }))
    }
}

fn failure(message: &str) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
}

impl AiResponseTransformer {
    async fn run(&self, exchange: &mut Exchange) -> Result<Answer, Answer> {
        let HttpReply { status, mut headers, body } = self.upstream(exchange).await?;
        let rewritten = self.rewriter.rewrite(&String::from_utf8_lossy(&body)).await?;
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, CONNECTION] {
            headers.remove(name);
        }
        if !self.takes_instructions {
            return Ok(answer(status, &headers, rewritten));
        }
        let wish: Value = serde_json::from_str(&rewritten).map_err(|error| {
            failure(&format!("failed to parse JSON response instructions from AI backend: {error}"))
        })?;
        for (name, value) in wish.get("headers").and_then(Value::as_object).into_iter().flatten() {
            if let (Ok(name), Some(Ok(value))) =
                (name.parse::<HeaderName>(), value.as_str().map(HeaderValue::from_str))
            {
                headers.insert(name, value);
            }
        }
        let status = wish.get("status").and_then(Value::as_u64);
        let status =
            status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
        let body = match wish.get("body") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => rewritten,
        };
        Ok(answer(status.unwrap_or(StatusCode::OK), &headers, body))
    }

    /// Asks the upstream as the gateway would.
    async fn upstream(&self, exchange: &mut Exchange) -> Result<HttpReply, Answer> {
        let service = exchange.matched.service.clone();
        let service =
            service.and_then(|service| serde_json::from_str::<Value>(&service.document).ok());
        let service = service.ok_or_else(|| failure("failed to connect to upstream"))?;
        let text = |field: &str| service.get(field).and_then(Value::as_str).unwrap_or_default();
        let port = service.get("port").and_then(Value::as_u64).unwrap_or(80);
        let query = exchange.request.query.as_ref().map(|query| format!("?{query}"));
        let url = format!(
            "{}://{}:{port}{}{}",
            text("protocol"),
            text("host"),
            exchange.upstream.path,
            query.unwrap_or_default()
        );
        let mut call = self.rewriter.call();
        call.url = url;
        call.method = exchange.request.method.clone();
        call.body = raw_body(exchange, self.limit).await.unwrap_or_default();
        call.headers = exchange.request.headers.clone();
        for name in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            call.headers.remove(name);
        }
        let reply = self.services.http(call).await;
        let mut reply =
            reply.map_err(|error| failure(&format!("failed to connect to upstream: {error}")))?;
        if reply.headers.get(CONTENT_ENCODING).is_some_and(|kind| kind == "gzip") {
            reply.body = super::ai_proxy::unpack(&reply.body).unwrap_or(reply.body);
        }
        Ok(reply)
    }
}

fn answer(status: StatusCode, headers: &HeaderMap, body: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(status, None, body);
    for (name, value) in headers {
        answer.headers.append(name, value.clone());
    }
    answer
}
