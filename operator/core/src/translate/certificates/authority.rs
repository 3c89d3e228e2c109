//! CA certificates from labelled Secrets and ConfigMaps.
//!
//! Whether one has expired is for the proxy to say: this crate reads no clock. The options carry the
//! time for those who have one.

use std::collections::BTreeMap;

use kong::model::CaCertificate;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::super::Context;
use crate::names;
use crate::object::{Kind, Object, ObjectRef};
use crate::outcome::Reason;
use crate::translate::Origin;

/// The label of objects that hold an authority.
const LABEL: &str = "konghq.com/ca-cert";

/// Whether an object is to hold an authority.
pub(in super::super) fn is_authority<K: Object>(object: &K) -> bool {
    object.label(LABEL) == Some("true")
}

/// What an object says about an authority.
struct Said<'a> {
    origin: Origin<'a>,
    id: Option<String>,
    cert: Option<String>,
}

/// Makes an entity of each authority; of two with one id the oldest. Secrets belong to a class, ConfigMaps do not.
pub(in super::super) fn authorities(ctx: &mut Context<'_>) -> Vec<CaCertificate> {
    let mut said = Vec::new();
    for secret in &ctx.snapshot.secrets {
        if is_authority(&**secret) && ctx.class.serves(&**secret) {
            let text = |key: &str| {
                let value = secret.data.as_ref().and_then(|data| data.get(key));
                value.and_then(|value| String::from_utf8(value.0.clone()).ok())
            };
            said.push(Said {
                origin: Origin::of(&**secret),
                id: text("id"),
                cert: text("cert").or_else(|| text("ca.crt")),
            });
        }
    }
    for map in &ctx.snapshot.config_maps {
        if is_authority(&**map) {
            let text = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).cloned();
            said.push(Said {
                origin: Origin::of(&**map),
                id: text("id"),
                cert: text("ca.crt").or_else(|| text("cert")),
            });
        }
    }
    said.sort_by(|a, b| {
        let age = |said: &Said<'_>| said.origin.meta.creation_timestamp.as_ref().map(|time| time.0);
        age(a)
            .cmp(&age(b))
            .then_with(|| a.origin.namespace().cmp(b.origin.namespace()))
            .then_with(|| a.origin.name().cmp(b.origin.name()))
            .then_with(|| a.origin.kind.cmp(&b.origin.kind))
    });
    let mut certificates: BTreeMap<String, CaCertificate> = BTreeMap::new();
    for said in said {
        let reference = said.origin.reference();
        match read(ctx, &said) {
            Ok((id, _)) if certificates.contains_key(&id) => {
                refuse(
                    ctx,
                    reference,
                    (Reason::Conflicted, "duplicate 'id' field in multiple objects"),
                    None,
                );
            }
            Ok((id, cert)) => {
                let certificate = CaCertificate {
                    id: Some(id.clone()),
                    cert: Some(cert),
                    tags: Some(names::tags(said.origin)),
                    ..CaCertificate::default()
                };
                certificates.insert(id, certificate);
                ctx.outcomes.configured(said.origin);
            }
            Err(why) => refuse(ctx, reference, (Reason::Invalid, why), said.id.as_deref()),
        }
    }
    certificates.into_values().collect()
}

fn read(ctx: &Context<'_>, said: &Said<'_>) -> Result<(String, String), &'static str> {
    let id = said.id.clone().filter(|id| !id.is_empty()).ok_or("missing 'id' field in data")?;
    let cert = said.cert.clone().ok_or("missing 'cert' or 'ca.crt' field in data")?;
    let mut pems = Pem::iter_from_buffer(cert.as_bytes()).filter_map(Result::ok);
    let pem = pems.next().ok_or("invalid PEM block")?;
    if pem.label != "CERTIFICATE" {
        return Err("invalid PEM block type");
    }
    if pems.next().is_some() {
        return Err("multiple PEM blocks found");
    }
    let parsed = pem.parse_x509().map_err(|_| "failed to parse certificate")?;
    if !parsed.is_ca() {
        return Err("certificate is missing the 'CA' basic constraint");
    }
    let expires = parsed.validity().not_after.timestamp();
    if ctx.options.now.is_some_and(|now| expires < now) {
        return Err("expired");
    }
    Ok((id, block(&cert)))
}

/// The certificate's block alone, without text around it.
fn block(text: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let from = text.find("-----BEGIN").unwrap_or(0);
    let to = text.find(END).map_or(text.len(), |at| at + END.len());
    format!("{}\n", text.get(from..to).unwrap_or(text))
}

/// Tells the object, and every plugin that names the authority by its id.
fn refuse(
    ctx: &mut Context<'_>,
    object: ObjectRef,
    (reason, why): (Reason, &str),
    id: Option<&str>,
) {
    let kind = if object.kind == Kind::ConfigMap { "configmap" } else { "secret" };
    let message = format!("invalid {kind} CA certificate: {why}");
    let users = id.map(|id| users(ctx, id)).unwrap_or_default();
    ctx.outcomes.fail_all([object].into_iter().chain(users), reason, &message);
}

fn users(ctx: &Context<'_>, id: &str) -> Vec<ObjectRef> {
    let names = |config: Option<&Value>| {
        let list =
            config.and_then(|config| config.get("ca_certificates")).and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|item| item.as_str() == Some(id)))
    };
    let plugins = ctx.snapshot.kong_plugins.iter().filter(|plugin| names(plugin.config.as_ref()));
    let cluster =
        ctx.snapshot.kong_cluster_plugins.iter().filter(|plugin| names(plugin.config.as_ref()));
    plugins.map(Object::reference).chain(cluster.map(Object::reference)).collect()
}
