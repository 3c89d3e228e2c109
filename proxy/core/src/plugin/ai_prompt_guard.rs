//! ai-prompt-guard: prompts pass or not by what they say. The client is not told why.

use kong::pcre::Pattern;
use serde_json::{Map, Value};

use super::llm::{bad_request, body, limit};
use super::{Access, BuildError, Config, Flow, Plugin};
use crate::exchange::Exchange;

struct AiPromptGuard {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    only_latest: bool,
    all_roles: bool,
    limit: usize,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let patterns = |field: &str| {
        let compile = |pattern: String| {
            Pattern::new(&pattern).map_err(|source| BuildError::Pattern {
                plugin: "ai-prompt-guard",
                pattern,
                source,
            })
        };
        config.list(field).into_iter().map(compile).collect::<Result<Vec<_>, _>>()
    };
    Ok(Box::new(AiPromptGuard {
        allow: patterns("allow_patterns")?,
        deny: patterns("deny_patterns")?,
        only_latest: config.flag("allow_all_conversation_history"),
        all_roles: config.flag("match_all_roles"),
        limit: limit(config),
    }))
}

impl Plugin for AiPromptGuard {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        Access::Later(Box::pin(async move {
            let body = body(exchange, self.limit).await.unwrap_or_default();
            match self.collect(&body) {
                Some(prompts) if self.lets_pass(&prompts) => Flow::Continue,
                Some(_) | None => Flow::respond(bad_request("bad request")),
            }
        }))
    }
}

impl AiPromptGuard {
    /// What users said, the latest first; `None` for what is no prompt.
    fn collect(&self, body: &Map<String, Value>) -> Option<String> {
        let Some(messages) = body.get("messages").and_then(Value::as_array) else {
            return body.get("prompt")?.as_str().map(str::to_owned);
        };
        let mut collected = String::new();
        for message in messages.iter().rev() {
            let role = message.get("role")?.as_str()?;
            if role != "user" && !self.all_roles {
                continue;
            }
            collected.push_str(message.get("content")?.as_str()?);
            if self.only_latest {
                break;
            }
            // Words of two messages are two words.
            collected.push(' ');
        }
        Some(collected)
    }

    fn lets_pass(&self, prompts: &str) -> bool {
        !self.deny.iter().any(|pattern| pattern.is_match(prompts))
            && (self.allow.is_empty() || self.allow.iter().any(|one| one.is_match(prompts)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(guard: &AiPromptGuard, body: Value, collected: Option<&str>) {
        let Value::Object(body) = body else { panic!("an object") };
        assert_eq!(guard.collect(&body).as_deref(), collected);
    }

    #[test]
    fn users_are_heard_the_latest_first_and_others_only_where_asked() {
        let body = json!({ "messages": [
            { "role": "user", "content": "a" },
            { "role": "system", "content": "b" },
            { "role": "user", "content": "c" },
        ]});
        let mut guard = AiPromptGuard {
            allow: Vec::new(),
            deny: Vec::new(),
            only_latest: false,
            all_roles: false,
            limit: 0,
        };
        check(&guard, body.clone(), Some("c a "));
        guard.all_roles = true;
        check(&guard, body.clone(), Some("c b a "));
        guard.only_latest = true;
        check(&guard, body, Some("c"));
        check(&guard, json!({ "prompt": "p" }), Some("p"));
        check(&guard, json!({ "messages": [{ "content": "a" }] }), None);
        check(&guard, json!({}), None);
    }
}
