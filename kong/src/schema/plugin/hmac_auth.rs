//! hmac-auth: who calls, by a signature over the request.

use serde_json::json;

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("hmac-auth", 1030).no_consumer().protocols_http().config([
        ("hide_credentials", Field::boolean().required().default(false)),
        ("clock_skew", Field::number().default(300).gt(0)),
        ("anonymous", Field::string()),
        ("validate_request_body", Field::boolean().required().default(false)),
        ("enforce_headers", Field::array(Field::string()).default(json!([]))),
        (
            "algorithms",
            Field::array(Field::string().one_of(&ALGORITHMS)).default(json!(ALGORITHMS)),
        ),
        ("realm", Field::string().optional()),
    ])
}

const ALGORITHMS: [&str; 4] = ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];
