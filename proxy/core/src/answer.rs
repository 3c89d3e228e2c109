//! Answers that the gateway makes itself: their bodies by `Accept`, and the pages that Kong leaves to nginx.
//!
//! Three voices, as clients know them from Kong. [`Answer::error`] speaks the type that the client accepts and names
//! the request id. [`Answer::message`] is compact JSON whatever the client accepts. [`Answer::bare`] is a status without
//! text, for which the web server behind Kong has its own page or none.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use crate::exchange::{Exchange, text};

/// A complete answer, but for the headers that every answer of the gateway carries.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; `content-length` is among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer with this body and type.
    #[must_use]
    pub fn new(
        status: StatusCode,
        content_type: Option<&'static str>,
        body: impl Into<Bytes>,
    ) -> Self {
        let body = body.into();
        let mut headers = HeaderMap::with_capacity(4);
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        Self { status, headers, body }
    }

    /// An answer without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, None, Bytes::new())
    }

    /// Compact JSON.
    #[must_use]
    pub fn json(status: StatusCode, value: &Value) -> Self {
        Self::new(status, Some(Format::Json.content_type()), value.to_string())
    }

    /// `{"message":"…"}`, whatever the client accepts.
    #[must_use]
    pub fn message(status: StatusCode, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "message": message }))
    }

    /// The message in the type that the client accepts, JSON if it does not say, with the request id.
    #[must_use]
    pub fn error(exchange: &Exchange, status: StatusCode, message: &str) -> Self {
        if exchange.is_grpc() {
            return Self::grpc(status, message);
        }
        let format = exchange.request.headers.get("accept").map_or(Format::Json, Format::accepted);
        Self::formatted(format, status, message, &exchange.id)
    }

    /// Kong's default text for the status, or this where it has none.
    #[must_use]
    pub fn status_error(exchange: &Exchange, status: StatusCode) -> Self {
        Self::error(exchange, status, status_text(status).unwrap_or("An unexpected error occurred"))
    }

    /// The message in a given type.
    #[must_use]
    pub fn formatted(format: Format, status: StatusCode, message: &str, request_id: &str) -> Self {
        Self::new(status, Some(format.content_type()), format.body(message, request_id))
    }

    /// A gRPC failure: all in headers, status 200 only where the caller says so.
    #[must_use]
    pub fn grpc(status: StatusCode, message: &str) -> Self {
        let mut answer = Self::empty(status);
        answer.headers.remove(CONTENT_LENGTH);
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        answer.headers.insert("grpc-status", HeaderValue::from(grpc_status(status)));
        if let Ok(message) = HeaderValue::from_str(message) {
            answer.headers.insert("grpc-message", message);
        }
        answer
    }

    /// A status alone: the error texts for some, a web server's page for others, nothing for the rest.
    #[must_use]
    pub fn bare(exchange: &Exchange, status: StatusCode) -> Self {
        if let Some(message) = handled_text(status) {
            let format =
                exchange.request.headers.get("accept").map_or(Format::Plain, Format::accepted);
            return Self::formatted(format, status, message, &exchange.id);
        }
        match page_title(status) {
            Some(title) => {
                let page = format!(
                    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
                );
                Self::new(status, Some("text/html"), page)
            }
            None => {
                let mut answer = Self::empty(status);
                if status == StatusCode::NO_CONTENT {
                    answer.headers.remove(CONTENT_LENGTH);
                }
                answer
            }
        }
    }

    /// The answer of a plugin as a gRPC client is told it: a message alone stands in headers, what has a type of its own
    /// goes as it is.
    #[must_use]
    pub fn told_to(mut self, exchange: &Exchange) -> Self {
        if !exchange.is_grpc() || self.headers.contains_key("grpc-status") {
            return self;
        }
        let message = match self.headers.get(CONTENT_TYPE) {
            None => String::from_utf8(self.body.to_vec()).ok(),
            Some(kind) if kind == Format::Json.content_type() => only_message(&self.body),
            Some(_) => None,
        };
        let Some(message) = message else { return self };
        let status = grpc_status(self.status);
        let message = if message.is_empty() { grpc_title(status).to_owned() } else { message };
        self.headers.remove(CONTENT_TYPE);
        self.headers.insert("grpc-status", HeaderValue::from(status));
        if let Ok(message) = HeaderValue::from_str(&message) {
            self.headers.insert("grpc-message", message);
        }
        self.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        self.body = Bytes::new();
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn with(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// The type of an error body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`, with line breaks.
    Json,
    /// `application/xml`.
    Xml,
    /// `text/html`.
    Html,
    /// `text/plain`.
    Plain,
    /// `application/grpc`: no body at all.
    Grpc,
}

impl Format {
    /// What an `Accept` header likes best; JSON where nothing is understood.
    #[must_use]
    pub fn accepted(header: &HeaderValue) -> Self {
        let mut best = (0.0, Self::Json);
        for range in text(header).unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0));
            if quality > best.0 {
                best = (quality, Self::named(&media));
            }
        }
        best.1
    }

    fn named(media: &str) -> Self {
        match media {
            "application/xml" => Self::Xml,
            "text/html" => Self::Html,
            "text/plain" | "text/*" => Self::Plain,
            "application/grpc" => Self::Grpc,
            _ => Self::Json,
        }
    }

    /// The header value.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::Xml => "application/xml; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Grpc => "",
        }
    }

    /// The body.
    #[must_use]
    pub fn body(self, message: &str, id: &str) -> String {
        match self {
            Self::Json => format!(
                "{{\n  \"message\":{},\n  \"request_id\":\"{id}\"\n}}",
                Value::from(message)
            ),
            Self::Xml => format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{message}</message>\n  <requestid>{id}</requestid>\n</error>\n"
            ),
            Self::Html => format!(
                "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>{message}.</p>\n    <p>request_id: {id}</p>\n  </body>\n</html>\n"
            ),
            Self::Plain => format!("{message}\nrequest_id: {id}\n"),
            Self::Grpc => String::new(),
        }
    }
}

