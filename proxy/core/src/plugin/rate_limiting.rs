//! rate-limiting: so many requests per second … year for a consumer, an address, a header, a path or a service.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::window::{Period, Scope, Subject, Window};
use super::{
    Access, BuildError, Config, Flow, Plugin, Redis, Reply, ServiceError, Services, spellings,
};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

/// The id that stands in counter keys where a plugin is bound to nothing.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

struct RateLimiting {
    limits: Vec<Limit>,
    by: LimitBy,
    redis: Option<Redis>,
    /// `ratelimit:<route>:<service>:`, as Kong writes it into Redis.
    prefix: String,
    scope: Arc<Scope>,
    fault_tolerant: bool,
    hide: bool,
    status: Option<StatusCode>,
    message: String,
    services: Arc<dyn Services>,
}

struct Limit {
    period: Period,
    most: f64,
    most_header: HeaderValue,
    limit_name: HeaderName,
    remaining_name: HeaderName,
}

/// What counts together.
pub(super) enum LimitBy {
    Consumer,
    Credential,
    Ip,
    Service,
    Header(Vec<HeaderName>),
    Path(String),
}

impl LimitBy {
    pub(super) fn of(config: &Config<'_>) -> Self {
        match config.text("limit_by") {
            Some("credential") => Self::Credential,
            Some("ip") => Self::Ip,
            Some("service") => Self::Service,
            Some("header") => Self::Header(spellings(&config.string("header_name"))),
            Some("path") => Self::Path(config.string("path")),
            Some(_) | None => Self::Consumer,
        }
    }

    /// Who is counted; the client's address where there is nothing better.
    pub(super) fn subject<'a>(&'a self, exchange: &'a Exchange) -> Subject<'a> {
        let identity = &exchange.identity;
        let credential = identity.credential.as_ref().map(|credential| credential.id.as_ref());
        let found = match self {
            Self::Consumer => {
                identity.consumer.as_ref().map(|consumer| consumer.id.as_ref()).or(credential)
            }
            Self::Credential => credential,
            Self::Ip => None,
            Self::Service => exchange.matched.service.as_ref().map(|service| service.id.as_ref()),
            Self::Header(names) => {
                names.iter().find_map(|name| exchange.request.headers.get(name)).and_then(text)
            }
            Self::Path(path) => (exchange.request.path == *path).then_some(path.as_str()),
        };
        found.map_or(Subject::Address(exchange.client.ip), Subject::Text)
    }
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let limit = |period: Period| {
        let most = config.number(period.name())?;
        let title = period.name();
        Some(Limit {
            period,
            most,
            most_header: number_header(most),
            limit_name: format!("x-ratelimit-limit-{title}").parse().ok()?,
            remaining_name: format!("x-ratelimit-remaining-{title}").parse().ok()?,
        })
    };
    let prefix = prefix(config);
    Ok(Box::new(RateLimiting {
        limits: Period::ALL.into_iter().filter_map(limit).collect(),
        by: LimitBy::of(config),
        redis: redis(config),
        scope: config.context.lasting.counters.scope(&prefix),
        prefix,
        fault_tolerant: config.flag("fault_tolerant"),
        hide: config.flag("hide_client_headers"),
        status: config.refusal("error_code", StatusCode::TOO_MANY_REQUESTS),
        message: config.string("error_message"),
        services: Arc::clone(&config.context.services),
    }))
}

/// Counters belong to the route and the service that the plugin is bound to, not to those that a request matched.
pub(super) fn prefix(config: &Config<'_>) -> String {
    format!("ratelimit:{}:{}:", config.route.unwrap_or(NOBODY), config.service.unwrap_or(NOBODY))
}

/// The Redis server, where the policy is to count there.
pub(super) fn redis(config: &Config<'_>) -> Option<Redis> {
    if config.text("policy") != Some("redis") {
        return None;
    }
    let redis = config.config.get("redis")?;
    let text = |field: &str| redis.get(field).and_then(Value::as_str).map(str::to_owned);
    let number =
        |field: &str, default: u64| redis.get(field).and_then(Value::as_u64).unwrap_or(default);
    let flag = |field: &str| redis.get(field).and_then(Value::as_bool).unwrap_or(false);
    Some(Redis {
        host: text("host")?,
        port: u16::try_from(number("port", 6_379)).unwrap_or(6_379),
        timeout: Duration::from_millis(number("timeout", 2_000)),
        username: text("username"),
        password: text("password").filter(|password| !password.is_empty()),
        database: u32::try_from(number("database", 0)).unwrap_or(0),
        tls: flag("ssl").then(|| (text("server_name"), flag("ssl_verify"))),
    })
}

