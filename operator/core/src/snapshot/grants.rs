//! ReferenceGrants: which references may cross from one namespace into another.

use super::Snapshot;
use crate::object::Kind;

/// Who refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantFrom<'a> {
    /// The kind of the object that refers.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: &'a str,
}

impl Snapshot {
    /// Whether a ReferenceGrant in `namespace` lets `from` refer to the object of `kind` and `name` there.
    #[must_use]
    pub fn granted(&self, from: GrantFrom<'_>, kind: Kind, namespace: &str, name: &str) -> bool {
        self.reference_grants.in_namespace(namespace).iter().any(|grant| {
            grant.spec.from.iter().any(|granted| {
                granted.group == from.kind.group()
                    && granted.kind == from.kind.name()
                    && granted.namespace == from.namespace
            }) && grant.spec.to.iter().any(|granted| {
                granted.group == kind.group()
                    && granted.kind == kind.name()
                    && granted.name.as_deref().is_none_or(|granted| granted == name)
            })
        })
    }
}
