//! Kong's kinds on a real API server: served, told in statuses, denied where only an edit could mend them.

use anyhow::{Context as _, Result, ensure};
use e2e::product::{Product, condition};
use e2e::wait::eventually;

use crate::routing::ingress;

const NAMESPACE: &str = "kinds";

/// A key that a consumer has, its plugin, and what is behind both.
const HOUSE: &str = "
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: keys, namespace: kinds}
plugin: key-auth
---
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: members, namespace: kinds}
plugin: acl
config: {allow: [members]}
---
apiVersion: configuration.konghq.com/v1
kind: KongClusterPlugin
metadata: {name: kinds-stamp, annotations: {kubernetes.io/ingress.class: kong}}
plugin: response-transformer
config: {add: {headers: ['x-stamp:here']}}
---
apiVersion: v1
kind: Secret
metadata: {name: key-of-anna, namespace: kinds, labels: {konghq.com/credential: key-auth}}
stringData: {key: open-sesame}
---
apiVersion: v1
kind: Secret
metadata: {name: group-of-anna, namespace: kinds, labels: {konghq.com/credential: acl}}
stringData: {group: members}
---
apiVersion: v1
kind: Secret
metadata: {name: key-of-bert, namespace: kinds, labels: {konghq.com/credential: key-auth}}
stringData: {key: open-barley}
---
apiVersion: configuration.konghq.com/v1beta1
kind: KongConsumerGroup
metadata: {name: kinds-gold, namespace: kinds, annotations: {kubernetes.io/ingress.class: kong}}
---
apiVersion: configuration.konghq.com/v1
kind: KongConsumer
metadata: {name: anna, namespace: kinds, annotations: {kubernetes.io/ingress.class: kong}}
username: anna
consumerGroups: [kinds-gold]
credentials: [key-of-anna, group-of-anna]
---
apiVersion: configuration.konghq.com/v1
kind: KongConsumer
metadata: {name: bert, namespace: kinds, annotations: {kubernetes.io/ingress.class: kong}}
username: bert
credentials: [key-of-bert]
---
apiVersion: configuration.konghq.com/v1alpha1
kind: KongVault
metadata: {name: kinds-house, annotations: {kubernetes.io/ingress.class: kong}}
spec: {backend: env, prefix: kinds-house, config: {prefix: HOUSE_}}
---
apiVersion: configuration.konghq.com/v1beta1
kind: KongUpstreamPolicy
metadata: {name: sticky, namespace: kinds}
spec: {algorithm: consistent-hashing, hashOn: {header: x-user}}
";

fn guarded(product: &Product) -> Result<()> {
    product.namespace(NAMESPACE)?;
    product.kubectl(&[
        "annotate",
        "service/echo",
        "konghq.com/upstream-policy=sticky",
        "--namespace",
        NAMESPACE,
    ])?;
    product.apply(HOUSE)?;
    let ingress = ingress(NAMESPACE, "guarded", "guarded.example", "echo", "{number: 80}");
    let plugins = "annotations: {konghq.com/plugins: 'keys,members,kinds-stamp'}";
    let guarded = ingress.replace("namespace: kinds", &format!("namespace: kinds, {plugins}"));
    product.apply(&guarded).map(drop)
}

pub(crate) fn foreign_definitions(product: &Product) -> Result<()> {
    let file = format!(
        "{}/../crds/kong/configuration.konghq.com_kongvaults.yaml",
        env!("CARGO_MANIFEST_DIR")
    );
    product.kubectl(&["apply", "--server-side", "-f", &file])?;
    let name = "crd/kongvaults.configuration.konghq.com";
    product.kubectl(&["label", name, "owner=somebody-else"])?;
    let before = product.read(&[name])?;
    product.define(&["kong=true"])?;
    let after = product.read(&[name])?;
    ensure!(
        before["metadata"]["generation"] == after["metadata"]["generation"]
            && before["metadata"]["labels"] == after["metadata"]["labels"]
            && before["metadata"]["annotations"] == after["metadata"]["annotations"],
        "the chart took a definition that is not its own: {}",
        after["metadata"]
    );
    product.kubectl(&["get", "crd/kongplugins.configuration.konghq.com"]).map(drop)
}

