//! oauth2: who calls, by a token of an application.

use serde_json::Value;

use super::PluginSchema;
use crate::schema::{Condition, EntityCheck, Field, Record};

pub(super) fn schema() -> PluginSchema {
    let config = Record::new([
        ("scopes", Field::array(Field::string())),
        ("mandatory_scope", Field::boolean().required().default(false)),
        ("provision_key", Field::string().required().auto().unique().encrypted()),
        ("token_expiration", Field::number().required().default(7_200)),
        ("enable_authorization_code", Field::boolean().required().default(false)),
        ("enable_implicit_grant", Field::boolean().required().default(false)),
        ("enable_client_credentials", Field::boolean().required().default(false)),
        ("enable_password_grant", Field::boolean().required().default(false)),
        ("hide_credentials", Field::boolean().required().default(false)),
        ("accept_http_if_already_terminated", Field::boolean().required().default(false)),
        ("anonymous", Field::string()),
        ("global_credentials", Field::boolean().required().default(false)),
        ("auth_header_name", Field::string().default("authorization")),
        (
            "refresh_token_ttl",
            Field::number().required().default(1_209_600).between(0, 100_000_000),
        ),
        ("reuse_refresh_token", Field::boolean().required().default(false)),
        ("pkce", Field::string().optional().default("lax").one_of(&["none", "lax", "strict"])),
        ("realm", Field::string().optional()),
    ])
    .check(EntityCheck::conditional(
        "mandatory_scope",
        Condition::eq(true),
        "scopes",
        Condition::required(),
    ));
    PluginSchema::new("oauth2", 1400)
        .no_consumer()
        .protocols_http()
        .field("config", Field::of(config).required().custom(some_grant))
}

fn some_grant(config: &Value) -> Result<(), String> {
    const GRANTS: [&str; 4] = [
        "enable_authorization_code",
        "enable_implicit_grant",
        "enable_client_credentials",
        "enable_password_grant",
    ];
    if GRANTS.iter().any(|grant| config.get(grant) == Some(&Value::Bool(true))) {
        return Ok(());
    }
    Err(format!("at least one of these fields must be true: {}", GRANTS.join(", ")))
}
