//! Claims about loading and lookups.

use super::*;
use crate::object::Kind;

fn load(text: &str) -> (Snapshot, Vec<Ignored>) {
    let mut loader = Loader::new();
    loader.add("in.yaml", text);
    loader.finish()
}

#[test]
fn one_broken_document_spoils_no_other() {
    let (snapshot, ignored) = load(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n---\nkind: Ingress\nmetadata:\n  name: b\n  bad: [\n---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {ports: nonsense}\n---\napiVersion: apps/v1\nkind: Deployment\n",
    );
    assert_eq!(snapshot.services.len(), 1);
    let unreadable: Vec<_> = snapshot.unreadable.iter().map(|u| u.object.to_string()).collect();
    assert_eq!(unreadable, ["Service default/c", "Ingress default/b"]);
    assert_eq!(
        ignored,
        [Ignored { source: "in.yaml#4".into(), what: "apps/v1 Deployment".into() }]
    );
}

#[test]
fn lists_are_taken_apart_and_later_objects_replace_earlier_ones() {
    let (snapshot, _) = load(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: b}}\n- {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: c}}\n",
    );
    let secret = snapshot.secrets.get("default", "s").expect("loaded");
    assert_eq!(secret.data.as_ref().expect("data")["a"].0, b"c");
    assert_eq!(snapshot.references(), [ObjectRef::new(Kind::Secret, "default", "s")]);
}

#[test]
fn a_newer_snapshot_shares_the_kinds_that_stayed_the_same() {
    let mut loader = Loader::new();
    loader.add("", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n");
    loader.add("", "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop}\n");
    let older = loader.finish().0;
    let services = older.services.iter().cloned().collect();
    let newer = older.after(Sources { services, ..Sources::default() });
    assert!(newer.services.is(&older.services));
    assert!(newer.secrets.is_empty());
}
