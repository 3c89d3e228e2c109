//! aws-lambda: a function in place of an upstream.

use super::PluginSchema;
use crate::schema::{EntityCheck, Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("aws-lambda", 750)
        .protocols_http()
        .config([
            ("timeout", Field::number().required().default(60_000)),
            ("keepalive", Field::number().required().default(60_000)),
            ("aws_key", Field::string().encrypted().referenceable()),
            ("aws_secret", Field::string().encrypted().referenceable()),
            ("aws_assume_role_arn", Field::string().encrypted().referenceable()),
            ("aws_role_session_name", Field::string().default("kong")),
            ("aws_sts_endpoint_url", typedef::url()),
            ("aws_region", typedef::host()),
            ("function_name", Field::string().optional()),
            ("qualifier", Field::string()),
            (
                "invocation_type",
                Field::string().required().default("RequestResponse").one_of(&[
                    "RequestResponse",
                    "Event",
                    "DryRun",
                ]),
            ),
            ("log_type", Field::string().required().default("Tail").one_of(&["Tail", "None"])),
            ("host", typedef::host()),
            ("port", typedef::port().default(443)),
            ("disable_https", Field::boolean().default(false)),
            ("unhandled_status", Field::integer().between(100, 999)),
            ("forward_request_method", Field::boolean().default(false)),
            ("forward_request_uri", Field::boolean().default(false)),
            ("forward_request_headers", Field::boolean().default(false)),
            ("forward_request_body", Field::boolean().default(false)),
            ("is_proxy_integration", Field::boolean().default(false)),
            ("awsgateway_compatible", Field::boolean().default(false)),
            (
                "awsgateway_compatible_payload_version",
                Field::string().default("1.0").one_of(&["1.0", "2.0"]),
            ),
            ("proxy_url", typedef::url()),
            ("skip_large_bodies", Field::boolean().default(true)),
            ("base64_encode_body", Field::boolean().default(true)),
            (
                "aws_imds_protocol_version",
                Field::string().required().default("v1").one_of(&["v1", "v2"]),
            ),
            ("empty_arrays_mode", Field::string().default("legacy").one_of(&["legacy", "correct"])),
        ])
        .check(EntityCheck::MutuallyRequired(vec!["config.aws_key", "config.aws_secret"]))
}
