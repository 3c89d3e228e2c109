//! ldap-auth: who calls, by a name and a password that a directory knows.

use super::PluginSchema;
use crate::schema::{Condition, EntityCheck, Field, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("ldap-auth", 1200)
        .no_consumer()
        .protocols_http()
        .config([
            ("ldap_host", typedef::host().required()),
            ("ldap_port", typedef::port().required().default(389)),
            ("ldaps", Field::boolean().required().default(false)),
            ("start_tls", Field::boolean().required().default(false)),
            ("verify_ldap_host", Field::boolean().required().default(false)),
            ("base_dn", Field::string().required()),
            ("attribute", Field::string().required()),
            ("cache_ttl", Field::number().required().default(60)),
            ("hide_credentials", Field::boolean().required().default(false)),
            ("timeout", Field::number().default(10_000)),
            ("keepalive", Field::number().default(60_000)),
            ("anonymous", Field::string()),
            ("header_type", Field::string().default("ldap")),
            ("realm", Field::string().optional()),
        ])
        .check(EntityCheck::Conditional {
            if_field: "config.ldaps",
            if_match: Condition::eq(true),
            then_field: "config.start_tls",
            then_match: Condition::eq(false),
            then_err: Some("'ldaps' and 'start_tls' cannot be enabled simultaneously"),
        })
}
