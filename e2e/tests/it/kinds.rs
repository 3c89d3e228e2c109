//! Kong's kinds on a real API server: served, told in statuses, denied where only an edit could mend them.

use anyhow::{Result, ensure};
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
