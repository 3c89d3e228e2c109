//! Plugins' common fields, and the kinds that a gateway without a database accepts and hardly uses.

use serde_json::json;

use super::{EntitySchema, header, not_empty, timestamp};
use crate::schema::{EntityCheck, Fault, Field, Record, typedef};

pub(super) fn plugin_record() -> Record {
    let mut config =
        Field::record([]).required().describe("The configuration properties for the Plugin.");
    config.is_abstract = true;
    let scope = |entity, what: &str| {
        Field::foreign(entity).default(json!(null)).note("on_delete", "cascade").describe(&format!(
            "If set, the plugin will only activate when receiving requests via {what}."
        ))
    };
    let protocol = Field::string()
        .one_of(&typedef::PROTOCOLS)
        .describe("A string representing a protocol, such as HTTP or HTTPS.");
    let mut fields = header();
    fields.insert(
        1,
        (
            "name",
            not_empty(Field::string())
                .required()
                .describe("The name of the Plugin that's going to be added."),
        ),
    );
    fields.extend([
        ("instance_name", not_empty(typedef::utf8_name())),
        ("route", scope("routes", "the specified route")),
        ("service", scope("services", "one of the routes belonging to the specified service")),
        ("consumer", scope("consumers", "the specified consumer")),
        ("config", config),
        (
            "protocols",
            Field::set(protocol)
                .required()
                .default(json!(typedef::PROTOCOLS_HTTP))
                .describe("A set of strings representing protocols."),
        ),
        (
            "enabled",
            Field::boolean().required().default(true).describe("Whether the plugin is applied."),
        ),
        ("tags", typedef::tags()),
    ]);
    Record::new(fields)
}

pub(super) fn workspaces() -> EntitySchema {
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        ("name", not_empty(typedef::utf8_name()).required()),
        ("comment", Field::string()),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
        ("meta", Field::any()),
        ("config", Field::any()),
    ]);
    EntitySchema::new("workspaces", record).named_by("name")
}

pub(super) fn schemas() -> Vec<EntitySchema> {
    let mut all = vec![filter_chains(), parameters(), oauth2_tokens()];
    // What a gateway writes itself where it has a database: accepted, never looked at.
    all.extend(
        [
            "clustering_data_planes",
            "oauth2_authorization_codes",
            "sessions",
            "acme_storage",
            "ratelimiting_metrics",
            "response_ratelimiting_metrics",
        ]
        .map(|name| EntitySchema::new(name, Record::new([("id", typedef::uuid().len_min(1))]))),
    );
    all
}

fn parameters() -> EntitySchema {
    let record = Record::new([
        ("key", not_empty(Field::string()).required().unique()),
        ("value", not_empty(Field::string()).required()),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
    ]);
    EntitySchema::new("parameters", record).named_by("key")
}

fn filter_chains() -> EntitySchema {
    let filter = Field::record([
        ("name", Field::string().required().custom(|_| Err("no such filter".into()))),
        ("enabled", Field::boolean().required().default(true)),
        ("config", Field::any().optional()),
    ]);
    let scope = |entity| Field::foreign(entity).default(json!(null)).note("on_delete", "cascade");
    let mut fields = header();
    fields.extend([
        ("name", not_empty(typedef::utf8_name())),
        ("enabled", Field::boolean().required().default(true)),
        ("route", scope("routes")),
        ("service", scope("services")),
        ("filters", Field::array(filter).required()),
        ("tags", typedef::tags()),
    ]);
    let record = Record::new(fields).check(EntityCheck::Custom {
        field_sources: vec![],
        run_with_missing_fields: true,
        check: Some(|_| Err(Fault::message("wasm support is not enabled"))),
    });
    EntitySchema::new("filter_chains", record).named_by("name").keyed_by(&["route", "service"])
}

fn oauth2_tokens() -> EntitySchema {
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        ("created_at", timestamp()),
        ("service", Field::foreign("services").default(json!(null)).note("on_delete", "cascade")),
        (
            "credential",
            Field::foreign("oauth2_credentials").required().note("on_delete", "cascade"),
        ),
        ("token_type", not_empty(Field::string()).required().default("bearer").one_of(&["bearer"])),
        ("expires_in", Field::integer().required()),
        ("access_token", not_empty(Field::string()).optional().unique().auto()),
        ("refresh_token", Field::string().optional().unique()),
        ("authenticated_userid", Field::string().optional()),
        ("scope", Field::string()),
        ("ttl", Field::any()),
    ]);
    EntitySchema::new("oauth2_tokens", record).named_by("access_token").keyed_by(&["access_token"])
}
