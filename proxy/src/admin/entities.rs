//! Reading entities: lists with pages and tags, one by id or name, children, parents, tags.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use kong::{declarative::Declared, id::WORKSPACE, schema};
use serde_json::{Map, Value, json};

use super::call::{Call, Reply};

const PAGE: usize = 100;
const LARGEST_PAGE: f64 = 1000.0;

/// `{"code": …, "name": …, "message": …}` as Kong's database layer says it.
fn refusal(code: u32, name: &str, message: &str) -> Map<String, Value> {
    let value = json!({ "code": code, "name": name, "message": message });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn bad_offset(offset: &str) -> Map<String, Value> {
    let message = format!("'{offset}' is not a valid offset: bad base64 encoding");
    refusal(7, "invalid offset", &message)
}

/// How many entities a page has.
pub(super) fn page_size(call: &Call) -> Result<usize, Reply> {
    let refuse = |message| {
        Err(Reply::json(StatusCode::BAD_REQUEST, refusal(9, "invalid size", message).into()))
    };
    let size = match call.arguments().remove("size") {
        None => return Ok(PAGE),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(_) => None,
    };
    match size {
        None => refuse("size must be a number"),
        Some(size) if size.fract() != 0.0 || !(1.0..=LARGEST_PAGE).contains(&size) => {
            refuse("size must be an integer between 1 and 1000")
        }
        Some(size) => Ok(size as usize),
    }
}

/// Whether a text may be a tag: printable, without what parts tags.
fn is_tag(text: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x20..=0x2b | 0x2d | 0x2e | 0x30..=0x7e | 0x80..=0xf4);
    !text.is_empty() && text.bytes().all(fits)
}

/// Which tags are asked for.
pub(super) enum Tags {
    /// All of them.
    All(Vec<String>),
    /// One of them.
    Any(Vec<String>),
}

impl Tags {
    fn of(call: &Call) -> Result<Option<Self>, Reply> {
        let text = match call.arguments().remove("tags") {
            None => return Ok(None),
            Some(Value::Array(all)) => all.into_iter().next().unwrap_or_default(),
            Some(one) => one,
        };
        let text = text.as_str().unwrap_or_default();
        let refuse = |reason: &str| {
            let mut body =
                refusal(11, "invalid options", &format!("invalid option (tags: {reason})"));
            body.insert("options".into(), json!({ "tags": reason }));
            Err(Reply::json(StatusCode::BAD_REQUEST, body.into()))
        };
        let split = |by: char| -> Option<Vec<String>> {
            let tags: Vec<&str> = text.split(by).collect();
            let (last, others) = tags.split_last()?;
            let good = others.iter().all(|tag| is_tag(tag))
                && (is_tag(last) || (last.is_empty() && !others.is_empty()));
            good.then(|| tags.into_iter().map(str::to_owned).collect())
        };
        let tags = match (split(','), split('/')) {
            (Some(all), _) => Self::All(all),
            (None, Some(any)) => Self::Any(any),
            (None, None) => return refuse("invalid filter syntax"),
        };
        let (Self::All(all) | Self::Any(all)) = &tags;
        if all.len() > 5 {
            return refuse("cannot query more than 5 tags");
        }
        Ok(Some(tags))
    }

    fn fit(&self, entity: &Value) -> bool {
        let has = |tag: &String| {
            entity
                .get("tags")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(|one| one.as_str() == Some(tag)))
        };
        match self {
            Self::All(all) => all.iter().all(has),
            Self::Any(all) => all.iter().any(has),
        }
    }
}

/// What an entity looks like in answers.
pub(super) fn show(declared: &Declared, kind: &str, entity: &Value) -> Value {
    let mut shown = entity.clone();
    if kind == "certificates"
        && let Some(map) = shown.as_object_mut()
    {
        let id = map.get("id").cloned().unwrap_or_default();
        let mut names: Vec<String> = declared
            .values("snis")
            .filter(|sni| sni["certificate"]["id"] == id)
            .filter_map(|sni| sni["name"].as_str().map(str::to_owned))
            .collect();
        names.sort_unstable();
        map.insert("snis".into(), json!(names));
    }
    shown
}

