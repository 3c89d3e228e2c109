//! How one entity names another.

use serde::{Deserialize, Serialize};

/// The id or the name of an entity as text, or `{"id": …}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// The id or the name.
    Text(String),
    /// The id, as filled entities have it.
    Id {
        /// The id.
        id: String,
    },
}

impl Reference {
    /// A reference by id, in the object form.
    pub fn id(id: impl Into<String>) -> Self {
        Self::Id { id: id.into() }
    }

    /// What it names, in either form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Id { id } => id,
        }
    }
}

impl From<&str> for Reference {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Reference {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
