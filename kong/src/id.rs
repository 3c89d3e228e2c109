//! Ids that Kong derives from names, so that the same name is the same entity everywhere.

use std::sync::LazyLock;

use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid, uuid};

/// The namespace from which the namespace of each kind is derived.
const ROOT: Uuid = uuid!("fd02801f-0957-4a15-a55a-c8d9606f30b5");

/// The id of the default workspace without a database.
pub const WORKSPACE: Uuid = uuid!("0dc6f45b-8f8d-40d2-a504-473544ee190b");

/// The id of the entity of this kind (`services`) with this key (`my-service`).
#[must_use]
pub fn derive(kind: &str, key: &str) -> Uuid {
    derive_in(namespace(kind), key)
}

/// The id of version 5 of a key in a namespace: there is one for almost every entity.
#[must_use]
pub fn derive_in(namespace: Uuid, key: &str) -> Uuid {
    // The library's own hash knows nothing of the processor's instructions for it.
    let hash = Sha1::new().chain_update(namespace).chain_update(key).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_sha1_bytes(bytes).into_uuid()
}

/// The namespace of a kind; those of the kinds that configurations are full of are made once.
fn namespace(kind: &str) -> Uuid {
    const FREQUENT: [&str; 6] =
        ["routes", "services", "upstreams", "targets", "plugins", "consumers"];
    static MADE: LazyLock<[Uuid; 6]> =
        LazyLock::new(|| FREQUENT.map(|kind| Uuid::new_v5(&ROOT, kind.as_bytes())));
    match FREQUENT.iter().position(|frequent| *frequent == kind) {
        Some(at) => MADE[at],
        None => Uuid::new_v5(&ROOT, kind.as_bytes()),
    }
}

/// The id of an entity whose key has several parts; absent parts are empty.
#[must_use]
pub fn derive_composite(kind: &str, parts: &[&str]) -> Uuid {
    derive(kind, &format!("{kind}:*{}", parts.iter().map(|p| format!(":{p}")).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_kong() {
        let table = [
            ("services", "service-httpbin", "02721903-3b5a-5c99-a76a-524639a48522"),
            ("services", "my-service", "0855b320-0dd2-547d-891d-601e9b38647f"),
            ("routes", "v1", "7f7e3420-3266-517c-a283-63430f203bbf"),
            ("consumers", "my-user", "4b1b701d-de2b-5588-9aa2-3b97061d9f52"),
        ];
        for (kind, key, id) in table {
            assert_eq!(derive(kind, key).to_string(), id, "{kind} {key}");
        }
        let target = derive_composite(
            "targets",
            &["f9792964-6797-482c-bfdf-08220a4f6839", "10.244.0.12:80"],
        );
        assert_eq!(target.to_string(), "48322e4a-b3b0-591b-8ed6-fd95a6d75019");
    }
}
