//! ai-proxy: requests in OpenAI's format go to a language model, with its name and credentials.

use std::io::{Read, Write};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::llm::{
    Model, PRESERVE, bad_request, body, check_answer, limit, messages, mismatch, refusal, set_body,
};
use super::record::Extra;
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::exchange::{Exchange, Source};

/// The largest body that is unpacked.
const MAX_UNPACKED: u64 = 64 << 20;

struct AiProxy {
    id: String,
    model: Model,
    streaming: Streaming,
    shows_model: bool,
    log_statistics: bool,
    log_payloads: bool,
    costs: Option<(f64, f64)>,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Streaming {
    Allow,
    Deny,
    Always,
}

/// What the answer's phases need to know of the request.
struct Asked {
    model: String,
    stream: bool,
    accepts_gzip: bool,
    request: Option<Bytes>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let logging = |field: &str| {
        let logging = config.config.get("logging");
        logging.and_then(|logging| logging.get(field)).and_then(Value::as_bool).unwrap_or(false)
    };
    let cost = |field: &str| config.config.pointer(&format!("/model/options/{field}"))?.as_f64();
    Ok(Box::new(AiProxy {
        id: config.id.to_owned(),
        model: Model::of(config.config),
        streaming: match config.text("response_streaming") {
            Some("deny") => Streaming::Deny,
            Some("always") => Streaming::Always,
            Some(_) | None => Streaming::Allow,
        },
        shows_model: config.flag("model_name_header"),
        log_statistics: logging("log_statistics"),
        log_payloads: logging("log_payloads"),
        costs: cost("input_cost").zip(cost("output_cost")),
        limit: limit(config),
    }))
}

impl Plugin for AiProxy {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            match self.ask(exchange).await {
                Ok(()) => Flow::Continue,
                Err(problem) => Flow::respond(match problem {
                    Problem::Client(message) => bad_request(&message),
                    Problem::Provider => self.model.unspoken(),
                }),
            }
        }))
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        let Some(asked) = exchange.notes.take::<Asked>() else { return };
        if exchange.response.source == Source::Upstream {
            self.answer(exchange, &asked);
        }
    }
}

enum Problem {
    Client(String),
    Provider,
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self::Client(message)
    }
}

impl From<&str> for Problem {
    fn from(message: &str) -> Self {
        Self::Client(message.to_owned())
    }
}

impl AiProxy {
    /// Makes the request one for the model.
    async fn ask(&self, exchange: &mut Exchange) -> Result<(), Problem> {
        let accepts_gzip = exchange.request.header("accept-encoding").is_some_and(names_gzip);
        let mut model = self.model.for_request(exchange)?;
        let original =
            if self.log_payloads { exchange.request.read_body().await.ok() } else { None };
        let mut body = body(exchange, self.limit).await.unwrap_or_default();
        if messages(&body).is_none() && !body.get("prompt").is_some_and(Value::is_string) {
            return Err("request body doesn't contain valid prompts".into());
        }
        let wanted = body.get("model").and_then(Value::as_str).map(str::to_owned);
        let name = match (&model.name, wanted) {
            (Some(name), Some(other)) if !other.is_empty() && other != *name => {
                return Err(format!("cannot use own model - must be: {name}").into());
            }
            (Some(name), _) => name.clone(),
            (None, Some(other)) => other,
            (None, None) => {
                let message = "model parameter not found in request, nor in gateway configuration";
                return Err(message.into());
            }
        };
        model.name = Some(name.clone());
        if let Some(problem) = mismatch(&body, &model.route_type) {
            return Err(problem.into());
        }
        let wants_stream = !matches!(body.get("stream"), None | Some(Value::Bool(false)));
        let stream = wants_stream || self.streaming == Streaming::Always;
        if stream && self.streaming == Streaming::Deny {
            return Err("response streaming is not enabled for this LLM".into());
        }
        if !model.is_spoken() {
            return Err(Problem::Provider);
        }
        let asked = Asked { model: name, stream, accepts_gzip, request: original };
        exchange.request.headers.insert(
            ACCEPT_ENCODING,
            // Nothing that the answer's phases cannot read.
            HeaderValue::from_static("gzip, identity"),
        );
        if model.route_type != PRESERVE {
            if stream {
                body.insert("stream".to_owned(), Value::Bool(true));
            }
            model.complete(&mut body);
            set_body(exchange, &Value::Object(body));
        }
        exchange.upstream.buffered = !stream;
        self.direct(exchange, &model)?;
        exchange.notes.put(asked);
        Ok(())
    }

