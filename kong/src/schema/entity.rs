//! The kinds of entities, what each may hold, and how its ids are derived.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{Check, Fault, Field, Kind, Record, plugin};

mod consumer;
mod other;
mod route;
mod service;
mod tls;
mod upstream;

/// Which language routes are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavor {
    /// Kong's older router.
    Traditional,
    /// The same fields on the expression engine.
    #[default]
    TraditionalCompatible,
    /// Expressions, beside the same fields.
    Expressions,
}

impl Flavor {
    /// Kong's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traditional => "traditional",
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
        }
    }
}

/// One kind of entity.
#[derive(Debug)]
pub struct EntitySchema {
    /// Kong's name of the kind (`services`).
    pub name: &'static str,
    /// Its fields, without what a variant adds.
    pub record: Record,
    /// The field that names it in the Admin API, beside its id.
    pub endpoint_key: Option<&'static str>,
    /// The fields that make its key, when it has no name of its own.
    pub cache_key: Option<&'static [&'static str]>,
    /// Whether no check in code looks at fields that were not given, so that they can stay absent
    /// until the entity is printed.
    pub is_plain: bool,
    /// The fields that name other entities, the kinds that they name, and whether they must.
    pub links: Vec<(&'static str, &'static str, bool)>,
    variants: Variants,
}

/// How the value of one field decides over others.
#[derive(Debug)]
enum Variants {
    None,
    /// `name` names a plugin.
    Plugin(BTreeMap<&'static str, Record>),
    /// `name` names a kind of vault.
    Vault(BTreeMap<&'static str, Record>),
    /// The first of `protocols` decides.
    Route(Box<route::Variants>),
}

impl EntitySchema {
    fn new(name: &'static str, record: Record) -> Self {
        let links = record.fields.iter();
        let links = links
            .filter_map(|(name, field)| match field.kind {
                Kind::Foreign(kind) => Some((*name, kind, field.required == Some(true))),
                _ => None,
            })
            .collect();
        let is_plain = matches!(name, "services" | "routes" | "upstreams" | "targets");
        let (endpoint_key, cache_key, variants) = (None, None, Variants::None);
        Self { name, record, endpoint_key, cache_key, is_plain, links, variants }
    }

    fn named_by(mut self, field: &'static str) -> Self {
        self.endpoint_key = Some(field);
        self
    }

    fn keyed_by(mut self, fields: &'static [&'static str]) -> Self {
        self.cache_key = Some(fields);
        self
    }

    /// What this entity may hold.
    ///
    /// # Errors
    /// The faults of an entity whose variant is not known.
    pub fn record_for(
        &self,
        entity: &Map<String, Value>,
        flavor: Flavor,
    ) -> Result<&Record, BTreeMap<String, Fault>> {
        let refuse = |field: &str, text: String| {
            Err(BTreeMap::from([(field.to_owned(), Fault::Message(text))]))
        };
        let variant = match &self.variants {
            Variants::None => return Ok(&self.record),
            Variants::Route(variants) => return variants.record_for(entity, flavor),
            Variants::Plugin(_) | Variants::Vault(_) => entity.get("name"),
        };
        let name = match variant {
            None | Some(Value::Null) => return refuse("name", "required field missing".into()),
            Some(Value::String(name)) => name.as_str(),
            Some(_) => return refuse("name", "expected a string".into()),
        };
        match &self.variants {
            Variants::Plugin(all) => all.get(name).map_or_else(
                || {
                    refuse(
                        "name",
                        format!(
                            "plugin '{name}' not enabled; add it to the 'plugins' configuration property"
                        ),
                    )
                },
                Ok,
            ),
            Variants::Vault(all) => all
                .get(name)
                .map_or_else(|| refuse("name", format!("vault '{name}' is not installed")), Ok),
            Variants::None | Variants::Route(_) => Ok(&self.record),
        }
    }

    /// The fields that name other entities, and the kinds that they name.
    pub fn references(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.links.iter().map(|(name, kind, _)| (*name, *kind))
    }

    /// `GET /schemas/<kind>`.
    #[must_use]
    pub fn to_json(&self, flavor: Flavor) -> Value {
        match &self.variants {
            Variants::Route(variants) => variants.print(flavor),
            _ => self.record.to_json(),
        }
    }
}

/// The kinds in the order in which parents come before children.
static ENTITIES: LazyLock<Vec<EntitySchema>> = LazyLock::new(|| {
    let mut all = vec![
        other::workspaces(),
        service::schema(),
        route::schema(),
        upstream::schema(),
        upstream::targets(),
        tls::certificates(),
        tls::snis(),
        tls::ca_certificates(),
        tls::key_sets(),
        tls::keys(),
        EntitySchema {
            variants: Variants::Vault(vaults(&tls::vault_record())),
            ..EntitySchema::new("vaults", tls::vault_record())
                .named_by("prefix")
                .keyed_by(&["prefix"])
        },
    ];
    all.extend(consumer::schemas());
    let base = other::plugin_record();
    let variants = plugin::all().map(|one| (one.name, overlay(&base, &one.record))).collect();
    all.push(EntitySchema {
        variants: Variants::Plugin(variants),
        ..EntitySchema::new("plugins", base)
            .named_by("instance_name")
            .keyed_by(&["name", "route", "service", "consumer"])
    });
    all.extend(other::schemas());
    all
});

/// The record with the other's fields in place of its own of the same name, and the other's checks
/// after its own.
fn overlay(base: &Record, over: &Record) -> Record {
    let mut record = base.clone();
    for (name, field) in &over.fields {
        match record.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = field.clone(),
            None => record.fields.push((name, field.clone())),
        }
    }
    record.checks.extend(over.checks.iter().cloned());
    record
}

