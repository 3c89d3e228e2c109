//! request-size-limiting: how large a request body may be.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("request-size-limiting", 951).protocols_http().config([
        ("allowed_payload_size", Field::integer().default(128)),
        (
            "size_unit",
            Field::string().required().default("megabytes").one_of(&[
                "megabytes",
                "kilobytes",
                "bytes",
            ]),
        ),
        ("require_content_length", Field::boolean().required().default(false)),
    ])
}
