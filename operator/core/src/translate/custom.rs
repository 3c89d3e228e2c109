//! KongVault, KongLicense and KongCustomEntity.

use std::collections::BTreeMap;

use kong::model::Vault;
use operator_api::kong::{KongCustomEntity, custom::ParentRef};
use serde_json::{Map, Value, json};

use super::Context;
use super::plugins::Attachments;
use super::rules::Origin;
use super::services::Assembled;
use crate::names::{self, Named};
use crate::object::{Kind, Object as _};
use crate::options::Gate;
use crate::outcome::Reason;
use crate::snapshot::GrantFrom;

/// Makes vaults; of two with one prefix the oldest.
pub(super) fn vaults(ctx: &mut Context<'_>) -> Vec<Vault> {
    let mut vaults: BTreeMap<String, Vault> = BTreeMap::new();
    for object in ctx.snapshot.kong_vaults.oldest_first() {
        if !ctx.class.serves(&**object) {
            let why = ctx.class.unserved("its class");
            ctx.outcomes.ignore(object.reference(), why);
            continue;
        }
        let spec = &object.spec;
        let prefix = spec.prefix.clone();
        if vaults.contains_key(&prefix) {
            let message = format!("spec.prefix {prefix:?} is duplicate");
            ctx.outcomes.fail(object.reference(), Reason::Conflicted, message);
            continue;
        }
        let config = match &spec.config {
            None | Some(Value::Null) => None,
            Some(Value::Object(config)) => Some(config.clone()).filter(|config| !config.is_empty()),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let message = "spec.config is not an object";
                ctx.outcomes.fail(object.reference(), Reason::Invalid, message);
                continue;
            }
        };
        let vault = Vault {
            id: ctx.options.on(Gate::FillIds).then(|| names::id(Named::Vault, &prefix)),
            name: Some(spec.backend.clone()),
            description: spec.description.clone().filter(|text| !text.is_empty()),
            config,
            tags: Some(names::tags_of(&**object)),
            prefix: Some(prefix.clone()),
            ..Vault::default()
        };
        vaults.insert(prefix, vault);
        ctx.outcomes.configured(Origin::of(object));
    }
    vaults.into_values().collect()
}

/// An entity of a type without fields that are known here.
pub(super) type Entity = Map<String, Value>;

/// The newest enabled licence, where the proxies are Kong Enterprise.
pub(super) fn licenses(ctx: &mut Context<'_>) -> Vec<Entity> {
    if !ctx.options.on(Gate::EnterpriseEdition) {
        return Vec::new();
    }
    let created = |license: &operator_api::kong::KongLicense| {
        license.metadata.creation_timestamp.as_ref().map(|time| time.0)
    };
    let mut enabled: Vec<_> =
        ctx.snapshot.kong_licenses.iter().filter(|license| license.enabled).collect();
    enabled.sort_by(|a, b| created(b).cmp(&created(a)).then_with(|| a.name().cmp(b.name())));
    let Some((chosen, others)) = enabled.split_first() else { return Vec::new() };
    for other in others {
        ctx.outcomes.ignore(other.reference(), format!("{} is chosen", chosen.reference()));
    }
    ctx.outcomes.configured(Origin::of(&***chosen));
    let entity = json!({
        "id": names::license_id(chosen.name()),
        "payload": chosen.raw_license_string,
    });
    entity.as_object().cloned().into_iter().collect()
}

/// Types that are no custom entities.
const CORE: [&str; 12] = [
    "services",
    "routes",
    "upstreams",
    "targets",
    "plugins",
    "consumers",
    "consumer_groups",
    "certificates",
    "ca_certificates",
    "snis",
    "vaults",
    "licenses",
];

/// Which foreign keys an entity of a type has; others have none that are known.
fn foreign(entity_type: &str) -> &'static [&'static str] {
    match entity_type {
        "degraphql_routes" => &["service"],
        "graphql_ratelimiting_cost_decorations" => &["service"],
        _ => &[],
    }
}

