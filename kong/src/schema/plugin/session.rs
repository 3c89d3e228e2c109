//! session: a cookie in place of credentials.

use serde_json::json;

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    let headers = || Field::set(Field::string().one_of(&HEADERS));
    PluginSchema::new("session", 1900).no_consumer().protocols_http().config([
        ("secret", Field::string().optional().default("").len_min(0).encrypted().referenceable()),
        ("storage", Field::string().required().default("cookie").one_of(&["cookie", "kong"])),
        ("audience", Field::string().optional().default("default")),
        ("idling_timeout", Field::number().default(900)),
        ("rolling_timeout", Field::number().default(3_600)),
        ("absolute_timeout", Field::number().default(86_400)),
        ("stale_ttl", Field::number().default(10)),
        ("cookie_name", Field::string().default("session")),
        ("cookie_path", Field::string().default("/")),
        ("cookie_domain", Field::string()),
        (
            "cookie_same_site",
            Field::string().default("Strict").one_of(&["Strict", "Lax", "None", "Default"]),
        ),
        ("cookie_http_only", Field::boolean().default(true)),
        ("cookie_secure", Field::boolean().default(true)),
        ("remember", Field::boolean().default(false)),
        ("remember_cookie_name", Field::string().default("remember")),
        ("remember_rolling_timeout", Field::number().default(604_800)),
        ("remember_absolute_timeout", Field::number().default(2_592_000)),
        ("response_headers", headers()),
        ("request_headers", headers()),
        ("read_body_for_logout", Field::boolean().required().default(false)),
        ("logout_query_arg", Field::string().default("session_logout")),
        ("logout_post_arg", Field::string().default("session_logout")),
        (
            "logout_methods",
            Field::set(Field::string().one_of(&["GET", "POST", "DELETE"]))
                .default(json!(["POST", "DELETE"])),
        ),
        ("hash_subject", Field::boolean().required().default(false)),
        ("store_metadata", Field::boolean().required().default(false)),
    ])
}

const HEADERS: [&str; 7] = [
    "id",
    "audience",
    "subject",
    "timeout",
    "idling-timeout",
    "rolling-timeout",
    "absolute-timeout",
];
