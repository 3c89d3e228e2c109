//! Tags and ids of Kong entities: the same that Kong Ingress Controller gives them, so that taking
//! over from it changes no entity, no counter and no key of analytics.

use std::borrow::Cow;

use kong::id::derive_in;
use kong::model::Tags;
use uuid::{Uuid, uuid};

use crate::object::{Kind, Object};
use crate::translate::Origin;

/// The annotation that adds tags of the user's to an entity.
pub const TAGS_ANNOTATION: &str = "konghq.com/tags";

/// The tags that lead from an entity back to its object, with the user's own behind them.
#[must_use]
pub fn tags(origin: Origin<'_>) -> Tags {
    tags_with(origin, [])
}

/// The tags of an entity, with further ones before the user's own.
pub(crate) fn tags_with(origin: Origin<'_>, more: impl IntoIterator<Item = String>) -> Tags {
    let meta = origin.meta;
    let mut tags: Vec<Cow<'static, str>> = Vec::with_capacity(6);
    let part = |prefix: &str, value: Option<&str>| {
        value.filter(|v| !v.is_empty()).map(|v| Cow::Owned([prefix, v].concat()))
    };
    let [kind, group, version] = origin.kind.tags();
    tags.extend(part("k8s-name:", meta.name.as_deref()));
    tags.extend(part("k8s-namespace:", meta.namespace.as_deref()));
    tags.push(Cow::Borrowed(kind));
    tags.extend(part("k8s-uid:", meta.uid.as_deref()));
    tags.extend(Some(Cow::Borrowed(group)).filter(|_| !origin.kind.group().is_empty()));
    tags.push(Cow::Borrowed(version));
    tags.extend(more.into_iter().map(Cow::Owned));
    if let Some(own) = origin.own_annotation(TAGS_ANNOTATION) {
        let own = own.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        tags.extend(own.map(|tag| Cow::Owned(tag.to_owned())));
    }
    tags.into()
}

/// The tags of `object`'s entities.
#[must_use]
pub fn tags_of<K: Object>(object: &K) -> Tags {
    tags(Origin::of(object))
}

/// The tags of a Kong service with no object behind it.
#[must_use]
pub fn unknown_tags() -> Tags {
    [
        "k8s-name:UNKNOWN",
        "k8s-namespace:UNKNOWN",
        "k8s-kind:Service",
        "k8s-uid:00000000-0000-0000-0000-000000000000",
        "k8s-group:core",
        "k8s-version:v1",
    ]
    .into_iter()
    .collect()
}

/// A type of entity that gets its id from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A service, by name.
    Service,
    /// A route, by name.
    Route,
    /// A consumer, by username.
    Consumer,
    /// A consumer group, by name.
    ConsumerGroup,
    /// A vault, by prefix.
    Vault,
    /// A plugin, by name and what it is attached to.
    Plugin,
}

/// The id of an entity of type `named` and key `key`, in no workspace.
#[must_use]
pub fn id(named: Named, key: &str) -> String {
    let namespace = match named {
        Named::Service => uuid!("90050c4f-539a-5bd9-bfb5-2ff1c430ca18"),
        Named::Route => uuid!("78aafefa-16c7-5598-8955-58dc6264b27a"),
        Named::Consumer => uuid!("7e5adc17-c056-5c54-98c0-7f88774fccf6"),
        Named::ConsumerGroup => uuid!("4b01092a-c5c8-53f2-bed8-175b4436913f"),
        Named::Vault => uuid!("66ef8da9-18d3-5bbc-9241-62b0e3ead8f1"),
        Named::Plugin => uuid!("e9b79996-068a-576f-804e-98a685f0a58e"),
    };
    derive_in(namespace, key).to_string()
}

/// The id of the licence of a KongLicense.
#[must_use]
pub fn license_id(name: &str) -> String {
    let key = format!("{}:{name}", Kind::KongLicense.name());
    derive_in(Uuid::nil(), &key).to_string()
}

/// Writes a wildcard host so that it can stand in a name.
#[must_use]
pub fn host(host: &str) -> String {
    host.replace('*', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_kong_ingress_controller() {
        assert_eq!(id(Named::Service, "shop.web.80"), "24b7278c-bf6b-539d-bd6b-7c83220ed5b6");
        assert_eq!(
            id(Named::Route, "shop.web.web.shop.example.com.80"),
            "60e76853-5b40-51a4-9b6c-a7b540f2b6f7"
        );
    }
}