/// A page of the entities of a kind that satisfy `keep`, in the order of their ids.
pub(super) fn list(
    declared: &Declared,
    kind: &'static str,
    call: &Call,
    path: Option<&str>,
    keep: &dyn Fn(&Value) -> bool,
) -> Result<Reply, Reply> {
    let size = page_size(call)?;
    let tags = Tags::of(call)?;
    let after = match call.arguments().remove("offset") {
        None => None,
        Some(offset) => match start_of(kind, offset.as_str().unwrap_or_default()) {
            Some(after) => Some(after),
            None if path.is_some_and(|path| path.matches('/').count() > 1) => {
                return Ok(Reply::ok(json!({ "data": [], "next": null })));
            }
            None => {
                let body = bad_offset(offset.as_str().unwrap_or_default());
                return Err(Reply::json(StatusCode::BAD_REQUEST, body.into()));
            }
        },
    };
    let all = declared.kind(kind).into_iter().flat_map(kong::declarative::Entities::iter);
    let mut kept = all
        .filter(|(id, _)| after.as_deref().is_none_or(|after| *id > after))
        .map(|(id, entity)| (id, entity.value()))
        .filter(|(_, entity)| keep(entity));
    let page: Vec<_> = kept.by_ref().take(size).collect();
    // A full page has a next one, whether something is on it or not.
    let last = page.last().filter(|_| page.len() == size).map(|(id, _)| (*id).to_owned());
    let data: Vec<Value> = page
        .iter()
        .filter(|(_, entity)| tags.as_ref().is_none_or(|tags| tags.fit(entity)))
        .map(|(_, entity)| show(declared, kind, entity))
        .collect();
    let mut body = json!({ "data": data, "next": null });
    if let Some(id) = last {
        let offset = offset_after(kind, &id);
        let nested = path.is_some_and(|path| path.matches('/').count() > 1);
        let mut next = format!("{}?offset={offset}", path.unwrap_or_default());
        if let Some(size) = call.argument("size").filter(|_| !nested) {
            next = format!("{next}&size={size}");
        }
        if let Some(tags) = call.argument("tags") {
            next = format!("{next}&tags={}", tags.replace(',', "%2C").replace('/', "%2F"));
        }
        body["next"] = json!(next);
        body["offset"] = json!(offset);
    }
    Ok(Reply::ok(body))
}

fn offset_after(kind: &str, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{kind}|{WORKSPACE}|*|{id}\0"))
}

fn start_of(kind: &str, offset: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(offset.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let rest = text.strip_prefix(kind)?.strip_prefix('|')?;
    let (_, id) = rest.rsplit_once('|')?;
    Some(id.trim_end_matches('\0').to_owned())
}

/// An entity by id or name, with the answer when there is none.
pub(super) fn find(declared: &Declared, kind: &str, key: &str) -> Result<Value, Reply> {
    if schema::is_uuid(key) {
        return declared.get(kind, key).ok_or_else(|| missing(kind, key));
    }
    if kind == "certificates" {
        let sni = declared.find("snis", key).filter(|sni| sni["name"] == key);
        let certificate = sni.and_then(|sni| {
            declared.get("certificates", sni["certificate"]["id"].as_str().unwrap_or_default())
        });
        return certificate.ok_or_else(|| Reply::message(StatusCode::NOT_FOUND, "SNI not found"));
    }
    match schema::entity(kind).and_then(|schema| schema.endpoint_key) {
        Some(_) => declared.find(kind, key).ok_or_else(Reply::not_found),
        None => {
            let mut body = refusal(
                1,
                "invalid primary key",
                "invalid primary key: '{id=\"expected a valid UUID\"}'",
            );
            body.insert("fields".into(), json!({ "id": "expected a valid UUID" }));
            Err(Reply::json(StatusCode::BAD_REQUEST, body.into()))
        }
    }
}

fn missing(kind: &str, id: &str) -> Reply {
    if kind != "certificates" {
        return Reply::not_found();
    }
    Reply::json(StatusCode::NOT_FOUND, not_there(id).into())
}

/// That there is no entity of this id, in the words of the database layer.
pub(super) fn not_there(id: &str) -> Map<String, Value> {
    let message = format!("could not find the entity with primary key '{{id=\"{id}\"}}'");
    let mut body = refusal(6, "not found", &message);
    body.insert("fields".into(), json!({ "id": id }));
    body
}

/// The field of `child` that names an entity of the kind `parent`.
pub(super) fn link(child: &str, parent: &str) -> &'static str {
    schema::entity(child)
        .and_then(|schema| schema.references().find(|(_, kind)| *kind == parent))
        .map_or("", |(field, _)| field)
}

