//! Whether a target is fit for traffic: counters, thresholds and the four states between healthy and not.
//!
//! Reports come from answers (passive) and from probes (active), with limits of their own. A limit of zero turns its
//! counter off. A success wipes failures out and the other way round. State outlives configurations: a balancer that is
//! built anew takes over the [`Health`] of every target that it shares with the one before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What was seen of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An answer with this status.
    Status(u16),
    /// The connection was refused, reset or could not be made.
    TcpFailure,
    /// A connection was made, for checks that ask no more.
    Connected,
    /// No answer in time.
    Timeout,
}

/// How many reports of a kind change the state, and which statuses count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Successes until healthy.
    pub successes: u32,
    /// Statuses that are successes.
    pub healthy_statuses: Vec<u16>,
    /// Bad statuses until unhealthy.
    pub http_failures: u32,
    /// Statuses that are failures.
    pub unhealthy_statuses: Vec<u16>,
    /// Refused connections until unhealthy.
    pub tcp_failures: u32,
    /// Timeouts until unhealthy.
    pub timeouts: u32,
}

impl Limits {
    /// Whether no counter counts at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.successes == 0
            && self.http_failures == 0
            && self.tcp_failures == 0
            && self.timeouts == 0
    }
}

/// What an active check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckKind {
    /// A GET.
    #[default]
    Http,
    /// A GET over TLS.
    Https,
    /// A connection.
    Tcp,
    /// A gRPC call.
    Grpc,
    /// A gRPC call over TLS.
    Grpcs,
}

/// Active checks of an upstream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Active {
    /// What is done.
    pub kind: CheckKind,
    /// The path that is asked for.
    pub path: String,
    /// Extra headers.
    pub headers: Vec<(String, Vec<String>)>,
    /// How long one check may take.
    pub timeout: Duration,
    /// How many run at once.
    pub concurrency: usize,
    /// Whether the target's certificate is verified.
    pub verify_certificate: bool,
    /// The server name to ask for.
    pub sni: Option<String>,
    /// How often healthy targets are checked; zero is never.
    pub healthy_interval: Duration,
    /// How often unhealthy targets are checked; zero is never.
    pub unhealthy_interval: Duration,
    /// The limits.
    pub limits: Limits,
}

impl Active {
    /// Whether any check is made.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.healthy_interval.is_zero() || !self.unhealthy_interval.is_zero()
    }
}

/// The health checks of an upstream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checks {
    /// By probing.
    pub active: Active,
    /// By watching answers.
    pub passive: Limits,
    /// Whether passive checks look at the stream's connection only.
    pub passive_http: bool,
    /// The percentage of weight that must stay available.
    pub threshold: f64,
}

impl Checks {
    /// Whether targets are checked in any way.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.active.is_on() || !self.passive.is_off()
    }
}

/// Where a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Fit, nothing against it.
    #[default]
    Healthy,
    /// Fit, with failures counted.
    MostlyHealthy,
    /// Unfit, with successes counted.
    MostlyUnhealthy,
    /// Unfit.
    Unhealthy,
}

#[derive(Debug, Default)]
struct Counters {
    state: State,
    successes: u32,
    http_failures: u32,
    tcp_failures: u32,
    timeouts: u32,
}

/// A target's health.
#[derive(Debug, Default)]
pub struct Health {
    unfit: AtomicBool,
    counters: Mutex<Counters>,
}

impl Health {
    /// Whether it may get requests.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.unfit.load(Ordering::Relaxed)
    }

    /// Sets the state by hand, as the Admin API does.
    pub fn set(&self, fit: bool) {
        let state = if fit { State::Healthy } else { State::Unhealthy };
        self.with(|counters| *counters = Counters { state, ..Counters::default() });
    }

    /// Counts a report; whether fitness changed.
    pub fn report(&self, report: Report, limits: &Limits) -> bool {
        let before = self.is_fit();
        match report {
            Report::Status(status) if limits.healthy_statuses.contains(&status) => {
                self.with(|counters| counters.succeed(limits.successes));
            }
            Report::Connected => self.with(|counters| counters.succeed(limits.successes)),
            Report::Status(status) if limits.unhealthy_statuses.contains(&status) => {
                self.with(|counters| counters.fail(|c| &mut c.http_failures, limits.http_failures));
            }
            Report::Status(_) => {}
            Report::TcpFailure => {
                self.with(|counters| counters.fail(|c| &mut c.tcp_failures, limits.tcp_failures));
            }
            Report::Timeout => {
                self.with(|counters| counters.fail(|c| &mut c.timeouts, limits.timeouts));
            }
        }
        self.is_fit() != before
    }

    fn with(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut counters);
        let unfit = matches!(counters.state, State::MostlyUnhealthy | State::Unhealthy);
        self.unfit.store(unfit, Ordering::Relaxed);
    }
}

impl Counters {
    fn succeed(&mut self, limit: u32) {
        if limit == 0 || self.state == State::Healthy {
            return;
        }
        let successes = self.successes + 1;
        let state = match self.state {
            _ if successes >= limit => State::Healthy,
            State::Unhealthy => State::MostlyUnhealthy,
            same @ (State::Healthy | State::MostlyHealthy | State::MostlyUnhealthy) => same,
        };
        let successes = if state == State::Healthy { 0 } else { successes };
        *self = Self { state, successes, ..Self::default() };
    }

    fn fail(&mut self, counter: impl Fn(&mut Self) -> &mut u32, limit: u32) {
        if limit == 0 || self.state == State::Unhealthy {
            return;
        }
        self.successes = 0;
        *counter(self) += 1;
        if *counter(self) >= limit {
            *self = Self { state: State::Unhealthy, ..Self::default() };
        } else if self.state == State::Healthy {
            self.state = State::MostlyHealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            successes: 2,
            healthy_statuses: vec![200],
            http_failures: 2,
            unhealthy_statuses: vec![500],
            tcp_failures: 1,
            timeouts: 0,
        }
    }

    #[test]
    fn a_success_wipes_failures_out() {
        let health = Health::default();
        health.report(Report::Status(500), &limits());
        health.report(Report::Status(200), &limits());
        health.report(Report::Status(200), &limits());
        health.report(Report::Status(500), &limits());
        assert!(health.is_fit());
        assert!(health.report(Report::Status(500), &limits()));
        assert!(!health.is_fit());
    }

    #[test]
    fn a_limit_of_zero_never_counts_and_other_statuses_do_not_either() {
        let health = Health::default();
        for _ in 0..9 {
            health.report(Report::Timeout, &limits());
            health.report(Report::Status(404), &limits());
        }
        assert!(health.is_fit());
    }

    #[test]
    fn it_takes_all_successes_to_come_back() {
        let health = Health::default();
        health.report(Report::TcpFailure, &limits());
        assert!(!health.is_fit());
        assert!(!health.report(Report::Connected, &limits()));
        assert!(health.report(Report::Connected, &limits()));
    }
}
