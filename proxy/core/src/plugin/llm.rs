//! Language models, as all ai plugins speak of them: bodies in OpenAI's format, where a model is, who may ask it.
//!
//! Providers that speak OpenAI's format are spoken to. The others have formats of their own; a request for one of them
//! is refused, so that nothing goes out in a form that its provider would misread.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

use super::args::{Args, Found};
use super::{Config, HttpCall, Services, json};
use crate::answer::Answer;
use crate::exchange::Exchange;

/// Route type of conversations.
pub(super) const CHAT: &str = "llm/v1/chat";
/// Route type of plain prompts.
const COMPLETIONS: &str = "llm/v1/completions";
/// Route type of what is passed on as it is.
pub(super) const PRESERVE: &str = "preserve";

/// What Kong keeps of a body in memory whatever a plugin's own limit is.
const BUFFER: usize = 8 * 1024;

/// `{"error":{"message":…}}` with a status.
pub(super) fn refusal(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": { "message": message } }))
}

/// The client's fault.
pub(super) fn bad_request(message: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, message)
}

/// The bound that a plugin sets on bodies.
pub(super) fn limit(config: &Config<'_>) -> usize {
    config.number("max_request_body_size").map_or(BUFFER, |limit| limit as usize).max(BUFFER)
}

/// The request's body within a bound.
pub(super) async fn raw_body(exchange: &mut Exchange, limit: usize) -> Option<Bytes> {
    exchange.request.read_body().await.ok().filter(|body| body.len() <= limit)
}

/// The request's body as an object, whatever type it claims.
pub(super) async fn json_body(exchange: &mut Exchange, limit: usize) -> Option<Map<String, Value>> {
    let body = raw_body(exchange, limit).await?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

/// The request's body as an object, by the type that it claims: JSON or a form.
pub(super) async fn body(exchange: &mut Exchange, limit: usize) -> Option<Map<String, Value>> {
    let kind = exchange.request.header("content-type").unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => json_body(exchange, limit).await,
        "application/x-www-form-urlencoded" => {
            let body = raw_body(exchange, limit).await?;
            let text = std::str::from_utf8(&body).ok()?;
            let fields = Args::parse(text).0.into_iter();
            Some(
                fields.map(|(name, value)| (name, value.map_or(true.into(), Into::into))).collect(),
            )
        }
        _ => None,
    }
}

/// Puts an object in place of the body.
pub(super) fn set_body(exchange: &mut Exchange, body: &Value) {
    exchange.request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    exchange.request.set_body(json::write_escaped(body).into());
}

/// The messages of a conversation, where there are any.
pub(super) fn messages(body: &Map<String, Value>) -> Option<&Vec<Value>> {
    body.get("messages")?.as_array().filter(|messages| !messages.is_empty())
}

/// Why a body does not fit a route type.
pub(super) fn mismatch(body: &Map<String, Value>, route_type: &str) -> Option<String> {
    if route_type == PRESERVE {
        return None;
    }
    let chat = messages(body).is_some();
    let completions = body.get("prompt").is_some_and(Value::is_string);
    let format = match (chat, completions) {
        (true, true) => return Some("request matches multiple LLM request formats".to_owned()),
        (false, false) => return Some("request format not recognised".to_owned()),
        (true, false) => CHAT,
        (false, true) => COMPLETIONS,
    };
    (format != route_type).then(|| {
        format!("[{format}] message format is not compatible with [{route_type}] route type")
    })
}

/// Checks that an answer is one of a model.
pub(super) fn check_answer(body: &[u8], model: &Model) -> Result<Map<String, Value>, String> {
    let route_type = &model.route_type;
    let problem = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) if fields.contains_key("choices") => return Ok(fields),
        Ok(_) => format!("'choices' not in {route_type} response"),
        Err(_) => format!("failed to decode {route_type} response"),
    };
    let provider = &model.provider;
    Err(format!("transformation failed from type {provider}://{route_type}: {problem}"))
}

/// How a model is asked.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// Who runs it.
    pub(super) provider: String,
    /// Its name.
    pub(super) name: Option<String>,
    /// `llm/v1/chat`, `llm/v1/completions` or `preserve`.
    pub(super) route_type: String,
    options: Value,
    auth: Value,
}

impl Model {
    /// Reads route type, model and credentials from a configuration.
    pub(super) fn of(config: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let model = config.get("model");
        Self {
            provider: text(model.and_then(|model| model.get("provider"))).unwrap_or_default(),
            name: text(model.and_then(|model| model.get("name"))),
            route_type: text(config.get("route_type")).unwrap_or_default(),
            options: model.and_then(|model| model.get("options")).cloned().unwrap_or_default(),
            auth: config.get("auth").cloned().unwrap_or_default(),
        }
    }