/// Whether the entity's field names the entity of this id.
pub(super) fn belongs(entity: &Value, field: &str, id: &Value) -> bool {
    entity.get(field).and_then(|reference| reference.get("id")) == Some(id)
}

/// A parent for its children; nobody learns why there is none.
pub(super) fn find_parent(declared: &Declared, kind: &str, key: &str) -> Result<Value, Reply> {
    find(declared, kind, key).map_err(|reply| {
        let named = kind == "certificates" && !schema::is_uuid(key);
        if named { reply } else { Reply::not_found() }
    })
}

/// One child of a parent.
pub(super) fn child(
    declared: &Declared,
    parent: &Value,
    parent_kind: &str,
    kind: &str,
    key: &str,
) -> Result<Value, Reply> {
    let field = link(kind, parent_kind);
    let name = match kind {
        "targets" => Some("target"),
        "acls" => Some("group"),
        _ => schema::entity(kind).and_then(|schema| schema.endpoint_key),
    };
    declared
        .values(kind)
        .filter(|entity| belongs(entity, field, &parent["id"]))
        .find(|entity| entity["id"] == key || name.is_some_and(|name| entity[name] == key))
        .ok_or_else(Reply::not_found)
}

/// The targets of an upstream: the newest first, each address once.
pub(super) fn targets(declared: &Declared, upstream: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = declared
        .values("targets")
        .filter(|target| belongs(target, "upstream", &upstream["id"]))
        .collect();
    all.sort_by(|a, b| {
        let age = |one: &Value| one["created_at"].as_f64().unwrap_or_default();
        age(b).total_cmp(&age(a)).then_with(|| b["id"].as_str().cmp(&a["id"].as_str()))
    });
    let mut seen = std::collections::HashSet::new();
    all.retain(|target| seen.insert(target["target"].as_str().unwrap_or_default().to_owned()));
    all
}

/// Values in pages whose offset is a number.
pub(super) fn numbered(data: Vec<Value>, call: &Call, path: &str) -> Result<Value, Reply> {
    let size = page_size(call)?;
    let offset = match call.arguments().remove("offset") {
        None => 0,
        Some(text) => match text.as_str().and_then(|text| text.parse::<usize>().ok()) {
            Some(offset) => offset,
            None => {
                let message = "offset must be a number";
                return Err(Reply::json(
                    StatusCode::BAD_REQUEST,
                    refusal(7, "invalid offset", message).into(),
                ));
            }
        },
    };
    let more = data.len() > offset + size;
    let page: Vec<Value> = data.into_iter().skip(offset).take(size).collect();
    let mut body = json!({ "data": page, "next": null });
    if more {
        let next = offset + size;
        body["next"] = json!(format!("{path}?offset={next}"));
        body["offset"] = json!(next.to_string());
    }
    Ok(body)
}

/// Every tag of every entity, or who has one tag, in pages.
pub(super) fn tagged(declared: &Declared, call: &Call, tag: Option<&str>) -> Result<Reply, Reply> {
    let refuse = |body: Map<String, Value>| Err(Reply::json(StatusCode::BAD_REQUEST, body.into()));
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        let message = format!(
            "invalid tag '{tag}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
        );
        return refuse(refusal(10, "invalid unique tag", &message));
    }
    let size = page_size(call)?;
    let start = match call.argument("offset") {
        None => 0,
        Some(offset) => match tag_offset(&offset) {
            Some(start) => start,
            None => return refuse(bad_offset(&offset)),
        },
    };
    let mut data = Vec::new();
    for (kind, entities) in declared.kinds() {
        for (id, entity) in entities.iter().map(|(id, entity)| (id, entity.value())) {
            for one in entity["tags"].as_array().into_iter().flatten() {
                if tag.is_none_or(|tag| one.as_str() == Some(tag)) {
                    data.push(json!({ "entity_name": kind, "entity_id": id, "tag": one }));
                }
            }
        }
    }
    let more = data.len() > start + size;
    let page: Vec<Value> = data.into_iter().skip(start).take(size).collect();
    let mut body = json!({ "data": page, "next": null });
    if more {
        let offset = URL_SAFE_NO_PAD.encode(format!("tags|{}", start + size));
        let path = tag.map_or_else(|| "/tags".to_owned(), |tag| format!("/tags/{tag}"));
        body["next"] = json!(format!("{path}?offset={offset}"));
        body["offset"] = json!(offset);
    }
    Ok(Reply::ok(body))
}

fn tag_offset(offset: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(offset.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()?.strip_prefix("tags|")?.parse().ok()
}
