//! The one clock of the operator, as [`Moment`]s: shared by everyone who compares times.

use std::time::Duration;

use operator_core::moment::Moment;
use runtime::{Clock, SystemClock};

/// Monotonic time since the start of the process. Clones tell the same time.
#[derive(Clone, Debug, Default)]
pub struct Ticks {
    clock: SystemClock,
}

impl Ticks {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self::default()
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::at(self.clock.monotonic())
    }

    /// Waits for a moment; for [`Moment::NEVER`] it waits forever.
    pub async fn reach(&self, at: Moment) {
        if at == Moment::NEVER {
            return std::future::pending().await;
        }
        tokio::time::sleep(at.since(self.now())).await;
    }

    /// Wall-clock time at the origin, since the Unix epoch: a moment's wall time is this plus its
    /// distance from the origin.
    #[must_use]
    pub fn epoch(&self) -> Duration {
        self.clock.wall().saturating_sub(self.clock.monotonic())
    }
}
