//! What of an answer is compared: masks for what differs by nature, selections, orders.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::client::{self, Answer};

/// Ports by the name that stands for them in cases.
#[derive(Clone, Default)]
pub(super) struct Ports(pub BTreeMap<String, u16>);

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static UUID: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"));
static PRODUCT: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(kong|flotilla)/\d[\w.-]*"));
static REQUEST_ID: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"("request_id"\s*:\s*")[0-9a-f]{32}"#));
static REQUEST_ID_TEXT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(request_id: |Request ID: |<p>Request ID: |requestid>)[0-9a-f]{32}"));
static LATENCY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^x-kong-(upstream|proxy|response|total|third-party|client)-latency$"));
static REPEAT: LazyLock<Regex> = LazyLock::new(|| regex(r"\$\{(.)\*(\d+)\}"));
static NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"\$(PROXY|TLS|[ABCSWZ])\b"));
static IDS: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{8}-[0-9a-f]{24})\b|/\d{6,20}\b")
});
static RAW_LINES: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)^(date|x-kong-[a-z-]*latency|x-kong-request-id):"));

impl Ports {
    /// Puts ports and repeated letters in.
    pub(super) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                if let Some(port) = text.strip_prefix('$').filter(|name| name.len() == 1)
                    && let Some(port) = self.0.get(port)
                {
                    return json!(port);
                }
                let text = REPEAT.replace_all(text, |found: &regex::Captures<'_>| {
                    found[1].repeat(found[2].parse().unwrap())
                });
                json!(NAME.replace_all(&text, |found: &regex::Captures<'_>| {
                    self.0.get(&found[1]).map_or_else(|| found[0].to_owned(), u16::to_string)
                }))
            }
            Value::Array(all) => all.iter().map(|one| self.fill(one)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| {
                    let name = self.fill(&json!(name));
                    let name = name.as_str().map_or_else(|| name.to_string(), Into::into);
                    (name, self.fill(value))
                })
                .collect(),
            other => other.clone(),
        }
    }

    /// Masks a text.
    pub(super) fn text(&self, text: &str, keep_uuid: bool) -> String {
        let mut out = shorten(text);
        for (name, port) in &self.0 {
            let loose = name.len() > 1;
            out = replace_number(&out, &port.to_string(), &format!("${name}"), loose);
        }
        out = PRODUCT.replace_all(&out, "<product>").into_owned();
        out = REQUEST_ID.replace_all(&out, "${1}<hex32>").into_owned();
        out = REQUEST_ID_TEXT.replace_all(&out, "${1}<hex32>").into_owned();
        if keep_uuid { out } else { UUID.replace_all(&out, "<uuid>").into_owned() }
    }

    /// Masks JSON.
    pub(super) fn json(&self, value: &Value, keep_uuid: bool) -> Value {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| {
                    let masked = match name.as_str() {
                        "created_at" | "updated_at" | "started_at" if !value.is_null() => {
                            json!("<ts>")
                        }
                        "request_id" => json!("<hex32>"),
                        _ => self.json(value, keep_uuid),
                    };
                    (name.clone(), masked)
                })
                .collect(),
            Value::Array(all) => all.iter().map(|one| self.json(one, keep_uuid)).collect(),
            Value::Number(number) => {
                let named = self.0.iter().find(|(_, port)| number.as_u64() == Some(**port as u64));
                match named {
                    Some((name, _)) if name.len() == 1 => json!(format!("${name}")),
                    _ => value.clone(),
                }
            }
            Value::String(text) => json!(self.text(text, keep_uuid)),
            other => other.clone(),
        }
    }

    fn headers(&self, pairs: &[(String, String)], keep_uuid: bool) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (name, value) in pairs {
            let low = name.to_ascii_lowercase();
            if low == "date"
                || low == "x-echo"
                || (low == "server" && value.starts_with("BaseHTTP"))
            {
                continue;
            }
            let value = match low.as_str() {
                "ratelimit-reset" | "retry-after" | "age" => "<int>".to_owned(),
                "x-kong-request-id" => "<hex32>".to_owned(),
                "expires" | "last-modified" => "<date>".to_owned(),
                name if LATENCY.is_match(name) => "<int>".to_owned(),
                _ => self.text(value, keep_uuid),
            };
            out.push((low, value));
        }
        out.sort();
        out
    }
}

