//! ai-request-transformer: a language model rewrites the request's body.

use super::llm::{Rewriter, limit, raw_body};
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::exchange::Exchange;

struct AiRequestTransformer {
    rewriter: Rewriter,
    limit: usize,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let rewriter = Rewriter::of(config).ok_or(BuildError::Field {
        plugin: "ai-request-transformer",
        field: "transformation_extract_pattern",
    })?;
    Ok(Box::new(AiRequestTransformer { rewriter, limit: limit(config) }))
}

impl Plugin for AiRequestTransformer {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            let body = raw_body(exchange, self.limit).await.unwrap_or_default();
            match self.rewriter.rewrite(&String::from_utf8_lossy(&body)).await {
                Ok(rewritten) => {
                    exchange.request.set_body(rewritten.into());
                    Flow::Continue
                }
                Err(answer) => Flow::respond(answer),
            }
        }))
    }
}
