//! The one place that spawns: a set of named tasks, in which a task that ends unasked ends the
//! process, by name, instead of leaving it half alive.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use tracing::{Instrument, debug, info_span};

use crate::shutdown::Shutdown;

/// The long-lived tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    shutdown: Shutdown,
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

/// How a set of tasks came to its end.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A task returned although nobody had asked it to.
    #[error("task {name} ended unasked")]
    Unasked {
        /// Which one.
        name: String,
    },
    /// A task failed.
    #[error("task {name} failed")]
    Failed {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
    /// A task panicked.
    #[error("task {name} panicked")]
    Panicked {
        /// Which one.
        name: String,
        /// What the runtime says of it.
        #[source]
        source: JoinError,
    },
}

impl Tasks {
    /// An empty set whose tasks end when `shutdown` begins.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, set: JoinSet::new(), names: HashMap::new() }
    }

    /// The request to end that these tasks follow.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task that runs until shutdown. Returning earlier, or an error, ends the process.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        let span = info_span!("task", name = %name);
        let id = self.set.spawn(task.instrument(span)).id();
        self.names.insert(id, name);
    }

    /// Waits until every task has ended. The first that ends unasked or fails begins the shutdown
    /// of the others, and is what is returned once they are all done.
    ///
    /// # Errors
    /// The first task that ended otherwise than asked.
    pub async fn finish(mut self) -> Result<(), Ended> {
        let mut first = None;
        while let Some(joined) = self.set.join_next_with_id().await {
            let asked = self.shutdown.has_begun();
            let ended = match joined {
                Ok((id, Ok(()))) if asked => {
                    debug!(name = self.name(id), "task ended");
                    None
                }
                Ok((id, Ok(()))) => Some(Ended::Unasked { name: self.name(id) }),
                Ok((id, Err(source))) => Some(Ended::Failed { name: self.name(id), source }),
                Err(source) => Some(Ended::Panicked { name: self.name(source.id()), source }),
            };
            if let Some(ended) = ended {
                tracing::error!(error = %ended, "ending the process");
                self.shutdown.begin();
                first.get_or_insert(ended);
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn name(&self, id: Id) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Tasks {
        Tasks::new(Shutdown::new())
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_ends_the_others_and_is_named() {
        let mut tasks = tasks();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("patient", async move {
            shutdown.requested().await;
            Ok(())
        });
        tasks.spawn("hasty", async { Ok(()) });
        let ended = tasks.finish().await.unwrap_err();
        assert_eq!(ended.to_string(), "task hasty ended unasked");
    }

    #[tokio::test]
    async fn a_panic_is_reported_by_name() {
        let mut tasks = tasks();
        tasks.spawn("fragile", async { panic!("broken") });
        assert!(
            matches!(tasks.finish().await, Err(Ended::Panicked { name, .. }) if name == "fragile")
        );
    }

    #[tokio::test]
    async fn an_asked_for_end_is_no_error() {
        let mut tasks = tasks();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn("patient", async move {
            shutdown.requested().await;
            Ok(())
        });
        tasks.shutdown().begin();
        assert!(tasks.finish().await.is_ok());
    }
}