    /// Whether the provider takes OpenAI's format.
    pub(super) fn is_spoken(&self) -> bool {
        match self.provider.as_str() {
            "openai" | "azure" => true,
            "mistral" => self.option("mistral_format") == Some("openai"),
            "llama2" => self.option("llama2_format") == Some("openai"),
            _ => false,
        }
    }

    /// What a request for a provider is told that is not spoken to.
    pub(super) fn unspoken(&self) -> Answer {
        let message = format!("the format of provider {} is not supported", self.provider);
        refusal(StatusCode::INTERNAL_SERVER_ERROR, &message)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.as_str()
    }

    fn credential(&self, name: &str) -> Option<&str> {
        self.auth.get(name)?.as_str()
    }

    /// The model with what a request says where the configuration refers to it.
    ///
    /// # Errors
    /// The request does not say it.
    pub(super) fn for_request(&self, exchange: &Exchange) -> Result<Self, String> {
        let mut model = self.clone();
        if let Some(name) = &mut model.name {
            *name = resolve(name, exchange)?;
        }
        for value in model.options.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Value::String(text) = value {
                *text = resolve(text, exchange)?;
            }
        }
        Ok(model)
    }

    /// Fills in what the configuration sets of a request.
    pub(super) fn complete(&self, body: &mut Map<String, Value>) {
        for name in ["temperature", "max_tokens", "top_p"] {
            if let Some(value) = self.options.get(name).filter(|value| !value.is_null()) {
                body.insert(name.to_owned(), value.clone());
            }
        }
        body.remove("top_k");
        if let Some(name) = &self.name {
            body.insert("model".to_owned(), name.as_str().into());
        }
        body.entry("stream").or_insert(Value::Bool(false));
        if let (Some(name), Some(value), Some("body")) = self.parameter()
            && !(self.may_override() && body.contains_key(name))
        {
            body.insert(name.to_owned(), value.into());
        }
    }

    fn parameter(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        let [name, value, place] =
            ["param_name", "param_value", "param_location"].map(|field| self.credential(field));
        (name, value, place)
    }

    fn may_override(&self) -> bool {
        self.auth.get("allow_override").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Where the model is; `path` is the request's own, for what is passed on as it is.
    pub(super) fn address(&self, path: &str) -> Option<Url> {
        let mut url = match (self.option("upstream_url"), self.provider.as_str()) {
            (Some(url), _) => Url::parse(url).ok()?,
            (None, "openai") => {
                let mut url = Url::parse("https://api.openai.com").ok()?;
                url.set_path(self.option("upstream_path").unwrap_or(self.operation()));
                url
            }
            (None, "azure") => {
                let instance = self.option("azure_instance")?;
                let deployment = self.option("azure_deployment_id")?;
                let operation = self.operation().trim_start_matches("/v1");
                let operation = self.option("upstream_path").unwrap_or(operation);
                Url::parse(&format!(
                    "https://{instance}.openai.azure.com/openai/deployments/{deployment}{operation}"
                ))
                .ok()?
            }
            (None, _) => return None,
        };
        if self.route_type == PRESERVE {
            url.set_path(self.option("upstream_path").unwrap_or(path));
        }
        Some(url)
    }

    fn operation(&self) -> &'static str {
        match self.route_type.as_str() {
            CHAT => "/v1/chat/completions",
            COMPLETIONS => "/v1/completions",
            _ => "/",
        }
    }

    /// Shows the credentials in headers and query.
    pub(super) fn authorize(&self, headers: &mut HeaderMap, query: &mut Option<String>) {
        if let Some((name, value)) = self.header()
            && !(self.may_override() && headers.contains_key(&name))
        {
            headers.insert(name, value);
        }
        let mut args = Args::parse(query.as_deref().unwrap_or_default());
        let mut changed = false;
        let mut set = |name: &str, value: &str, keep: bool| {
            if keep && args.find(name) != Found::Nothing {
                return;
            }
            args.remove(name);
            args.0.push((name.to_owned(), Some(value.to_owned())));
            changed = true;
        };
        if let (Some(name), Some(value), Some("query")) = self.parameter() {
            set(name, value, self.may_override());
        }
        if self.provider == "azure"
            && let Some(version) = self.option("azure_api_version")
        {
            set("api-version", version, true);
        }
        if changed {
            *query = Some(args.encode());
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = self.credential("header_name")?.parse().ok()?;
        let mut value = HeaderValue::from_str(self.credential("header_value")?).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

/// `$(headers.x)`, `$(query_params.x)` and `$(uri_captures.x)`; other text stays as it is.
fn resolve(text: &str, exchange: &Exchange) -> Result<String, String> {
    let inner = text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')'));
    let Some((source, key)) = inner.and_then(|inner| inner.split_once('.')) else {
        return Ok(text.to_owned());
    };
    let captures = &exchange.matched.captures;
    let found = match source {
        "headers" => exchange.request.header(key).map(str::to_owned),
        "query_params" => {
            let args = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
            match args.find(key) {
                Found::One(value) => Some(value.to_owned()),
                Found::Nothing | Found::Bare | Found::Many => None,
            }
        }
        "uri_captures" => {
            let named = captures.named.iter().find(|(name, _)| name == key);
            let numbered = || captures.unnamed.get(key.parse::<usize>().ok()?).cloned();
            named.map(|(_, value)| value.clone()).or_else(numbered)
        }
        _ => return Ok(text.to_owned()),
    };
    found.ok_or_else(|| format!("{source} key {key} was not provided"))
}

