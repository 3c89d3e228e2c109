//! The law of the translation that is kept: after any change it is what a translation of everything gives.

use std::sync::Arc;

use operator_core::options::{Engine, GatewayStatusSource, Options, RouterFlavor};
use operator_core::revision::Census;
use operator_core::snapshot::{Loader, Snapshot};
use operator_core::translate::{Followed, Incremental, translate};
use proptest::prelude::*;
use proptest::sample::select;

/// An object, or its absence.
#[derive(Clone, Debug)]
enum Change {
    /// There is this object now.
    Put(String),
    /// There is no object of this name.
    Gone(&'static str, String),
}

impl Change {
    fn apply(&self, snapshot: &Snapshot) -> Snapshot {
        match self {
            Self::Put(document) => snapshot.with(&load(document)),
            Self::Gone(kind, name) => {
                snapshot.filtered(|object| object.kind.name() != *kind || object.name != *name)
            }
        }
    }
}

fn load(document: &str) -> Snapshot {
    let mut loader = Loader::new().identifying();
    loader.add("", document);
    loader.finish().0
}

/// The annotation that names plugins: present, missing, of another namespace, several.
fn plugins() -> impl Strategy<Value = &'static str> {
    select(vec!["", "p0", "p1", "p2", "p0,p1", "c0", "gone", "other:p0", "p3"])
}

fn ingress() -> impl Strategy<Value = Change> {
    let path = select(vec!["/", "/a", "/~/x(.*)"]);
    let service = select(vec!["s0", "s1", "s2", "none"]);
    let more = select(vec![
        "",
        "konghq.com/strip-path: 'yes', ",
        "konghq.com/methods: 'GET,1', ",
        "konghq.com/host-aliases: a.example, ",
        "konghq.com/tags: x, ",
    ]);
    let shape = select(vec!["", "class", "default", "tls", "two"]);
    (0..5u8, path, service, plugins(), more, shape, 0..3u8).prop_map(
        |(name, path, service, plugins, more, shape, age)| {
            let class = if shape == "class" { "another" } else { "kong" };
            let default = match shape {
                "default" => "\n  defaultBackend: {service: {name: s1, port: {number: 80}}}",
                _ => "",
            };
            let tls = match shape {
                "tls" => format!("\n  tls: [{{hosts: [t{age}.example], secretName: tls{age}}}]"),
                _ => String::new(),
            };
            let two = match shape {
                "two" => "\n      - {path: /two, pathType: Exact, backend: {service: {name: s2, port: {number: 81}}}}",
                _ => "",
            };
            Change::Put(format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i{name}\n  namespace: ns\n  creationTimestamp: 2026-01-0{}T00:00:00Z\n  annotations: {{{more}konghq.com/plugins: '{plugins}'}}\nspec:\n  ingressClassName: {class}{default}{tls}\n  rules:\n  - host: h{age}.example\n    http:\n      paths:\n      - {{path: '{path}', pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}{two}\n",
                age + 1,
            ))
        },
    )
}

fn service() -> impl Strategy<Value = Change> {
    let more = select(vec![
        "",
        "konghq.com/upstream-policy: u0",
        "konghq.com/read-timeout: soon",
        "konghq.com/protocol: https, konghq.com/client-cert: tls1",
        "konghq.com/override: k0",
        "ingress.kubernetes.io/service-upstream: 'true'",
    ]);
    (0..3u8, more, plugins(), select(vec![80, 81])).prop_map(|(name, more, plugins, port)| {
        let comma = if more.is_empty() { "" } else { ", " };
        Change::Put(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{name}, namespace: ns, annotations: {{{more}{comma}konghq.com/plugins: '{plugins}'}}}}\nspec: {{ports: [{{port: 80}}, {{port: {port}, name: other}}]}}\n"
        ))
    })
}

