//! Leader election on a Lease: carries out what [`Candidate`] decides.
//!
//! One task per replica. It reads and writes one Lease by compare-and-swap, follows it through a
//! watch so that a release is noticed at once, and publishes the role. The lease is released on
//! shutdown, after everyone who acts for the leader has ended.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use operator_core::election::{Candidate, Record, Role, Step, Timing};
use operator_core::moment::Moment;
use runtime::Shutdown;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::ticks::Ticks;

/// Which Lease, and who we are.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// An identity that no other process ever uses.
    pub identity: Arc<str>,
    /// The times.
    pub timing: Timing,
}

/// Why the lease could not be read or written.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("failed to reach the lease")]
    Api(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    Slow,
}

/// The election task.
#[derive(Debug)]
pub struct Election {
    api: Api<Lease>,
    settings: LeaseSettings,
    ticks: Ticks,
    candidate: Candidate,
    role: watch::Sender<Role>,
}

/// How long one request may take: shorter than the holder's spare time.
const REQUEST: Duration = Duration::from_secs(2);

impl Election {
    /// An election that has not begun.
    #[must_use]
    pub fn new(
        client: Client,
        settings: LeaseSettings,
        ticks: Ticks,
        role: watch::Sender<Role>,
    ) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        let candidate = Candidate::new(Arc::clone(&settings.identity), settings.timing);
        Self { api, settings, ticks, candidate, role }
    }

    /// Runs until `shutdown`, then gives the lease back. From `leaving` on, no lease is made: whoever
    /// deletes it then is uninstalling us.
    pub async fn run(mut self, leaving: Shutdown, shutdown: Shutdown) {
        let only =
            watcher::Config::default().fields(&format!("metadata.name={}", self.settings.name));
        let changes = watcher(self.api.clone(), only);
        // The watch only wakes; what counts is read and swapped by version.
        let changes = changes.filter(|event| std::future::ready(event.is_ok()));
        tokio::pin!(changes);
        let mut next = Moment::ORIGIN;
        loop {
            // Biased: the end first, then our own deadline, so that a storm of changes delays no renewal.
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = self.ticks.reach(next) => {}
                Ok(Some(_)) = changes.try_next(), if !self.leads() => {}
            }
            next = self.round(&leaving).await;
        }
        self.release().await;
    }

    fn leads(&self) -> bool {
        self.role.borrow().term_at(self.ticks.now()).is_some()
    }

    /// Looks, and acts if it is time. Tells when to come back.
    async fn round(&mut self, leaving: &Shutdown) -> Moment {
        let retry = self.settings.timing.retry;
        // A holder renews against the version that it wrote; anyone else looks first.
        if !self.leads() {
            match self.read().await {
                Ok(record) => self.candidate.observe(self.ticks.now(), record),
                Err(error) => {
                    debug!(%error, "lease not read");
                    return self.ticks.now().after(retry);
                }
            }
        }
        let step = self.candidate.step(self.ticks.now());
        let next = match step {
            Step::Wait(at) => at,
            Step::Create if leaving.has_begun() => self.ticks.now().after(retry),
            Step::Create => self.write(None, self.first_term()).await,
            Step::Hold { version, term } => self.write(Some(version), term).await,
        };
        self.publish();
        next
    }

    /// The term of a Lease that is made anew: minutes of the Unix epoch. Somebody may have deleted an
    /// earlier one, and proxies refuse terms that are older than those they have seen.
    fn first_term(&self) -> u64 {
        self.ticks.epoch().saturating_add(self.ticks.now().elapsed()).as_secs() / 60
    }

    async fn read(&self) -> Result<Option<Record>, LeaseError> {
        let lease = timeout(REQUEST, self.api.get_opt(&self.settings.name)).await;
        Ok(lease.map_err(|_| LeaseError::Slow)??.map(|lease| record_of(&lease)))
    }

    async fn write(&mut self, version: Option<String>, term: u64) -> Moment {
        let sent = self.ticks.now();
        let lease = self.lease(version.clone(), self.candidate.identity(), term);
        match self.put(version.is_none(), &lease).await {
            Ok(written) => {
                self.candidate.wrote(sent, record_of(&written));
                sent.after(self.settings.timing.retry)
            }
            Err(LeaseError::Api(kube::Error::Api(status))) if status.code == 409 => {
                // Somebody else was faster: look again.
                match self.read().await {
                    Ok(record) => self.candidate.observe(self.ticks.now(), record),
                    Err(error) => debug!(%error, "lease not read"),
                }
                self.ticks.now().after(Duration::from_millis(100))
            }
            Err(error) => {
                warn!(%error, "lease not written");
                self.ticks.now().after(self.settings.timing.retry / 3)
            }
        }
    }

    /// Creates the lease, or swaps its spec if it still has the version that `lease` names. Labels and
    /// annotations stay whose they are: helm deletes only what carries its own.
    async fn put(&self, create: bool, lease: &Lease) -> Result<Lease, LeaseError> {
        let request = async {
            if create {
                self.api.create(&PostParams::default(), lease).await
            } else {
                let swap = Patch::Merge(lease);
                self.api.patch(&self.settings.name, &PatchParams::default(), &swap).await
            }
        };
        Ok(timeout(REQUEST, request).await.map_err(|_| LeaseError::Slow)??)
    }

    fn lease(&self, version: Option<String>, holder: &str, term: u64) -> Lease {
        let now = MicroTime(Timestamp::now());
        let seconds = i32::try_from(self.settings.timing.duration.as_secs()).unwrap_or(i32::MAX);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.settings.name.clone()),
                namespace: Some(self.settings.namespace.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(i32::try_from(term).unwrap_or(i32::MAX)),
                // For people: nobody here compares clocks.
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    fn publish(&self) {
        let role = self.candidate.role();
        self.role.send_if_modified(|held| {
            let changed = *held != role;
            if std::mem::discriminant(held) != std::mem::discriminant(&role) {
                match &role {
                    Role::Leader { term, .. } => info!(term, "leading"),
                    Role::Standby { leader } => info!(leader = leader.as_deref(), "standing by"),
                }
            }
            *held = role;
            changed
        });
    }

    /// Gives the lease back, so that a successor need not wait for its end.
    async fn release(mut self) {
        self.role.send_replace(Role::Standby { leader: None });
        let Some(record) = self.candidate.release() else { return };
        let lease = self.lease(Some(record.version), "", record.transitions);
        match self.put(false, &lease).await {
            Ok(_) => info!("lease released"),
            Err(error) => warn!(%error, "lease not released"),
        }
    }
}

fn record_of(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    Record {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        transitions: u64::try_from(transitions).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
