//! grpc-web: gRPC for browsers.

use serde_json::json;

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("grpc-web", 3)
        .field(
            "protocols",
            Field::set(Field::string().one_of(&["grpc", "grpcs", "http", "https"]))
                .required()
                .default(json!(["grpc", "grpcs", "http", "https"])),
        )
        .config([
            ("proto", Field::string().optional()),
            ("pass_stripped_path", Field::boolean().optional()),
            ("allow_origin_header", Field::string().optional().default("*")),
        ])
}
