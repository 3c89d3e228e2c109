//! flotilla-cors: which other origins a browser may call from, in Gateway API's words. Our own gateway runs it; it is never
//! sent to Kong, whose `cors` says some of it otherwise.

use super::PluginSchema;
use crate::schema::Field;

/// The name, which no plugin of Kong's has.
pub const NAME: &str = "flotilla-cors";

pub(super) fn schema() -> PluginSchema {
    let list = || Field::array(Field::string());
    PluginSchema::new(NAME, 2001).protocols_http().config([
        ("origins", list().required()),
        ("methods", list()),
        ("headers", list()),
        ("exposed_headers", list()),
        ("credentials", Field::boolean().required().default(false)),
        ("max_age", Field::integer().required().default(5).between(0, 1 << 31)),
    ])
}
