//! standard-webhooks: a request is let through when its sender signed it, and lately.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::StatusCode;
use sha2::Sha256;

use super::auth::same;
use super::template::{format_number, number};
use super::{Access, BuildError, Config, Flow, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::Exchange;

struct StandardWebhooks {
    secret: String,
    tolerance: f64,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(StandardWebhooks {
        secret: config.string("secret_v1"),
        tolerance: config.number("tolerance_second").unwrap_or(300.0),
        services: Arc::clone(&config.context.services),
    }))
}

impl Plugin for StandardWebhooks {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            let body = exchange.request.read_body().await.unwrap_or_default();
            if self.is_signed(exchange, &body) {
                return Flow::Continue;
            }
            Flow::respond(Answer::error(exchange, StatusCode::BAD_REQUEST, "Bad request"))
        }))
    }
}

impl StandardWebhooks {
    fn is_signed(&self, exchange: &Exchange, body: &[u8]) -> bool {
        let header = |name: &str| exchange.request.header(name);
        let (Some(id), Some(signature), Some(time)) =
            (header("webhook-id"), header("webhook-signature"), header("webhook-timestamp"))
        else {
            return false;
        };
        let time = number(time).unwrap_or(0.0);
        if self.services.now().as_secs_f64() - time > self.tolerance || body.is_empty() {
            return false;
        }
        same(signature.as_bytes(), sign(&self.secret, id, time, body).as_bytes())
    }
}

/// The signature that a sender who knows the secret writes.
fn sign(secret: &str, id: &str, time: f64, body: &[u8]) -> String {
    // A key of any length is a key.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{id}.{}.", format_number(time)).as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_id_time_and_body() {
        let signed = sign("secret", "msg_1", 1_732_190_400.0, b"{}");
        assert!(signed.starts_with("v1,"));
        assert_ne!(signed, sign("secret", "msg_2", 1_732_190_400.0, b"{}"));
        assert_ne!(signed, sign("secret", "msg_1", 1_732_190_401.0, b"{}"));
        assert_ne!(signed, sign("secret", "msg_1", 1_732_190_400.0, b"{ }"));
    }
}
