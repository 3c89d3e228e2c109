//! ip-restriction: which addresses may pass.

use serde_json::json;

use super::PluginSchema;
use crate::schema::{EntityCheck, Field, typedef};

pub(super) fn schema() -> PluginSchema {
    let addresses = || Field::array(typedef::ip_or_cidr());
    PluginSchema::new("ip-restriction", 990)
        .field(
            "protocols",
            Field::set(Field::string().one_of(&["grpc", "grpcs", "http", "https", "tcp", "tls"]))
                .required()
                .default(json!(["http", "https", "tcp", "tls", "grpc", "grpcs"])),
        )
        .config([
            ("allow", addresses()),
            ("deny", addresses()),
            ("status", Field::number().optional()),
            ("message", Field::string().optional()),
        ])
        .check(EntityCheck::AtLeastOneOf(vec!["config.allow", "config.deny"]))
}
