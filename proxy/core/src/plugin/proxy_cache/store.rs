//! Where answers are kept: in memory, within a bound, the oldest giving way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// The bytes that all answers together may take.
const CAPACITY: usize = 128 << 20;

/// An answer that was kept.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The body of the request that brought it.
    pub request_body: Bytes,
    /// When it was kept.
    pub stored: Duration,
    /// For how many seconds it is fresh.
    pub ttl: u64,
    /// For how many seconds it is kept.
    pub keep: u64,
}

impl Entry {
    /// Seconds since it was kept.
    #[must_use]
    pub fn age(&self, now: Duration) -> u64 {
        now.as_secs().saturating_sub(self.stored.as_secs())
    }

    fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.body.len() + headers + 256
    }
}

/// Kept answers by key.
#[derive(Default)]
pub struct Store(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Arc<Entry>>,
    weight: usize,
}

impl Store {
    /// The answer under a key, unless it is past its time.
    pub fn get(&self, key: &str, now: Duration) -> Option<Arc<Entry>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.get(key).filter(|entry| entry.age(now) <= entry.keep).cloned()
    }

    /// Keeps an answer.
    pub fn put(&self, key: String, entry: Entry) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = entry.weight();
        if weight > CAPACITY {
            return;
        }
        if inner.weight + weight > CAPACITY {
            inner.make_room(weight, entry.stored);
        }
        inner.weight += weight;
        if let Some(old) = inner.entries.insert(key, Arc::new(entry)) {
            inner.weight -= old.weight();
        }
    }

    /// Forgets one answer; whether there was one.
    pub fn remove(&self, key: &str) -> bool {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.entries.remove(key) {
            Some(old) => {
                inner.weight -= old.weight();
                true
            }
            None => false,
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }
}

impl Inner {
    /// Drops what is past its time, then the oldest half until the answer fits.
    fn make_room(&mut self, weight: usize, now: Duration) {
        self.entries.retain(|_, entry| entry.age(now) <= entry.keep);
        self.weight = self.entries.values().map(|entry| entry.weight()).sum();
        while self.weight + weight > CAPACITY {
            let mut times: Vec<Duration> =
                self.entries.values().map(|entry| entry.stored).collect();
            times.sort_unstable();
            let Some(middle) = times.get(times.len() / 2).copied() else { return };
            self.entries.retain(|_, entry| entry.stored > middle);
            self.weight = self.entries.values().map(|entry| entry.weight()).sum();
        }
    }
}
