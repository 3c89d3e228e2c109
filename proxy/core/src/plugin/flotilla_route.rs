//! flotilla-route: what a rule of a Gateway API route asks for and Kong's model has no word for.
//!
//! Redirects with any part replaced are answered here. The choice among backends that differ in more than their address
//! is made here. Timeouts, retries and mirrors are only noted: the forwarding obeys them.

mod redirect;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::flotilla_upstream::wish;
use super::{Access, BuildError, Config, Context, Plugin, texts};
use crate::answer::Answer;
use crate::exchange::{self, Exchange, Request, Retry, TlsWish, Wishes};
use redirect::Redirect;

struct Rule {
    context: Context,
    redirect: Option<Redirect>,
    request_timeout: Option<Duration>,
    backend_timeout: Option<Duration>,
    retry: Option<Arc<Retry>>,
    mirrors: Vec<Mirror>,
    backends: Vec<Backend>,
}

/// Where copies of some requests go.
struct Mirror {
    to: exchange::Mirror,
    numerator: u64,
    denominator: u64,
}

/// One of several backends; requests of one without upstream have nowhere to go.
struct Backend {
    upstream: Option<Box<str>>,
    tls: Option<Arc<TlsWish>>,
    weight: u64,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let items =
        |field: &str| config.config.get(field).and_then(Value::as_array).into_iter().flatten();
    let retry = config.config.get("retry").filter(|retry| retry.is_object());
    Ok(Box::new(Rule {
        context: config.context.clone(),
        redirect: config
            .config
            .get("redirect")
            .filter(|redirect| redirect.is_object())
            .map(Redirect::parse),
        request_timeout: config.number("request_timeout").and_then(milliseconds),
        backend_timeout: config.number("backend_timeout").and_then(milliseconds),
        retry: retry.map(|retry| Arc::new(parse_retry(retry))),
        mirrors: items("mirrors").filter_map(Mirror::parse).collect(),
        backends: items("backends").map(Backend::parse).collect(),
    }))
}

/// A time limit; zero stands for none.
fn milliseconds(number: f64) -> Option<Duration> {
    (number >= 1.0).then(|| Duration::from_millis(number as u64))
}

fn whole(value: &Value, field: &str) -> Option<u64> {
    value.get(field).and_then(Value::as_u64)
}

fn parse_retry(retry: &Value) -> Retry {
    let codes = retry.get("codes").and_then(Value::as_array).into_iter().flatten();
    let codes = codes.filter_map(Value::as_u64).filter_map(|code| u16::try_from(code).ok());
    Retry {
        attempts: whole(retry, "attempts").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
        codes: codes.filter_map(|code| StatusCode::from_u16(code).ok()).collect(),
        backoff: whole(retry, "backoff").map(Duration::from_millis).unwrap_or_default(),
    }
}

impl Mirror {
    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            to: exchange::Mirror {
                upstream: value.get("upstream")?.as_str()?.into(),
                tls: wish(value),
            },
            numerator: whole(value, "numerator").unwrap_or(100),
            denominator: whole(value, "denominator").unwrap_or(100).max(1),
        })
    }
}

impl Backend {
    fn parse(value: &Value) -> Self {
        let pairs = |field: &str| {
            let list = texts(value.get(field));
            let pair = |text: &String| {
                let (name, value) = text.split_once(':')?;
                Some((name.parse().ok()?, value.parse().ok()?))
            };
            list.iter().filter_map(pair).collect()
        };
        let removed = texts(value.get("remove"));
        Self {
            upstream: value.get("upstream").and_then(Value::as_str).map(Into::into),
            tls: wish(value),
            weight: whole(value, "weight").unwrap_or(1),
            set: pairs("set"),
            add: pairs("add"),
            remove: removed.iter().filter_map(|name| name.parse().ok()).collect(),
        }
    }

    fn change(&self, request: &mut Request) {
        for (name, value) in &self.set {
            request.headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            request.headers.append(name.clone(), value.clone());
        }
        for name in &self.remove {
            request.headers.remove(name);
        }
    }
}

impl Rule {
    /// A number below `bound`, by chance.
    fn chance(&self, bound: u64) -> u64 {
        let mut raw = [0; 8];
        self.context.services.random(&mut raw);
        u64::from_le_bytes(raw) % bound.max(1)
    }

    /// One of the backends by weight; nothing when none has any.
    fn choose(&self) -> Option<&Backend> {
        let total = self.backends.iter().map(|backend| backend.weight).sum();
        let mut at = (total > 0).then(|| self.chance(total))?;
        self.backends.iter().find(|backend| {
            let here = at < backend.weight;
            at = at.saturating_sub(backend.weight);
            here
        })
    }
}

impl Plugin for Rule {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if let Some(redirect) = &self.redirect {
            return Access::respond(redirect.answer(exchange));
        }
        let chosen = if self.backends.is_empty() { None } else { Some(self.choose()) };
        let mut tls = None;
        match chosen {
            None => {}
            Some(Some(backend)) if backend.upstream.is_some() => {
                backend.change(&mut exchange.request);
                exchange.upstream.target = backend.upstream.clone().map(|name| (name, 80));
                tls.clone_from(&backend.tls);
            }
            Some(_) => {
                let message = "no existing backendRef provided";
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Access::respond(Answer::error(exchange, status, message));
            }
        }
        let hit = |mirror: &&Mirror| {
            mirror.numerator >= mirror.denominator
                || self.chance(mirror.denominator) < mirror.numerator
        };
        exchange.upstream.wishes = Wishes {
            request_timeout: self.request_timeout,
            backend_timeout: self.backend_timeout,
            retry: self.retry.clone(),
            mirrors: self.mirrors.iter().filter(hit).map(|one| one.to.clone()).collect(),
            tls,
        };
        Access::Continue
    }
}