    /// Sends the request where the model is.
    fn direct(&self, exchange: &mut Exchange, model: &Model) -> Result<(), Problem> {
        let address = model.address(&exchange.request.path).ok_or(Problem::Provider)?;
        let host = address.host_str().ok_or(Problem::Provider)?;
        exchange.upstream.scheme = Some(if address.scheme() == "http" { "http" } else { "https" });
        exchange.upstream.target = Some((host.into(), address.port().unwrap_or(443)));
        exchange.upstream.path = address.path().to_owned();
        let request = &mut exchange.request;
        model.authorize(&mut request.headers, &mut request.query);
        Ok(())
    }

    /// Checks the model's answer and shows it in the form that the client asked for.
    fn answer(&self, exchange: &mut Exchange, asked: &Asked) {
        let response = &mut exchange.response;
        let packed = response.headers.get(CONTENT_ENCODING).is_some_and(|kind| kind == "gzip");
        response.headers.remove(SET_COOKIE);
        if asked.stream {
            response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            if response.status == StatusCode::OK {
                response.headers.remove(CONTENT_LENGTH);
                self.show_model(exchange, asked);
            }
            return;
        }
        let mut body = response.whole.take().unwrap_or_default();
        if packed {
            response.headers.remove(CONTENT_LENGTH);
            body = unpack(&body).unwrap_or(body);
        }
        response.headers.remove(CONTENT_ENCODING);
        let mut answered = None;
        if response.status == StatusCode::OK {
            response.headers.remove(CONTENT_LENGTH);
            if self.model.route_type != PRESERVE {
                match check_answer(&body, &self.model) {
                    Ok(fields) => answered = Some(fields),
                    Err(problem) => {
                        response.status = StatusCode::INTERNAL_SERVER_ERROR;
                        body = refusal(response.status, &problem).body;
                    }
                }
            }
        }
        if asked.accepts_gzip {
            response.headers.remove(CONTENT_LENGTH);
            response.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let sent = if asked.accepts_gzip { pack(&body) } else { body.clone() };
        let shown =
            response.status == StatusCode::OK || !response.headers.contains_key(CONTENT_LENGTH);
        response.whole = Some(sent);
        if shown {
            self.show_model(exchange, asked);
        }
        self.log(exchange, asked, answered.as_ref(), &body);
    }

    fn show_model(&self, exchange: &mut Exchange, asked: &Asked) {
        let shown = format!("{}/{}", self.model.provider, asked.model);
        if self.shows_model
            && let Ok(shown) = HeaderValue::from_str(&shown)
        {
            exchange.response.headers.insert("x-kong-llm-model", shown);
        }
    }

    /// What log plugins tell of it.
    fn log(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        answered: Option<&Map<String, Value>>,
        body: &[u8],
    ) {
        if let Some(request) = &asked.request {
            let request = String::from_utf8_lossy(request).into_owned();
            Extra::set(exchange, &["ai", "proxy", "payload", "request"], request.into());
            let response = String::from_utf8_lossy(body).into_owned();
            Extra::set(exchange, &["ai", "proxy", "payload", "response"], response.into());
        }
        let (true, Some(answered)) = (self.log_statistics, answered) else { return };
        let tokens = |name: &str| {
            let usage = answered.get("usage");
            usage.and_then(|usage| usage.get(name)).and_then(Value::as_u64).unwrap_or(0)
        };
        let (prompt, completion) = (tokens("prompt_tokens"), tokens("completion_tokens"));
        let latency = exchange.moments.upstream().unwrap_or(0);
        let cost = self.costs.map_or(0.0, |(input, output)| {
            (prompt as f64 * input + completion as f64 * output) / 1_000_000.0
        });
        let meta = json!({
            "plugin_id": self.id,
            "provider_name": self.model.provider,
            "request_model": asked.model,
            "response_model": answered.get("model").cloned().unwrap_or_else(|| asked.model.as_str().into()),
            "llm_latency": latency,
        });
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": tokens("total_tokens"),
            "time_per_token": latency.checked_div(completion).unwrap_or(0),
            "cost": cost,
        });
        Extra::set(exchange, &["ai", "proxy", "meta"], meta);
        Extra::set(exchange, &["ai", "proxy", "usage"], usage);
        Extra::set(exchange, &["ai", "proxy", "cache"], json!({}));
    }
}

/// Whether `gzip` is among the words.
fn names_gzip(accepted: &str) -> bool {
    accepted.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word == "gzip")
}

fn pack(body: &[u8]) -> Bytes {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to memory cannot fail.
    let _ = packer.write_all(body);
    packer.finish().unwrap_or_default().into()
}

pub(super) fn unpack(body: &[u8]) -> Option<Bytes> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(MAX_UNPACKED);
    reader.read_to_end(&mut unpacked).ok()?;
    Some(unpacked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        assert_eq!(unpack(&pack(b"hello")).unwrap(), "hello");
        assert!(unpack(b"hello").is_none());
    }

    #[test]
    fn gzip_is_a_word_among_the_accepted() {
        assert!(names_gzip("br;q=1, gzip;q=0.5"));
        assert!(!names_gzip("xgzipx, br"));
    }
}
