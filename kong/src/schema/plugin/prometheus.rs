//! prometheus: metrics of what passes through.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    let switch = || Field::boolean().default(false);
    PluginSchema::new("prometheus", 13).protocols().config([
        ("per_consumer", switch()),
        ("status_code_metrics", switch()),
        ("ai_metrics", switch()),
        ("latency_metrics", switch()),
        ("bandwidth_metrics", switch()),
        ("upstream_health_metrics", switch()),
    ])
}