fn slice() -> impl Strategy<Value = Change> {
    (0..3u8, 0..2u8, 0..4u8, any::<bool>()).prop_map(|(service, name, address, ready)| {
        Change::Put(format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{name}, namespace: ns, labels: {{kubernetes.io/service-name: s{service}}}}}\naddressType: IPv4\nports: [{{name: '', port: 8080, protocol: TCP}}]\nendpoints: [{{addresses: [10.0.0.{address}], conditions: {{ready: {ready}}}}}]\n"
        ))
    })
}

fn plugin() -> impl Strategy<Value = Change> {
    let what = select(vec![
        "plugin: key-auth",
        "plugin: key-auth\ninstance_name: mine",
        "plugin: request-termination\nconfig: {status_code: 418}",
        "plugin: cors\ninstance_name: mine",
        "plugin: rate-limiting\nconfigFrom: {secretKeyRef: {name: conf, key: config}}",
        "plugin: acl\nconfigFrom: {secretKeyRef: {name: conf, key: none}}",
        "plugin: jwt\nconfig: 3",
    ]);
    (0..4u8, what).prop_map(|(name, what)| {
        Change::Put(format!(
            "apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {{name: p{name}, namespace: ns}}\n{what}\n"
        ))
    })
}

fn consumer() -> impl Strategy<Value = Change> {
    (0..3u8, 0..3u8, plugins(), select(vec!["cred0", "cred1", "none"])).prop_map(
        |(name, user, plugins, secret)| {
            Change::Put(format!(
                "apiVersion: configuration.konghq.com/v1\nkind: KongConsumer\nmetadata: {{name: k{name}, namespace: ns, annotations: {{kubernetes.io/ingress.class: kong, konghq.com/plugins: '{plugins}'}}}}\nusername: u{user}\ncredentials: [{secret}]\n"
            ))
        },
    )
}

fn secret() -> impl Strategy<Value = Change> {
    let all = select(vec![
        "metadata: {name: cred0, namespace: ns, labels: {konghq.com/credential: key-auth}}\nstringData: {key: one}",
        "metadata: {name: cred0, namespace: ns, labels: {konghq.com/credential: key-auth}}\nstringData: {key: two}",
        "metadata: {name: cred1, namespace: ns, labels: {konghq.com/credential: acl}}\nstringData: {group: staff}",
        "metadata: {name: cred1, namespace: ns}\nstringData: {group: staff}",
        "metadata: {name: conf, namespace: ns}\nstringData: {config: '{\"minute\": 5}'}",
        "metadata: {name: conf, namespace: ns}\nstringData: {config: '{\"minute\": 7}'}",
        "metadata: {name: conf, namespace: ns}\nstringData: {config: '5'}",
        "metadata: {name: tls0, namespace: ns}\nstringData: {tls.crt: broken, tls.key: broken}",
        "metadata: {name: ca0, namespace: ns, labels: {konghq.com/ca-cert: 'true'}}\nstringData: {id: x}",
    ]);
    let plain = all.prop_map(|text| Change::Put(format!("apiVersion: v1\nkind: Secret\n{text}\n")));
    prop_oneof![3 => plain, 1 => pair()]
}

/// A Secret with a real pair of certificate and key.
fn pair() -> impl Strategy<Value = Change> {
    const PAIRS: [&str; 2] = [
        include_str!("../../testdata/certificates/a.pem"),
        include_str!("../../testdata/certificates/b.pem"),
    ];
    (0..3u8, select(PAIRS.to_vec())).prop_map(|(name, pem)| {
        let begin = pem.find("-----BEGIN PRIVATE").unwrap();
        let indent = |text: &str| text.trim().replace('\n', "\n    ");
        let (certificate, key) = pem.split_at(begin);
        Change::Put(format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: tls{name}, namespace: ns}}\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
            indent(certificate),
            indent(key)
        ))
    })
}

