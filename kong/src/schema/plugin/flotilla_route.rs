//! flotilla-route: what a rule of a Gateway API route asks for and Kong's model has no word for. Our own gateway runs it;
//! it is never sent to Kong.

use super::{PluginSchema, flotilla_upstream};
use crate::schema::{Field, Record};

/// The name, which no plugin of Kong's has.
pub const NAME: &str = "flotilla-route";

pub(super) fn schema() -> PluginSchema {
    let milliseconds = || Field::integer().between(0, 1 << 31);
    let headers = || Field::array(Field::string());
    PluginSchema::new(NAME, 790).protocols_http().config([
        (
            "redirect",
            Field::record([
                ("scheme", Field::string()),
                ("hostname", Field::string()),
                ("port", Field::integer().between(1, 65_535)),
                ("path", Field::string()),
                ("prefix", Field::string()),
                ("status_code", Field::integer().required().default(302).between(300, 399)),
                (
                    "listeners",
                    Field::array(Field::record([
                        ("entrance", Field::integer().required().between(1, 65_535)),
                        ("port", Field::integer().required().between(1, 65_535)),
                    ])),
                ),
            ]),
        ),
        ("request_timeout", milliseconds()),
        ("backend_timeout", milliseconds()),
        (
            "retry",
            Field::of(Record::new([
                ("attempts", Field::integer().required().default(1).between(0, 1000)),
                ("codes", Field::array(Field::integer().between(400, 599))),
                ("backoff", milliseconds()),
            ])),
        ),
        (
            "mirrors",
            Field::array(Field::record([
                ("upstream", Field::string().required()),
                ("tls", flotilla_upstream::tls()),
                ("numerator", Field::integer().required().default(100).between(0, 1 << 31)),
                ("denominator", Field::integer().required().default(100).between(1, 1 << 31)),
            ])),
        ),
        (
            "backends",
            Field::array(Field::record([
                ("upstream", Field::string()),
                ("tls", flotilla_upstream::tls()),
                ("weight", Field::integer().required().default(1).between(0, 1_000_000)),
                ("set", headers()),
                ("add", headers()),
                ("remove", headers()),
            ])),
        ),
    ])
}
