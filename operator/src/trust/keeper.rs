//! The trust task: the only owner of the authorities and of the operator's client identities.
//!
//! It settles the authorities, publishes their public halves where fleets are, renews the client
//! identity at two thirds of its life and sends everything through channels. When the API server is
//! away it goes on with what it has. It ticks when fleets change, when an authority's Secret changes
//! and when a certificate is due, and otherwise sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use operator_api::{IdentityMode, Issuer, ProxyFleet, Tls};
use operator_core::trust::{AuthorityStep, LeafStep, leaf_step, shared_server_name};
use runtime::{Clock, Gate, Shutdown};
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::{info, warn};

use super::authority::{Purpose, Role};
use super::enroll::serve_seconds as seconds;
use super::keyring::BuiltIn;
use super::{ClientIdentity, FleetName, Identities, custody, publish, source};
use crate::watch::Stores;

/// The shortest and the longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the task works with.
pub struct Keeper {
    /// The way to the API server.
    pub client: Client,
    /// The fleets.
    pub stores: Stores,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The operator's own namespace.
    pub namespace: String,
    /// The trust domain in identities.
    pub trust_domain: String,
    /// Opens once there is an identity.
    pub gate: Gate,
    /// Where everything goes.
    pub outputs: Outputs,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keeper").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// What the task tells.
#[derive(Debug)]
pub struct Outputs {
    /// What the operator shows to proxies.
    pub identities: watch::Sender<Identities>,
    /// The authorities, for enrollment.
    pub authorities: watch::Sender<Option<Arc<BuiltIn>>>,
    /// The enrollment server's own configuration.
    pub enrollment: watch::Sender<Option<Arc<ServerConfig>>>,
    /// What is wrong with the trust of a fleet, for its status.
    pub problems: watch::Sender<BTreeMap<FleetName, String>>,
}

/// What others follow.
#[derive(Clone, Debug)]
pub struct Followed {
    /// What the operator shows to proxies.
    pub identities: watch::Receiver<Identities>,
    /// The authorities, for enrollment.
    pub authorities: watch::Receiver<Option<Arc<BuiltIn>>>,
    /// The enrollment server's own configuration.
    pub enrollment: watch::Receiver<Option<Arc<ServerConfig>>>,
    /// What is wrong with the trust of a fleet, for its status.
    pub problems: watch::Receiver<BTreeMap<FleetName, String>>,
}

impl Outputs {
    /// The channels, still empty.
    #[must_use]
    pub fn channels() -> (Self, Followed) {
        let (identities, identities_seen) = watch::channel(Identities::default());
        let (authorities, authorities_seen) = watch::channel(None);
        let (enrollment, enrollment_seen) = watch::channel(None);
        let (problems, problems_seen) = watch::channel(BTreeMap::new());
        let followed = Followed {
            identities: identities_seen,
            authorities: authorities_seen,
            enrollment: enrollment_seen,
            problems: problems_seen,
        };
        (Self { identities, authorities, enrollment, problems }, followed)
    }
}

/// What the last round left behind.
#[derive(Default)]
struct Held {
    bundles: Option<(String, String)>,
    client: Option<Arc<ClientIdentity>>,
    /// What the last round knew of fleets: their statuses change all the time and mean nothing here.
    fleets: Vec<(FleetName, Option<String>, Tls)>,
    unpublished: BTreeSet<String>,
}

impl Keeper {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let config = watcher::Config::default().fields("type=flotilla.dev/authority");
        let secrets: Api<PartialObjectMeta<Secret>> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let mut changes = Box::pin(watcher(secrets, config).default_backoff());
        let mut dirty = self.stores.dirty.clone();
        let (mut held, mut pause) = (Held::default(), RETRY.0);
        loop {
            let sleep = match self.round(&mut held).await {
                Ok(sleep) => {
                    pause = RETRY.0;
                    sleep
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "trust could not be renewed, trying again");
                    pause = (pause * 2).min(RETRY.1);
                    pause
                }
            };
            let mut wake = Box::pin(tokio::time::sleep(sleep));
            loop {
                // Shutdown first; the rest in any order, since each only begins the next round.
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return Ok(()),
                    () = &mut wake => break,
                    Some(event) = changes.next() => if is_news(&event) { break },
                    Ok(()) = dirty.changed() => if known(&self.stores.fleets.list()) != held.fleets { break },
                }
            }
        }
    }

    /// Does everything that is due. Returns how long nothing is.
    async fn round(&mut self, held: &mut Held) -> anyhow::Result<Duration> {
        let now = seconds(&*self.clock);
        held.fleets = known(&self.stores.fleets.list());
        let server = custody::settle(&self.client, &self.namespace, Role::Server, now).await?;
        let client = custody::settle(&self.client, &self.namespace, Role::Client, now).await?;
        let built_in = Arc::new(BuiltIn { server, client });
        let mut due = [built_in.server.step(now), built_in.client.step(now)]
            .into_iter()
            .filter_map(|step| match step {
                AuthorityStep::Keep { until } => Some(until),
                _ => None,
            })
            .min()
            .unwrap_or(now);

        due = due.min(self.renew(held, &built_in, now)?);
        due = due.min(self.serve_fleets(held, &built_in, now).await);
        self.gate.open();
        let due = u64::try_from(due.saturating_sub(now)).unwrap_or(0);
        Ok(Duration::from_secs(due.clamp(1, 3_600)))
    }

    /// Renews the client identity and the enrollment server's leaf, both in memory only.
    fn renew(&self, held: &mut Held, built_in: &Arc<BuiltIn>, now: i64) -> anyhow::Result<i64> {
        let bundles = (built_in.server.bundle(), built_in.client.bundle());
        let same = held.bundles.as_ref() == Some(&bundles);
        if let Some(client) = &held.client
            && let LeafStep::Keep { until } = leaf_step(now, client.certificate.validity(), same)
        {
            return Ok(until);
        }
        let client = Arc::new(built_in.client_identity(&self.trust_domain, now)?);
        // Proxies dial names of the operator's Services: all of them are in this namespace.
        let namespace = &self.namespace;
        let purpose = Purpose {
            dns_names: vec![
                format!("*.{namespace}.svc"),
                format!("*.{namespace}.svc.{}", self.trust_domain),
            ],
            ..Purpose::default()
        };
        let leaf = built_in.server_leaf(&purpose, now)?;
        let identity = runtime::tls::Identity::from_pem(
            leaf.chain.as_bytes(),
            leaf.key.as_bytes(),
            bundles.1.as_bytes(),
        )?;
        let config = identity.open_server(&[b"http/1.1"])?;
        info!(serial = %client.certificate.serial, "client identity issued");
        held.bundles = Some(bundles);
        let until = client.certificate.validity().renew_at();
        held.client = Some(client);
        self.outputs.authorities.send_replace(Some(built_in.clone()));
        self.outputs.enrollment.send_replace(Some(Arc::new(config)));
        Ok(until)
    }

    /// Publishes bundles and shared certificates, and reads what fleets bring themselves. One fleet's
    /// trouble is told in its status and keeps no other from its own.
    async fn serve_fleets(&self, held: &mut Held, built_in: &BuiltIn, now: i64) -> i64 {
        let mut due = i64::MAX;
        let fleets = self.stores.fleets.list();
        let mut identities = held.client.clone().map(Identities::built_in).unwrap_or_default();
        let mut problems = BTreeMap::new();
        let mut namespaces: BTreeSet<String> =
            fleets.iter().filter_map(|fleet| fleet.metadata.namespace.clone()).collect();
        namespaces.insert(self.namespace.clone());
        let mut unpublished = BTreeSet::new();
        for namespace in namespaces {
            if let Err(error) = publish::bundles(&self.client, &namespace, built_in).await {
                if !held.unpublished.contains(&namespace) {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    warn!(namespace, error, "trust not published");
                }
                due = due.min(now + 60);
                unpublished.insert(namespace);
            }
        }
        for fleet in &fleets {
            let name = fleet_name(fleet);
            if unpublished.contains(&name.0) && fleet.spec.tls.identity == IdentityMode::Pod {
                let problem =
                    format!("ConfigMap {} cannot be written in {}", publish::CONFIG_MAP, name.0);
                problems.insert(name.clone(), problem);
            }
            match self.serve_fleet(fleet, built_in, now).await {
                Ok((own, until)) => {
                    due = due.min(until);
                    if let Some(own) = own {
                        identities.fleets.insert(name, Some(own));
                    }
                }
                Err(error) => {
                    due = due.min(now + 30);
                    let message = format!("{error:#}");
                    if self.outputs.problems.borrow().get(&name) != Some(&message) {
                        warn!(
                            namespace = name.0,
                            fleet = name.1,
                            error = message,
                            "fleet has no trust"
                        );
                    }
                    problems.insert(name.clone(), message);
                    if fleet.spec.tls.issuer != Issuer::BuiltIn {
                        let last = self.outputs.identities.borrow().fleets.get(&name).cloned();
                        identities.fleets.insert(name, last.flatten());
                    }
                }
            }
        }
        held.unpublished = unpublished;
        self.outputs.identities.send_if_modified(|sent| sent.replace_by(identities));
        self.outputs.problems.send_if_modified(|sent| {
            let news = *sent != problems;
            *sent = problems;
            news
        });
        due
    }

    async fn serve_fleet(
        &self,
        fleet: &ProxyFleet,
        built_in: &BuiltIn,
        now: i64,
    ) -> anyhow::Result<(Option<Arc<ClientIdentity>>, i64)> {
        let tls = &fleet.spec.tls;
        match (tls.issuer, tls.identity) {
            (Issuer::BuiltIn, IdentityMode::Shared) => {
                let name = server_name(fleet);
                let until = publish::shared(&self.client, fleet, &name, built_in, now).await?;
                Ok((None, until))
            }
            (Issuer::BuiltIn, IdentityMode::Pod | IdentityMode::InsecureNone) => {
                Ok((None, i64::MAX))
            }
            (Issuer::Secret, _) => {
                let own = source::from_secrets(&self.client, fleet).await?;
                Ok((Some(Arc::new(own)), now + 60))
            }
            (issuer @ (Issuer::CertManager | Issuer::Vault), _) => {
                anyhow::bail!("issuer {issuer:?} is not supported by this version")
            }
        }
    }
}

/// The name that a shared certificate of the fleet carries.
#[must_use]
pub fn server_name(fleet: &ProxyFleet) -> String {
    let (namespace, name) = fleet_name(fleet);
    fleet.spec.tls.server_name.clone().unwrap_or_else(|| shared_server_name(&namespace, &name))
}

/// The part of the fleets that trust depends on.
fn known(fleets: &[Arc<ProxyFleet>]) -> Vec<(FleetName, Option<String>, Tls)> {
    let part = |fleet: &Arc<ProxyFleet>| {
        (fleet_name(fleet), fleet.metadata.uid.clone(), fleet.spec.tls.clone())
    };
    fleets.iter().map(part).collect()
}

fn fleet_name(fleet: &ProxyFleet) -> FleetName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&fleet.metadata.namespace), text(&fleet.metadata.name))
}

fn is_news(event: &watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>) -> bool {
    match event {
        Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => true,
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => false,
    }
}