/// The text of `{"message":"…"}`.
fn only_message(body: &[u8]) -> Option<String> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return None };
    let message = members.get("message").filter(|_| members.len() == 1)?;
    message.as_str().map(str::to_owned)
}

/// What a gRPC status is called where there is no message.
fn grpc_title(status: u16) -> &'static str {
    match status {
        0 => "OK",
        1 => "Canceled",
        3 => "InvalidArgument",
        4 => "DeadlineExceeded",
        5 => "NotFound",
        6 => "AlreadyExists",
        7 => "PermissionDenied",
        8 => "ResourceExhausted",
        12 => "Unimplemented",
        13 => "Internal",
        14 => "Unavailable",
        16 => "Unauthenticated",
        _ => "Unknown",
    }
}

/// The gRPC status of an HTTP status.
#[must_use]
pub fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        200..=299 => 0,
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        500..=599 => 13,
        402..=498 => 3,
        _ => 2,
    }
}

/// The text that Kong gives a status when a plugin answers without one.
#[must_use]
pub fn status_text(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        500 => "An unexpected error occurred",
        502 => "Bad Gateway",
        503 => "Service unavailable",
        _ => return None,
    })
}

/// The text of a status that the web server makes and Kong's error handler renders.
#[must_use]
pub fn handled_text(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        400 => "Bad request",
        404 => "Not found",
        405 => "Method not allowed",
        408 => "Request timeout",
        411 => "Length required",
        412 => "Precondition failed",
        413 => "Payload too large",
        414 => "URI too long",
        417 => "Expectation failed",
        494 => "Request header or cookie too large",
        500 => "An unexpected error occurred",
        502 => "An invalid response was received from the upstream server",
        503 => "The upstream server is currently unavailable",
        504 => "The upstream server is timing out",
        _ => return None,
    })
}

/// The title of the web server's own page for a status.
#[must_use]
pub fn page_title(status: StatusCode) -> Option<&'static str> {
    Some(match status.as_u16() {
        301 => "301 Moved Permanently",
        302 => "302 Found",
        303 => "303 See Other",
        307 => "307 Temporary Redirect",
        308 => "308 Permanent Redirect",
        401 => "401 Authorization Required",
        402 => "402 Payment Required",
        403 => "403 Forbidden",
        406 => "406 Not Acceptable",
        409 => "409 Conflict",
        410 => "410 Gone",
        415 => "415 Unsupported Media Type",
        416 => "416 Requested Range Not Satisfiable",
        421 => "421 Misdirected Request",
        429 => "429 Too Many Requests",
        501 => "501 Not Implemented",
        505 => "505 HTTP Version Not Supported",
        507 => "507 Insufficient Storage",
        _ => return None,
    })
}
