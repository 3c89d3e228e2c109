//! request-transformer: path, method, headers, query and body changed on the way to the upstream.

mod body;

use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::args::Args;
use super::template::{Failure, Template};
use super::{Access, BuildError, Config, Flow, Plugin, texts};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

/// What a path may not hold; everything else, `?` and `%` included, is the configuration's own business.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The methods that the web server behind Kong knows.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
];

struct RequestTransformer {
    method: Option<String>,
    uri: Option<Template>,
    headers: Rules,
    query: Rules,
    body: Rules,
}

/// What to do with the entries of one place.
struct Rules {
    remove: Vec<String>,
    rename: Vec<Pair>,
    replace: Vec<Pair>,
    add: Vec<Pair>,
    append: Vec<Pair>,
}

/// A name and what it gets; an empty value means nothing happens.
struct Pair {
    name: String,
    value: Option<Template>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let uri = config.config.pointer("/replace/uri").and_then(Value::as_str);
    Ok(Box::new(RequestTransformer {
        method: config.text("http_method").map(str::to_owned),
        uri: uri.map(Template::parse),
        headers: Rules::of(config, "headers"),
        query: Rules::of(config, "querystring"),
        body: Rules::of(config, "body"),
    }))
}

impl Rules {
    fn of(config: &Config<'_>, place: &str) -> Self {
        let list =
            |action: &str| texts(config.config.get(action).and_then(|action| action.get(place)));
        let pairs = |action: &str| list(action).iter().map(|entry| Pair::parse(entry)).collect();
        Self {
            remove: list("remove"),
            rename: pairs("rename"),
            replace: pairs("replace"),
            add: pairs("add"),
            append: pairs("append"),
        }
    }

    fn is_empty(&self) -> bool {
        let pairs = [&self.rename, &self.replace, &self.add, &self.append];
        self.remove.is_empty() && pairs.iter().all(|pairs| pairs.is_empty())
    }
}

impl Pair {
    fn parse(entry: &str) -> Self {
        let (name, value) = entry.split_once(':').unwrap_or((entry, ""));
        Self { name: name.to_owned(), value: (!value.is_empty()).then(|| Template::parse(value)) }
    }

    fn render(&self, exchange: &Exchange) -> Result<Option<String>, Failure> {
        self.value.as_ref().map(|value| value.render(exchange)).transpose()
    }
}

impl Plugin for RequestTransformer {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let moves_form =
            self.method.as_deref().is_some_and(|method| matches!(method, "GET" | "HEAD" | "TRACE"))
                && body::Kind::of(exchange) == Some(body::Kind::Form);
        if moves_form || !self.body.is_empty() {
            return Access::Later(Box::pin(async move {
                if moves_form {
                    body::move_form_to_query(exchange).await;
                }
                let head = self.head(exchange);
                let done = match head {
                    Ok(()) => body::transform(&self.body, exchange)
                        .await
                        .and_then(|()| self.query(exchange)),
                    Err(failure) => Err(failure),
                };
                finish(exchange, done)
            }));
        }
        let done = self.head(exchange).and_then(|()| self.query(exchange));
        finish(exchange, done).into()
    }
}

fn finish(exchange: &Exchange, done: Result<(), Failure>) -> Flow {
    match done {
        Ok(()) => Flow::Continue,
        Err(Failure) => {
            Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
        }
    }
}

impl RequestTransformer {
    fn head(&self, exchange: &mut Exchange) -> Result<(), Failure> {
        if let Some(uri) = &self.uri {
            let path = uri.render(exchange)?;
            if !path.starts_with('/') {
                return Err(Failure);
            }
            exchange.upstream.path = utf8_percent_encode(&path, NOT_IN_PATH).to_string();
        }
        if let Some(method) = &self.method {
            if !METHODS.contains(&method.as_str()) {
                return Err(Failure);
            }
            exchange.request.method = Method::from_bytes(method.as_bytes()).map_err(|_| Failure)?;
        }
        self.headers(exchange)
    }

