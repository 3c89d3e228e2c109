//! Configurations that a real Kong refused or accepted, and what it said (`proxy/testdata/kong`).
//!
//! Only what needs no engine is looked at here; the proxy's own runner looks at everything.

use std::{collections::BTreeMap, fs, path::Path};

use kong::{
    declarative::{Context, Lenient, decode},
    schema::Flavor,
};
use serde_json::{Value, json};

fn flavor(case: &Value) -> Flavor {
    match case.get("flavor").and_then(Value::as_str) {
        Some("expressions") => Flavor::Expressions,
        Some("traditional") => Flavor::Traditional,
        _ => Flavor::TraditionalCompatible,
    }
}

const PORTS: [(&str, u64); 8] = [
    ("$A", 29101),
    ("$B", 29102),
    ("$C", 29103),
    ("$S", 29104),
    ("$W", 29105),
    ("$Z", 29106),
    ("$PROXY", 29107),
    ("$TLS", 29108),
];

fn port(name: &str) -> u64 {
    PORTS.iter().find(|(known, _)| *known == name).map_or(0, |(_, port)| *port)
}

/// `${x*3}` stands for `xxx`.
fn repeat(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let Some((inside, after)) = rest.split_once('}') else { return text.to_owned() };
    let Some((what, count)) = inside.split_once('*') else { return text.to_owned() };
    format!("{before}{}{}", what.repeat(count.parse().unwrap()), repeat(after))
}

/// Ports stand as `$A`, ids and times are masked in what was recorded.
fn fill(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() == 2 && text.starts_with('$') => json!(port(text)),
        Value::String(text) => json!(
            PORTS
                .iter()
                .fold(repeat(text), |text, (name, port)| { text.replace(name, &port.to_string()) })
        ),
        Value::Array(all) => all.iter().map(fill).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), fill(v))).collect(),
        other => other.clone(),
    }
}

fn mask(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let name = PORTS.iter().find(|(_, port)| number.as_u64() == Some(*port));
            name.map_or_else(|| value.clone(), |(name, _)| json!(name))
        }
        Value::String(text) => json!(PORTS.iter().fold(mask_uuids(text), |text, (name, port)| {
            text.replace(&port.to_string(), name)
        })),
        Value::Array(all) => all.iter().map(mask).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| {
                let time = matches!(k.as_str(), "created_at" | "updated_at") && !v.is_null();
                (mask_uuids(k), if time { json!("<ts>") } else { mask(v) })
            })
            .collect(),
        other => other.clone(),
    }
}

fn mask_uuids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.get(..36).is_some_and(kong::schema::is_uuid) {
            out.push_str("<uuid>");
            rest = &rest[36..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// What was recorded shows bytes as Latin-1 letters.
fn latin(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            json!(text.bytes().map(char::from).collect::<String>())
        }
        Value::Array(all) => all.iter().map(latin).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), latin(v))).collect(),
        other => other.clone(),
    }
}

fn refused(step: &Value, flavor: Flavor) -> Option<Value> {
    let text = fill(&step["config"]).to_string();
    let context = Context { now: 1_700_000_000.0, seed: 7, flavor, judge: &Lenient };
    decode(text.as_bytes(), &context).err().map(|rejection| latin(&rejection.to_json(true)))
}

fn sorted(mut value: Value) -> Value {
    if let Some(all) = value.get_mut("flattened_errors").and_then(Value::as_array_mut) {
        for one in all.iter_mut() {
            if let Some(errors) = one.get_mut("errors").and_then(Value::as_array_mut) {
                errors.sort_by_key(ToString::to_string);
            }
        }
        all.sort_by_key(ToString::to_string);
    }
    value
}

/// Whether the refusal needs what this package does not have: the router's engine, a reader of
/// certificates, Lua.
fn judged_elsewhere(want: &Value) -> bool {
    let text = want.to_string();
    text.contains("Router Expression failed")
        || text.contains("error parsing pre-function")
        || text.contains("CERTIFICATE")
        || text.contains("certificate\"")
}

/// Whether the configuration has Lua, which only the gateway reads.
fn has_code(step: &Value) -> bool {
    let text = step["config"].to_string();
    text.contains("\"pre-function\"") || text.contains("\"post-function\"")
}

/// The first faulty entities that differ, shortly.
fn difference(want: &Value, got: &Value) -> String {
    let list = |value: &Value| value["flattened_errors"].as_array().cloned().unwrap_or_default();
    let (wanted, found) = (list(want), list(got));
    let short = |value: &Value| {
        let entity: String = value["entity"].to_string().chars().take(160).collect();
        format!("{entity} => {}", value["errors"])
    };
    let missing = wanted.iter().filter(|one| !found.contains(one)).take(3);
    let more = found.iter().filter(|one| !wanted.contains(one)).take(3);
    let mut lines: Vec<String> = missing.map(|one| format!("  - {}", short(one))).collect();
    lines.extend(more.map(|one| format!("  + {}", short(one))));
    if lines.is_empty() {
        lines.push(format!("  - {} + {}", want["message"], got["message"]));
    }
    lines.join("\n")
}

#[test]
fn configurations_are_accepted_and_refused_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/testdata/kong");
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut right = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let cases: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for case in &cases {
            for step in case["steps"].as_array().unwrap() {
                if step.get("config").is_none_or(|config| !config.is_object()) {
                    continue;
                }
                let want = &step["expect"];
                let status = want["status"].as_u64().unwrap();
                let got = refused(step, flavor(case));
                let full = step.get("pick").is_none() && want.get("json").is_some();
                let same = match (&got, status) {
                    (None, 201) => true,
                    (Some(got), 400) if full && !judged_elsewhere(want) => {
                        let order = step.get("sort").is_some();
                        let got = mask(got);
                        let want = mask(&want["json"]);
                        if order { sorted(got) == sorted(want) } else { got == want }
                    }
                    (Some(_), 400 | 500) => true,
                    // Certificates, router expressions and Lua are judged by the gateway's engines.
                    (_, 400) if judged_elsewhere(want) || has_code(step) => true,
                    _ => false,
                };
                if same {
                    right += 1;
                } else {
                    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                    let want = want.get("json").map(mask).unwrap_or_default();
                    let got = got.map(|got| mask(&got)).unwrap_or_default();
                    wrong.entry(name).or_default().push(format!(
                        "{} ({status})\n{}",
                        case["name"].as_str().unwrap(),
                        difference(&want, &got),
                    ));
                }
            }
        }
    }
    for (file, all) in &wrong {
        for one in all {
            println!("{file}: {one}");
        }
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    println!("{right} as recorded, {count} not");
    assert_eq!(count, 0);
}