/// A thousand equal letters and more become `${x*1000}`.
fn shorten(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(4096));
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut count = 1;
        while letters.peek() == Some(&letter) && letter != '\n' {
            letters.next();
            count += 1;
        }
        if count >= 1000 {
            out += &format!("${{{letter}*{count}}}");
        } else {
            (0..count).for_each(|_| out.push(letter));
        }
    }
    out
}

/// Replaces a number that stands alone; `loose`: letters may stand before it.
fn replace_number(text: &str, number: &str, name: &str, loose: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let before = rest[..at].chars().next_back().or_else(|| out.chars().next_back());
        let after = rest[at + number.len()..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let joined = if loose { before.is_some_and(|c| c.is_ascii_digit()) } else { word(before) };
        out += &rest[..at];
        out += if joined || word(after) { number } else { name };
        rest = &rest[at + number.len()..];
    }
    out + rest
}

/// Keeps only the dotted paths of a value.
pub(super) fn pick(value: &Value, paths: &Value) -> Value {
    fn one(value: &Value, parts: &[&str]) -> Value {
        match (parts, value) {
            ([], value) => value.clone(),
            (["*", rest @ ..], Value::Array(all)) => all.iter().map(|v| one(v, rest)).collect(),
            ([name, rest @ ..], Value::Object(map)) => {
                map.get(*name).map_or(Value::Null, |value| one(value, rest))
            }
            _ => Value::Null,
        }
    }
    let mut out = Map::new();
    for path in paths.as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.insert(path.to_owned(), one(value, &path.split('.').collect::<Vec<_>>()));
    }
    Value::Object(out)
}

/// Lets `change` see the values at a dotted path.
fn visit(value: &mut Value, parts: &[&str], change: &mut dyn FnMut(&mut Value)) {
    let [part, rest @ ..] = parts else { return change(value) };
    match value {
        Value::Array(all) if *part == "*" => all.iter_mut().for_each(|v| visit(v, rest, change)),
        Value::Array(all) => {
            if let Some(one) = part.parse::<usize>().ok().and_then(|at| all.get_mut(at)) {
                visit(one, rest, change);
            }
        }
        Value::Object(map) if *part == "*" => {
            map.values_mut().for_each(|value| visit(value, rest, change));
        }
        Value::Object(map) => {
            if let Some(one) = map.get_mut(*part) {
                visit(one, rest, change);
            }
        }
        _ => {}
    }
}

fn sort(value: &mut Value, path: &str, ports: &Ports) {
    visit(value, &path.split('.').collect::<Vec<_>>(), &mut |value| match value {
        Value::Array(all) => all.sort_by_key(|one| python(&ports.json(one, true))),
        Value::String(text) => {
            let stamp = regex(r"(_at: )[\d.]+");
            let text = stamp.replace_all(text, "${1}<ts>");
            let mut lines: Vec<&str> =
                text.split('\n').map(|line| line.trim_start_matches([' ', '-'])).collect();
            lines.sort_unstable();
            *value = json!(lines);
        }
        _ => {}
    });
}

/// JSON as the recorder's language writes it: blanks after separators, nothing beyond ASCII.
pub(super) fn python(value: &Value) -> String {
    match value {
        Value::Array(all) => {
            format!("[{}]", all.iter().map(python).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let all: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{}: {}", ascii(&json!(name)), python(value)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        other => ascii(other),
    }
}

fn ascii(scalar: &Value) -> String {
    let mut out = String::new();
    let mut units = [0; 2];
    for letter in scalar.to_string().chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut units) {
                out += &format!("\\u{unit:04x}");
            }
        }
    }
    out
}