fn route() -> impl Strategy<Value = Change> {
    let path = select(vec!["/", "/a", "/b", "/long"]);
    let backends = select(vec![
        "{name: s0, port: 80}",
        "{name: s1, port: 80}, {name: s2, port: 80, weight: 3}",
        "{name: none, port: 80}",
        "{name: s0, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]}, {name: s1, port: 80}",
    ]);
    let filters = select(vec![
        "",
        "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: s2, port: 80}}}], ",
        "filters: [{type: ExtensionRef, extensionRef: {group: configuration.konghq.com, kind: KongPlugin, name: p1}}], ",
        "timeouts: {request: 1s, backendRequest: 1s}, ",
    ]);
    let host = select(vec!["", "h0.example", "h1.example, '*.wild.example'"]);
    (0..5u8, path, backends, filters, host, plugins(), 0..3u8).prop_map(
        |(name, path, backends, filters, host, plugins, age)| {
            let parent = if age == 2 && name == 4 { "elsewhere" } else { "edge" };
            Change::Put(format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{name}, namespace: ns, creationTimestamp: 2026-01-0{}T00:00:00Z, annotations: {{konghq.com/plugins: '{plugins}'}}}}\nspec: {{parentRefs: [{{name: {parent}}}], hostnames: [{host}], rules: [{{matches: [{{path: {{value: {path}}}}}, {{path: {{value: /x}}, method: GET}}], {filters}backendRefs: [{backends}]}}]}}\n",
                age + 1
            ))
        },
    )
}

/// Objects of which a change has everything translated anew.
fn wide() -> impl Strategy<Value = Change> {
    let all = select(vec![
        "apiVersion: configuration.konghq.com/v1\nkind: KongClusterPlugin\nmetadata: {name: c0, annotations: {kubernetes.io/ingress.class: kong}}\nplugin: cors\n",
        "apiVersion: configuration.konghq.com/v1\nkind: KongClusterPlugin\nmetadata: {name: c1, labels: {global: 'true'}, annotations: {kubernetes.io/ingress.class: kong}}\nplugin: cors\nconfigFrom: {secretKeyRef: {namespace: ns, name: conf, key: config}}\n",
        "apiVersion: configuration.konghq.com/v1beta1\nkind: TCPIngress\nmetadata: {name: t0, namespace: ns, annotations: {kubernetes.io/ingress.class: kong, konghq.com/plugins: p0}}\nspec: {rules: [{port: 9000, backend: {serviceName: s0, servicePort: 80}}]}\n",
        "apiVersion: configuration.konghq.com/v1beta1\nkind: UDPIngress\nmetadata: {name: d0, namespace: ns, annotations: {kubernetes.io/ingress.class: kong}}\nspec: {rules: [{port: 9001, backend: {serviceName: s0, servicePort: 80}}]}\n",
        "apiVersion: configuration.konghq.com/v1beta1\nkind: KongUpstreamPolicy\nmetadata: {name: u0, namespace: ns}\nspec: {algorithm: least-connections}\n",
        "apiVersion: configuration.konghq.com/v1\nkind: KongIngress\nmetadata: {name: k0, namespace: ns}\nupstream: {slots: 100}\n",
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g0, namespace: other}\nspec: {from: [{group: networking.k8s.io, kind: Ingress, namespace: ns}], to: [{group: configuration.konghq.com, kind: KongPlugin}]}\n",
        "apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: p0, namespace: other}\nplugin: correlation-id\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: ns}\nspec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}, {name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: tls0}]}}]}\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: q0, namespace: ns}\nspec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: s1, port: 80}]}]}\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: b0, namespace: ns}\nspec: {targetRefs: [{group: '', kind: Service, name: s0}], validation: {hostname: web.example, caCertificateRefs: [{group: '', kind: Secret, name: ca0}]}}\n",
        "apiVersion: configuration.konghq.com/v1alpha1\nkind: KongVault\nmetadata: {name: v0, annotations: {kubernetes.io/ingress.class: kong}}\nspec: {backend: env, prefix: x}\n",
        "apiVersion: configuration.konghq.com/v1alpha1\nkind: KongCustomEntity\nmetadata: {name: e0, namespace: ns}\nspec: {type: degraphql_routes, controllerName: kong, fields: {uri: /x}, parentRef: {kind: KongPlugin, name: p0, group: configuration.konghq.com}}\n",
    ]);
    all.prop_map(|text| Change::Put(text.to_owned()))
}

