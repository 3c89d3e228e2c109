//! Scenes: what the stores hold, frozen after changes.
//!
//! Nothing is shown before every required kind has been listed once. Ticks that arrive while one
//! scene is made make the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use operator_core::object::{Kind, ObjectRef};
use operator_core::snapshot::Snapshot;
use runtime::Tasks;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::app::Settings;
use crate::ticks::Ticks;
use crate::translator::Scene;
use crate::watch::Stores;

/// The shortest time between two scenes: an apply of many objects is one change.
const FLOOR: Duration = Duration::from_millis(10);

/// The pause before Secrets that could not be read are asked for again.
const RETRY: Duration = Duration::from_secs(2);

/// The newest scenes.
#[derive(Clone, Debug)]
pub struct Scenes {
    /// All objects: where members are discovered.
    pub all: watch::Receiver<Option<Scene>>,
    /// The objects of the served namespaces: what is translated.
    pub served: watch::Receiver<Option<Scene>>,
}

impl Scenes {
    /// Starts the task that makes them.
    pub fn start(tasks: &mut Tasks, stores: &Stores, settings: &Settings, ticks: &Ticks) -> Self {
        let (all, all_seen) = watch::channel(None);
        let (served, served_seen) = watch::channel(None);
        let filter = Served::new(settings);
        let (stores, ticks, shutdown) = (stores.clone(), ticks.clone(), tasks.shutdown().clone());
        tasks.spawn("scenes", async move {
            let (mut dirty, mut ready) = (stores.dirty.clone(), stores.ready.clone());
            // Biased: the end first.
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                _ = ready.wait_for(|ready| *ready) => {}
            }
            let mut shown = false;
            loop {
                dirty.borrow_and_update();
                let changed_at = ticks.now();
                let mut snapshot = stores.snapshot();
                let read = stores.secrets.read(&snapshot).await;
                if read.changed {
                    snapshot = stores.snapshot();
                }
                // Later a Secret that cannot be read keeps what it was; at first there is nothing to keep.
                if read.complete || shown {
                    shown = true;
                    let scene = Scene { snapshot: Arc::new(snapshot), changed_at };
                    served.send_replace(Some(filter.within(&scene)));
                    all.send_replace(Some(scene));
                }
                // Biased: the end first.
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return Ok(()),
                    Ok(()) = dirty.changed() => {}
                    () = sleep(RETRY), if !read.complete => {}
                }
                sleep(FLOOR).await;
            }
        });
        Self { all: all_seen, served: served_seen }
    }
}

/// Which objects are served.
#[derive(Clone, Debug)]
pub struct Served {
    namespaces: BTreeSet<String>,
    ignored: BTreeSet<Kind>,
}

impl Served {
    /// Without namespaces, those of all are served.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let namespaces = settings.watch_namespaces.iter().cloned().collect();
        Self { namespaces, ignored: settings.ignore_kinds.clone() }
    }

    /// Whether `object` is among them.
    #[must_use]
    pub fn serves(&self, object: &ObjectRef) -> bool {
        let Self { namespaces, ignored } = self;
        let namespace = &object.namespace;
        let inside =
            namespaces.is_empty() || namespace.is_empty() || namespaces.contains(namespace);
        inside && !ignored.contains(&object.kind)
    }

    fn within(&self, scene: &Scene) -> Scene {
        if self.namespaces.is_empty() && self.ignored.is_empty() {
            return scene.clone();
        }
        let snapshot: Snapshot = scene.snapshot.filtered(|object| self.serves(object));
        Scene { snapshot: Arc::new(snapshot), changed_at: scene.changed_at }
    }
}