pub(crate) fn served(product: &Product) -> Result<()> {
    guarded(product)?;
    let at = ("guarded.example", "/");
    product.wait_for_answer_to(at, &[], 401)?;
    product.wait_for_answer_to(at, &[("apikey", "open-sesame")], 200)?;
    product.wait_for_answer_to(at, &[("apikey", "open-barley")], 403)?;
    let programmed = [
        "kongplugin/keys",
        "kongplugin/members",
        "kongclusterplugin/kinds-stamp",
        "kongconsumer/anna",
        "kongvault/kinds-house",
    ];
    for name in programmed {
        eventually(&format!("{name} is programmed"), || {
            let object = product.read(&[name, "--namespace", NAMESPACE])?;
            let told = condition(&object, "Programmed")?;
            ensure!(told.starts_with("True"), "{told}");
            let generation = &object["status"]["conditions"][0]["observedGeneration"];
            ensure!(*generation == object["metadata"]["generation"], "{}", object["status"]);
            Ok(())
        })?;
    }
    eventually("a group says that it has no effect", || {
        let group = product.read(&["kongconsumergroup/kinds-gold", "--namespace", NAMESPACE])?;
        ensure!(condition(&group, "Programmed")?.starts_with("False"), "{}", group["status"]);
        ensure!(group["status"].to_string().contains("Enterprise"), "{}", group["status"]);
        Ok(())
    })?;
    eventually("the policy says what it is attached to", || {
        let policy = product.read(&["kongupstreampolicy/sticky", "--namespace", NAMESPACE])?;
        let ancestor = &policy["status"]["ancestors"][0];
        ensure!(ancestor["ancestorRef"]["name"] == "echo", "{}", policy["status"]);
        ensure!(ancestor["conditions"][0]["status"] == "True", "{}", policy["status"]);
        Ok(())
    })
}

/// What is wrong, and what the author reads.
const WRONG: &[(&str, &[&str])] = &[
    (
        "
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: limit, namespace: kinds}
plugin: rate-limiting
config: {minute: many}
",
        &["config.minute", "expected a number"],
    ),
    (
        "
apiVersion: configuration.konghq.com/v1
kind: KongClusterPlugin
metadata: {name: kinds-odd, annotations: {kubernetes.io/ingress.class: kong}}
plugin: no-such-plugin
",
        &["no-such-plugin", "not enabled"],
    ),
    (
        "
apiVersion: configuration.konghq.com/v1
kind: KongConsumer
metadata: {name: thief, namespace: kinds, annotations: {kubernetes.io/ingress.class: kong}}
username: thief
credentials: [key-of-anna]
",
        &["conflicting credential", "kinds/anna"],
    ),
    (
        "
apiVersion: v1
kind: Secret
metadata: {name: key-of-bert, namespace: kinds, labels: {konghq.com/credential: key-auth}}
stringData: {key: open-sesame}
",
        &["conflicting credential"],
    ),
    (
        "
apiVersion: v1
kind: Secret
metadata: {name: nothing, namespace: kinds, labels: {konghq.com/credential: oauth2}}
stringData: {name: app}
",
        &["client_id"],
    ),
    (
        "
apiVersion: v1
kind: Secret
metadata: {name: nothing, namespace: kinds, labels: {konghq.com/credential: handshake}}
stringData: {key: a}
",
        &["handshake", "no kind of credential"],
    ),
    (
        "
apiVersion: configuration.konghq.com/v1alpha1
kind: KongVault
metadata: {name: kinds-other, annotations: {kubernetes.io/ingress.class: kong}}
spec: {backend: env, prefix: kinds-house, config: {prefix: OTHER_}}
",
        &["kinds-house", "duplicate"],
    ),
    (
        "
apiVersion: configuration.konghq.com/v1beta1
kind: KongUpstreamPolicy
metadata: {name: torn, namespace: kinds}
spec: {algorithm: consistent-hashing, hashOn: {header: a, queryArg: b}}
",
        &["hashOn takes one of"],
    ),
    (
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: torn, namespace: kinds}
spec:
  ingressClassName: kong
  rules:
  - host: torn.example
    http:
      paths:
      - path: /~/a(b
        pathType: ImplementationSpecific
        backend: {service: {name: echo, port: {number: 80}}}
",
        &["missing closing parenthesis"],
    ),
];

pub(crate) fn denied(product: &Product) -> Result<()> {
    guarded(product)?;
    product.wait_for_answer_to(("guarded.example", "/"), &[("apikey", "open-sesame")], 200)?;
    for (manifest, words) in WRONG {
        // The stores of every replica learn of the neighbours a moment after the API server.
        eventually(&format!("an object is denied with {words:?}"), || {
            let refused = product.apply(manifest).err();
            let refused = refused.map(|error| format!("{error:#}")).unwrap_or_default();
            ensure!(words.iter().all(|word| refused.contains(word)), "{manifest}: {refused:?}");
            Ok(())
        })?;
    }
    // What time mends is taken, and told.
    let early = ingress(NAMESPACE, "early", "early.example", "later", "{number: 80}");
    product.apply(&early)?;
    product.wait_for_answer_to(("guarded.example", "/"), &[("apikey", "open-sesame")], 200)
}

