//! grpc-gateway: gRPC methods as JSON resources.

use serde_json::json;

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("grpc-gateway", 998)
        .field(
            "protocols",
            Field::set(Field::string().one_of(&["grpc", "grpcs", "http", "https"]))
                .required()
                .default(json!(["grpc", "grpcs", "http", "https"])),
        )
        .config([("proto", Field::string().optional())])
}
