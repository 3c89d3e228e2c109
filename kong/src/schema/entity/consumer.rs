//! Consumers and their credentials.

use serde_json::{Map, Value, json};

use super::{EntitySchema, header, not_empty, timestamp};
use crate::schema::{Check, Condition, EntityCheck, Fault, Field, Record, typedef};

const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

pub(super) fn schemas() -> Vec<EntitySchema> {
    vec![consumers(), key_auth(), basic_auth(), hmac_auth(), jwt(), acls(), oauth2()]
}

fn consumers() -> EntitySchema {
    let mut fields = header();
    fields.extend([
        ("username", not_empty(Field::string()).unique().describe("The unique username of the Consumer. You must send at least one of username or custom_id with the request.")),
        ("custom_id", not_empty(Field::string()).unique().describe("Stores the existing unique ID of the consumer. You must send at least one of username or custom_id with the request.")),
        ("tags", typedef::tags()),
    ]);
    let record =
        Record::new(fields).check(EntityCheck::AtLeastOneOf(vec!["custom_id", "username"]));
    EntitySchema::new("consumers", record).named_by("username")
}

/// The fields of a credential: id, creation, owner, its own, tags.
fn credential(own: impl IntoIterator<Item = (&'static str, Field)>) -> Record {
    let mut fields = vec![
        ("id", typedef::uuid().len_min(1)),
        ("created_at", timestamp()),
        ("consumer", Field::foreign("consumers").required().note("on_delete", "cascade")),
    ];
    fields.extend(own);
    fields.push(("tags", typedef::tags()));
    Record::new(fields)
}

fn key_auth() -> EntitySchema {
    let key = not_empty(Field::string()).optional().unique().auto();
    EntitySchema::new("keyauth_credentials", credential([("key", key)]))
        .named_by("key")
        .keyed_by(&["key"])
}

fn basic_auth() -> EntitySchema {
    let record = credential([
        ("username", not_empty(Field::string()).required().unique()),
        ("password", not_empty(Field::string()).required().encrypted()),
    ]);
    EntitySchema::new("basicauth_credentials", record).named_by("username").keyed_by(&["username"])
}

fn hmac_auth() -> EntitySchema {
    let record = credential([
        ("username", not_empty(Field::string()).required().unique()),
        ("secret", not_empty(Field::string()).auto()),
    ]);
    EntitySchema::new("hmacauth_credentials", record).named_by("username").keyed_by(&["username"])
}

fn jwt() -> EntitySchema {
    let record = credential([
        ("key", not_empty(Field::string()).optional().unique().auto()),
        ("secret", not_empty(Field::string()).auto()),
        ("rsa_public_key", Field::string()),
        ("algorithm", not_empty(Field::string()).default("HS256").one_of(&ALGORITHMS)),
    ]);
    let patterns =
        vec!["^RS256$", "^RS384$", "^RS512$", "^PS256$", "^PS384$", "^PS512$", "^EdDSA$"];
    let record = record.check(EntityCheck::conditional(
        "algorithm",
        Condition::of(Check::MatchAny(patterns, None)),
        "rsa_public_key",
        Condition::required().and(Check::Custom(check_public_key)),
    ));
    EntitySchema::new("jwt_secrets", record).named_by("key").keyed_by(&["key"])
}

/// Only the frame of the PEM text is looked at.
fn check_public_key(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let framed = text.contains("PUBLIC KEY-----") && text.contains("-----END ");
    if framed { Ok(()) } else { Err("invalid key".into()) }
}

fn acls() -> EntitySchema {
    let record = credential([("group", not_empty(Field::string()).required())]);
    EntitySchema::new("acls", record).keyed_by(&["consumer", "group"])
}

fn oauth2() -> EntitySchema {
    let record = credential([
        ("name", Field::string().required()),
        ("client_id", Field::string().optional().unique().auto()),
        ("client_secret", Field::string().optional().auto().encrypted()),
        ("hash_secret", Field::boolean().required().default(false)),
        ("redirect_uris", Field::array(Field::string().custom(check_redirect_uri)).optional()),
        (
            "client_type",
            Field::string().required().default("confidential").one_of(&["confidential", "public"]),
        ),
    ])
    .check(EntityCheck::Custom {
        field_sources: vec!["hash_secret", "client_type"],
        run_with_missing_fields: false,
        check: Some(no_public_secret),
    });
    EntitySchema::new("oauth2_credentials", record).named_by("client_id").keyed_by(&["client_id"])
}

fn no_public_secret(credential: &Map<String, Value>) -> Result<(), Fault> {
    let public = credential.get("client_type") == Some(&json!("public"));
    if public && credential.get("hash_secret") == Some(&json!(true)) {
        return Err("hash_secret must not be used with public client type".into());
    }
    Ok(())
}

fn check_redirect_uri(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let absolute = text.split_once(':').is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && rest.starts_with("//")
            && rest.len() > 2
    });
    if !absolute {
        return Err(format!("cannot parse '{text}'"));
    }
    if text.contains('#') {
        return Err(format!("fragment not allowed in '{text}'"));
    }
    Ok(())
}