/// Entities of custom types, by type.
pub(super) fn entities<'a>(
    ctx: &mut Context<'a>,
    services: &[&Assembled<'a>],
    attachments: &Attachments<'a>,
) -> BTreeMap<String, Vec<Entity>> {
    let mut all: BTreeMap<String, Vec<Entity>> = BTreeMap::new();
    if !ctx.options.on(Gate::KongCustomEntity) {
        return all;
    }
    for object in &ctx.snapshot.kong_custom_entities {
        let spec = &object.spec;
        if !ctx.class.is(&spec.controller_name) {
            let why = ctx.class.unserved("its controllerName");
            ctx.outcomes.ignore(object.reference(), why);
            continue;
        }
        match entity(ctx, object, services, attachments) {
            Ok(entities) => {
                ctx.outcomes.configured(Origin::of(object));
                all.entry(spec.entity_type.clone()).or_default().extend(entities);
            }
            Err((reason, message)) => ctx.outcomes.fail(object.reference(), reason, message),
        }
    }
    all
}

fn entity(
    ctx: &Context<'_>,
    object: &KongCustomEntity,
    services: &[&Assembled<'_>],
    attachments: &Attachments<'_>,
) -> Result<Vec<Entity>, (Reason, String)> {
    let spec = &object.spec;
    if CORE.contains(&spec.entity_type.as_str()) {
        let message = format!("cannot use known entity type {} in custom entity", spec.entity_type);
        return Err((Reason::Invalid, message));
    }
    let Value::Object(fields) = &spec.fields else {
        return Err((Reason::Invalid, "spec.fields is not an object".into()));
    };
    let parent = spec.parent_ref.as_ref();
    let (namespace, name) = match parent {
        None => return Ok(vec![fields.clone()]),
        Some(parent) => parent_key(ctx, object, parent)?,
    };
    let foreign = foreign(&spec.entity_type);
    if !foreign.contains(&"service") {
        return Ok(vec![fields.clone()]);
    }
    let mut ids = Vec::new();
    let cluster =
        parent.is_some_and(|parent| parent.kind.as_deref() == Some(Kind::KongClusterPlugin.name()));
    for (services_named, routes_named) in attachments.matching(cluster.then_some(name).map_or(
        super::plugins::Wanted::Namespaced(namespace, name),
        super::plugins::Wanted::Cluster,
    )) {
        for assembled in services {
            let named = assembled.service.name.as_deref().unwrap_or_default();
            let through = assembled.routes.iter().any(|route| {
                routes_named.contains(&route.route.name.as_deref().unwrap_or_default())
            });
            if services_named.contains(&named) || through {
                let id = names::id(Named::Service, named);
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
    }
    if ids.is_empty() {
        return Ok(vec![fields.clone()]);
    }
    let with = |id: String| {
        let mut entity = fields.clone();
        entity.insert("service".into(), json!({"id": id}));
        entity
    };
    Ok(ids.into_iter().map(with).collect())
}

fn parent_key<'p>(
    ctx: &Context<'_>,
    object: &'p KongCustomEntity,
    parent: &'p ParentRef,
) -> Result<(&'p str, &'p str), (Reason, String)> {
    let own = object.namespace();
    let namespace = parent.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespaced = parent.kind.as_deref() != Some(Kind::KongClusterPlugin.name());
    if let Some(other) = namespace.filter(|other| namespaced && *other != own) {
        let from = GrantFrom { kind: Kind::KongCustomEntity, namespace: own };
        if !ctx.snapshot.granted(from, Kind::KongPlugin, other, &parent.name) {
            let message = format!(
                "failed to find attached foreign entities for custom entity: no grant found to \
                 referenced \"{other}:{}\" plugin in the requested remote KongPlugin bind",
                parent.name
            );
            return Err((Reason::RefNotPermitted, message));
        }
    }
    Ok((namespace.unwrap_or(own), &parent.name))
}