/// A model that rewrites bodies.
pub(super) struct Rewriter {
    model: Model,
    prompt: String,
    pattern: Option<regex::Regex>,
    call: HttpCall,
    services: Arc<dyn Services>,
}

impl Rewriter {
    /// Reads the configuration of a transformer.
    pub(super) fn of(config: &Config<'_>) -> Option<Self> {
        let pattern = match config.text("transformation_extract_pattern") {
            Some(pattern) => Some(
                regex::RegexBuilder::new(pattern)
                    .case_insensitive(true)
                    .multi_line(true)
                    .build()
                    .ok()?,
            ),
            None => None,
        };
        Some(Self {
            model: Model::of(config.config.get("llm")?),
            prompt: config.string("prompt"),
            pattern,
            call: call(config),
            services: Arc::clone(&config.context.services),
        })
    }

    /// A call with the timeouts and the proxy of the configuration.
    pub(super) fn call(&self) -> HttpCall {
        self.call.clone()
    }

    /// Asks the model to rewrite a text.
    ///
    /// # Errors
    /// What the client is told.
    pub(super) async fn rewrite(&self, text: &str) -> Result<String, Answer> {
        if !self.model.is_spoken() {
            return Err(self.model.unspoken());
        }
        self.ask(text).await.map_err(|problem| bad_request(&problem))
    }

    async fn ask(&self, text: &str) -> Result<String, String> {
        let mut body = Map::new();
        let messages = json!([
            { "role": "system", "content": self.prompt },
            { "role": "user", "content": text },
        ]);
        body.insert("messages".to_owned(), messages);
        self.model.complete(&mut body);
        let mut url = self.model.address("/").ok_or("invalid model parameter")?;
        let mut call = self.call();
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut query = url.query().map(str::to_owned);
        self.model.authorize(&mut call.headers, &mut query);
        url.set_query(query.as_deref());
        call.url = url.into();
        call.body = json::write_escaped(&Value::Object(body)).into();
        let failed =
            |problem: String| format!("failed to introspect request with AI service: {problem}");
        let reply = self.services.http(call).await;
        let reply =
            reply.map_err(|error| failed(format!("request to ai service failed: {error}")))?;
        if reply.status.as_u16() > 299 {
            return Err(failed(format!("status code {}", reply.status.as_u16())));
        }
        let answer = check_answer(&reply.body, &self.model).map_err(|problem| {
            format!("failed to convert AI response to Kong format: {problem}")
        })?;
        let content = answer["choices"].pointer("/0/message/content").and_then(Value::as_str);
        let content = content.ok_or("no 'choices' in upstream AI service response")?;
        match &self.pattern {
            None => Ok(content.to_owned()),
            Some(pattern) => match pattern.find(content) {
                Some(found) => Ok(found.as_str().to_owned()),
                None => Err("AI response did not match specified regular expression".to_owned()),
            },
        }
    }
}

fn call(config: &Config<'_>) -> HttpCall {
    let proxy = |kind: &str| {
        let host = config.text(&format!("{kind}_proxy_host"))?;
        let port = config.number(&format!("{kind}_proxy_port"))?;
        Some(format!("http://{host}:{port}"))
    };
    let timeout = config.number("http_timeout").unwrap_or(60_000.0).max(1.0);
    HttpCall {
        method: Method::POST,
        url: String::new(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: std::time::Duration::from_secs_f64(timeout / 1_000.0),
        verify: config.flag("https_verify"),
        proxy: proxy("https").or_else(|| proxy("http")),
    }
}
