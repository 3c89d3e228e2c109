//! request-transformer: changes to a request on its way to the upstream.

use serde_json::json;

use super::{PluginSchema, pair};
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("request-transformer", 801).protocols().field(
        "config",
        Field::of(Record::new([
            ("http_method", typedef::http_method()),
            (
                "remove",
                Field::of(Record::new([
                    ("body", Field::array(Field::string()).required().default(json!([]))),
                    (
                        "headers",
                        Field::array(Field::string().custom(pair::header))
                            .required()
                            .default(json!([])),
                    ),
                    ("querystring", Field::array(Field::string()).required().default(json!([]))),
                ]))
                .required(),
            ),
            (
                "rename",
                Field::of(Record::new([
                    (
                        "body",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "headers",
                        Field::array(Field::string().matches("^[^:]+:.*$").custom(pair::headers))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "querystring",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                ]))
                .required(),
            ),
            (
                "replace",
                Field::of(Record::new([
                    (
                        "body",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "headers",
                        Field::array(Field::string().matches("^[^:]+:.*$").custom(pair::header))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "querystring",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                    ("uri", Field::string()),
                ]))
                .required(),
            ),
            (
                "add",
                Field::of(Record::new([
                    (
                        "body",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "headers",
                        Field::array(Field::string().matches("^[^:]+:.*$").custom(pair::header))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "querystring",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                ]))
                .required(),
            ),
            (
                "append",
                Field::of(Record::new([
                    (
                        "body",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "headers",
                        Field::array(Field::string().matches("^[^:]+:.*$").custom(pair::header))
                            .required()
                            .default(json!([])),
                    ),
                    (
                        "querystring",
                        Field::array(Field::string().custom(pair::value))
                            .required()
                            .default(json!([])),
                    ),
                ]))
                .required(),
            ),
        ]))
        .required(),
    )
}
