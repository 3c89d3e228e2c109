//! From refused entities to the objects behind them.
//!
//! An entity says by its tags which object it comes from: by those that the proxy echoed, or by those that were sent. One
//! without tags of its own (a plugin made by a filter, a target, a server name) belongs to what it is nested in.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fleet::event::{Refusal, RefusedEntity};
use crate::object::{Kind, ObjectRef};

/// The objects behind the refused entities, with what is wrong.
#[must_use]
pub fn guilty(entities: &[RefusedEntity], body: Option<&[u8]>) -> BTreeMap<ObjectRef, String> {
    let document = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
    let mut guilty: BTreeMap<ObjectRef, String> = BTreeMap::new();
    for entity in entities {
        let Some(object) = behind(entity, &document) else { continue };
        let why = words_about(entity);
        guilty.entry(object).or_insert(why);
    }
    guilty
}

/// What the proxies say: about each entity, or in general.
#[must_use]
pub fn words(refusal: &Refusal) -> String {
    let all: Vec<_> = refusal.entities.iter().map(words_about).collect();
    if all.is_empty() { refusal.message.clone() } else { all.join(" | ") }
}

fn words_about(entity: &RefusedEntity) -> String {
    let label = entity.name.as_deref().or(entity.id.as_deref()).unwrap_or_default();
    format!("{} {label}: {}", entity.kind, entity.errors.join("; "))
}

/// The object behind an entity: by the tags that the proxy echoed, or by those that were sent.
fn behind(entity: &RefusedEntity, document: &Value) -> Option<ObjectRef> {
    if let Some(object) = tagged(entity.tags.iter().map(String::as_str)) {
        return Some(object);
    }
    find(entity, document, None)
}

fn tagged<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<ObjectRef> {
    let object = kong::tag::ObjectRef::from_tags(tags)?;
    let kind = Kind::find(&object.group, &object.kind)?;
    Some(ObjectRef::new(kind, &object.namespace, &object.name))
}

/// The object behind the entity as it was sent, wherever it is nested: its own tags', or those of what it stands in.
fn find(entity: &RefusedEntity, node: &Value, around: Option<&ObjectRef>) -> Option<ObjectRef> {
    let text = |node: &Value, key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
    let fields = node.as_object()?.iter().filter(|(key, _)| *key != "config");
    for (kind, children) in fields {
        for child in children.as_array().into_iter().flatten() {
            let tags = child.get("tags").and_then(Value::as_array).into_iter().flatten();
            let own = tagged(tags.filter_map(Value::as_str));
            let behind = own.as_ref().or(around);
            let label = || text(child, "name").or_else(|| text(child, "target"));
            let by_id = entity.id.is_some() && text(child, "id") == entity.id;
            let by_name = entity.name.is_some()
                && kind.trim_end_matches('s') == entity.kind
                && label() == entity.name;
            if by_id || by_name {
                return behind.cloned();
            }
            if let Some(found) = find(entity, child, behind) {
                return Some(found);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entity(id: Option<&str>, name: Option<&str>, tags: &[&str]) -> RefusedEntity {
        RefusedEntity {
            kind: "route".into(),
            id: id.map(Into::into),
            name: name.map(Into::into),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            errors: vec!["paths.1: should start with: /".into()],
        }
    }

    const TAGS: [&str; 4] =
        ["k8s-name:web", "k8s-namespace:shop", "k8s-kind:Ingress", "k8s-group:networking.k8s.io"];

    #[test]
    fn echoed_tags_lead_to_the_object() {
        let guilty = guilty(&[entity(None, Some("r"), &TAGS)], None);
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        assert_eq!(guilty[&object], "route r: paths.1: should start with: /");
    }

    #[test]
    fn entity_named_without_tags_is_looked_up_in_what_was_sent() {
        let sent = json!({"services": [{"name": "s", "routes": [{"name": "r", "id": "i", "tags": TAGS}]}]});
        let body = sent.to_string();
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        for named in [entity(None, Some("r"), &[]), entity(Some("i"), None, &[])] {
            assert!(guilty(&[named], Some(body.as_bytes())).contains_key(&object));
        }
    }

    #[test]
    fn entity_that_leads_nowhere_blames_nobody() {
        assert!(guilty(&[entity(None, Some("r"), &[])], None).is_empty());
    }

    #[test]
    fn entity_without_tags_belongs_to_what_it_is_nested_in() {
        let route = json!({"name": "r", "tags": TAGS, "plugins": [{"name": "cors"}]});
        let sent = json!({"services": [{"name": "s", "routes": [route]}]}).to_string();
        let cors = RefusedEntity { kind: "plugin".into(), ..entity(None, Some("cors"), &[]) };
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        assert!(guilty(&[cors], Some(sent.as_bytes())).contains_key(&object));
    }
}
