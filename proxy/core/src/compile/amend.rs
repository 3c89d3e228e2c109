//! A table after a change: what the change does not touch is the old table's own.
//!
//! The law: an amended table answers as one that was compiled from the whole configuration. A change of routes, services,
//! plugins or consumers is compiled whole; a change of targets touches their upstreams alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kong::declarative::Declared;

use super::source::{TargetEntity, UpstreamEntity};
use super::{CompileError, authorities, certificates, read, snis};
use crate::plugin::Context;
use crate::table::{Table, Target, Upstream};

/// A change of a configuration.
pub struct Change<'a> {
    /// What it was.
    pub from: &'a Declared,
    /// What it is now.
    pub to: &'a Declared,
    /// The ids that were put or removed, by kind.
    pub ids: &'a BTreeMap<&'static str, BTreeSet<String>>,
}

/// The kinds that are compiled by themselves.
const APART: [&str; 5] = ["targets", "upstreams", "certificates", "snis", "ca_certificates"];

impl Table {
    /// The table after a change, and the names of the upstreams that changed; no names where all of it is new.
    pub fn amend(
        &self,
        change: &Change<'_>,
        context: &Context,
    ) -> Result<(Self, Option<BTreeSet<Box<str>>>), CompileError> {
        if !change.ids.keys().all(|kind| APART.contains(kind)) {
            return Ok((Self::compile(change.to, self.flavor, context)?, None));
        }
        let mut table = self.clone();
        let touched = |kind| change.ids.contains_key(kind);
        if touched("certificates") {
            table.certificates = Arc::new(certificates(change.to, context)?);
        }
        if touched("snis") {
            table.snis = Arc::new(snis(change.to)?);
        }
        if touched("ca_certificates") {
            table.authorities = Arc::new(authorities(change.to));
        }
        let names = table.amend_upstreams(change)?;
        Ok((table, Some(names)))
    }

    fn amend_upstreams(&mut self, change: &Change<'_>) -> Result<BTreeSet<Box<str>>, CompileError> {
        let mut names = BTreeSet::new();
        let ids = |kind| change.ids.get(kind).into_iter().flatten();
        for id in ids("upstreams") {
            let before = change.from.kind("upstreams").and_then(|all| all.get(id));
            if let Some(before) = before {
                let before: UpstreamEntity = read("upstreams", before)?;
                let name = before.upstream(Vec::new()).name;
                self.upstreams.remove(&name);
                names.insert(name);
            }
        }
        for id in ids("upstreams") {
            let Some(after) = change.to.kind("upstreams").and_then(|all| all.get(id)) else {
                continue;
            };
            let source: UpstreamEntity = read("upstreams", after)?;
            let mut upstream = source.upstream(targets_of(change.to, id)?);
            upstream.streams = self.stream_hosts.contains(upstream.name.as_ref());
            names.insert(upstream.name.clone());
            self.upstreams.insert(upstream.name.clone(), Arc::new(upstream));
        }
        for id in ids("targets") {
            self.amend_target(change, id, &mut names)?;
        }
        Ok(names)
    }

    /// Takes one target out of the upstream that had it and puts it into the one that has it now.
    fn amend_target(
        &mut self,
        change: &Change<'_>,
        id: &str,
        names: &mut BTreeSet<Box<str>>,
    ) -> Result<(), CompileError> {
        let find = |declared: &Declared| -> Result<Option<TargetEntity>, CompileError> {
            let entity = declared.kind("targets").and_then(|all| all.get(id));
            entity.map(|entity| read("targets", entity)).transpose()
        };
        let (before, after) = (find(change.from)?, find(change.to)?);
        for (target, put) in [(before, false), (after, true)] {
            let Some(target) = target else { continue };
            let Some(mut upstream) = self.upstream_of(change.to, &target)? else { continue };
            upstream.targets.retain(|other| *other.id != *id);
            if put && let Some(target) = target.target() {
                let place = |other: &Target| other.id < target.id;
                let place = upstream.targets.partition_point(place);
                upstream.targets.insert(place, target);
            }
            names.insert(upstream.name.clone());
            self.upstreams.insert(upstream.name.clone(), Arc::new(upstream));
        }
        Ok(())
    }

    fn upstream_of(
        &self,
        declared: &Declared,
        target: &TargetEntity,
    ) -> Result<Option<Upstream>, CompileError> {
        let all = declared.kind("upstreams");
        let Some(entity) = all.and_then(|all| all.get(&target.upstream.id)) else {
            return Ok(None);
        };
        let source: UpstreamEntity = read("upstreams", entity)?;
        let name = source.upstream(Vec::new()).name;
        Ok(self.upstreams.get(&name).map(|upstream| Upstream::clone(upstream)))
    }
}

/// The targets of an upstream, in the order of their ids.
fn targets_of(declared: &Declared, upstream: &str) -> Result<Vec<TargetEntity>, CompileError> {
    let mut found = Vec::new();
    // Most targets are others': those do not even hold the id.
    for entity in declared.of("targets").filter(|entity| entity.json().contains(upstream)) {
        let target: TargetEntity = read("targets", entity)?;
        if target.upstream.id == upstream {
            found.push(target);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use kong::declarative::{Context as Reading, Lenient, decode, patch};
    use kong::diff::diff;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::tests::context;
    use crate::route::Flavor;

    fn reading() -> Reading<'static> {
        let flavor = kong::schema::Flavor::TraditionalCompatible;
        Reading { now: 1.5, seed: 1, flavor, judge: &Lenient }
    }

    /// Upstreams with the last numbers of their targets.
    fn load(upstreams: &[(u8, Vec<u8>)]) -> Declared {
        let upstreams: Value = upstreams
            .iter()
            .enumerate()
            .map(|(at, (slots, targets))| {
                let targets: Value = targets
                    .iter()
                    .map(|last| json!({ "target": format!("10.0.0.{last}:80") }))
                    .collect();
                json!({ "name": format!("u{at}"), "slots": 10 + u32::from(*slots), "targets": targets })
            })
            .collect();
        let text = json!({ "_format_version": "3.0", "upstreams": upstreams });
        decode(text.to_string().as_bytes(), &reading()).unwrap()
    }

    fn upstreams(table: &Table) -> Vec<Arc<Upstream>> {
        let mut all: Vec<_> = table.upstreams.iter().map(|(_, one)| Arc::clone(one)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn declared() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let targets = prop::collection::btree_set(1_u8..9, 0..5);
        let targets = targets.prop_map(|all| all.into_iter().collect());
        prop::collection::vec((0_u8..3, targets), 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_amended_table_is_the_compiled_one(one in declared(), other in declared()) {
            let (from, other) = (load(&one), load(&other));
            let mut delta = diff(&from.document(), &other.document());
            delta.result = "00000000000000000000000000000001".into();
            let amended = patch(&from, &delta, &reading()).unwrap();
            let ids = amended.ids.expect("such a change goes the short way");
            let table = Table::compile(&from, Flavor::TraditionalCompatible, &context()).unwrap();
            let change = Change { from: &from, to: &amended.declared, ids: &ids };
            let (table, names) = table.amend(&change, &context()).unwrap();
            let whole = Table::compile(&amended.declared, Flavor::TraditionalCompatible, &context()).unwrap();
            prop_assert_eq!(upstreams(&table), upstreams(&whole));
            let before = Table::compile(&from, Flavor::TraditionalCompatible, &context()).unwrap();
            for (name, upstream) in whole.upstreams.iter() {
                let same = before.upstreams.get(name) == Some(upstream);
                prop_assert!(same || names.as_ref().is_some_and(|names| names.contains(name)));
            }
        }
    }
}
