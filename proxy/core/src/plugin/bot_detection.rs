//! bot-detection: user agents that may not pass, by an own list and the configured patterns.

use std::sync::LazyLock;

use http::StatusCode;
use http::header::USER_AGENT;
use kong::pcre::Pattern;
use regex::RegexSet;

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::{Exchange, text};

/// Names of crawlers, and libraries that crawlers are made with. Tools that people use by hand are not among them.
static KNOWN_BOTS: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    RegexSet::new([
        r"[A-Za-z]+[Bb]ot[/ ]v?\d",
        r"[A-Za-z]*[Bb]ot-[A-Za-z]+[/ ]\d",
        r"Googlebot|Google.*/\+/web/snippet|Mediapartners-Google|AdsBot-Google|FeedFetcher-Google",
        r"[Ss]pider|[Cc]rawl|[Ss]crap(?:e|er|y)",
        r"Yahoo! Slurp|YahooSeeker|Yandex|bingbot|BingPreview|msnbot|DuckDuckBot",
        r"ia_archiver|archive\.org_bot|Nutch|heritrix|MSIECrawler",
        r"facebookexternalhit/\d|Pingdom\.com_bot_version_\d|Slackbot|TelegramBot|Discordbot",
        r"(?:Google-HTTP-Java-Client|Apache-HttpClient|Go-http-client|Python-urllib|HttpMonitor|TLSProber|WinHTTP|JNLP|okhttp)[ /]?\d*",
    ])
    .ok()
});

struct BotDetection {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let patterns = |field: &str| {
        config
            .list(field)
            .into_iter()
            .map(|pattern| {
                Pattern::new(&pattern).map_err(|source| BuildError::Pattern {
                    plugin: "bot-detection",
                    pattern,
                    source,
                })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Box::new(BotDetection { allow: patterns("allow")?, deny: patterns("deny")? }))
}

impl Plugin for BotDetection {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let mut agents = exchange.request.headers.get_all(USER_AGENT).iter();
        let agent = match (agents.next(), agents.next()) {
            (None, _) => return Access::Continue,
            (Some(_), Some(_)) => {
                let message = "Only one User-Agent header allowed";
                return Access::respond(Answer::error(exchange, StatusCode::BAD_REQUEST, message));
            }
            (Some(agent), None) => text(agent).unwrap_or_default().trim(),
        };
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.is_match(agent));
        let is_bot = || KNOWN_BOTS.as_ref().is_some_and(|bots| bots.is_match(agent));
        if matches(&self.allow) || !(matches(&self.deny) || is_bot()) {
            return Access::Continue;
        }
        Access::respond(Answer::error(exchange, StatusCode::FORBIDDEN, "Forbidden"))
    }
}
