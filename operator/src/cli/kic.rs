//! Flags and environment variables of Kong Ingress Controller: what each means here.
//!
//! `flotilla run` takes a release's flags and `CONTROLLER_…` variables as they are. Those that mean something become our
//! own arguments; the others are told and have no effect. docs/kic-options.md is printed from this table.

/// What a flag means here.
#[derive(Clone, Copy, Debug)]
enum Means {
    /// The same as one of our flags.
    Same(&'static str),
    /// A feature gate.
    Gate(&'static str),
    /// Whether objects of a kind are read.
    Kind(&'static str),
    /// It is said elsewhere.
    Elsewhere(&'static str),
    /// Nothing: what it did is not needed.
    Needless(&'static str),
}

use Means::{Elsewhere, Gate, Kind, Needless, Same};

const EVENTS: &str = "changes act at once, there is no tick";
const TLS: &str =
    "`spec.tls` of the ProxyFleet: the operator issues and renews certificates itself";
const ALWAYS: &str = "always on";
const KONNECT: &str = "Konnect is not served";

/// Every flag of Kong Ingress Controller 3.5, without its dashes.
const FLAGS: &[(&str, Means)] = &[
    ("admission-webhook-cert", Needless("the operator issues and renews the certificate itself")),
    (
        "admission-webhook-cert-file",
        Needless("the operator issues and renews the certificate itself"),
    ),
    ("admission-webhook-key", Needless("the operator issues and renews the certificate itself")),
    (
        "admission-webhook-key-file",
        Needless("the operator issues and renews the certificate itself"),
    ),
    (
        "admission-webhook-listen",
        Elsewhere(
            "`--admission-listen`, `admission.webhook` of the chart; `flotilla check -f` says the same offline",
        ),
    ),
    ("anonymous-reports", Needless("nothing is reported to anybody")),
    ("apiserver-burst", Needless("the API server's own priority and fairness decide")),
    ("apiserver-host", Elsewhere("the kubeconfig, or the pod's service account")),
    ("apiserver-qps", Needless("the API server's own priority and fairness decide")),
    (
        "cache-sync-timeout",
        Needless("nothing is served before every kind was listed, however long it takes"),
    ),
    ("cluster-domain", Same("--cluster-domain")),
    (
        "combined-services-from-different-httproutes",
        Gate("CombinedServicesFromDifferentHTTPRoutes"),
    ),
    ("configmap-label-selector", Needless("ConfigMaps count when something refers to them")),
    ("dump-config", Elsewhere("`/fleets` on the metrics port, `flotilla translate`")),
    ("dump-sensitive-config", Elsewhere("`flotilla translate`")),
    ("election-id", Same("--lease-name")),
    ("election-namespace", Elsewhere("the namespace of the operator's pod")),
    ("emit-kubernetes-events", Needless(ALWAYS)),
    ("enable-controller-gwapi-gateway", Kind("Gateway")),
    ("enable-controller-gwapi-grpcroute", Kind("GRPCRoute")),
    ("enable-controller-gwapi-httproute", Kind("HTTPRoute")),
    ("enable-controller-gwapi-reference-grant", Kind("ReferenceGrant")),
    ("enable-controller-ingress-class-networkingv1", Kind("IngressClass")),
    ("enable-controller-ingress-class-parameters", Kind("IngressClassParameters")),
    ("enable-controller-ingress-networkingv1", Kind("Ingress")),
    ("enable-controller-kong-custom-entity", Kind("KongCustomEntity")),
    ("enable-controller-kong-license", Kind("KongLicense")),
    ("enable-controller-kong-service-facade", Kind("KongServiceFacade")),
    ("enable-controller-kong-upstream-policy", Kind("KongUpstreamPolicy")),
    ("enable-controller-kong-vault", Kind("KongVault")),
    ("enable-controller-kongclusterplugin", Kind("KongClusterPlugin")),
    ("enable-controller-kongconsumer", Kind("KongConsumer")),
    ("enable-controller-kongingress", Kind("KongIngress")),
    ("enable-controller-kongplugin", Kind("KongPlugin")),
    ("enable-controller-service", Needless(ALWAYS)),
    ("enable-controller-tcpingress", Kind("TCPIngress")),
    ("enable-controller-udpingress", Kind("UDPIngress")),
    ("enable-drain-support", Same("--enable-drain-support")),
    ("enable-reverse-sync", Needless("what a proxy holds is compared all the time: `spec.drift`")),
    ("feature-gates", Same("--feature-gates")),
    ("force-leader-election", Needless(ALWAYS)),
    ("gateway-api-controller-name", Same("--gateway-api-controller-name")),
    ("gateway-discovery-dns-strategy", Needless("proxies are known by their pods, not by names")),
    (
        "gateway-discovery-readiness-check-interval",
        Needless("each proxy is asked for itself, as often as the fleet allows"),
    ),
    ("gateway-discovery-readiness-check-timeout", Needless("each proxy has a deadline of its own")),
    ("gateway-to-reconcile", Elsewhere("`spec.gatewayClasses` of the ProxyFleet")),
    ("health-probe-bind-address", Same("--health-listen")),
    ("ingress-class", Same("--ingress-class")),
    ("init-cache-sync-duration", Needless("nothing is served before every kind was listed")),
    ("kong-admin-ca-cert", Elsewhere(TLS)),
    ("kong-admin-ca-cert-file", Elsewhere(TLS)),
    ("kong-admin-concurrency", Needless("no database is written")),
    ("kong-admin-filter-tag", Needless("no database is written")),
    ("kong-admin-header", Elsewhere(TLS)),
    ("kong-admin-init-retries", Needless("the operator runs without proxies")),
    ("kong-admin-init-retry-delay", Needless("the operator runs without proxies")),
    ("kong-admin-svc", Elsewhere("`spec.discovery` of the ProxyFleet")),
    ("kong-admin-svc-port-names", Elsewhere("`spec.discovery` of the ProxyFleet")),
    ("kong-admin-tls-client-cert", Elsewhere(TLS)),
    ("kong-admin-tls-client-cert-file", Elsewhere(TLS)),
    ("kong-admin-tls-client-key", Elsewhere(TLS)),
    ("kong-admin-tls-client-key-file", Elsewhere(TLS)),
    ("kong-admin-tls-server-name", Elsewhere(TLS)),
    ("kong-admin-tls-skip-verify", Elsewhere(TLS)),
    ("kong-admin-token", Elsewhere(TLS)),
    ("kong-admin-token-file", Elsewhere(TLS)),
    ("kong-admin-url", Elsewhere("`spec.discovery` of the ProxyFleet")),
    ("kong-workspace", Needless("workspaces are Kong Enterprise's")),
    ("konnect-address", Needless(KONNECT)),
    ("konnect-control-plane-id", Needless(KONNECT)),
    ("konnect-licensing-enabled", Needless(KONNECT)),
    ("konnect-sync-enabled", Needless(KONNECT)),
    ("konnect-tls-client-cert", Needless(KONNECT)),
    ("konnect-tls-client-cert-file", Needless(KONNECT)),
    ("konnect-tls-client-key", Needless(KONNECT)),
    ("konnect-tls-client-key-file", Needless(KONNECT)),
    ("kubeconfig", Elsewhere("the variable `KUBECONFIG`")),
    ("log-format", Same("--log-format")),
    ("log-level", Same("--log-level")),
    ("metrics-access-filter", Elsewhere("a NetworkPolicy; the chart has one")),
    ("metrics-bind-address", Same("--metrics-listen")),
    ("profiling", Needless("there is no profiler in the process")),
    ("proxy-sync-seconds", Needless(EVENTS)),
    ("proxy-timeout-seconds", Needless("the deadline of a push grows with its size")),
    ("publish-service", Same("--publish-service")),
    ("publish-service-udp", Elsewhere("`spec.publish` of the ProxyFleet")),
    ("publish-status-address", Elsewhere("`spec.publish.addresses` of the ProxyFleet")),
    ("publish-status-address-udp", Elsewhere("`spec.publish.addresses` of the ProxyFleet")),
    ("secret-label-selector", Needless("Secrets count when something refers to them")),
    ("skip-ca-certificates", Needless("no database is written")),
    ("sync-period", Needless(EVENTS)),
    ("term-delay", Needless("pushes in flight are awaited")),
    ("update-status", Needless(ALWAYS)),
    (
        "update-status-queue-buffer-size",
        Needless("the newest status of each object waits, nothing else"),
    ),
    ("use-last-valid-config-for-fallback", Same("--use-last-valid-config-for-fallback")),
    ("watch-namespace", Same("--watch-namespaces")),
];

/// Arguments for us, and what is to be told about those that have no effect.
pub(super) type Read = (Vec<String>, Vec<String>);

/// Turns a command line, program and subcommand first, and the environment into our own arguments.
pub(super) fn read(
    args: impl IntoIterator<Item = String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Read {
    let (mut ours, mut notes) = (Vec::new(), Vec::new());
    let mut args = args.into_iter().peekable();
    let mut serves = false;
    while let Some(arg) = args.next() {
        serves |= ours.len() < 4 && arg == "run";
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let flag = name.strip_prefix("--").filter(|_| serves).and_then(find);
        match flag {
            Some((_, Same(own))) if own == name => ours.push(arg),
            Some(flag) => {
                let value = value.or_else(|| args.next_if(|next| !next.starts_with('-')));
                give(flag, value.as_deref().unwrap_or("true"), &mut ours, &mut notes);
            }
            None => ours.push(arg),
        }
    }
    if serves {
        for flag in FLAGS {
            let variable = variable(flag.0);
            // What is said on the command line or in our own variables counts more.
            let said = matches!(flag.1, Same(own) if said(own, &ours, &environment));
            if let Some(value) = environment(&variable).filter(|value| !value.is_empty() && !said) {
                give(*flag, &value, &mut ours, &mut notes);
            }
        }
    }
    (ours, notes)
}

fn find(name: &str) -> Option<(&'static str, Means)> {
    FLAGS.iter().find(|(known, _)| *known == name).copied()
}

fn variable(flag: &str) -> String {
    format!("CONTROLLER_{}", flag.to_uppercase().replace('-', "_"))
}

fn said(own: &str, ours: &[String], environment: &impl Fn(&str) -> Option<String>) -> bool {
    let key = own.trim_start_matches("--").to_uppercase().replace('-', "_");
    ours.iter().any(|arg| arg == own || arg.starts_with(&format!("{own}=")))
        || environment(&format!("FLOTILLA_{key}")).is_some()
}

fn give(
    (name, means): (&str, Means),
    value: &str,
    ours: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    match means {
        // A port alone means every address.
        Same(own) if value.starts_with(':') => ours.push(format!("{own}=0.0.0.0{value}")),
        Same(own) => ours.push(format!("{own}={value}")),
        Gate(gate) => ours.push(format!("--feature-gates={gate}={value}")),
        Kind(kind) if value == "false" => ours.push(format!("--ignore-kinds={kind}")),
        Kind(_) => {}
        Elsewhere(place) => notes.push(format!("--{name} has no effect here, see {place}")),
        Needless(why) => notes.push(format!("--{name} has no effect here: {why}")),
    }
}

/// The table as a page.
#[cfg(test)]
fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "# Options of Kong Ingress Controller\n\n\
        `flotilla run` takes the flags of Kong Ingress Controller 3.5 and its `CONTROLLER_…` variables, so that a release's values\n\
        carry over. Our own flags and `FLOTILLA_…` variables count more. Printed from `operator/src/cli/kic.rs`;\n\
        `UPDATE=1 cargo test -p operator kic` writes it anew.\n\n\
        | flag | variable | here |\n|---|---|---|\n",
    );
    for (name, means) in FLAGS {
        let here = match means {
            Same(own) if own.trim_start_matches("--") == *name => "the same".to_owned(),
            Same(own) => format!("`{own}`"),
            Gate(gate) => format!("the feature gate `{gate}`"),
            Kind(kind) => format!("`false` is `--ignore-kinds {kind}`"),
            Elsewhere(place) => format!("different: {place}"),
            Needless(why) => format!("no longer needed: {why}"),
        };
        let _ = writeln!(page, "| `--{name}` | `{}` | {here} |", variable(name));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(args: &[&str], environment: &[(&str, &str)]) -> Read {
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        read(args.iter().map(|arg| (*arg).to_owned()), variable)
    }

    #[test]
    fn flags_and_variables_become_our_own() {
        let (args, notes) = ours(
            &["flotilla", "run", "--election-id=abc", "--proxy-sync-seconds", "3", "--pod-name=x"],
            &[
                ("CONTROLLER_INGRESS_CLASS", "internal"),
                ("CONTROLLER_METRICS_BIND_ADDRESS", ":10255"),
                ("CONTROLLER_ENABLE_CONTROLLER_KONGPLUGIN", "false"),
                ("CONTROLLER_COMBINED_SERVICES_FROM_DIFFERENT_HTTPROUTES", "true"),
            ],
        );
        let wanted = [
            "flotilla",
            "run",
            "--lease-name=abc",
            "--pod-name=x",
            "--feature-gates=CombinedServicesFromDifferentHTTPRoutes=true",
            "--ignore-kinds=KongPlugin",
            "--ingress-class=internal",
            "--metrics-listen=0.0.0.0:10255",
        ];
        assert_eq!(args, wanted);
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn our_own_words_count_more() {
        let theirs = ("CONTROLLER_INGRESS_CLASS", "theirs");
        let (args, _) = ours(&["flotilla", "run", "--ingress-class", "ours"], &[theirs]);
        assert_eq!(args, ["flotilla", "run", "--ingress-class", "ours"]);
        let (args, _) = ours(&["flotilla", "run"], &[theirs, ("FLOTILLA_INGRESS_CLASS", "ours")]);
        assert_eq!(args, ["flotilla", "run"]);
    }

    #[test]
    fn other_commands_are_left_alone() {
        let args = ["flotilla", "translate", "-f", "x", "--cluster-domain", "d"];
        assert_eq!(ours(&args, &[("CONTROLLER_LOG_LEVEL", "debug")]).0, args);
    }

    #[test]
    fn page_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kic-options.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, page()).expect("written");
        }
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(held, page(), "UPDATE=1 writes it anew");
    }
}