impl Plugin for RateLimiting {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let now = self.services.now();
        if let Some(redis) = &self.redis {
            let who = self.by.subject(exchange).to_string();
            return Access::Later(Box::pin(self.count_in_redis(redis, exchange, who, now)));
        }
        let mut counts = [0.0; 6];
        self.scope.with(self.by.subject(exchange), now, |windows| {
            for (limit, count) in self.limits.iter().zip(&mut counts) {
                *count = windows[limit.period as usize].count(limit.period, now);
            }
            if self.exhausted(&counts).is_none() {
                for limit in &self.limits {
                    let window: &mut Window = &mut windows[limit.period as usize];
                    window.add(limit.period, now, 1.0);
                }
            }
        });
        self.decide(exchange, &counts, now).into()
    }
}

impl RateLimiting {
    /// The last limit of which nothing is left.
    fn exhausted(&self, counts: &[f64; 6]) -> Option<usize> {
        let left = |(limit, count): (&Limit, &f64)| limit.most - *count > 0.0;
        self.limits.iter().zip(counts).rposition(|pair| !left(pair))
    }

    fn decide(&self, exchange: &mut Exchange, counts: &[f64; 6], now: Duration) -> Flow {
        let stop = self.exhausted(counts);
        let mut tightest: Option<(f64, usize)> = None;
        for (at, (limit, count)) in self.limits.iter().zip(counts).enumerate() {
            let spent = f64::from(u8::from(stop.is_none_or(|stop| stop == at)));
            let remaining = (limit.most - *count - spent).max(0.0);
            // Of equals the longest period tells.
            if tightest.is_none_or(|(least, _)| remaining <= least) {
                tightest = Some((remaining, at));
            }
            if !self.hide {
                exchange.early.insert(limit.limit_name.clone(), limit.most_header.clone());
                exchange.early.insert(limit.remaining_name.clone(), number_header(remaining));
            }
        }
        if let (Some((remaining, at)), false) = (tightest, self.hide) {
            let reset = HeaderValue::from(self.limits[at].period.reset(now));
            let early = &mut exchange.early;
            early.insert("ratelimit-limit", self.limits[at].most_header.clone());
            early.insert("ratelimit-remaining", number_header(remaining));
            early.insert("ratelimit-reset", reset.clone());
            if stop.is_some() {
                early.insert("retry-after", reset);
            }
        }
        match (stop, self.status) {
            (None, _) => Flow::Continue,
            (Some(_), Some(status)) => {
                Flow::respond(Answer::error(exchange, status, &self.message))
            }
            (Some(_), None) => {
                Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    async fn count_in_redis(
        &self,
        redis: &Redis,
        exchange: &mut Exchange,
        who: String,
        now: Duration,
    ) -> Flow {
        match self.ask_redis(redis, &who, now).await {
            Ok(counts) => self.decide(exchange, &counts, now),
            Err(_) if self.fault_tolerant => Flow::Continue,
            Err(_) => {
                Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    async fn ask_redis(
        &self,
        redis: &Redis,
        who: &str,
        now: Duration,
    ) -> Result<[f64; 6], ServiceError> {
        let keys: Vec<String> = self
            .limits
            .iter()
            .map(|limit| redis_key(&self.prefix, who, limit.period, now))
            .collect();
        let mut counts = [0.0; 6];
        let get = keys.iter().map(|key| command(&["GET", key])).collect();
        for (count, reply) in counts.iter_mut().zip(self.services.redis(redis, get).await?) {
            *count = counted(&reply);
        }
        if self.exhausted(&counts).is_none() {
            let mut count_up = Vec::new();
            for (key, limit) in keys.iter().zip(&self.limits) {
                count_up.push(command(&["INCRBY", key, "1"]));
                count_up.push(command(&["EXPIRE", key, &limit.period.seconds().to_string()]));
            }
            self.services.redis(redis, count_up).await?;
        }
        Ok(counts)
    }
}

/// A counter's key as Kong writes it.
pub(super) fn redis_key(prefix: &str, who: &str, period: Period, now: Duration) -> String {
    format!("{prefix}{who}:{}:{}", period.start(now) * 1_000, period.name())
}

/// What a counter holds.
pub(super) fn counted(reply: &Reply) -> f64 {
    match reply {
        Reply::Integer(number) => *number as f64,
        Reply::Data(data) => {
            std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0)
        }
        Reply::Nil | Reply::List(_) | Reply::Error(_) => 0.0,
    }
}

/// A Redis command.
pub(super) fn command(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

/// A number as Lua writes it: whole ones without a fraction.
pub(super) fn number_header(number: f64) -> HeaderValue {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return HeaderValue::from(number as i64);
    }
    HeaderValue::from_str(&number.to_string()).unwrap_or(HeaderValue::from_static("0"))
}