fn vaults(base: &Record) -> BTreeMap<&'static str, Record> {
    BTreeMap::from([("env", overlay(base, &env_vault())), ("hcv", overlay(base, &hcv_vault()))])
}

/// What `GET /schemas/vaults/hcv` says: HashiCorp's vault.
#[must_use]
pub fn hcv_vault() -> Record {
    let text = |default: &str| Field::string().required().default(default);
    let seconds = || Field::number().gt(0);
    let config = Field::record([
        ("protocol", text("http").one_of(&["http", "https"])),
        ("host", text("127.0.0.1")),
        ("port", super::typedef::port().required().default(8_200)),
        ("namespace", Field::string()),
        ("mount", text("secret")),
        ("kv", text("v1").one_of(&["v1", "v2"])),
        ("token", Field::string().encrypted().referenceable()),
        ("auth_method", text("token").one_of(&["token", "kubernetes"])),
        ("kube_role", Field::string()),
        ("kube_auth_path", Field::string().default("kubernetes")),
        ("kube_api_token_file", Field::string()),
        ("ttl", seconds()),
    ]);
    Record::new([("config", config.required())])
}

/// What `GET /schemas/vaults/env` says.
#[must_use]
pub fn env_vault() -> Record {
    let prefix = Field::string()
        .matches("^[%a_-][%a%d_-]*$")
        .describe("The prefix for the environment variable that the value will be stored in.");
    Record::new([("config", Field::record([("prefix", prefix)]).required())])
}

/// All kinds, parents before children.
#[must_use]
pub fn all() -> &'static [EntitySchema] {
    &ENTITIES
}

/// The kind of this name.
#[must_use]
pub fn entity(name: &str) -> Option<&'static EntitySchema> {
    ENTITIES.iter().find(|entity| entity.name == name)
}

fn timestamp() -> Field {
    Field::integer().auto().custom(check_timestamp).note("timestamp", true)
}

fn check_timestamp(value: &Value) -> Result<(), String> {
    if value.as_f64().is_some_and(|seconds| seconds > 0.0) {
        Ok(())
    } else {
        Err("expected a valid timestamp".into())
    }
}

/// `id`, `created_at` and `updated_at`, as most kinds begin.
fn header() -> Vec<(&'static str, Field)> {
    vec![
        ("id", super::typedef::uuid().len_min(1)),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
    ]
}

fn timestamp_ms() -> Field {
    Field::number().auto().custom(check_timestamp).note("timestamp", true)
}

fn not_empty(field: Field) -> Field {
    field.check(Check::LenMin(1))
}

fn protocol() -> Field {
    not_empty(Field::string())
        .one_of(&super::typedef::PROTOCOLS)
        .describe("A string representing a protocol, such as HTTP or HTTPS.")
}

fn null() -> Value {
    json!(null)
}
