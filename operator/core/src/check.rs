//! What would become of objects, without a gateway to ask: the verdicts of a translation, and what a gateway would
//! refuse of the configuration that comes of it.
//!
//! `flotilla check -f` and the admission webhook both ask here, so that they say the same.

use std::collections::BTreeMap;

use kong::declarative::{self, Lenient, Violations};
use kong::model::{Document, Plugin, Service};
use kong::schema::Flavor;

use crate::fallback::blame;
use crate::fleet::event::RefusedEntity;
use crate::object::ObjectRef;
use crate::options::{Engine, Options, RouterFlavor};
use crate::outcome::{Outcome, Reason, Verdict};
use crate::snapshot::Snapshot;
use crate::translate::translate;

/// One verdict for each object of `snapshot` that a translation looks at, the refusals of gateways included, in the order
/// of the objects.
#[must_use]
pub fn check(snapshot: &Snapshot, options: &Options) -> Vec<Outcome> {
    // Lists of paths are judged by their schema alone; expressions need the gateway's engine.
    let options = &Options { flavor: RouterFlavor::Traditional, ..options.clone() };
    let translation = translate(snapshot, options);
    let mut refused = refusals(&translation.config, options);
    refused.append(&mut refusals(&alone(translation.idle), options));
    let mut outcomes: BTreeMap<ObjectRef, Outcome> =
        translation.outcomes.into_iter().map(|one| (one.object.clone(), one)).collect();
    for (object, message) in refused {
        let outcome = outcomes.entry(object.clone()).or_insert_with(|| Outcome {
            object,
            verdict: Verdict::Configured,
            warnings: Vec::new(),
        });
        if !matches!(outcome.verdict, Verdict::Rejected { .. }) {
            outcome.verdict = Verdict::Rejected { reason: Reason::Invalid, message };
        }
    }
    outcomes.into_values().collect()
}

/// A configuration in which each of `plugins` stands on a service of its own, so that none is in another's way.
fn alone(plugins: Vec<Plugin>) -> Document {
    let service = |(at, plugin)| Service {
        name: Some(format!("idle-{at}")),
        host: Some("idle".into()),
        plugins: vec![plugin],
        ..Service::default()
    };
    Document {
        services: plugins.into_iter().enumerate().map(service).collect(),
        ..Document::default()
    }
}

/// The objects behind what a gateway would refuse of `config`, with its words.
fn refusals(config: &Document, options: &Options) -> BTreeMap<ObjectRef, String> {
    let Ok(text) = serde_json::to_vec(config) else { return BTreeMap::new() };
    let context = declarative::Context {
        now: options.now.unwrap_or_default() as f64,
        seed: 0,
        flavor: Flavor::TraditionalCompatible,
        judge: &Lenient,
    };
    match declarative::decode(&text, &context) {
        Ok(_) => BTreeMap::new(),
        Err(rejection) => {
            let found = rejection.violations().iter();
            let entities: Vec<_> = found.filter_map(|one| entity(one, options)).collect();
            blame::guilty(&entities, Some(&text))
        }
    }
}

fn entity(found: &Violations, options: &Options) -> Option<RefusedEntity> {
    // A Kong may have plugins that only its operators know.
    let unknown = |field: &Option<String>| {
        options.engine == Engine::Kong
            && found.entity_type == "plugin"
            && field.as_deref() == Some("name")
    };
    let errors = found.errors.iter().filter(|(field, _)| !unknown(field));
    let errors: Vec<String> = errors
        .map(|(field, message)| match field {
            Some(field) => format!("{field}: {message}"),
            None => message.clone(),
        })
        .collect();
    (!errors.is_empty()).then(|| RefusedEntity {
        kind: found.entity_type.clone(),
        id: found.entity_id.clone(),
        name: found.entity_name.clone(),
        tags: found.entity_tags.clone().unwrap_or_default(),
        errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;
    use crate::snapshot::Loader;

    fn verdict(manifests: &str, engine: Engine, kind: Kind, name: &str) -> Verdict {
        let mut loader = Loader::new();
        loader.add("test", manifests);
        let options = Options { engine, ..Options::default() };
        let outcomes = check(&loader.finish().0, &options);
        let object = ObjectRef::new(kind, "shop", name);
        let found = outcomes.into_iter().find(|outcome| outcome.object == object);
        found.unwrap_or_else(|| panic!("nothing is said of {object}")).verdict
    }

    const IDLE: &str = "
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: limit, namespace: shop}
plugin: rate-limiting
config: {minute: many}
";

    #[test]
    fn plugin_that_nothing_refers_to_is_judged_all_the_same() {
        let verdict = verdict(IDLE, Engine::Kong, Kind::KongPlugin, "limit");
        let Verdict::Rejected { reason: Reason::Invalid, message } = verdict else {
            panic!("{verdict:?}")
        };
        assert!(message.contains("config.minute: expected a number"), "{message}");
    }

    #[test]
    fn plugin_that_only_some_gateways_know_is_refused_where_ours_serve() {
        let custom = IDLE.replace("rate-limiting", "house-rules");
        for (engine, refused) in [(Engine::Kong, false), (Engine::Flotilla, true)] {
            let verdict = verdict(&custom, engine, Kind::KongPlugin, "limit");
            assert_eq!(matches!(verdict, Verdict::Rejected { .. }), refused, "{verdict:?}");
        }
    }

    #[test]
    fn path_that_is_no_regex_is_told_to_its_ingress() {
        let ingress = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: kong
  rules:
  - http:
      paths:
      - path: /~/a(b
        pathType: ImplementationSpecific
        backend: {service: {name: echo, port: {number: 80}}}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {ports: [{port: 80}]}
";
        let verdict = verdict(ingress, Engine::Kong, Kind::Ingress, "web");
        let Verdict::Rejected { reason: Reason::Invalid, message } = verdict else {
            panic!("{verdict:?}")
        };
        assert!(message.contains("missing closing parenthesis"), "{message}");
    }
}
