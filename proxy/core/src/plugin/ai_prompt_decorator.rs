//! ai-prompt-decorator: messages before and after those of a conversation.

use serde_json::{Value, json};

use super::llm::{bad_request, body, limit, messages, set_body};
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::exchange::Exchange;

struct AiPromptDecorator {
    before: Vec<Value>,
    after: Vec<Value>,
    limit: usize,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let prompts = config.config.get("prompts");
    let list = |name: &str| {
        let list = prompts.and_then(|prompts| prompts.get(name)).and_then(Value::as_array);
        let message =
            |one: &Value| json!({ "role": one.get("role"), "content": one.get("content") });
        list.into_iter().flatten().map(message).collect()
    };
    Ok(Box::new(AiPromptDecorator {
        before: list("prepend"),
        after: list("append"),
        limit: limit(config),
    }))
}

impl Plugin for AiPromptDecorator {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(self.decorate(exchange)))
    }
}

impl AiPromptDecorator {
    async fn decorate(&self, exchange: &mut Exchange) -> Flow {
        let mut body = body(exchange, self.limit).await.unwrap_or_default();
        let Some(old) = messages(&body) else {
            return Flow::respond(bad_request(
                "this LLM route only supports llm/chat type requests",
            ));
        };
        let all = self.before.iter().chain(old).chain(&self.after).cloned().collect();
        body.insert("messages".to_owned(), Value::Array(all));
        set_body(exchange, &Value::Object(body));
        Flow::Continue
    }
}
