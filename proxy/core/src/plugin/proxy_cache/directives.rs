//! Cache-Control, taken apart.

use http::{HeaderMap, HeaderName};

use crate::exchange::text;

/// The directives of a header, by lower-case name.
#[derive(Debug, Default)]
pub(super) struct Directives(Vec<(String, Option<u64>)>);

impl Directives {
    /// All directives of a header and its repetitions.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let values = headers.get_all(name).iter().filter_map(text);
        let parsed = values.flat_map(|value| value.split(',')).map(|directive| {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').parse().ok())
        });
        Self(parsed.collect())
    }

    /// Whether a directive is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The number of a directive.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| known == name).and_then(|(_, value)| *value)
    }
}
