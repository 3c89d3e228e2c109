//! Discovery of a ProxyFleet's members in a scene. No IO.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use operator_api::ProxyFleet;
use operator_core::fleet::discovery::{Discovered, Discovery};
use operator_core::object::Object;
use operator_core::snapshot::Snapshot;

use super::spec;

/// The members of a fleet.
pub(super) fn discover(fleet: &ProxyFleet, snapshot: &Snapshot) -> Discovered {
    let (namespace, _) = spec::name(fleet);
    let wanted = &fleet.spec.discovery;
    let services = match &wanted.selector {
        Some(selector) => snapshot
            .services
            .iter()
            .filter(|service| service.namespace() == namespace)
            .filter(|service| selects(selector, service.metadata.labels.as_ref()))
            .map(|service| service.name().to_owned())
            .collect(),
        None => wanted.services.clone(),
    };
    let (admin_port, data_port) = (wanted.port.clone(), wanted.data_port.clone());
    let discovery = Discovery { namespace, services, admin_port, data_port };
    discovery.discover(snapshot.endpoint_slices.iter().map(AsRef::as_ref))
}

/// Whether a label selector selects these labels.
fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let equal = selector.match_labels.iter().flatten();
    let rules = selector.match_expressions.iter().flatten();
    equal.into_iter().all(|(key, value)| label(key) == Some(value.as_str()))
        && rules.into_iter().all(|rule| meets(rule, label(&rule.key)))
}

fn meets(rule: &LabelSelectorRequirement, value: Option<&str>) -> bool {
    let listed =
        || value.is_some_and(|value| rule.values.iter().flatten().any(|listed| listed == value));
    match rule.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // The API server knows no other; one that does not exist selects nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(selector: serde_json::Value, selected: bool) {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let labels = BTreeMap::from([("app".to_owned(), "proxy".to_owned())]);
        assert_eq!(selects(&selector, Some(&labels)), selected);
    }

    #[test]
    fn selectors_select_as_in_kubernetes() {
        check(json!({}), true);
        check(json!({"matchLabels": {"app": "proxy"}}), true);
        check(json!({"matchLabels": {"app": "other"}}), false);
        let rule = |operator, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        check(rule("In", &["proxy", "x"]), true);
        check(rule("NotIn", &["proxy"]), false);
        check(rule("Exists", &[]), true);
        check(rule("DoesNotExist", &[]), false);
    }
}
