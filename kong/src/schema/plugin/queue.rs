//! Records that several plugins have: the queue before a sender, custom log fields, the forms of trace headers.

use crate::schema::{Field, typedef};

/// The limits of the queue before a sender.
pub(super) fn queue() -> Field {
    Field::record([
        ("max_batch_size", Field::integer().default(1).between(1, 1_000_000).describe("Maximum number of entries that can be processed at a time.")),
        ("max_coalescing_delay", Field::number().default(1).between(0, 3_600).describe("Maximum number of (fractional) seconds to elapse after the first entry was queued before the queue starts calling the handler.")),
        ("max_entries", Field::integer().default(10_000).between(1, 1_000_000).describe("Maximum number of entries that can be waiting on the queue.")),
        ("max_bytes", Field::integer().describe("Maximum number of bytes that can be waiting on a queue, requires string content.")),
        ("max_retry_time", Field::number().default(60).describe("Time in seconds before the queue gives up calling a failed handler for a batch.")),
        ("initial_retry_delay", Field::number().default(0.01).between_numbers(0.001, 1_000_000.0).describe("Time in seconds before the initial retry is made for a failing batch.")),
        ("max_retry_delay", Field::number().default(60).between_numbers(0.001, 1_000_000.0).describe("Maximum time in seconds between retries, caps exponential backoff.")),
        ("concurrency_limit", Field::integer().default(1).one_of(&[-1, 1]).describe("The number of of queue delivery timers. -1 indicates unlimited.")),
    ])
    .required()
}

/// Log fields computed by code.
pub(super) fn custom_fields() -> Field {
    Field::map(Field::string().len_min(1), Field::string().len_min(1))
}

/// How trace headers are read, dropped and written.
pub(super) fn propagation() -> Field {
    Field::record([
        (
            "extract",
            Field::array(
                Field::string().one_of(&["aws", "b3", "datadog", "gcp", "jaeger", "ot", "w3c"]),
            ),
        ),
        ("clear", Field::array(typedef::header_name())),
        (
            "inject",
            Field::array(Field::string().one_of(&[
                "aws",
                "b3",
                "b3-single",
                "datadog",
                "gcp",
                "jaeger",
                "ot",
                "preserve",
                "w3c",
            ])),
        ),
        (
            "default_format",
            Field::string().required().one_of(&[
                "aws",
                "b3",
                "b3-single",
                "datadog",
                "gcp",
                "jaeger",
                "ot",
                "w3c",
            ]),
        ),
    ])
    .required()
}
