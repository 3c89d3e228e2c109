//! How long and how often an upstream is tried: as the service says, or as a plugin wished.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use proxy_core::exchange::{Retry, Wishes};
use proxy_core::table::Service;
use tokio::time::Instant;

use super::Outgoing;

/// How long an attempt may take at each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until there is a connection.
    pub(super) connect: Duration,
    /// Until the upstream takes what is written.
    pub(super) write: Duration,
    /// Until the upstream says something.
    pub(super) read: Duration,
}

/// What is left for a request.
pub(super) struct Limits {
    usual: Patience,
    backend: Option<Duration>,
    deadline: Option<Instant>,
    left: u32,
    retry: Option<Arc<Retry>>,
}

impl Limits {
    /// The limits of a request that begins now.
    pub(super) fn new(service: &Service, wishes: &Wishes) -> Self {
        let retry = wishes.retry.clone();
        Self {
            usual: Patience {
                connect: service.connect_timeout,
                write: service.write_timeout,
                read: service.read_timeout,
            },
            backend: wishes.backend_timeout,
            deadline: wishes.request_timeout.map(|timeout| Instant::now() + timeout),
            left: retry.as_ref().map_or(service.retries, |retry| retry.attempts),
            retry,
        }
    }

    /// How long the next attempt may take at each step.
    pub(super) fn patience(&self) -> Patience {
        let remaining = self.deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let bound = |usual: Duration| {
            let attempt = self.backend.unwrap_or(usual);
            remaining.map_or(attempt, |remaining| attempt.min(remaining))
        };
        let Patience { connect, write, read } = self.usual;
        Patience { connect: bound(connect), write: bound(write), read: bound(read) }
    }

    /// The answers that are worth another attempt, as long as there is one and the request can be sent again.
    pub(super) fn unwanted(&self, body: &Outgoing) -> &[StatusCode] {
        match &self.retry {
            Some(retry) if self.may_try_again() && body.is_repeatable() => &retry.codes,
            Some(_) | None => &[],
        }
    }

    /// Whether another attempt may be made.
    pub(super) fn may_try_again(&self) -> bool {
        self.left > 0 && self.deadline.is_none_or(|end| Instant::now() < end)
    }

    /// Counts an attempt, and pauses before the next one where that is wished.
    pub(super) async fn tried(&mut self) {
        self.left = self.left.saturating_sub(1);
        let pause = self.retry.as_ref().map_or(Duration::ZERO, |retry| retry.backoff);
        let end = Instant::now() + pause;
        if !pause.is_zero() {
            tokio::time::sleep_until(self.deadline.map_or(end, |deadline| end.min(deadline))).await;
        }
    }
}
