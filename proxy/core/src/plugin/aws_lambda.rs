//! aws-lambda: a function of AWS answers in place of an upstream.
//!
//! Keys come from the configuration. There is no look-up of keys in the machine's surroundings: a configuration
//! without keys is answered like a Kong that finds none.

mod payload;
mod role;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::azure_functions::answer;
use super::{Access, BuildError, Config, Flow, HttpCall, HttpReply, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::Exchange;
use payload::Payload;
use role::Role;
use sign::Keys;

struct AwsLambda {
    keys: Option<Keys>,
    role: Option<Role>,
    /// Absent where neither host nor region is known.
    origin: Option<String>,
    path: String,
    headers: HeaderMap,
    payload: Payload,
    unhandled: Option<StatusCode>,
    is_proxy: bool,
    legacy_arrays: bool,
    timeout: Duration,
    proxy: Option<String>,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let region = config.text("aws_region");
    let host = config
        .text("host")
        .map(str::to_owned)
        .or_else(|| region.map(|region| format!("lambda.{region}.amazonaws.com")));
    let scheme = if config.flag("disable_https") { "http" } else { "https" };
    let port = config.number("port").unwrap_or(443.0);
    let qualifier = config.text("qualifier").map(|qualifier| format!("?Qualifier={qualifier}"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    for (name, field) in
        [("x-amz-invocation-type", "invocation_type"), ("x-amz-log-type", "log_type")]
    {
        let unusable = |_| BuildError::Field { plugin: "aws-lambda", field };
        let value = HeaderValue::from_str(&config.string(field)).map_err(unusable)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let timeout = config.number("timeout").unwrap_or(60_000.0).max(1.0);
    let timeout = Duration::from_secs_f64(timeout / 1_000.0);
    Ok(Box::new(AwsLambda {
        keys: config.text("aws_key").map(|key| Keys {
            id: key.to_owned(),
            secret: config.string("aws_secret"),
            token: None,
            region: region.unwrap_or("us-east-1").to_owned(),
        }),
        role: Role::of(config, region.unwrap_or("us-east-1"), timeout),
        origin: host.map(|host| format!("{scheme}://{host}:{port}")),
        path: format!(
            "/2015-03-31/functions/{}/invocations{}",
            config.string("function_name"),
            qualifier.unwrap_or_default()
        ),
        headers,
        payload: Payload::of(config),
        unhandled: config
            .number("unhandled_status")
            .and_then(|status| StatusCode::from_u16(status as u16).ok()),
        is_proxy: config.flag("is_proxy_integration"),
        legacy_arrays: config.text("empty_arrays_mode") != Some("correct"),
        timeout,
        proxy: config.text("proxy_url").map(str::to_owned),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for AwsLambda {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            match self.invoke(exchange).await {
                Some(answer) => Flow::respond(answer),
                None => {
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    Flow::respond(Answer::status_error(exchange, status))
                }
            }
        }))
    }
}

impl AwsLambda {
    async fn invoke(&self, exchange: &mut Exchange) -> Option<Answer> {
        let (keys, origin) = (self.keys.as_ref()?, self.origin.as_ref()?);
        let body = self.payload.of_request(exchange).await;
        let mut call = HttpCall {
            method: Method::POST,
            url: format!("{origin}{}", self.path),
            headers: self.headers.clone(),
            body: body.into(),
            timeout: self.timeout,
            verify: false,
            proxy: self.proxy.clone(),
        };
        let lent = match &self.role {
            Some(role) => Some(role.keys(keys, &self.services).await?),
            None => None,
        };
        lent.as_ref().unwrap_or(keys).sign(&mut call, self.services.now(), "lambda")?;
        let reply = match self.services.http(call).await {
            Ok(reply) if reply.status.as_u16() < 400 => reply,
            Ok(_) | Err(_) => return None,
        };
        Some(self.answer(reply))
    }

    fn answer(&self, mut reply: HttpReply) -> Answer {
        if self.is_proxy {
            return match integrated(&reply) {
                Ok(reply) => answer(reply, self.services.product()),
                Err(problem) => {
                    let problem =
                        format!("could not JSON decode Lambda function response: {problem}");
                    let body = json!({ "message": "Bad Gateway", "error": problem });
                    Answer::json(StatusCode::BAD_GATEWAY, &body)
                }
            };
        }
        if let Some(status) = self.unhandled
            && reply.headers.get("x-amz-function-error").is_some_and(|kind| kind == "Unhandled")
        {
            reply.status = status;
        }
        if self.legacy_arrays
            && is_json(&reply.headers)
            && let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body)
        {
            empty_lists_to_objects(&mut value);
            reply.body = super::json::write_escaped(&value).into();
        }
        answer(reply, self.services.product())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("json"))
}

/// What Kong has always made of empty lists.
fn empty_lists_to_objects(value: &mut Value) {
    match value {
        Value::Array(items) if items.is_empty() => *value = json!({}),
        Value::Array(items) => items.iter_mut().for_each(empty_lists_to_objects),
        Value::Object(fields) => fields.values_mut().for_each(empty_lists_to_objects),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The answer that a function describes in its own.
fn integrated(reply: &HttpReply) -> Result<HttpReply, String> {
    let said: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
    let status = match said.get("statusCode") {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) | None => None,
    };
    let status = status
        .filter(|status| (100..=599).contains(status))
        .and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok())
        .ok_or("statusCode validation failed")?;
    let mut headers = reply.headers.clone();
    match said.get("headers") {
        None | Some(Value::Null) => {}
        Some(Value::Object(fields)) => set_headers(&mut headers, fields),
        Some(_) => return Err("headers must be a table".to_owned()),
    }
    let body = match said.get("body") {
        None | Some(Value::Null) => "",
        Some(Value::String(body)) => body,
        Some(_) => return Err("body must be a string".to_owned()),
    };
    let body = match said.get("isBase64Encoded") {
        None | Some(Value::Null | Value::Bool(false)) => body.as_bytes().to_vec(),
        Some(Value::Bool(true)) => STANDARD.decode(body).unwrap_or_default(),
        Some(_) => return Err("isBase64Encoded must be a boolean".to_owned()),
    };
    if let Some(Value::Object(fields)) = said.get("multiValueHeaders") {
        set_headers(&mut headers, fields);
    }
    Ok(HttpReply { status, headers, body: body.into() })
}

fn set_headers(headers: &mut HeaderMap, fields: &serde_json::Map<String, Value>) {
    for (name, value) in fields {
        let Ok(name) = name.parse::<HeaderName>() else { continue };
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        headers.remove(&name);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(&name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn check(body: &Value, want: Result<(u16, &str), &str>) {
        let reply = HttpReply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_string()),
        };
        let got = integrated(&reply);
        let got = got
            .as_ref()
            .map(|reply| (reply.status.as_u16(), std::str::from_utf8(&reply.body).unwrap()));
        assert_eq!(got.map_err(String::as_str), want);
    }

    #[test]
    fn an_integrated_function_writes_the_whole_answer() {
        check(&json!({ "statusCode": 201, "body": "x" }), Ok((201, "x")));
        check(&json!({ "statusCode": "404" }), Ok((404, "")));
        check(
            &json!({ "statusCode": 200, "body": "eA==", "isBase64Encoded": true }),
            Ok((200, "x")),
        );
        check(&json!({ "statusCode": 99 }), Err("statusCode validation failed"));
        check(&json!({ "statusCode": 200, "headers": "x" }), Err("headers must be a table"));
        check(&json!({ "statusCode": 200, "body": {} }), Err("body must be a string"));
    }
}
