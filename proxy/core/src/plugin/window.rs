//! Fixed windows aligned to the calendar, and the counters that live in them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The periods that a limit may be given for, shortest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl Period {
    pub(super) const ALL: [Self; 6] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    /// The field's name, and with a capital in headers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// How long the period counts as, in seconds.
    pub(super) const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }

    /// When the period that holds this moment began, in seconds.
    pub(super) fn start(self, now: Duration) -> u64 {
        let now = now.as_secs();
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::Day => now - now % self.seconds(),
            Self::Month | Self::Year => self.calendar_start(now),
        }
    }

    fn calendar_start(self, now: u64) -> u64 {
        let days = now / 86_400;
        let (year, month) = civil(days);
        let month = if self == Self::Year { 1 } else { month };
        days_before(year, month) * 86_400
    }

    /// Seconds until it ends, at least one.
    pub(super) fn reset(self, now: Duration) -> u64 {
        (self.start(now) + self.seconds()).saturating_sub(now.as_secs()).max(1)
    }
}

/// Year and month of a day since the epoch (the civil calendar in whole numbers).
fn civil(days: u64) -> (u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month)
}

/// Days from the epoch to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Whom a counter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// An id, a header value, a path.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
}

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

/// All counters of a gateway, by what the plugin is bound to: they survive configurations.
#[derive(Default)]
pub struct Counters(Mutex<HashMap<String, Arc<Scope>>>);

impl Counters {
    /// The counters of one scope (and, where it has several, one limit in it).
    pub(super) fn scope(&self, name: &str) -> Arc<Scope> {
        let mut scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(scopes.entry(name.to_owned()).or_default())
    }
}

const SHARDS: usize = 16;

/// A shard is swept once it holds this many subjects, and then at each doubling.
const SWEEP_AT: usize = 4_096;

/// The counters of the plugins that are bound to one place.
#[derive(Default)]
pub(super) struct Scope {
    texts: [Mutex<Shard<Box<str>>>; SHARDS],
    addresses: [Mutex<Shard<IpAddr>>; SHARDS],
}

struct Shard<K> {
    subjects: HashMap<K, [Window; 6]>,
    sweep_at: usize,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self { subjects: HashMap::new(), sweep_at: SWEEP_AT }
    }
}

/// What was counted since a period began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Window {
    start: u64,
    count: f64,
}

impl Window {
    /// The count in the period that holds this moment.
    pub(super) fn count(&self, period: Period, now: Duration) -> f64 {
        if self.start == period.start(now) { self.count } else { 0.0 }
    }

    /// Counts in the period that holds this moment.
    pub(super) fn add(&mut self, period: Period, now: Duration, amount: f64) {
        let start = period.start(now);
        if self.start != start {
            *self = Self { start, count: 0.0 };
        }
        self.count += amount;
    }
}

impl Scope {
    /// Reads and changes a subject's windows in one step.
    pub(super) fn with<T>(
        &self,
        subject: Subject<'_>,
        now: Duration,
        change: impl FnOnce(&mut [Window; 6]) -> T,
    ) -> T {
        match subject {
            Subject::Text(text) => {
                let shard = text
                    .bytes()
                    .fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
                let mut shard =
                    self.texts[shard % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(windows) = shard.subjects.get_mut(text) {
                    return change(windows);
                }
                change(shard.insert(text.into(), now))
            }
            Subject::Address(address) => {
                let last = match address {
                    IpAddr::V4(address) => address.octets()[3],
                    IpAddr::V6(address) => address.octets()[15],
                };
                let shard = &self.addresses[usize::from(last) % SHARDS];
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(windows) = shard.subjects.get_mut(&address) {
                    return change(windows);
                }
                change(shard.insert(address, now))
            }
        }
    }
}

impl<K: std::hash::Hash + Eq> Shard<K> {
    fn insert(&mut self, key: K, now: Duration) -> &mut [Window; 6] {
        if self.subjects.len() >= self.sweep_at {
            self.subjects.retain(|_, windows| {
                Period::ALL
                    .iter()
                    .zip(windows)
                    .any(|(period, window)| window.count(*period, now) != 0.0)
            });
            self.sweep_at = (self.subjects.len() * 2).max(SWEEP_AT);
        }
        self.subjects.entry(key).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_where_the_calendar_says() {
        let now = Duration::from_secs(1_732_191_427); // 2024-11-21T12:17:07Z
        assert_eq!(Period::Second.start(now), 1_732_191_427);
        assert_eq!(Period::Minute.start(now), 1_732_191_420);
        assert_eq!(Period::Day.start(now), 1_732_147_200);
        assert_eq!(Period::Month.start(now), 1_730_419_200);
        assert_eq!(Period::Year.start(now), 1_704_067_200);
    }

    #[test]
    fn a_new_period_starts_at_zero() {
        let scope = Scope::default();
        let at = Duration::from_secs;
        let count = |now| {
            scope.with(Subject::Text("a"), at(now), |windows| {
                windows[1].add(Period::Minute, at(now), 1.0);
                windows[1].count(Period::Minute, at(now))
            })
        };
        assert_eq!((count(60), count(61), count(120)), (1.0, 2.0, 1.0));
    }
}
