//! What is wrong with a value, in the shape of the value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A message, or the faults of an object's fields or of a list's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kong's message.
    Message(String),
    /// Faults by field; `@entity` holds those of the whole.
    Fields(BTreeMap<String, Fault>),
    /// Faults by position, counted from one.
    Items(BTreeMap<usize, Fault>),
}

impl Fault {
    /// A message.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// As the `fields` of an error answer: gaps in lists are null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Message(text) => Value::String(text.clone()),
            Self::Fields(map) => Value::Object(
                map.iter()
                    .map(|(name, fault)| (name.clone(), fault.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            Self::Items(items) => {
                let last = items.keys().next_back().copied().unwrap_or(0);
                (1..=last).map(|at| items.get(&at).map_or(Value::Null, Self::to_json)).collect()
            }
        }
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Message(text)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Self::Message(text.to_owned())
    }
}
