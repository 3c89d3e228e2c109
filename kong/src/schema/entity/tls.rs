//! Certificates, server names, keys and vaults.

use serde_json::{Map, Value};

use super::{EntitySchema, header, not_empty, timestamp};
use crate::schema::{EntityCheck, Fault, Field, Record, typedef};

const CERT: &str = "A string representing a certificate.";
const KEY: &str = "A string representing a key.";

/// A check that only those who can read certificates make (`declarative::Judge`).
fn judged(field_sources: &[&'static str]) -> EntityCheck {
    EntityCheck::Custom {
        field_sources: field_sources.to_vec(),
        run_with_missing_fields: false,
        check: None,
    }
}

pub(super) fn certificates() -> EntitySchema {
    let mut fields = header();
    let alternative = |text| Field::string().optional().referenceable().describe(text);
    fields.extend([
        ("cert", not_empty(Field::string()).required().referenceable().describe(CERT)),
        ("key", not_empty(Field::string()).required().referenceable().encrypted().describe(KEY)),
        ("cert_alt", alternative(CERT)),
        ("key_alt", alternative(KEY).encrypted()),
        ("tags", typedef::tags()),
        ("snis", Field::array(typedef::wildcard_host()).optional().transient()),
    ]);
    let record = Record::new(fields)
        .check(EntityCheck::MutuallyRequired(vec!["cert_alt", "key_alt"]))
        .check(judged(&["cert", "key"]))
        .check(judged(&["cert_alt", "key_alt"]))
        .check(judged(&["cert", "cert_alt"]));
    EntitySchema::new("certificates", record)
}

pub(super) fn snis() -> EntitySchema {
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        (
            "name",
            not_empty(typedef::wildcard_host()).required().unique().note("unique_across_ws", true),
        ),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
        ("tags", typedef::tags()),
        (
            "certificate",
            Field::foreign("certificates").required().describe(
                "The id (a UUID) of the certificate with which to associate the SNI hostname.",
            ),
        ),
    ]);
    EntitySchema::new("snis", record).named_by("name")
}

pub(super) fn ca_certificates() -> EntitySchema {
    let mut fields = header();
    fields.extend([
        ("cert", not_empty(Field::string()).required().describe(CERT)),
        ("cert_digest", not_empty(Field::string()).unique()),
        ("tags", typedef::tags()),
    ]);
    EntitySchema::new("ca_certificates", Record::new(fields).check(judged(&["cert"])))
}

pub(super) fn key_sets() -> EntitySchema {
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        (
            "name",
            not_empty(Field::string())
                .optional()
                .unique()
                .describe("The name to associate with the given key-set."),
        ),
        ("tags", typedef::tags()),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
    ]);
    EntitySchema::new("key_sets", record).named_by("name")
}

pub(super) fn keys() -> EntitySchema {
    let pem = Record::new([
        ("private_key", Field::string().optional().referenceable().encrypted()),
        ("public_key", Field::string().optional().referenceable()),
    ])
    .check(EntityCheck::AtLeastOneOf(vec!["private_key", "public_key"]));
    let record = Record::new([
        ("id", typedef::uuid().len_min(1)),
        ("set", Field::foreign("key_sets").optional().note("on_delete", "cascade").describe("The id of the key-set with which to associate the key.")),
        ("name", not_empty(Field::string()).optional().unique().describe("The name to associate with the given keys.")),
        ("kid", not_empty(Field::string()).required().note("unique", false).describe("A unique identifier for a key.")),
        ("jwk", not_empty(Field::string()).referenceable().encrypted().describe("A JSON Web Key represented as a string.")),
        ("pem", Field::of(pem).optional().custom(check_pem).describe("A pair of PEM-encoded public and private keys, which can be either a string or a reference to a credential in Kong Vault. If provided as strings, they must be valid PEM-encoded keys.")),
        ("tags", typedef::tags()),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
    ])
    .check(EntityCheck::MutuallyExclusive(vec!["jwk", "pem"]))
    .check(EntityCheck::AtLeastOneOf(vec!["jwk", "pem"]))
    .check(EntityCheck::Custom {
        field_sources: vec!["jwk", "pem", "kid"],
        run_with_missing_fields: false,
        check: Some(check_jwk),
    });
    EntitySchema::new("keys", record).named_by("name").keyed_by(&["kid", "set"])
}

/// The text is a key of JSON's kind, and its id is that of the entity.
fn check_jwk(key: &Map<String, Value>) -> Result<(), Fault> {
    let text = key.get("jwk").and_then(Value::as_str);
    let Some(text) = text.filter(|text| !text.starts_with("{vault://")) else { return Ok(()) };
    let jwk: Value = serde_json::from_str(text).map_err(|_| "could not json decode jwk string")?;
    if jwk.get("kid").unwrap_or(&Value::Null) != key.get("kid").unwrap_or(&Value::Null) {
        return Err("kid in jwk.kid must be equal to keys.kid".into());
    }
    let kind = jwk.get("kty").and_then(Value::as_str);
    let parts: &[&str] = match kind {
        Some("RSA") => &["n", "e"],
        Some("EC") => &["crv", "x", "y"],
        Some("OKP") => &["crv", "x"],
        Some(_) | None => return Err("could not load JWK, likely not a valid key".into()),
    };
    let there = |part: &&str| jwk.get(*part).is_some_and(Value::is_string);
    if parts.iter().all(there) {
        Ok(())
    } else {
        Err("could not load JWK, likely not a valid key".into())
    }
}

fn check_pem(value: &Value) -> Result<(), String> {
    for (field, label) in [("public_key", "public"), ("private_key", "private")] {
        let Some(text) = value.get(field).and_then(Value::as_str) else { continue };
        let wanted = if label == "public" { "PUBLIC KEY-----" } else { "PRIVATE KEY-----" };
        let frame = text.trim_start().lines().next().unwrap_or_default();
        let framed = frame.starts_with("-----BEGIN ") && frame.trim_end().ends_with(wanted);
        if !framed && !text.starts_with("{vault://") {
            return Err(format!("could not load {label} key"));
        }
    }
    Ok(())
}

pub(super) fn vault_record() -> Record {
    let mut config = Field::record([]).describe("The configuration properties for the Vault which can be found on the vaults' documentation page.");
    config.is_abstract = true;
    Record::new([
        ("id", typedef::uuid().len_min(1)),
        (
            "prefix",
            not_empty(Field::string())
                .required()
                .unique()
                .matches("^[a-z][a-z%d-]-[a-z%d]+$")
                .not_one_of(&["env"])
                .note("unique_across_ws", true)
                .describe("The unique prefix (or identifier) for this Vault configuration."),
        ),
        (
            "name",
            not_empty(Field::string())
                .required()
                .describe("The name of the Vault that's going to be added."),
        ),
        ("description", Field::string().describe("The description of the Vault entity.")),
        ("config", config),
        ("created_at", timestamp()),
        ("updated_at", timestamp()),
        ("tags", typedef::tags()),
    ])
}
