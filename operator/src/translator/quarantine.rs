//! Objects that are left out because proxies refuse what they become. No IO.
//!
//! An object stays out until it changes. A refusal whose entities lead to no object is kept as
//! unexplained: nothing is left out by guesswork, and proxies keep what they have.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use operator_core::fleet::event::{Refusal, RefusedEntity};
use operator_core::object::{Kind, ObjectRef};
use operator_core::snapshot::Snapshot;
use serde_json::Value;

/// The objects that are left out, as they were when they were refused.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    inmates: BTreeMap<ObjectRef, Inmate>,
    unexplained: Option<String>,
}

#[derive(Debug)]
struct Inmate {
    was: Option<Value>,
    why: String,
}

impl Quarantine {
    /// Leaves objects out from now on.
    pub(super) fn add(
        &mut self,
        snapshot: &Snapshot,
        guilty: BTreeMap<ObjectRef, String>,
        words: &str,
    ) {
        let new = guilty.keys().any(|object| !self.inmates.contains_key(object));
        self.unexplained = (!new).then(|| words.to_owned());
        for (object, why) in guilty {
            let was = snapshot.json_of(&object);
            self.inmates.entry(object).or_insert(Inmate { was, why });
        }
    }

    /// Lets those go that changed or vanished.
    pub(super) fn forgive(&mut self, snapshot: &Snapshot) {
        self.inmates.retain(|object, inmate| {
            let is = snapshot.json_of(object);
            is.is_some() && is == inmate.was
        });
    }

    /// The objects to leave out.
    pub(super) fn objects(&self) -> BTreeSet<ObjectRef> {
        self.inmates.keys().cloned().collect()
    }

    /// The objects with what the proxies say about them.
    pub(super) fn reasons(&self) -> BTreeMap<ObjectRef, String> {
        self.inmates.iter().map(|(object, inmate)| (object.clone(), inmate.why.clone())).collect()
    }

    /// What the proxies say, when no object can be blamed.
    pub(super) fn unexplained(&self) -> Option<String> {
        self.unexplained.clone()
    }
}

/// The objects behind the refused entities, with what is wrong.
pub(super) fn guilty(refusal: &Refusal, body: Option<&Bytes>) -> BTreeMap<ObjectRef, String> {
    let document = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
    let mut guilty: BTreeMap<ObjectRef, String> = BTreeMap::new();
    for entity in &refusal.entities {
        let Some(object) = behind(entity, &document) else { continue };
        let why = words_about(entity);
        guilty.entry(object).or_insert(why);
    }
    guilty
}

/// What the proxies say: about each entity, or in general.
pub(super) fn words(refusal: &Refusal) -> String {
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
    let sent = find(entity, document)?;
    let tags = sent.get("tags").and_then(Value::as_array).into_iter().flatten();
    tagged(tags.filter_map(Value::as_str))
}

fn tagged<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<ObjectRef> {
    let object = kong::tag::ObjectRef::from_tags(tags)?;
    let kind = Kind::find(&object.group, &object.kind)?;
    Some(ObjectRef::new(kind, &object.namespace, &object.name))
}

/// The entity as it was sent, wherever it is nested.
fn find<'a>(entity: &RefusedEntity, node: &'a Value) -> Option<&'a Value> {
    let text = |node: &'a Value, key: &str| node.get(key).and_then(Value::as_str);
    let fields = node.as_object()?.iter().filter(|(key, _)| *key != "config");
    for (kind, children) in fields {
        for child in children.as_array().into_iter().flatten() {
            let by_id = entity.id.is_some() && text(child, "id") == entity.id.as_deref();
            let by_name = entity.name.is_some()
                && text(child, "name") == entity.name.as_deref()
                && kind.trim_end_matches('s') == entity.kind;
            if by_id || by_name {
                return Some(child);
            }
            if let Some(found) = find(entity, child) {
                return Some(found);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use operator_core::fleet::event::RefusalCause;
    use serde_json::json;

    use super::*;

    fn refusal(entity: RefusedEntity) -> Refusal {
        Refusal {
            cause: RefusalCause::Invalid,
            status: 400,
            message: "declarative config is invalid".into(),
            entities: vec![entity],
        }
    }

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
        let guilty = guilty(&refusal(entity(None, Some("r"), &TAGS)), None);
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        assert_eq!(guilty[&object], "route r: paths.1: should start with: /");
    }

    #[test]
    fn entity_named_without_tags_is_looked_up_in_what_was_sent() {
        let sent = json!({"services": [{"name": "s", "routes": [{"name": "r", "id": "i", "tags": TAGS}]}]});
        let body = Bytes::from(sent.to_string());
        let object = ObjectRef::new(Kind::Ingress, "shop", "web");
        for named in [entity(None, Some("r"), &[]), entity(Some("i"), None, &[])] {
            assert!(guilty(&refusal(named), Some(&body)).contains_key(&object));
        }
    }

    #[test]
    fn entity_that_leads_nowhere_blames_nobody() {
        assert!(guilty(&refusal(entity(None, Some("r"), &[])), None).is_empty());
    }
}
