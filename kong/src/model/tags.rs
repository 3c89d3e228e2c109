//! Labels of an entity. All entities that come from one object share one list of them.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Labels, in order. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Arc<[Cow<'static, str>]>);

impl Tags {
    /// The labels, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Cow::as_ref)
    }
}

impl<T: Into<Cow<'static, str>>> FromIterator<T> for Tags {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        Self(all.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<Cow<'static, str>>> for Tags {
    fn from(all: Vec<Cow<'static, str>>) -> Self {
        Self(all.into())
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().collect())
    }
}
