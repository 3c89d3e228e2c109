//! One request to the Admin API and its answer, apart from any socket.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

/// A request.
pub(super) struct Call {
    /// Method.
    pub(super) method: Method,
    /// Path as it came.
    pub(super) path: String,
    /// Query as it came.
    pub(super) query: String,
    /// Headers.
    pub(super) headers: HeaderMap,
    /// Body, decompressed.
    pub(super) body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// Status.
    pub(super) status: StatusCode,
    /// Body and its type.
    pub(super) body: Body,
    /// Further headers.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// What an answer carries.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Value),
    /// Bytes of another type.
    Text(&'static str, Bytes),
}

impl Reply {
    /// JSON.
    pub(super) fn json(status: StatusCode, value: Value) -> Self {
        Self { status, body: Body::Json(value), headers: Vec::new() }
    }

    /// JSON that is text already.
    pub(super) fn raw_json(status: StatusCode, text: String) -> Self {
        let body = Body::Text("application/json; charset=utf-8", text.into());
        Self { status, body, headers: Vec::new() }
    }

    /// 200 with JSON.
    pub(super) fn ok(value: Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// `{"message": …}`.
    pub(super) fn message(status: StatusCode, text: &str) -> Self {
        Self::json(status, json!({ "message": text }))
    }

    /// No body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, body: Body::Empty, headers: Vec::new() }
    }

    /// 404.
    pub(super) fn not_found() -> Self {
        Self::message(StatusCode::NOT_FOUND, "Not found")
    }

    /// 405.
    pub(super) fn not_allowed() -> Self {
        Self::message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// The page of the server under Kong.
    pub(super) fn page(status: StatusCode, title: &str) -> Self {
        let code = status.as_u16();
        let text = format!(
            "<html>\r\n<head><title>{code} {title}</title></head>\r\n<body>\r\n<center><h1>{code} {title}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        Self {
            status,
            body: Body::Text("text/html; charset=UTF-8", text.into()),
            headers: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// None was named.
    Absent,
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`.
    Urlencoded,
    /// `multipart/form-data`.
    Multipart,
    /// YAML.
    Yaml,
    /// Anything else.
    Other,
}

impl Call {
    /// How the body is written; types are compared by their beginning, with their case, as Kong does.
    pub(super) fn form(&self) -> Form {
        let Some(value) = self.headers.get(CONTENT_TYPE) else { return Form::Absent };
        let value = value.to_str().unwrap_or_default();
        let table = [
            ("application/json", Form::Json),
            ("application/x-www-form-urlencoded", Form::Urlencoded),
            ("multipart/form-data", Form::Multipart),
            ("application/yaml", Form::Yaml),
            ("text/yaml", Form::Yaml),
        ];
        table
            .iter()
            .find(|(name, _)| value.starts_with(name))
            .map_or(Form::Other, |(_, form)| *form)
    }

    /// The query's arguments.
    pub(super) fn arguments(&self) -> Map<String, Value> {
        pairs(&self.query)
    }

    /// The text of one argument of the query.
    pub(super) fn argument(&self, name: &str) -> Option<String> {
        match self.arguments().remove(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The arguments of body and query together, the query's winning.
    ///
    /// # Errors
    /// The answer when the body cannot be read.
    pub(super) fn parameters(&self) -> Result<Map<String, Value>, Reply> {
        let mut all = match self.form() {
            Form::Json => match serde_json::from_slice(&self.body) {
                Ok(Value::Object(map)) => map,
                Ok(Value::Array(all)) if all.is_empty() => Map::new(),
                Ok(_) => {
                    return Err(Reply::message(StatusCode::BAD_REQUEST, "Cannot parse JSON body"));
                }
                Err(_) => {
                    return Err(Reply::message(StatusCode::BAD_REQUEST, "Cannot parse JSON body"));
                }
            },
            Form::Urlencoded => pairs(&String::from_utf8_lossy(&self.body)),
            Form::Multipart => self.parts(),
            Form::Absent | Form::Yaml | Form::Other => Map::new(),
        };
        all.extend(self.arguments());
        Ok(all)
    }

    /// The fields of a multipart body.
    fn parts(&self) -> Map<String, Value> {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let Some((_, boundary)) = kind.split_once("boundary=") else { return Map::new() };
        let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches('"');
        let text = String::from_utf8_lossy(&self.body);
        let mut out = Map::new();
        for part in text.split(&format!("--{boundary}")).skip(1) {
            let separator = if part.contains("\r\n\r\n") { "\r\n\r\n" } else { "\n\n" };
            let Some((head, body)) = part.split_once(separator) else { continue };
            let Some((_, rest)) = head.split_once("name=\"") else { continue };
            let name = rest.split('"').next().unwrap_or_default();
            let body = body.strip_suffix('\n').unwrap_or(body);
            let body = body.strip_suffix('\r').unwrap_or(body);
            insert(&mut out, name, Value::String(body.to_owned()));
        }
        out
    }
}

/// `a=b&c` as an object; a name without `=` is true, a repeated one a list.
fn pairs(text: &str) -> Map<String, Value> {
    let mut out = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Value::String(unescape(value))),
            None => (pair, Value::Bool(true)),
        };
        insert(&mut out, &unescape(name), value);
    }
    out
}

/// Puts a value at `a.b` or `a[1]`.
fn insert(out: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some((head, rest)) = name.split_once('.') {
        let inner = out.entry(head).or_insert_with(|| json!({}));
        if let Value::Object(inner) = inner {
            insert(inner, rest, value);
        }
        return;
    }
    if let Some((head, rest)) = name.split_once('[')
        && rest.ends_with(']')
    {
        let list = out.entry(head).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value);
        }
        return;
    }
    match out.get_mut(name) {
        None => {
            out.insert(name.to_owned(), value);
        }
        Some(Value::Array(list)) => list.push(value),
        Some(one) => *one = json!([one.take(), value]),
    }
}

/// Decodes percent-encoding and `+`.
pub(super) fn unescape(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// Decodes percent-encoding.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
