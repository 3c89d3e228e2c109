//! Moments as people read them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::moment::Moment;

/// Turns moments into wall-clock times. The anchor is taken once, so that one moment always reads as
/// the same time.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    epoch: Duration,
}

impl Wall {
    /// The wall-clock time of [`Moment::ORIGIN`], since the Unix epoch.
    #[must_use]
    pub const fn new(epoch: Duration) -> Self {
        Self { epoch }
    }

    /// The wall-clock time of `moment`, in whole seconds, as Kubernetes keeps it.
    #[must_use]
    pub fn time(self, moment: Moment) -> Time {
        seconds(self.epoch.saturating_add(moment.elapsed()).as_secs())
    }
}

/// A time from seconds since the Unix epoch.
fn seconds(seconds: u64) -> Time {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// A time from seconds since the Unix epoch, if it is one.
pub(super) fn time_of(seconds: i64) -> Option<Time> {
    (seconds > 0).then(|| Timestamp::from_second(seconds).ok().map(Time)).flatten()
}
