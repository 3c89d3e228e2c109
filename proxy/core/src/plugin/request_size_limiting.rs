//! request-size-limiting: bodies beyond a size are refused, announced or not.

use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use super::{Access, BuildError, Config, Flow, Plugin};
use crate::answer::Answer;
use crate::exchange::{BodyError, Exchange, text};

struct RequestSizeLimiting {
    most: i64,
    require_length: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let unit = match config.text("size_unit") {
        Some("bytes") => 1,
        Some("kilobytes") => 1 << 10,
        Some(_) | None => 1 << 20,
    };
    let size = config.number("allowed_payload_size").unwrap_or(128.0) as i64;
    Ok(Box::new(RequestSizeLimiting {
        most: size.saturating_mul(unit),
        require_length: config.flag("require_content_length"),
    }))
}

impl Plugin for RequestSizeLimiting {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let headers = &exchange.request.headers;
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(text)
            .and_then(|length| length.parse::<i64>().ok());
        if let Some(length) = length {
            return if length > self.most {
                Access::respond(too_large(exchange))
            } else {
                Access::Continue
            };
        }
        let streamed =
            headers.contains_key(TRANSFER_ENCODING) || exchange.request.version == Version::HTTP_2;
        if self.require_length && !streamed {
            let message = "A valid Content-Length header is required";
            return Access::respond(Answer::error(exchange, StatusCode::LENGTH_REQUIRED, message));
        }
        if !streamed {
            return if self.most < 0 {
                Access::respond(too_large(exchange))
            } else {
                Access::Continue
            };
        }
        Access::Later(Box::pin(self.measure(exchange)))
    }
}

impl RequestSizeLimiting {
    async fn measure(&self, exchange: &mut Exchange) -> Flow {
        match exchange.request.read_body().await {
            Ok(body) if i64::try_from(body.len()).is_ok_and(|length| length <= self.most) => {
                Flow::Continue
            }
            Ok(_) | Err(BodyError::TooLarge) => Flow::respond(too_large(exchange)),
            Err(BodyError::Broken) => {
                Flow::respond(Answer::bare(exchange, StatusCode::BAD_REQUEST))
            }
        }
    }
}

fn too_large(exchange: &Exchange) -> Answer {
    let expects = exchange.request.headers.get(EXPECT).and_then(text);
    let status = match expects {
        Some(expects) if expects.trim().eq_ignore_ascii_case("100-continue") => {
            StatusCode::EXPECTATION_FAILED
        }
        Some(_) | None => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Answer::error(exchange, status, "Request size limit exceeded")
}