pub(crate) fn others(product: &Product) -> Result<()> {
    product.namespace(NAMESPACE)?;
    product.upgrade(&["proxy.env.KONG_STREAM_LISTEN=0.0.0.0:9000"])?;
    product.apply(
        "
apiVersion: configuration.konghq.com/v1beta1
kind: TCPIngress
metadata: {name: raw, namespace: kinds, annotations: {kubernetes.io/ingress.class: kong}}
spec: {rules: [{port: 9000, backend: {serviceName: echo, servicePort: 80}}]}
---
apiVersion: configuration.konghq.com/v1alpha1
kind: KongCustomEntity
metadata: {name: ring, namespace: kinds}
spec: {type: key_sets, controllerName: kong, fields: {name: kinds-ring}}
",
    )?;
    eventually("every proxy passes a stream on", || {
        let pods = product.wait_for_proxies(3)?;
        for pod in pods {
            let answer = product.ask_at(&pod, 9000, "raw.example", "/")?;
            ensure!(answer.status == 200, "{} answers {}", pod.name, answer.status);
        }
        Ok(())
    })?;
    let told = || {
        let entity = product.read(&["kongcustomentity/ring", "--namespace", NAMESPACE])?;
        ensure!(condition(&entity, "Programmed")?.starts_with("True"), "{}", entity["status"]);
        let ingress = product.read(&["tcpingress/raw", "--namespace", NAMESPACE])?;
        let address = &ingress["status"]["loadBalancer"]["ingress"][0];
        ensure!(!address.is_null(), "{}", ingress["status"]);
        Ok(())
    };
    eventually("the entity is programmed and the stream has an address", told)?;
    product.kubectl(&["delete", "tcpingress/raw", "--namespace", NAMESPACE])?;
    product.upgrade(&[])?;
    product.wait_for_proxies(3).map(drop)
}

pub(crate) fn gateway(product: &Product) -> Result<()> {
    product.namespace(NAMESPACE)?;
    // The definitions come while the operator runs.
    e2e::conformance::define(product.cluster())?;
    product.upgrade(&["fleet.gatewayClasses={flotilla}"])?;
    product.apply(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: flotilla}
spec: {controllerName: flotilla.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: kinds}
spec:
  gatewayClassName: flotilla
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.door.example'}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: through, namespace: kinds}
spec:
  parentRefs: [{name: door}]
  hostnames: [shop.door.example]
  rules:
  - matches: [{path: {type: PathPrefix, value: /good}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: x-through, value: the-door}]}}]
    backendRefs: [{name: echo, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /lost}}]
    backendRefs: [{name: nowhere, port: 80}]
",
    )?;
    let address = eventually("the Gateway has an address", || {
        let door = product.read(&["gateway/door", "--namespace", NAMESPACE])?;
        ensure!(condition(&door, "Programmed")?.starts_with("True"), "{}", door["status"]);
        let listener = &door["status"]["listeners"][0];
        ensure!(listener["attachedRoutes"] == 1, "{listener}");
        let address = door["status"]["addresses"][0]["value"].as_str().unwrap_or_default();
        address.parse::<std::net::IpAddr>().with_context(|| format!("{}", door["status"]))
    })?;
    eventually("the route says what is wrong with one of its rules", || {
        let route = product.read(&["httproute/through", "--namespace", NAMESPACE])?;
        let conditions = route["status"]["parents"][0]["conditions"].to_string();
        ensure!(
            conditions.contains("BackendNotFound") && conditions.contains("nowhere"),
            "{route}"
        );
        Ok(())
    })?;
    eventually("the Gateway serves its route", || {
        let at = std::net::SocketAddr::new(address, 80);
        let client = e2e::http::Client::without_keepalive()?;
        let good = client.get(at, "shop.door.example", "/good/x")?;
        ensure!(good.status == 200 && good.body.contains("the-door"), "{good:?}");
        ensure!(client.get(at, "shop.door.example", "/lost")?.status == 500, "a lost rule");
        ensure!(client.get(at, "other.door.example", "/good")?.status == 404, "another host");
        Ok(())
    })?;
    for name in ["gateway/door", "httproute/through"] {
        product.kubectl(&["delete", name, "--namespace", NAMESPACE])?;
    }
    product.upgrade(&[])?;
    product.wait_for_proxies(3).map(drop)
}

pub(crate) fn come_and_go(product: &Product) -> Result<()> {
    guarded(product)?;
    let at = ("guarded.example", "/");
    product.wait_for_answer_to(at, &[("apikey", "open-sesame")], 200)?;
    product.kubectl(&["delete", "crd", "kongconsumers.configuration.konghq.com"])?;
    product.wait_for_answer_to(at, &[("apikey", "open-sesame")], 401)?;
    let restarts: u64 = product.pods("operator")?.iter().map(|pod| pod.restarts).sum();
    product.define(&["kong=true"])?;
    eventually("the objects can be written again", || product.apply(HOUSE).map(drop))?;
    product.wait_for_answer_to(at, &[("apikey", "open-sesame")], 200)?;
    let after: u64 = product.pods("operator")?.iter().map(|pod| pod.restarts).sum();
    ensure!(restarts == after, "an operator was restarted");
    for name in ["kongclusterplugin/kinds-stamp", "kongvault/kinds-house"] {
        product.kubectl(&["delete", name])?;
    }
    product.forget(NAMESPACE)
}
