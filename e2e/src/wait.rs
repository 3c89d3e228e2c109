//! Waiting on conditions, never on times.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a scenario waits for what should take a second, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Tries until an attempt succeeds; when none does in time, fails with the last one's reason.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    within(PATIENCE, what, attempt)
}

/// As [`eventually`], with a patience of its own.
pub fn within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(100)),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("waited {} s in vain: {what}", patience.as_secs()));
            }
        }
    }
}
