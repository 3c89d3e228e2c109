//! acme: certificates of a public authority.

use super::PluginSchema;
use crate::schema::{Field, Record, Shorthand, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("acme", 1705).no_consumer().no_service().protocols_http().config([
        (
            "account_email",
            Field::string().required().matches("%w*%p*@+%w*%.?%w*").encrypted().referenceable(),
        ),
        (
            "account_key",
            Field::record([("key_id", Field::string().required()), ("key_set", Field::string())]),
        ),
        ("api_uri", typedef::url().default("https://acme-v02.api.letsencrypt.org/directory")),
        ("tos_accepted", Field::boolean().default(false)),
        ("eab_kid", Field::string().encrypted().referenceable()),
        ("eab_hmac_key", Field::string().encrypted().referenceable()),
        ("cert_type", Field::string().default("rsa").one_of(&["rsa", "ecc"])),
        ("rsa_key_size", Field::number().default(4_096).one_of(&[2_048, 3_072, 4_096])),
        ("renew_threshold_days", Field::number().default(14)),
        ("domains", Field::array(Field::string())),
        ("allow_any_domain", Field::boolean().default(false)),
        ("fail_backoff_minutes", Field::number().default(5)),
        (
            "storage",
            Field::string().default("shm").one_of(&["kong", "shm", "redis", "consul", "vault"]),
        ),
        ("storage_config", storage().required()),
        ("preferred_chain", Field::string()),
        ("enable_ipv4_common_name", Field::boolean().default(true)),
    ])
}

/// Where certificates are kept, by kind of store.
fn storage() -> Field {
    let renamed = |name, field, path: &'static [&'static str]| {
        let message = format!(
            "acme: config.storage_config.redis.{name} is deprecated, please use config.storage_config.redis.{} instead",
            path.join(".")
        );
        Shorthand::renamed(name, field, path).deprecated(&message, "4.0")
    };
    let redis = Record::new([
        ("host", typedef::host()),
        ("port", typedef::port().default(6_379)),
        ("timeout", typedef::timeout().default(2_000)),
        ("username", Field::string().referenceable()),
        ("password", Field::string().referenceable().encrypted().len_min(0)),
        ("database", Field::integer().default(0)),
        ("ssl", Field::boolean().optional().default(false)),
        ("ssl_verify", Field::boolean().optional().default(false)),
        ("server_name", typedef::sni().optional()),
        (
            "extra_options",
            Field::record([
                ("namespace", Field::string().required().default("").len_min(0)),
                ("scan_count", Field::number().default(10)),
            ])
            .required(),
        ),
    ])
    .shorthands([
        renamed("auth", Field::string(), &["password"]),
        renamed("ssl_server_name", Field::string(), &["server_name"]),
        renamed("namespace", Field::string().len_min(0), &["extra_options", "namespace"]),
        renamed("scan_count", Field::integer(), &["extra_options", "scan_count"]),
    ]);
    let consul = Field::record([
        ("https", Field::boolean().default(false)),
        ("host", typedef::host()),
        ("port", typedef::port()),
        ("kv_path", Field::string()),
        ("timeout", typedef::timeout()),
        ("token", Field::string().referenceable()),
    ]);
    let vault = Field::record([
        ("https", Field::boolean().default(false)),
        ("host", typedef::host()),
        ("port", typedef::port()),
        ("kv_path", Field::string()),
        ("timeout", typedef::timeout()),
        ("token", Field::string().referenceable()),
        ("tls_verify", Field::boolean().default(true)),
        ("tls_server_name", Field::string()),
        (
            "auth_method",
            Field::string().required().default("token").one_of(&["token", "kubernetes"]),
        ),
        ("auth_path", Field::string()),
        ("auth_role", Field::string()),
        ("jwt_path", Field::string()),
    ]);
    Field::record([
        ("shm", Field::record([("shm_name", Field::string().default("kong"))]).required()),
        ("kong", Field::record([]).required()),
        ("redis", Field::of(redis).required()),
        ("consul", consul.required()),
        ("vault", vault.required()),
    ])
}
