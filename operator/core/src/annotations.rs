//! The annotations that are understood, and how their values read.

use std::collections::BTreeMap;

use crate::object::Object;

/// The prefix of Kong's annotations.
pub const PREFIX: &str = "konghq.com/";
/// The class an object belongs to.
pub const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// Marks the IngressClass of objects that name none.
pub const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// Splits a comma list, trimming and leaving out empty items.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The annotations of `object` whose key begins with Kong's prefix.
#[must_use]
pub fn of_kong<K: Object>(object: &K) -> BTreeMap<&str, &str> {
    let all = object.meta().annotations.iter().flatten();
    all.filter(|(key, _)| key.starts_with(PREFIX)).map(|(key, value)| (&**key, &**value)).collect()
}
