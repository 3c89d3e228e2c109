//! One translation, printed in every dialect that is spoken. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kong::model::{Consumer, Document};
use operator_core::fallback::quarantine::Plan;
use operator_core::object::ObjectRef;
use operator_core::options::Options;
use operator_core::outcome::{Outcome, Verdict};
use operator_core::revision::{Census, Dialect};
use operator_core::snapshot::Snapshot;
use operator_core::translate::translate;
use tracing::error;

/// What a translation gives.
#[derive(Clone, Debug)]
pub(super) struct Rendered {
    pub(super) bodies: BTreeMap<Dialect, Bytes>,
    pub(super) census: Census,
    pub(super) outcomes: Vec<Outcome>,
    /// The objects that were translated: without those that are left out.
    pub(super) served: Arc<Snapshot>,
}

/// Translates into each dialect; into that of our own proxy as long as no instance was seen. An object that one of the
/// dialects has no words for is refused, and says so.
pub(super) fn render(
    snapshot: Arc<Snapshot>,
    options: &Options,
    dialects: &BTreeSet<Dialect>,
    plan: &Plan,
) -> Rendered {
    let served = plan.apply(&snapshot).map_or(snapshot, Arc::new);
    let snapshot: &Snapshot = &served;
    let (mut bodies, mut counts) = (BTreeMap::new(), Census::default());
    let mut outcomes: Vec<Outcome> = Vec::new();
    let default = BTreeSet::from([Dialect::Own]);
    for dialect in if dialects.is_empty() { &default } else { dialects } {
        let (flavor, engine) = (dialect.flavor(), dialect.engine());
        let translation = translate(snapshot, &Options { flavor, engine, ..options.clone() });
        let bytes = match serde_json::to_vec(&translation.config) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Only a map without text keys could do this, and the model has none.
                error!(%error, "configuration not printed");
                continue;
            }
        };
        counts = census(&translation.config);
        bodies.insert(*dialect, Bytes::from(bytes));
        outcomes = match outcomes.is_empty() {
            true => translation.outcomes,
            false => strictest(outcomes, translation.outcomes),
        };
    }
    Rendered { bodies, census: counts, outcomes, served }
}

/// Of two verdicts on an object the worse one.
fn strictest(before: Vec<Outcome>, after: Vec<Outcome>) -> Vec<Outcome> {
    let mut all: BTreeMap<ObjectRef, Outcome> = BTreeMap::new();
    for outcome in before.into_iter().chain(after) {
        let refused = |one: &Outcome| matches!(one.verdict, Verdict::Rejected { .. });
        if !all.get(&outcome.object).is_some_and(refused) {
            all.insert(outcome.object.clone(), outcome);
        }
    }
    all.into_values().collect()
}

/// Counts entities by kind, nested ones too.
fn census(document: &Document) -> Census {
    let Document { services, routes, upstreams, plugins, consumers, consumer_groups, .. } =
        document;
    let of_services = || services.iter().flat_map(|service| &service.routes);
    let all_routes = || of_services().chain(routes);
    let on_routes: usize = all_routes().map(|route| route.plugins.len()).sum();
    let on_services: usize = services.iter().map(|service| service.plugins.len()).sum();
    let counts = [
        ("services", services.len()),
        ("routes", all_routes().count()),
        ("upstreams", upstreams.len()),
        ("targets", upstreams.iter().map(|upstream| upstream.targets.len()).sum()),
        ("plugins", plugins.len() + on_routes + on_services),
        ("consumers", consumers.len()),
        ("consumer_groups", consumer_groups.len()),
        ("certificates", document.certificates.len()),
        ("snis", document.certificates.iter().map(|certificate| certificate.snis.len()).sum()),
        ("ca_certificates", document.ca_certificates.len()),
        ("vaults", document.vaults.len()),
    ];
    let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count));
    let custom = document.custom.iter().map(|(kind, entities)| (kind.clone(), entities.len()));
    Census::new(counts.chain(custom).chain(credentials(consumers)))
}

/// Counts the credentials of consumers.
fn credentials(consumers: &[Consumer]) -> [(String, usize); 7] {
    let mut counts = [
        ("keyauth_credentials", 0),
        ("basicauth_credentials", 0),
        ("hmacauth_credentials", 0),
        ("jwt_secrets", 0),
        ("oauth2_credentials", 0),
        ("acls", 0),
        ("mtls_auth_credentials", 0),
    ];
    for consumer in consumers {
        let lengths = [
            consumer.keyauth_credentials.len(),
            consumer.basicauth_credentials.len(),
            consumer.hmacauth_credentials.len(),
            consumer.jwt_secrets.len(),
            consumer.oauth2_credentials.len(),
            consumer.acls.len(),
            consumer.mtls_auth_credentials.len(),
        ];
        for ((_, count), more) in counts.iter_mut().zip(lengths) {
            *count += more;
        }
    }
    counts.map(|(kind, count)| (kind.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_entities_are_counted_and_plugin_settings_are_not() {
        let document = json!({
            "_format_version": "3.0",
            "services": [{"name": "a", "routes": [{"name": "r", "paths": ["/"]}]}],
            "plugins": [{"name": "x", "config": {"rules": [{"a": 1}]}}],
        });
        let census = census(&serde_json::from_value(document).unwrap());
        assert_eq!(census.of("routes"), 1);
        assert_eq!(census.of("rules"), 0);
        assert_eq!(census.total(), 3);
    }
}
