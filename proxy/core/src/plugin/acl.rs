//! acl: groups of consumers that may or may not pass.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::Exchange;

const CONSUMER_GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");
const AUTHENTICATED_GROUPS: HeaderName = HeaderName::from_static("x-authenticated-groups");

struct Acl {
    /// The listed groups.
    groups: Vec<String>,
    /// Whether to be in one of them is wanted or forbidden.
    allow: bool,
    hide_header: bool,
    prefer_authenticated: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let allow = config.list("allow");
    let is_allow = !allow.is_empty();
    Ok(Box::new(Acl {
        groups: if is_allow { allow } else { config.list("deny") },
        allow: is_allow,
        hide_header: config.flag("hide_groups_header"),
        prefer_authenticated: config.flag("always_use_authenticated_groups"),
    }))
}

impl Plugin for Acl {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let identity = &exchange.identity;
        let authenticated = identity.groups.clone();
        let consumer = identity.consumer.clone();
        let from_consumer = consumer.as_ref().filter(|consumer| {
            authenticated.is_none() || !(self.prefer_authenticated || consumer.groups.is_empty())
        });
        let (groups, header): (Vec<&str>, HeaderName) = match (from_consumer, &authenticated) {
            (Some(consumer), _) => {
                (consumer.groups.iter().map(AsRef::as_ref).collect(), CONSUMER_GROUPS)
            }
            (None, Some(groups)) => {
                (groups.iter().map(String::as_str).collect(), AUTHENTICATED_GROUPS)
            }
            (None, None) => {
                return Access::respond(Answer::error(
                    exchange,
                    StatusCode::UNAUTHORIZED,
                    "Unauthorized",
                ));
            }
        };
        let listed = groups.iter().any(|group| self.groups.iter().any(|known| known == group));
        if listed != self.allow {
            // A stranger without groups is told to say who it is; whoever did is told no.
            let stranger = identity.credential.is_none() && groups.is_empty();
            let (status, message) = if stranger {
                (StatusCode::UNAUTHORIZED, "Unauthorized")
            } else {
                (StatusCode::FORBIDDEN, "You cannot consume this service")
            };
            return Access::respond(Answer::error(exchange, status, message));
        }
        if !self.hide_header
            && let Ok(value) = HeaderValue::from_str(&groups.join(", "))
        {
            exchange.request.headers.insert(header, value);
        }
        Access::Continue
    }
}
