//! How to reach a language model: what the ai plugins share.

use crate::schema::{Field, typedef};

/// Route type, credentials, model and logging.
pub(super) fn llm() -> Vec<(&'static str, Field)> {
    let secret = || Field::string().optional().encrypted().referenceable();
    let auth = Field::record([
        ("header_name", Field::string().optional().referenceable()),
        ("header_value", secret()),
        ("param_name", Field::string().optional().referenceable()),
        ("param_value", secret()),
        ("param_location", Field::string().optional().one_of(&["query", "body"])),
        ("gcp_use_service_account", Field::boolean().optional().default(false)),
        ("gcp_service_account_json", secret()),
        ("aws_access_key_id", secret()),
        ("aws_secret_access_key", secret()),
        ("allow_override", Field::boolean().required().default(false)),
    ]);
    let options = Field::record([
        ("max_tokens", Field::integer().optional()),
        ("input_cost", Field::number().gt(0).optional()),
        ("output_cost", Field::number().gt(0).optional()),
        ("temperature", Field::number().optional().between(0, 5)),
        ("top_p", Field::number().optional().between(0, 1)),
        ("top_k", Field::integer().optional().between(0, 500)),
        ("anthropic_version", Field::string().optional()),
        ("azure_instance", Field::string().optional()),
        ("azure_api_version", Field::string().optional().default("2023-05-15")),
        ("azure_deployment_id", Field::string().optional()),
        ("llama2_format", Field::string().optional().one_of(&["raw", "openai", "ollama"])),
        ("mistral_format", Field::string().optional().one_of(&["openai", "ollama"])),
        ("upstream_url", typedef::url().optional()),
        ("upstream_path", Field::string().optional()),
        (
            "gemini",
            Field::record([
                ("api_endpoint", Field::string().optional()),
                ("project_id", Field::string().optional()),
                ("location_id", Field::string().optional()),
            ])
            .optional(),
        ),
        (
            "bedrock",
            Field::record([
                ("aws_region", Field::string().optional()),
                ("aws_assume_role_arn", secret()),
                ("aws_role_session_name", secret()),
                ("aws_sts_endpoint_url", secret()),
            ])
            .optional(),
        ),
        (
            "huggingface",
            Field::record([
                ("use_cache", Field::boolean().optional()),
                ("wait_for_model", Field::boolean().optional()),
            ])
            .optional(),
        ),
    ]);
    let model = Field::record([
        (
            "provider",
            Field::string().required().one_of(&[
                "openai",
                "azure",
                "anthropic",
                "cohere",
                "mistral",
                "llama2",
                "gemini",
                "bedrock",
                "huggingface",
            ]),
        ),
        ("name", Field::string().optional()),
        ("options", options.optional()),
    ]);
    let logging = Field::record([
        ("log_statistics", Field::boolean().required().default(false)),
        ("log_payloads", Field::boolean().required().default(false)),
    ]);
    vec![
        (
            "route_type",
            Field::string().required().one_of(&["llm/v1/chat", "llm/v1/completions", "preserve"]),
        ),
        ("auth", auth.optional()),
        ("model", model.required()),
        ("logging", logging.required()),
    ]
}
