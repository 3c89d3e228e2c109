//! A change to a configuration, at the cost of the change.
//!
//! Only the entities that a delta puts are decoded; whom they name, and who names what it removes,
//! is looked up in the configuration that it changes. The law: where [`amend`] gives a
//! configuration, decoding the whole changed document gives the same one. Whatever is out of the
//! ordinary, faults above all, is left to that: its answers name entities as they were sent.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use super::{Context, Declared, Entities, NoHarvest, Rejection, check, gather::Arena};
use crate::{canonical::ConfigHash, diff::Delta, schema};

/// Beyond so many entities decoding the whole is cheaper than looking so often into it.
const MOST: usize = 512;

/// A configuration after a change.
pub struct Amended {
    /// All of it; what did not change is shared with what it was made from.
    pub declared: Declared,
    /// The ids of the entities that were put or removed, by kind; none where all of it was decoded.
    pub ids: Option<BTreeMap<&'static str, BTreeSet<String>>>,
}

/// Makes a change, the short way or the long one.
///
/// # Errors
/// What is wrong with the configuration that would come out.
pub fn patch(
    declared: &Declared,
    delta: &Delta,
    context: &Context<'_>,
) -> Result<Amended, Rejection> {
    if let Some(amended) = amend(declared, delta, context) {
        return Ok(amended);
    }
    let document = delta.apply(&declared.document());
    let mut declared = super::decode(document.to_string().as_bytes(), context)?;
    if let Some(hash) = ConfigHash::parse(&delta.result) {
        declared.set_hash(hash);
    }
    Ok(Amended { declared, ids: None })
}

/// A configuration that is being changed, without the entities that are replaced or removed.
pub(super) struct Base<'a> {
    declared: &'a Declared,
    hidden: HashSet<(&'a str, &'a str)>,
}

impl Base<'_> {
    /// The id of the entity whose id or name this is.
    pub(super) fn find(&self, kind: &str, key: &str) -> Option<String> {
        let seen = |id: &str| !self.hidden.contains(&(kind, id));
        if self.declared.kind(kind)?.get(key).is_some() {
            return seen(key).then(|| key.to_owned());
        }
        let name = schema::entity(kind)?.endpoint_key?;
        let found = self.declared.having(kind, name, key)?;
        let id = found.get("id")?.as_str()?;
        seen(id).then(|| id.to_owned())
    }

    /// Whether another entity has this text in this field.
    fn is_taken(&self, kind: &str, field: &str, text: &str) -> bool {
        let other = self.declared.having(kind, field, text);
        let id = other.as_ref().and_then(|other| other.get("id")?.as_str());
        id.is_some_and(|id| !self.hidden.contains(&(kind, id)))
    }

    /// Whether an entity that stays names this one.
    fn is_named(&self, kind: &str, id: &str) -> bool {
        let words = Value::from(id).to_string();
        let linking = schema::entity::all()
            .iter()
            .filter(|schema| schema.references().any(|(_, target)| target == kind));
        linking.into_iter().any(|schema| {
            let all = self.declared.kind(schema.name);
            let mut all = all.into_iter().flat_map(Entities::iter);
            all.any(|(id, entity)| {
                entity.json().contains(&words) && !self.hidden.contains(&(schema.name, id))
            })
        })
    }
}

/// Makes a change; none where only decoding the whole can say what comes out.
#[must_use]
pub fn amend(declared: &Declared, delta: &Delta, context: &Context<'_>) -> Option<Amended> {
    let put = delta.put.iter().flat_map(|(kind, all)| all.iter().map(move |one| (kind, one)));
    let put = put
        .map(|(kind, entity)| Some((kind.as_str(), plain_id(kind, entity)?)))
        .collect::<Option<HashSet<_>>>()?;
    let removed = delta.remove.iter();
    let removed: HashSet<_> = removed
        .flat_map(|(kind, ids)| ids.iter().map(move |id| (kind.as_str(), id.as_str())))
        .filter(|one| !put.contains(one))
        .collect();
    let count = delta.put.values().map(Vec::len).sum::<usize>();
    if put.len() != count || count + removed.len() > MOST {
        return None;
    }
    let base = Base { declared, hidden: put.union(&removed).copied().collect() };
    let mut arena = Arena::gather(document(delta), context).ok()?;
    if arena.items.len() != count || check::run(&mut arena, context, Some(&base)).is_err() {
        return None;
    }
    let taken = arena.items.iter().any(|item| {
        let kind = item.schema.name;
        let custom = (kind == "consumers").then_some("custom_id");
        let before = item.id().and_then(|id| declared.get(kind, id));
        item.schema.endpoint_key.into_iter().chain(custom).any(|field| {
            let same = |before: &Value| before.get(field) == item.entity.get(field);
            item.text(field).is_some_and(|text| {
                !before.as_ref().is_some_and(same) && base.is_taken(kind, field, text)
            })
        })
    });
    if taken || removed.iter().any(|(kind, id)| base.is_named(kind, id)) {
        return None;
    }
    let mut amended = declared.clone();
    let mut ids = BTreeMap::<_, BTreeSet<String>>::new();
    for (kind, id) in removed.union(&put) {
        amended.remove(kind, id);
        ids.entry(schema::entity(kind)?.name).or_default().insert((*id).to_owned());
    }
    for (kind, all) in arena.finish(context.flavor, &mut NoHarvest).kinds() {
        all.iter().for_each(|(id, entity)| {
            amended.insert(kind, id, entity.clone());
        });
    }
    amended.set_hash(ConfigHash::parse(&delta.result)?);
    Some(Amended { declared: amended, ids: Some(ids) })
}

/// The id of an entity of a kind that has ids, if it gives one.
fn plain_id<'a>(kind: &str, entity: &'a Value) -> Option<&'a str> {
    let schema = schema::entity(kind).filter(|schema| schema.name != "workspaces")?;
    schema.record.field("id")?;
    entity.get("id")?.as_str().filter(|id| schema::is_uuid(id))
}

/// What a delta puts, as a configuration of its own.
fn document(delta: &Delta) -> Value {
    let mut out = Map::new();
    out.insert("_format_version".into(), json!("3.0"));
    out.insert("_transform".into(), json!(false));
    let put = delta.put.iter();
    out.extend(put.map(|(kind, all)| (kind.clone(), Value::Array(all.clone()))));
    Value::Object(out)
}
