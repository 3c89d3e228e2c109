//! The Kubernetes object behind an entity, as tags.

/// Tags begin with this and the part's name.
const PREFIX: &str = "k8s-";

/// A reference to a Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id; empty when unknown.
    pub uid: String,
}

impl ObjectRef {
    /// The tags of an entity that comes from this object, in the controller's order.
    #[must_use]
    pub fn to_tags(&self) -> Vec<String> {
        [
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("kind", &self.kind),
            ("uid", &self.uid),
            ("group", &self.group),
            ("version", &self.version),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(part, value)| format!("{PREFIX}{part}:{value}"))
        .collect()
    }

    /// The object that the tags name; `None` without a kind and a name.
    pub fn from_tags<'a>(tags: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut object = Self::default();
        for tag in tags {
            let Some((part, value)) =
                tag.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'))
            else {
                continue;
            };
            let place = match part {
                "name" => &mut object.name,
                "namespace" => &mut object.namespace,
                "kind" => &mut object.kind,
                "uid" => &mut object.uid,
                "group" => &mut object.group,
                "version" => &mut object.version,
                _ => continue,
            };
            value.clone_into(place);
        }
        (!object.kind.is_empty() && !object.name.is_empty()).then_some(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_the_object_they_come_from() {
        let object = ObjectRef {
            group: "networking.k8s.io".into(),
            version: "v1".into(),
            kind: "Ingress".into(),
            namespace: "shop".into(),
            name: "web".into(),
            uid: "6c9a82ff-b898-5892-a550-f0220dd44f8d".into(),
        };
        let tags = object.to_tags();
        assert_eq!(tags[0], "k8s-name:web");
        assert_eq!(ObjectRef::from_tags(tags.iter().map(String::as_str)), Some(object));
        assert_eq!(ObjectRef::from_tags(["managed-by-flotilla"]), None);
    }
}
