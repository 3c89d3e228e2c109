//! Spans in the wire form of OTLP: as much of protocol buffers as an export request needs.

use std::time::Duration;

/// What an attribute says.
pub(super) enum Attribute {
    Text(String),
    Integer(i64),
}

/// One span.
pub(super) struct Span {
    /// Sixteen bytes.
    pub(super) trace: Vec<u8>,
    /// Its own id.
    pub(super) id: [u8; 8],
    /// The id of the span around it.
    pub(super) parent: Option<[u8; 8]>,
    /// What it is called.
    pub(super) name: String,
    /// 1 for the gateway's own work, 2 for a server's, 3 for a client's.
    pub(super) kind: u64,
    /// When it began and ended.
    pub(super) time: (Duration, Duration),
    /// What is known of it.
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub(super) failed: bool,
}

/// An export request with these spans of one resource. Several requests, one after the other, are one request.
pub(super) fn request(resource: &[(String, String)], version: &str, spans: &[Span]) -> Vec<u8> {
    let mut scope = Message::default();
    scope.message(1, |scope| {
        scope.text(1, "kong-internal");
        scope.text(2, version);
    });
    for span in spans {
        scope.message(2, |message| write(span, message));
    }
    let mut all = Message::default();
    all.message(1, |spans| {
        spans.message(1, |message| {
            for (key, value) in resource {
                message.message(1, |pair| {
                    pair.text(1, key);
                    pair.message(2, |any| any.text(1, value));
                });
            }
        });
        spans.bytes(2, &scope.0);
    });
    all.0
}

fn write(span: &Span, message: &mut Message) {
    message.bytes(1, &span.trace);
    message.bytes(2, &span.id);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, span.kind);
    message.fixed(7, nanoseconds(span.time.0));
    message.fixed(8, nanoseconds(span.time.1));
    for (key, value) in &span.attributes {
        message.message(9, |pair| {
            pair.text(1, key);
            pair.message(2, |any| match value {
                Attribute::Text(text) => any.text(1, text),
                // Negative numbers take all ten bytes, as the format wants it.
                Attribute::Integer(number) => any.number(3, *number as u64),
            });
        });
    }
    if span.failed {
        message.message(15, |status| status.number(3, 2));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A message being written, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_written_as_protocol_buffers_want_them() {
        let mut message = Message::default();
        message.number(1, 300);
        message.text(2, "testing");
        message.fixed(7, 1);
        let want = b"\x08\xac\x02\x12\x07testing\x39\x01\0\0\0\0\0\0\0";
        assert_eq!(message.0, want);
    }
}