    fn headers(&self, exchange: &mut Exchange) -> Result<(), Failure> {
        let rules = &self.headers;
        for name in
            rules.remove.iter().filter_map(|name| header_name(name)).filter(|name| *name != HOST)
        {
            exchange.request.headers.remove(name);
        }
        for pair in &rules.rename {
            let new = pair.render(exchange)?.and_then(|new| header_name(&new));
            let (Some(old), Some(new)) = (header_name(&pair.name), new) else { continue };
            if old == new || old == HOST {
                continue;
            }
            let values: Vec<HeaderValue> =
                exchange.request.headers.get_all(&old).iter().cloned().collect();
            let Some(first) = values.first() else { continue };
            exchange.request.headers.remove(&old);
            if new == HOST {
                exchange.upstream.host = Some(first.clone());
                continue;
            }
            exchange.request.headers.remove(&new);
            for value in values {
                exchange.request.headers.append(new.clone(), value);
            }
        }
        for pair in &rules.replace {
            let Some((name, value)) = header(pair, exchange)? else { continue };
            if name == HOST {
                exchange.upstream.host = Some(value);
            } else if exchange.request.headers.contains_key(&name) {
                exchange.request.headers.insert(name, value);
            }
        }
        for pair in &rules.add {
            let Some((name, value)) = header(pair, exchange)? else { continue };
            if name != HOST && !exchange.request.headers.contains_key(&name) {
                exchange.request.headers.insert(name, value);
            }
        }
        for pair in &rules.append {
            let Some((name, value)) = header(pair, exchange)? else { continue };
            if name != HOST {
                exchange.request.headers.append(name, value);
            }
        }
        Ok(())
    }

    fn query(&self, exchange: &mut Exchange) -> Result<(), Failure> {
        if self.query.is_empty() {
            return Ok(());
        }
        let mut args = Args::parse(exchange.request.query.as_deref().unwrap_or_default());
        self.query.apply(exchange, &mut args)?;
        let query = args.encode();
        exchange.request.query = (!query.is_empty()).then_some(query);
        Ok(())
    }
}

impl Rules {
    /// Works on a query or a form.
    fn apply(&self, exchange: &Exchange, args: &mut Args) -> Result<(), Failure> {
        for name in &self.remove {
            args.remove(name);
        }
        for pair in &self.rename {
            let Some(new) = pair.render(exchange)? else { continue };
            if args.has(&pair.name) && new != pair.name {
                args.remove(&new);
                for (name, _) in args.0.iter_mut().filter(|(name, _)| *name == pair.name) {
                    name.clone_from(&new);
                }
            }
        }
        for pair in &self.replace {
            let Some(value) = pair.render(exchange)? else { continue };
            if args.has(&pair.name) {
                args.remove(&pair.name);
                args.0.push((pair.name.clone(), Some(value)));
            }
        }
        for pair in &self.add {
            let Some(value) = pair.render(exchange)? else { continue };
            if !args.has(&pair.name) {
                args.0.push((pair.name.clone(), Some(value)));
            }
        }
        for pair in &self.append {
            let Some(value) = pair.render(exchange)? else { continue };
            args.0.retain(|(name, value)| *name != pair.name || value.is_some());
            args.0.push((pair.name.clone(), Some(value)));
        }
        Ok(())
    }
}

fn header(pair: &Pair, exchange: &Exchange) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
    let Some(value) = pair.render(exchange)? else { return Ok(None) };
    let Some(name) = header_name(&pair.name) else { return Ok(None) };
    Ok(Some((name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Failure)?)))
}

fn header_name(name: &str) -> Option<HeaderName> {
    name.parse().ok()
}

/// The content type, lower case.
fn content_type(exchange: &Exchange) -> Option<String> {
    exchange.request.headers.get(CONTENT_TYPE).and_then(text).map(str::to_ascii_lowercase)
}
