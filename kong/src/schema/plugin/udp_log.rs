//! udp-log: a datagram per request.

use super::PluginSchema;
use crate::schema::{Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("udp-log", 8).protocols().config([
        ("host", typedef::host().required()),
        ("port", typedef::port().required()),
        ("timeout", Field::number().default(10_000)),
        ("custom_fields_by_lua", super::queue::custom_fields()),
    ])
}
