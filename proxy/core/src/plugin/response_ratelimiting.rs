//! response-ratelimiting: how much an upstream may spend on a client; the upstream says how much it did.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::rate_limiting::{LimitBy, command, counted, number_header, prefix, redis, redis_key};
use super::window::{Period, Scope, Subject};
use super::{
    Access, BuildError, Config, Flow, Plugin, Redis, ServiceError, Services, escaped_header_name,
};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange, Source, text};

struct ResponseRateLimiting {
    limits: Vec<Limit>,
    header: HeaderName,
    by: LimitBy,
    redis: Option<Redis>,
    fault_tolerant: bool,
    block: bool,
    hide: bool,
    services: Arc<dyn Services>,
}

/// One named thing that is spent.
struct Limit {
    name: String,
    prefix: String,
    scope: Arc<Scope>,
    remaining: HeaderName,
    windows: Vec<LimitWindow>,
}

struct LimitWindow {
    period: Period,
    most: f64,
    limit: HeaderName,
    remaining: HeaderName,
}

/// What was spent of each limit's windows before this request, and by whom.
struct Usage {
    who: String,
    spent: Vec<[f64; 6]>,
    at: Duration,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let header = |text: String| {
        escaped_header_name(&text)
            .ok_or(BuildError::Field { plugin: "response-ratelimiting", field: "limits" })
    };
    let mut limits = Vec::new();
    for (name, windows) in
        config.config.get("limits").and_then(Value::as_object).into_iter().flatten()
    {
        let mut list = Vec::new();
        for period in Period::ALL {
            let Some(most) = windows.get(period.name()).and_then(Value::as_f64) else { continue };
            list.push(LimitWindow {
                period,
                most,
                limit: header(format!("x-ratelimit-limit-{name}-{}", period.name()))?,
                remaining: header(format!("x-ratelimit-remaining-{name}-{}", period.name()))?,
            });
        }
        let prefix = format!("response-{}{name}:", prefix(config));
        limits.push(Limit {
            scope: config.context.lasting.counters.scope(&prefix),
            prefix,
            remaining: header(format!("x-ratelimit-remaining-{name}"))?,
            name: name.clone(),
            windows: list,
        });
    }
    Ok(Box::new(ResponseRateLimiting {
        limits,
        header: header(config.string("header_name"))?,
        by: LimitBy::of(config),
        redis: redis(config),
        fault_tolerant: config.flag("fault_tolerant"),
        block: config.flag("block_on_first_violation"),
        hide: config.flag("hide_client_headers"),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for ResponseRateLimiting {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let now = self.services.now();
        let who = self.by.subject(exchange).to_string();
        if let Some(redis) = &self.redis {
            return Access::Later(Box::pin(self.ask_redis(redis, exchange, who, now)));
        }
        let read = |limit: &Limit| {
            limit.scope.with(Subject::Text(&who), now, |windows| {
                let mut spent = [0.0; 6];
                for window in &limit.windows {
                    spent[window.period as usize] =
                        windows[window.period as usize].count(window.period, now);
                }
                spent
            })
        };
        let spent = self.limits.iter().map(read).collect();
        self.decide(exchange, Usage { who, spent, at: now }).into()
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        if exchange.response.source != Source::Upstream {
            return;
        }
        let Some(usage) = exchange.notes.take::<Usage>() else { return };
        let reported = exchange.response.headers.remove(&self.header);
        let reported = reported.as_ref().and_then(text).map(parse).unwrap_or_default();
        let mut exhausted = false;
        for (limit, spent) in self.limits.iter().zip(&usage.spent) {
            let more = reported
                .iter()
                .find(|(name, _)| *name == limit.name)
                .map_or(0.0, |(_, amount)| *amount);
            for window in &limit.windows {
                let left = window.most - spent[window.period as usize];
                exhausted |= more > 0.0 && left <= 0.0;
                if !self.hide {
                    let headers = &mut exchange.response.headers;
                    headers.insert(window.limit.clone(), number_header(window.most));
                    headers.insert(window.remaining.clone(), number_header((left - more).max(0.0)));
                }
            }
            if more != 0.0 {
                self.spend(limit, &usage, more);
            }
        }
        if exhausted {
            exchange.response.status = StatusCode::TOO_MANY_REQUESTS;
            exchange.response.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            exchange.response.filters.push(Box::new(Nothing));
        }
    }
}

impl ResponseRateLimiting {
    fn decide(&self, exchange: &mut Exchange, usage: Usage) -> Flow {
        for (limit, spent) in self.limits.iter().zip(&usage.spent) {
            let left =
                limit.windows.iter().map(|window| window.most - spent[window.period as usize]);
            let least = left.fold(f64::INFINITY, f64::min);
            if self.block && least <= 0.0 {
                exchange.early.clear();
                let message = format!("API rate limit exceeded for '{}'", limit.name);
                return Flow::respond(Answer::error(
                    exchange,
                    StatusCode::TOO_MANY_REQUESTS,
                    &message,
                ));
            }
            exchange.early.insert(limit.remaining.clone(), number_header(least));
        }
        exchange.notes.put(usage);
        Flow::Continue
    }

    fn spend(&self, limit: &Limit, usage: &Usage, amount: f64) {
        if let Some(redis) = &self.redis {
            let mut commands = Vec::new();
            for window in &limit.windows {
                let key = redis_key(&limit.prefix, &usage.who, window.period, usage.at);
                commands.push(command(&["INCRBYFLOAT", &key, &amount.to_string()]));
                commands.push(command(&["EXPIRE", &key, &window.period.seconds().to_string()]));
            }
            self.services.redis_detached(redis, commands);
            return;
        }
        limit.scope.with(Subject::Text(&usage.who), usage.at, |windows| {
            for window in &limit.windows {
                windows[window.period as usize].add(window.period, usage.at, amount);
            }
        });
    }

    async fn ask_redis(
        &self,
        redis: &Redis,
        exchange: &mut Exchange,
        who: String,
        now: Duration,
    ) -> Flow {
        match self.read_redis(redis, &who, now).await {
            Ok(spent) => self.decide(exchange, Usage { who, spent, at: now }),
            Err(_) if self.fault_tolerant => Flow::Continue,
            Err(_) => {
                Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    async fn read_redis(
        &self,
        redis: &Redis,
        who: &str,
        now: Duration,
    ) -> Result<Vec<[f64; 6]>, ServiceError> {
        let keys = self.limits.iter().flat_map(|limit| {
            limit
                .windows
                .iter()
                .map(|window| command(&["GET", &redis_key(&limit.prefix, who, window.period, now)]))
        });
        let mut replies = self.services.redis(redis, keys.collect()).await?.into_iter();
        let read = |limit: &Limit| {
            let mut spent = [0.0; 6];
            for window in &limit.windows {
                spent[window.period as usize] = replies.next().as_ref().map_or(0.0, counted);
            }
            spent
        };
        Ok(self.limits.iter().map(read).collect())
    }
}

/// `name=amount` pairs; what is no number does not count.
fn parse(header: &str) -> Vec<(String, f64)> {
    let pair = |pair: &str| {
        let (name, amount) = pair.split_once('=')?;
        Some((name.trim().to_owned(), amount.trim().parse().ok()?))
    };
    header.split(',').filter_map(pair).collect()
}

/// Swallows the body.
struct Nothing;

impl BodyFilter for Nothing {
    fn chunk(&mut self, _piece: bytes::Bytes, _last: bool) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}
