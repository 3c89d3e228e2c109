//! Shutdown in two steps: the first signal asks every task to end in order, the second one, or the
//! end of the grace period, ends the process at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The request to end, as tasks see it. Clones share it; children end with their parent.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A request that has not been made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to end. A second call changes nothing.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether the end was asked for.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// A part that ends with this one, or earlier by itself: steps of an orderly end.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }
}

/// Waits for SIGINT or SIGTERM and names the one that came.
///
/// # Errors
/// When the process may not listen for signals.
pub async fn signalled() -> std::io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Biased: both mean the same, and a fixed order keeps the choice repeatable.
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Begins `shutdown` at the first signal and returns `true` when a second one came, or `grace` went
/// by, before `finished` resolved; `false` when everything ended in order.
///
/// # Errors
/// When the process may not listen for signals.
pub async fn conduct(
    shutdown: &Shutdown,
    grace: Duration,
    finished: impl Future<Output = ()>,
) -> std::io::Result<bool> {
    tokio::pin!(finished);
    // Biased: a process whose work is over does not wait for signals.
    tokio::select! {
        biased;
        () = &mut finished => return Ok(false),
        () = shutdown.requested() => {}
        name = signalled() => {
            info!(signal = name?, grace_seconds = grace.as_secs(), "shutdown begun");
            shutdown.begin();
        }
    }
    // Biased: an orderly end wins over a deadline that passes at the same moment.
    tokio::select! {
        biased;
        () = &mut finished => Ok(false),
        name = signalled() => {
            warn!(signal = name?, "second signal: ending at once");
            Ok(true)
        }
        () = tokio::time::sleep(grace) => {
            warn!(grace_seconds = grace.as_secs(), "grace period over: ending at once");
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn children_end_with_their_parent_but_not_the_other_way() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.begin();
        assert!(!parent.has_begun() && !second.has_begun());
        parent.begin();
        assert!(second.has_begun());
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_period_bounds_an_end_that_never_comes() {
        let shutdown = Shutdown::new();
        shutdown.begin();
        let forced = conduct(&shutdown, Duration::from_secs(30), std::future::pending()).await;
        assert!(forced.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_orderly_end_is_not_forced() {
        let shutdown = Shutdown::new();
        let work = shutdown.clone();
        shutdown.begin();
        let forced = conduct(&shutdown, Duration::from_secs(30), async move {
            work.requested().await;
        });
        assert!(!forced.await.unwrap());
    }
}
