//! standard-webhooks: signed webhooks.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("standard-webhooks", 760).protocols_http().config([
        ("secret_v1", Field::string().required().encrypted().referenceable()),
        ("tolerance_second", Field::integer().required().default(300)),
    ])
}
