//! `flotilla run`: its arguments, and what they mean.

use std::net::SocketAddr;

use clap::Args;

use operator_core::object::Kind;
use operator_core::options::Options;
use runtime::telemetry::Filter;

use crate::app::{self, Settings};

/// Arguments of `flotilla run`. Each can also be given as an environment variable.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    /// Where /healthz and /readyz are.
    #[arg(long, env = "FLOTILLA_HEALTH_LISTEN", default_value = "0.0.0.0:10254")]
    health_listen: SocketAddr,
    /// Where /metrics and /fleets are.
    #[arg(long, env = "FLOTILLA_METRICS_LISTEN", default_value = "0.0.0.0:10255")]
    metrics_listen: SocketAddr,
    /// Where PUT /log-filter changes what is logged; for whoever may forward ports of this pod.
    #[arg(long, env = "FLOTILLA_DEBUG_LISTEN", default_value = "127.0.0.1:10260")]
    debug_listen: SocketAddr,
    /// Where proxies enroll.
    #[arg(long, env = "FLOTILLA_ENROLLMENT_LISTEN", default_value = "0.0.0.0:8443")]
    enrollment_listen: SocketAddr,
    /// Where the API server asks whether objects may be written; it does not ask by default.
    #[arg(long, env = "FLOTILLA_ADMISSION_LISTEN", value_name = "ADDRESS")]
    admission_listen: Option<SocketAddr>,
    /// The ValidatingWebhookConfiguration in which the authority of the webhook's certificate is kept.
    #[arg(long, env = "FLOTILLA_ADMISSION_CONFIGURATION", value_name = "NAME")]
    admission_configuration: Option<String>,
    /// The ingress class, for fleets that name none.
    #[arg(long, env = "FLOTILLA_INGRESS_CLASS", default_value = "kong", value_name = "CLASS")]
    ingress_class: String,
    /// Switches behavior: NAME=true or NAME=false, separated by commas.
    #[arg(long, env = "FLOTILLA_FEATURE_GATES", value_name = "NAME=BOOL,…")]
    feature_gates: Vec<String>,
    /// Keeps terminating endpoints as targets of weight zero.
    #[arg(long, env = "FLOTILLA_ENABLE_DRAIN_SUPPORT", value_name = "BOOL", default_value = "false",
          default_missing_value = "true", num_args = 0..=1, action = clap::ArgAction::Set)]
    enable_drain_support: bool,
    /// The DNS domain of the cluster, appended to the names of Services.
    #[arg(long, env = "FLOTILLA_CLUSTER_DOMAIN", default_value = "", value_name = "DOMAIN")]
    cluster_domain: String,
    /// A further controller name whose GatewayClasses are served.
    #[arg(long, env = "FLOTILLA_GATEWAY_API_CONTROLLER_NAME", value_name = "NAME")]
    gateway_api_controller_name: Option<String>,
    /// Whether the last good version of a refused object stands in for it.
    #[arg(long, env = "FLOTILLA_USE_LAST_VALID_CONFIG_FOR_FALLBACK", value_name = "BOOL",
          default_value = "true", default_missing_value = "true", num_args = 0..=1,
          action = clap::ArgAction::Set)]
    use_last_valid_config_for_fallback: bool,
    /// Kinds whose objects are left alone, separated by commas.
    #[arg(long, env = "FLOTILLA_IGNORE_KINDS", value_delimiter = ',', value_name = "KIND,…",
          value_parser = kind)]
    ignore_kinds: Vec<Kind>,
    /// The name of the Lease by which replicas elect their leader.
    #[arg(long, env = "FLOTILLA_LEASE_NAME", default_value = "flotilla", value_name = "NAME")]
    lease_name: String,
    /// The Service whose addresses go into the statuses of Ingresses, for fleets that name none.
    #[arg(long, env = "FLOTILLA_PUBLISH_SERVICE", value_name = "NAMESPACE/NAME", value_parser = service)]
    publish_service: Option<(String, String)>,
    /// How many proxies of a fleet are pushed to at once.
    #[arg(long, env = "FLOTILLA_PUSH_CONCURRENCY", default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    push_concurrency: u16,
    /// The namespaces whose objects are served, separated by commas; all by default.
    #[arg(
        long,
        env = "FLOTILLA_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE,…"
    )]
    watch_namespaces: Vec<String>,
    /// The trust domain of the identities that are issued.
    #[arg(
        long,
        env = "FLOTILLA_TRUST_DOMAIN",
        default_value = "cluster.local",
        value_name = "DOMAIN"
    )]
    trust_domain: String,
    /// The name of this pod.
    #[arg(long, env = "POD_NAME", default_value = "flotilla", value_name = "NAME")]
    pod_name: String,
    /// The namespace of this pod: of the Lease and of the authorities' Secrets.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pod_namespace: String,
}

impl RunArgs {
    /// Runs it.
    ///
    /// # Errors
    /// When something could not be started, or a task ended unasked.
    pub(super) async fn run(self, log_filter: Filter) -> anyhow::Result<()> {
        let Self {
            health_listen,
            metrics_listen,
            debug_listen,
            enrollment_listen,
            admission_listen,
            admission_configuration,
            ingress_class,
            feature_gates,
            enable_drain_support,
            cluster_domain,
            gateway_api_controller_name,
            use_last_valid_config_for_fallback,
            ignore_kinds,
            lease_name,
            publish_service,
            push_concurrency,
            watch_namespaces,
            trust_domain,
            pod_name,
            pod_namespace,
        } = self;
        let mut options = Options {
            drain_support: enable_drain_support,
            cluster_domain,
            backfill: use_last_valid_config_for_fallback,
            ..Options::live()
        };
        options.gateway_controllers.extend(gateway_api_controller_name);
        for list in feature_gates {
            options.gates.assign(&list)?;
        }
        app::run(Settings {
            health_listen,
            metrics_listen,
            debug_listen,
            log_filter,
            enrollment_listen,
            admission_listen,
            admission_configuration,
            ingress_class,
            options,
            ignore_kinds: ignore_kinds.into_iter().collect(),
            lease_name,
            publish_service,
            push_concurrency: usize::from(push_concurrency),
            watch_namespaces: watch_namespaces.into_iter().filter(|it| !it.is_empty()).collect(),
            trust_domain,
            pod_name,
            pod_namespace,
        })
        .await
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).ok_or_else(|| format!("{text:?} is no kind that is read"))
}

fn service(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        Some(_) | None => Err(format!("{text:?} is not NAMESPACE/NAME")),
    }
}