fn gone() -> impl Strategy<Value = Change> {
    let all = select(vec![
        ("Ingress", "i", 5u8),
        ("Service", "s", 3),
        ("EndpointSlice", "e", 2),
        ("KongPlugin", "p", 4),
        ("KongConsumer", "k", 3),
        ("KongClusterPlugin", "c", 2),
        ("TCPIngress", "t", 1),
        ("UDPIngress", "d", 1),
        ("HTTPRoute", "r", 5),
        ("BackendTLSPolicy", "b", 1),
        ("KongCustomEntity", "e", 1),
        ("Secret", "tls", 3),
        ("Secret", "cred", 2),
    ]);
    (all, any::<u8>())
        .prop_map(|((kind, stem, count), n)| Change::Gone(kind, format!("{stem}{}", n % count)))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => ingress(),
        6 => route(),
        4 => service(),
        3 => slice(),
        4 => plugin(),
        2 => consumer(),
        3 => secret(),
        1 => wide(),
        3 => gone(),
    ]
}

const WORLD: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: flotilla.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ns}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: v1
kind: Service
metadata: {name: s0, namespace: ns}
spec: {ports: [{port: 80}]}
";

fn options(expressions: bool, own: bool) -> Options {
    Options {
        flavor: if expressions { RouterFlavor::Expressions } else { RouterFlavor::Traditional },
        engine: if own { Engine::Flotilla } else { Engine::Kong },
        gateway_status: GatewayStatusSource::Derived,
        ..Options::default()
    }
}

fn agrees(kept: &Incremental, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let whole = translate(snapshot, kept.options());
    let text = String::from_utf8(kept.print().to_vec()).unwrap();
    prop_assert_eq!(text, serde_json::to_string(&whole.config).unwrap());
    prop_assert_eq!(kept.census(), Census::of_document(&whole.config));
    let outcomes: Vec<_> = kept.outcomes().iter().map(|one| (**one).clone()).collect();
    prop_assert_eq!(outcomes, whole.outcomes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_kept_is_what_a_translation_of_everything_gives(
        changes in prop::collection::vec(change(), 1..40),
        expressions: bool,
        own: bool,
    ) {
        let mut snapshot = Arc::new(load(WORLD));
        let mut kept = Incremental::new(Arc::clone(&snapshot), options(expressions, own));
        agrees(&kept, &snapshot)?;
        for change in changes {
            snapshot = Arc::new(change.apply(&snapshot));
            kept.follow(Arc::clone(&snapshot));
            agrees(&kept, &snapshot)?;
        }
    }
}

#[test]
fn everyday_changes_take_few_steps() {
    let world = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i0, namespace: ns, annotations: {konghq.com/plugins: p0}}\nspec: {ingressClassName: kong, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s0, port: {number: 80}}}}]}}]}\n---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: p0, namespace: ns}\nplugin: key-auth\n";
    let mut snapshot = Arc::new(load(WORLD).with(&load(world)));
    let mut kept = Incremental::new(Arc::clone(&snapshot), options(true, true));
    for (change, most) in [
        (world.replace("path: /,", "path: /b,"), 2),
        (world.replace("plugin: key-auth", "plugin: acl"), 2),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: s0, namespace: ns}\nspec: {ports: [{port: 80}, {port: 81, name: x}]}\n".to_owned(), 2),
        ("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: ns, labels: {kubernetes.io/service-name: s0}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]\n".to_owned(), 1),
    ] {
        let document = change.split("---\n").collect::<Vec<_>>();
        let changed: Vec<&&str> = document.iter().filter(|text| !world.contains(**text)).collect();
        for text in changed {
            snapshot = Arc::new(snapshot.with(&load(text)));
        }
        let followed = kept.follow(Arc::clone(&snapshot));
        assert!(matches!(followed, Followed::Steps(n) if n <= most), "{followed:?} for {change}");
        agrees(&kept, &snapshot).unwrap();
    }
}
