//! The folder of manifests as the source of objects: read whole after every change.
//!
//! A file that cannot be read leaves the last good reading in force and is named with the object and
//! the reason: half a folder never becomes a configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::{RecursiveMode, Watcher};
use operator_core::object::Object;
use operator_core::snapshot::{Loader, Snapshot, Unreadable};
use runtime::Shutdown;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::present::say;
use super::upstreams::Echoes;
use crate::ticks::Ticks;
use crate::translator::Scene;

/// Editors write in several steps: a change counts once it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(40);
/// A folder whose changes the system does not report is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    upstreams: BTreeMap<String, SocketAddr>,
    scenes: watch::Sender<Option<Scene>>,
    ticks: Ticks,
    echoes: Echoes,
    last: Option<Vec<(PathBuf, String)>>,
}

impl Folder {
    /// A folder that has not been read.
    #[must_use]
    pub fn new(
        path: PathBuf,
        upstreams: BTreeMap<String, SocketAddr>,
        scenes: watch::Sender<Option<Scene>>,
        ticks: Ticks,
    ) -> Self {
        Self { path, upstreams, scenes, ticks, echoes: Echoes::default(), last: None }
    }

    /// Reads it after every change, until shutdown.
    ///
    /// # Errors
    /// When it cannot be read at the beginning.
    pub async fn run(mut self, shutdown: Shutdown) -> anyhow::Result<()> {
        let (changes, mut changed) = watch::channel(());
        let mut watcher = notify::recommended_watcher(move |_| {
            // Nobody listens any more when the task ends.
            let _ = changes.send(());
        })
        .context("failed to watch files")?;
        watcher
            .watch(&self.path, RecursiveMode::Recursive)
            .with_context(|| format!("failed to watch {}", self.path.display()))?;
        self.look().await?;
        loop {
            // Biased: the end first.
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                Ok(()) = changed.changed() => {
                    let quiet = async { while timeout(QUIET, changed.changed()).await.is_ok() {} };
                    // A folder that never rests is read all the same.
                    let _ = timeout(QUIET * 10, quiet).await;
                }
                () = sleep(LOOK_AGAIN) => {}
            }
            if let Err(error) = self.look().await {
                say(&format!("✗ {error:#}; the last good configuration stays"));
            }
        }
    }

    /// Reads everything; publishes it when it changed and every file could be read.
    async fn look(&mut self) -> anyhow::Result<()> {
        let changed_at = self.ticks.now();
        let files = read(&self.path)?;
        if self.last.as_ref() == Some(&files) {
            return Ok(());
        }
        let first = load(&self.path, &files, &[]);
        let problems = first.0.unreadable.clone();
        let (snapshot, _) = if problems.is_empty() {
            let slices = self.endpoints(&first.0).await?;
            load(&self.path, &files, &slices)
        } else {
            first
        };
        self.last = Some(files);
        if !problems.is_empty() {
            complain(&problems);
            return Ok(());
        }
        self.scenes.send_replace(Some(Scene { snapshot: Arc::new(snapshot), changed_at }));
        Ok(())
    }

    /// Endpoints for Services that have none in the folder: what the caller named, else an echo.
    async fn endpoints(&mut self, snapshot: &Snapshot) -> anyhow::Result<Vec<(String, String)>> {
        let mut slices = Vec::new();
        for service in &snapshot.services {
            let key = format!("{}/{}", service.namespace(), service.name());
            let label = "kubernetes.io/service-name";
            let own = snapshot.endpoint_slices.iter().any(|slice| {
                slice.namespace() == service.namespace()
                    && slice.label(label) == Some(service.name())
            });
            let external = service.spec.as_ref().is_some_and(|it| it.external_name.is_some());
            if own || external {
                continue;
            }
            let address = match self.upstreams.get(&key) {
                Some(address) => *address,
                None => self.echoes.address(&key).await?,
            };
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            let ports: Vec<_> = ports
                .map(|port| {
                    json!({"name": port.name.as_deref().unwrap_or_default(),
                                   "port": address.port(), "protocol": "TCP"})
                })
                .collect();
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-standalone", service.name()),
                    "namespace": service.namespace(),
                    "labels": {label: service.name()},
                },
                "addressType": family,
                "ports": ports,
                "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
            });
            slices.push((format!("endpoints of Service {key}"), slice.to_string()));
        }
        Ok(slices)
    }
}

fn load(
    root: &Path,
    files: &[(PathBuf, String)],
    more: &[(String, String)],
) -> (Snapshot, Vec<operator_core::snapshot::Ignored>) {
    let mut loader = Loader::new().identifying();
    for (path, text) in files {
        let name = path.strip_prefix(root).unwrap_or(path);
        loader.add(&name.display().to_string(), text);
    }
    for (source, text) in more {
        loader.add(source, text);
    }
    loader.finish()
}

fn complain(problems: &[Unreadable]) {
    for Unreadable { object, source, message } in problems {
        say(&format!("✗ {source}: {object}: {message}"));
    }
    say("  the last good configuration stays");
}

/// All manifests under a folder, in the order of their paths.
fn read(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("failed to read the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if matches!(kind, Some("yaml" | "yml" | "json")) {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("failed to read {}", path.display()))?;
                files.push((path, text));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the manifests of a folder.
///
/// # Errors
/// When one of them cannot be read or written.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    for (path, text) in read(from)? {
        let target = to.join(path.strip_prefix(from).unwrap_or(&path));
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&target, text)
            .with_context(|| format!("failed to write {}", target.display()))?;
    }
    Ok(to.to_owned())
}
