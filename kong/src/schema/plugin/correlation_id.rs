//! correlation-id: an id that follows a request.

use super::PluginSchema;
use crate::schema::{Field, Record};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("correlation-id", 100001).protocols_http().field("config", Field::of(Record::new([("header_name", Field::string().default("Kong-Request-ID").describe("The HTTP header name to use for the correlation ID.")), ("generator", Field::string().required().default("uuid#counter").one_of(&["uuid", "uuid#counter", "tracker"]).describe("The generator to use for the correlation ID. Accepted values are `uuid`, `uuid#counter`, and `tracker`. See [Generators](#generators).")), ("echo_downstream", Field::boolean().required().default(false).describe("Whether to echo the header back to downstream (the client)."))])).required())
}
