//! What the authenticating plugins share: telling the upstream who asks, and falling back to an anonymous consumer.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::{Config, Consumer, Credential, Directory, Flow};
use crate::answer::Answer;
use crate::exchange::Exchange;

const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
const CONSUMER_CUSTOM_ID: HeaderName = HeaderName::from_static("x-consumer-custom-id");
const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// Names the consumer to later plugins and to the upstream, and clears what the client claimed.
pub(super) fn authenticate(
    exchange: &mut Exchange,
    consumer: Option<Arc<Consumer>>,
    credential: Option<Arc<Credential>>,
) {
    let headers = &mut exchange.request.headers;
    let mut set = |name: HeaderName, value: Option<&HeaderValue>| match value {
        Some(value) => {
            headers.insert(name, value.clone());
        }
        None => {
            headers.remove(name);
        }
    };
    set(CONSUMER_ID, consumer.as_ref().and_then(|consumer| consumer.id_header.as_ref()));
    set(
        CONSUMER_CUSTOM_ID,
        consumer.as_ref().and_then(|consumer| consumer.custom_id_header.as_ref()),
    );
    set(
        CONSUMER_USERNAME,
        consumer.as_ref().and_then(|consumer| consumer.username_header.as_ref()),
    );
    set(
        CREDENTIAL_IDENTIFIER,
        credential.as_ref().and_then(|credential| credential.identifier.as_ref()),
    );
    let anonymous = HeaderValue::from_static("true");
    set(ANONYMOUS_CONSUMER, credential.is_none().then_some(&anonymous));
    exchange.identity.consumer = consumer;
    exchange.identity.credential = credential;
}

/// The part of an authenticating plugin's configuration that decides what happens to strangers.
pub(super) struct Strangers {
    anonymous: Option<String>,
    directory: Arc<Directory>,
}

impl Strangers {
    pub(super) fn of(config: &Config<'_>) -> Self {
        Self {
            anonymous: config.text("anonymous").filter(|name| !name.is_empty()).map(str::to_owned),
            directory: Arc::clone(config.directory),
        }
    }

    /// Whether the plugin has nothing to do because another one found out already.
    pub(super) fn known(&self, exchange: &Exchange) -> bool {
        self.anonymous.is_some() && exchange.identity.credential.is_some()
    }

    /// Lets the anonymous consumer take the request, or refuses it.
    pub(super) fn refuse(
        &self,
        exchange: &mut Exchange,
        refusal: impl FnOnce(&Exchange) -> Answer,
    ) -> Flow {
        let Some(name) = &self.anonymous else { return Flow::respond(refusal(exchange)) };
        match self.directory.named(name) {
            Some(consumer) => {
                authenticate(exchange, Some(Arc::clone(consumer)), None);
                Flow::Continue
            }
            None => {
                Flow::respond(Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }
}

/// `Scheme` or `Scheme realm="…"`.
pub(super) fn challenge(scheme: &str, realm: Option<&str>) -> HeaderValue {
    let text = match realm {
        Some(realm) => format!("{scheme} realm=\"{realm}\""),
        None => scheme.to_owned(),
    };
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// A 401 in the client's type.
pub(super) fn unauthorized(exchange: &Exchange, message: &str, challenge: &HeaderValue) -> Answer {
    Answer::error(exchange, StatusCode::UNAUTHORIZED, message)
        .with(http::header::WWW_AUTHENTICATE, challenge.clone())
}

/// Compares without telling by its duration where the two differ.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
