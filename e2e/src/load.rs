//! Clients that never stop asking, and count every answer that is not what they asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::http::Client;

/// How many failures are kept word by word.
const KEPT: usize = 20;

/// Load that runs until it is told to stop.
#[must_use]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What the clients saw.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were answered with 200.
    pub answered: u64,
    /// Requests that were not.
    pub failed: u64,
    /// The first of the failures, in words.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts clients that ask `address` for `/` of `host`: half of them keep their connections, half do not.
    pub fn start(address: SocketAddr, host: &str, clients: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut handles = Vec::new();
        for index in 0..clients {
            let client = if index % 2 == 0 { Client::new()? } else { Client::without_keepalive()? };
            let (shared, host) = (Arc::clone(&shared), host.to_owned());
            handles.push(std::thread::spawn(move || shared.ask(&client, address, &host)));
        }
        Ok(Self { shared, clients: handles })
    }

    /// How many requests have been answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Stops the clients and says what they saw.
    pub fn finish(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            if client.join().is_err() {
                bail!("a client of the load panicked");
            }
        }
        Ok(Tally {
            answered: self.shared.answered.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            failures: self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }
}

impl Shared {
    fn ask(&self, client: &Client, address: SocketAddr, host: &str) {
        while !self.stop.load(Ordering::Relaxed) {
            match client.get(address, host, "/") {
                Ok(answer) if answer.status == 200 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => self.fail(format!("{}: {}", answer.status, answer.body.trim())),
                Err(error) => self.fail(format!("{error:#}")),
            }
            // A steady stream, not a flood: two cores carry the whole cluster.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn fail(&self, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < KEPT {
            failures.push(what);
        }
    }
}
