//! A quarantine against proxies that refuse, with and without saying what.

use proptest::prelude::*;

use super::*;
use crate::object::Kind;
use crate::snapshot::Loader;

fn ingress(n: usize, version: usize) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{n}, namespace: ns}}\nspec: {{ingressClassName: v{version}}}\n"
    )
}

fn snapshot(count: usize, version: impl Fn(usize) -> usize) -> Arc<Snapshot> {
    let mut loader = Loader::new();
    for n in 0..count {
        loader.add("", &ingress(n, version(n)));
    }
    Arc::new(loader.finish().0)
}

fn named(n: usize) -> ObjectRef {
    ObjectRef::new(Kind::Ingress, "ns", &format!("i{n}"))
}

/// A proxy that refuses some versions of some objects, and names those that it can name.
struct Proxy {
    refuses: Vec<(usize, usize)>,
    names: bool,
}

impl Proxy {
    /// The refused objects in `snapshot`.
    fn judge(&self, snapshot: &Snapshot) -> Vec<ObjectRef> {
        let bad = |(n, version): &&(usize, usize)| {
            let object = snapshot.ingresses.get("ns", &format!("i{n}"));
            let class =
                object.and_then(|object| object.spec.as_ref()?.ingress_class_name.as_deref());
            class == Some(&*format!("v{version}"))
        };
        self.refuses.iter().filter(bad).map(|(n, _)| named(*n)).collect()
    }

    /// Serves `snapshot` until it is taken and nothing is left to try; says what is served and after how many pushes.
    fn settle(
        &self,
        quarantine: &mut Quarantine,
        snapshot: &Arc<Snapshot>,
    ) -> (Arc<Snapshot>, usize) {
        for pushes in 1..2_000 {
            let served =
                quarantine.plan().apply(snapshot).map_or_else(|| snapshot.clone(), Arc::new);
            let bad = self.judge(&served);
            if bad.is_empty() {
                if !quarantine.accepted(served.clone()) {
                    return (served, pushes);
                }
                continue;
            }
            let guilty = bad.into_iter().filter(|_| self.names).map(|object| (object, "no".into()));
            quarantine.refused(
                snapshot,
                Refused {
                    guilty: guilty.collect(),
                    words: "no".into(),
                    mendable: true,
                    candidates: snapshot.references(),
                    backfill: true,
                },
            );
        }
        panic!("does not settle");
    }
}

#[test]
fn last_good_version_stands_in_for_a_refused_one() {
    let mut quarantine = Quarantine::default();
    let proxy = Proxy { refuses: vec![(1, 2)], names: true };
    proxy.settle(&mut quarantine, &snapshot(3, |_| 1));
    let (served, _) = proxy.settle(&mut quarantine, &snapshot(3, |n| if n == 1 { 2 } else { 1 }));
    let class = |n| served.ingresses.get("ns", n).unwrap().spec.clone().unwrap().ingress_class_name;
    assert_eq!(class("i1").as_deref(), Some("v1"));
    assert!(quarantine.reasons()[&named(1)].contains("last good version"));
}

#[test]
fn refused_last_good_version_is_left_out_too() {
    let mut quarantine = Quarantine::default();
    Proxy { refuses: vec![], names: true }.settle(&mut quarantine, &snapshot(2, |_| 1));
    let proxy = Proxy { refuses: vec![(1, 1), (1, 2)], names: true };
    let (served, _) = proxy.settle(&mut quarantine, &snapshot(2, |n| n + 1));
    assert!(served.ingresses.get("ns", "i1").is_none());
    assert!(served.ingresses.get("ns", "i0").is_some());
}

#[test]
fn changed_object_gets_another_chance() {
    let mut quarantine = Quarantine::default();
    let proxy = Proxy { refuses: vec![(0, 1)], names: true };
    proxy.settle(&mut quarantine, &snapshot(2, |_| 1));
    assert_eq!(quarantine.reasons().len(), 1);
    quarantine.forgive(&snapshot(2, |_| 2));
    assert_eq!(quarantine.reasons().len(), 0);
}

#[test]
fn body_that_is_too_large_blames_nobody() {
    let mut quarantine = Quarantine::default();
    let refused = Refused { words: "too large".into(), ..Refused::default() };
    quarantine.refused(&snapshot(2, |_| 1), refused);
    assert_eq!(quarantine.unexplained().as_deref(), Some("too large"));
    assert!(quarantine.plan().apply(&snapshot(2, |_| 1)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Named or not: only refused objects are left out, and it ends soon.
    #[test]
    fn only_the_refused_are_left_out(
        count in 1..60usize,
        bad in prop::collection::btree_set(0..60usize, 0..4),
        names: bool,
        known in 0..60usize,
    ) {
        let mut quarantine = Quarantine::default();
        let known = known.min(count);
        Proxy { refuses: vec![], names }.settle(&mut quarantine, &snapshot(known, |_| 1));
        let refuses: Vec<_> = bad.iter().filter(|n| **n < count).map(|n| (*n, 2)).collect();
        let proxy = Proxy { refuses: refuses.clone(), names };
        let whole = snapshot(count, |_| 2);
        let (served, pushes) = proxy.settle(&mut quarantine, &whole);
        for n in 0..count {
            let held = served.ingresses.get("ns", &format!("i{n}"));
            let class = held.map(|held| held.spec.clone().unwrap().ingress_class_name.unwrap());
            let refused = refuses.contains(&(n, 2));
            let wanted = if !refused { Some("v2") } else if n < known { Some("v1") } else { None };
            prop_assert_eq!(class.as_deref(), wanted, "i{}", n);
        }
        let bound = 4 + refuses.len() * 2 * (2 + count.ilog2() as usize);
        prop_assert!(pushes <= bound, "{} pushes for {} of {}", pushes, refuses.len(), count);
    }
}
