//! Session persistence of HTTPRoutes: a cookie that the upstream hashes, and sets where a client has none.
//!
//! A cookie of ours lasts as long as the browser is open, and it leads to a target for as long as the set of targets stays
//! the same. What asks for more is refused, and never half-served.

use crate::gateway_api::SessionPersistence;

/// The name of the cookie that `wanted` asks for; `fallback` where it names none.
///
/// # Errors
/// What cannot be had.
pub(super) fn cookie(wanted: &SessionPersistence, fallback: String) -> Result<String, String> {
    let SessionPersistence { session_name, absolute_timeout, idle_timeout, kind, cookie_config } =
        wanted;
    let lifetime = cookie_config.as_ref().and_then(|config| config.lifetime_type.as_deref());
    let refused = [
        (kind.as_deref().is_some_and(|kind| kind != "Cookie"), "a type other than Cookie"),
        (absolute_timeout.is_some(), "absoluteTimeout"),
        (idle_timeout.is_some(), "idleTimeout"),
        (
            lifetime.is_some_and(|lifetime| lifetime != "Session"),
            "a lifetimeType other than Session",
        ),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(asked, _)| *asked) {
        return Err(format!("sessionPersistence: {what} is not supported"));
    }
    Ok(session_name.clone().filter(|name| !name.is_empty()).unwrap_or(fallback))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::object::{Kind, ObjectRef};
    use crate::options::{GatewayStatusSource, Options, RouterFlavor};
    use crate::outcome::{Reason, Verdict};
    use crate::snapshot::Loader;
    use crate::translate::{Translation, translate};

    fn translated(session: &serde_json::Value, flavor: RouterFlavor) -> Translation {
        let backend = json!([{"name": "web", "port": 80}]);
        let matched = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
        let mut loader = Loader::new();
        for object in [
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "ours"},
                "spec": {"controllerName": "flotilla.dev/gateway-controller"},
            }),
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "edge", "namespace": "shop"},
                "spec": {"gatewayClassName": "ours", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"ports": [{"port": 80}]},
            }),
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"parentRefs": [{"name": "edge"}], "rules": [
                    {"matches": matched("/cart"), "backendRefs": backend, "sessionPersistence": session},
                    {"matches": matched("/"), "backendRefs": backend},
                ]},
            }),
        ] {
            loader.document("test", object);
        }
        let gateway_status = GatewayStatusSource::Derived;
        translate(&loader.finish().0, &Options { gateway_status, flavor, ..Options::default() })
    }

    #[test]
    fn rule_with_a_session_has_an_upstream_that_hashes_its_cookie() {
        for flavor in [RouterFlavor::Traditional, RouterFlavor::Expressions] {
            let config = translated(&json!({"sessionName": "cart"}), flavor).config;
            let cookies: Vec<_> = config
                .upstreams
                .iter()
                .map(|upstream| (upstream.hash_on.as_deref(), upstream.hash_on_cookie.as_deref()))
                .collect();
            assert_eq!(cookies, [(Some("cookie"), Some("cart")), (None, None)], "{flavor:?}");
            let routes: Vec<usize> = config.services.iter().map(|one| one.routes.len()).collect();
            assert_eq!(routes, [1, 1], "{flavor:?}");
        }
    }

    #[test]
    fn session_that_outlives_the_browser_is_refused() {
        let asked = json!({"cookieConfig": {"lifetimeType": "Permanent"}, "absoluteTimeout": "1h"});
        let translation = translated(&asked, RouterFlavor::Expressions);
        let route = ObjectRef::new(Kind::HttpRoute, "shop", "web");
        let told = translation.outcomes.iter().find(|outcome| outcome.object == route).unwrap();
        let Verdict::Rejected { reason: Reason::UnsupportedValue, message } = &told.verdict else {
            panic!("{told:?}")
        };
        assert!(message.contains("absoluteTimeout"), "{message}");
        assert!(translation.config.services.is_empty());
    }
}
