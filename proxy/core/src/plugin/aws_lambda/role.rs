//! A role that is taken on: keys that AWS's token service lends, asked for again before they end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use super::sign::Keys;
use crate::plugin::{Config, HttpCall, Services};

/// Keys that end sooner than this are not used any more.
const MARGIN: Duration = Duration::from_secs(60);

/// The role, and the keys that were lent last.
pub(super) struct Role {
    url: Url,
    timeout: Duration,
    lent: Mutex<Option<(Keys, Duration)>>,
}

impl Role {
    /// The configured role; none where the configuration names none.
    pub(super) fn of(config: &Config<'_>, region: &str, timeout: Duration) -> Option<Self> {
        let arn = config.text("aws_assume_role_arn")?;
        let service = config.text("aws_sts_endpoint_url").map(str::to_owned);
        let service = service.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        let mut url = Url::parse(&service).ok()?;
        url.query_pairs_mut()
            .append_pair("Action", "AssumeRole")
            .append_pair("DurationSeconds", "3600")
            .append_pair("RoleArn", arn)
            .append_pair("RoleSessionName", config.text("aws_role_session_name").unwrap_or("kong"))
            .append_pair("Version", "2011-06-15");
        Some(Self { url, timeout, lent: Mutex::default() })
    }

    /// Keys of the role, lent to the owner of these keys.
    pub(super) async fn keys(&self, own: &Keys, services: &Arc<dyn Services>) -> Option<Keys> {
        let now = services.now();
        if let Some((keys, until)) = &*self.lent.lock().unwrap_or_else(PoisonError::into_inner)
            && *until > now + MARGIN
        {
            return Some(keys.clone());
        }
        let mut call = HttpCall {
            method: Method::GET,
            url: self.url.to_string(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: self.timeout,
            verify: true,
            proxy: None,
        };
        own.sign(&mut call, now, "sts")?;
        let reply = services.http(call).await.ok().filter(|reply| reply.status.is_success())?;
        let lent = read(&String::from_utf8_lossy(&reply.body), &own.region)?;
        let keys = lent.0.clone();
        *self.lent.lock().unwrap_or_else(PoisonError::into_inner) = Some(lent);
        Some(keys)
    }
}

/// The keys of the token service's answer, and when they end.
fn read(answer: &str, region: &str) -> Option<(Keys, Duration)> {
    let field = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim().to_owned())
    };
    let until: jiff::Timestamp = field("Expiration")?.parse().ok()?;
    let keys = Keys {
        id: field("AccessKeyId")?,
        secret: field("SecretAccessKey")?,
        token: field("SessionToken"),
        region: region.to_owned(),
    };
    Some((keys, Duration::from_secs(u64::try_from(until.as_second()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_out_of_the_answer() {
        let answer = "<R><Credentials><AccessKeyId>ID</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
                      <SessionToken>T</SessionToken><Expiration>2024-11-21T13:00:00Z</Expiration></Credentials></R>";
        let (keys, until) = read(answer, "eu").unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("ID", "S"));
        assert_eq!((keys.token.as_deref(), keys.region.as_str()), (Some("T"), "eu"));
        assert_eq!(until.as_secs(), 1_732_194_000);
        assert!(read("<Error>no</Error>", "eu").is_none());
    }
}