/// Values at the paths become the names of their types.
pub(super) fn blur(value: &mut Value, paths: &Value) {
    for path in paths.as_array().into_iter().flatten().filter_map(Value::as_str) {
        visit(value, &path.split('.').collect::<Vec<_>>(), &mut |value| {
            *value = json!(match value {
                Value::Bool(_) => "<bool>",
                Value::Number(_) => "<number>",
                Value::String(_) => "<str>",
                Value::Null => "<NoneType>",
                Value::Array(_) => "<list>",
                Value::Object(_) => "<dict>",
            });
        });
    }
}

/// Ids that the request did not contain become `<id1>`, `<id2>`, ….
fn number_ids(
    pairs: Vec<(String, String)>,
    step: &Value,
    seen: &mut HashMap<String, usize>,
) -> Vec<(String, String)> {
    let sent = step.get("request").map(ToString::to_string).unwrap_or_default();
    let mut replace = |text: &str| {
        IDS.replace_all(text, |found: &regex::Captures<'_>| {
            let (slash, id) = match found[0].strip_prefix('/') {
                Some(id) => ("/", id.to_owned()),
                None => ("", found[0].to_owned()),
            };
            if sent.contains(&id) {
                return found[0].to_owned();
            }
            let next = seen.len() + 1;
            let number = *seen.entry(id.clone()).or_insert(next);
            if text.contains('/') {
                format!("{slash}<id{number}>")
            } else {
                format!("{slash}<id{number}:{}>", id.len())
            }
        })
        .into_owned()
    };
    pairs.into_iter().map(|(name, value)| (name, replace(&value))).collect()
}

/// Which samples there were at the last `lines` step.
pub(super) type Samples = HashMap<String, f64>;

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is compared of an answer.
pub(super) fn observe(answer: Answer, step: &Value, ports: &Ports, samples: &mut Samples) -> Value {
    let keep = step["keep_uuid"].as_bool().unwrap_or(false);
    let only: Vec<String> =
        strings(&step["only_headers"]).iter().map(|name| name.to_lowercase()).collect();
    let volatile: Vec<String> =
        strings(&step["volatile"]).iter().map(|name| name.to_lowercase()).collect();
    let hide = |pairs: Vec<(String, String)>| -> Vec<(String, String)> {
        pairs
            .into_iter()
            .map(|(name, value)| {
                let value = if volatile.contains(&name) { "<volatile>".to_owned() } else { value };
                (name, value)
            })
            .collect()
    };
    let mut seen = HashMap::new();
    let numbered = step["ids"].as_bool().unwrap_or(false);
    let mut headers = hide(ports.headers(&answer.headers, keep));
    headers.retain(|(name, _)| only.is_empty() || only.contains(name));
    if numbered {
        headers = number_ids(headers, step, &mut seen);
    }
    let mut out = json!({ "status": answer.status });
    if let Some(subject) = answer.certificate {
        out["certificate"] = json!(subject);
    }
    let text: String = answer.body.iter().copied().map(char::from).collect();
    let as_text = step["body"] == "text";
    let parsed: Option<Value> = if as_text { None } else { parse(&text) };
    let no_length = |headers: &mut Vec<(String, String)>| {
        headers.retain(|(name, _)| name != "content-length");
    };
    match parsed {
        Some(Value::Object(mut map)) if map.contains_key("upstream") && map.contains_key("uri") => {
            let pairs: Vec<(String, String)> =
                serde_json::from_value(map.remove("headers").unwrap_or_default())
                    .unwrap_or_default();
            let mut received = hide(ports.headers(&pairs, keep));
            if numbered {
                received = number_ids(received, step, &mut seen);
            }
            let body = map.get("body").cloned();
            let mut upstream = ports.json(&Value::Object(map), keep);
            if let (Some(kind), Some(body)) = (step["upstream_body"].as_str(), body) {
                let text = body.as_str().unwrap_or_default();
                let mut body = if kind == "json" {
                    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
                } else {
                    let mut parts: Vec<&str> = text.split('&').collect();
                    parts.sort_unstable();
                    json!(parts)
                };
                blur(&mut body, &step["types"]);
                upstream["body"] = ports.json(&body, keep);
            }
            upstream["headers"] = json!(replaced(received, step));
            out["upstream"] = upstream;
            no_length(&mut headers);
        }
        Some(mut value @ (Value::Object(_) | Value::Array(_))) => {
            for path in strings(&step["sort"]) {
                sort(&mut value, path, ports);
            }
            blur(&mut value, &step["types"]);
            let value = if step["pick"].is_array() { pick(&value, &step["pick"]) } else { value };
            out["json"] = ports.json(&value, keep);
            no_length(&mut headers);
        }
        _ if step["lines"].is_string() => {
            out["lines"] = lines(&ports.text(&text, keep), step, samples);
            no_length(&mut headers);
        }
        _ if step["body"] != "ignore" => out["body"] = json!(ports.text(&text, keep)),
        _ => {}
    }
    out["headers"] = json!(replaced(headers, step));
    out
}

