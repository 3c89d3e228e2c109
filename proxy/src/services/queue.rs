//! A bounded queue between plugins, which never wait, and a sender, which does. When it is full the oldest gives way.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use proxy_core::plugin::{Queue, Sink};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The plugins' end; dropping the last one lets the sender finish what is left and end.
pub(super) struct Entrance(Arc<Shared>);

/// The sender's end.
pub(super) struct Exit(Arc<Shared>);

struct Shared {
    records: Mutex<Records>,
    filled: Notify,
    closed: AtomicBool,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Records {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

/// A queue within these limits.
pub(super) fn bounded(limits: &Queue) -> (Entrance, Exit) {
    let shared = Arc::new(Shared {
        records: Mutex::default(),
        filled: Notify::new(),
        closed: AtomicBool::new(false),
        max_entries: limits.max_entries,
        max_bytes: limits.max_bytes.unwrap_or(usize::MAX),
    });
    (Entrance(Arc::clone(&shared)), Exit(shared))
}

impl Sink for Entrance {
    fn send(&self, record: Bytes) {
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.bytes += record.len();
        records.queue.push_back(record);
        while records.queue.len() > self.0.max_entries || records.bytes > self.0.max_bytes {
            let Some(lost) = records.queue.pop_front() else { break };
            records.bytes -= lost.len();
        }
        drop(records);
        self.0.filled.notify_one();
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.filled.notify_one();
    }
}

impl Exit {
    /// The next records: up to `most`, or what came within `delay` of the first. `None` when all is over.
    pub(super) async fn batch(&self, most: usize, delay: Duration) -> Option<Vec<Bytes>> {
        let mut batch = vec![self.next().await?];
        let deadline = Instant::now() + delay;
        while batch.len() < most {
            match timeout_at(deadline, self.next()).await {
                Ok(Some(record)) => batch.push(record),
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    async fn next(&self) -> Option<Bytes> {
        loop {
            let filled = self.0.filled.notified();
            if let Some(record) = self.take() {
                return Some(record);
            }
            if self.0.closed.load(Ordering::Acquire) {
                return None;
            }
            filled.await;
        }
    }

    fn take(&self) -> Option<Bytes> {
        let mut records = self.0.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.queue.pop_front()?;
        records.bytes -= record.len();
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_entries: usize) -> Queue {
        Queue {
            max_batch_size: 10,
            max_coalescing_delay: Duration::ZERO,
            max_entries,
            max_bytes: None,
            max_retry_time: Duration::ZERO,
            initial_retry_delay: Duration::ZERO,
            max_retry_delay: Duration::ZERO,
            concurrency: Some(1),
        }
    }

    #[tokio::test]
    async fn the_oldest_gives_way_when_the_queue_is_full() {
        let (entrance, exit) = bounded(&limits(2));
        for record in ["a", "b", "c"] {
            entrance.send(Bytes::from_static(record.as_bytes()));
        }
        drop(entrance);
        assert_eq!(exit.batch(10, Duration::ZERO).await.unwrap(), ["b", "c"]);
        assert!(exit.batch(10, Duration::ZERO).await.is_none());
    }
}
