//! request-transformer: changes to a request on its way to the upstream.

use serde_json::json;

use super::{PluginSchema, pair};
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("request-transformer", 801).protocols().field(
        "config",
        Field::of(Record::new([
            ("http_method", typedef::http_method()),
            ("remove", remove()),
            ("rename", changes(header_pair().custom(pair::headers), [])),
            ("replace", changes(header_pair().custom(pair::header), [("uri", Field::string())])),
            ("add", changes(header_pair().custom(pair::header), [])),
            ("append", changes(header_pair().custom(pair::header), [])),
        ]))
        .required(),
    )
}

/// What is taken away: names alone.
fn remove() -> Field {
    Field::of(Record::new([
        ("body", list(Field::string())),
        ("headers", list(Field::string().custom(pair::header))),
        ("querystring", list(Field::string())),
    ]))
    .required()
}

/// What is changed: `name:value` pairs for body, headers and query string, and what the kind of change adds.
fn changes<const N: usize>(headers: Field, more: [(&'static str, Field); N]) -> Field {
    let pairs = || list(Field::string().custom(pair::value));
    let fields = [("body", pairs()), ("headers", list(headers)), ("querystring", pairs())];
    Field::of(Record::new(fields.into_iter().chain(more))).required()
}

fn header_pair() -> Field {
    Field::string().matches("^[^:]+:.*$")
}

fn list(item: Field) -> Field {
    Field::array(item).required().default(json!([]))
}