/// JSON of a body whose bytes are letters; texts stay so.
fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn replaced(pairs: Vec<(String, String)>, step: &Value) -> Vec<(String, String)> {
    let rules: Vec<(Regex, String)> = step["sub"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| {
            let to = rule[1].as_str().unwrap_or_default();
            let to = regex(r"\\(\d)").replace_all(to, "$${${1}}").into_owned();
            (regex(rule[0].as_str().unwrap_or_default()), to)
        })
        .collect();
    pairs
        .into_iter()
        .map(|(name, mut value)| {
            for (from, to) in &rules {
                value = from.replace_all(&value, to.as_str()).into_owned();
            }
            (name, value)
        })
        .collect()
}

fn lines(text: &str, step: &Value, samples: &mut Samples) -> Value {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let read = |lines: &[String]| -> Vec<(String, f64)> {
        lines
            .iter()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    };
    if step["delta"].as_bool().unwrap_or(false) {
        lines = read(&lines)
            .into_iter()
            .map(|(name, value)| (value - samples.get(&name).copied().unwrap_or(0.0), name))
            .filter(|(grown, _)| *grown != 0.0)
            .map(|(grown, name)| format!("{name} +{grown}"))
            .collect();
    } else {
        *samples = read(&lines).into_iter().collect();
    }
    let wanted = regex(step["lines"].as_str().unwrap_or_default());
    let mut found: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let groups = wanted.captures(line)?;
            let inner: Vec<&str> = groups.iter().skip(1).flatten().map(|g| g.as_str()).collect();
            Some(match (groups.len(), inner.is_empty()) {
                (1, _) => line.clone(),
                (_, true) => groups[0].to_owned(),
                (_, false) => inner.join(" "),
            })
        })
        .collect();
    found.sort();
    found.dedup();
    json!(found)
}

/// The lines of a raw answer.
pub(super) fn raw_lines(data: &[u8], ports: &Ports) -> Value {
    let text: String = data.iter().copied().map(char::from).collect();
    let text = ports.text(&text, false);
    let lines: Vec<&str> = text.split("\r\n").filter(|line| !RAW_LINES.is_match(line)).collect();
    json!({ "raw": lines })
}

/// The answers in raw bytes, in order; what is none stays as text.
pub(super) fn answers(mut data: Vec<u8>, step: &Value, request: &Value, ports: &Ports) -> Value {
    let mut out = Vec::new();
    while !data.is_empty() {
        let end = client::find(&data, b"\r\n\r\n").filter(|_| data.starts_with(b"HTTP/"));
        let head = end.and_then(|end| Some((client::head(&data[..end])?, end)));
        let Some(((status, version, reason, headers), end)) = head else {
            let text: String = data.iter().copied().map(char::from).collect();
            out.push(json!(ports.text(&text, false)));
            break;
        };
        data.drain(..end + 4);
        let method = request["method"].as_str().unwrap_or_default();
        let (body, _) = client::body(&mut data, status, method, &headers);
        let answer = Answer { status, headers, body, certificate: None };
        let mut one = observe(answer, step, ports, &mut Samples::new());
        one["version"] = json!(version);
        if request["reason"].as_bool().unwrap_or(false) {
            one["reason"] = json!(reason);
        }
        out.push(one);
    }
    json!(out)
}
