//! redirect: another address for every request.

use super::PluginSchema;
use crate::schema::{Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("redirect", 779).protocols_http().config([
        ("status_code", Field::integer().required().default(301).between(100, 599)),
        ("location", typedef::url().required()),
        ("keep_incoming_path", Field::boolean().required().default(false)),
    ])
}
