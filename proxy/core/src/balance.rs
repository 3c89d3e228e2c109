//! Which peer of an upstream gets the next request.
//!
//! A [`Balancer`] is built for one set of addresses and never changes; health, connection counts and latencies live in
//! its [`Peer`]s, which the next balancer takes over where the address stays. Picking takes a lock for a few
//! nanoseconds at most and allocates nothing.

pub mod ring;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::health::{Checks, Health};
use ring::Ring;

/// How peers are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Weighted, evenly spread.
    #[default]
    RoundRobin,
    /// By a hash of something in the request.
    ConsistentHashing,
    /// The fewest requests in flight for its weight.
    LeastConnections,
    /// The shortest recent answers of two that are drawn.
    Latency,
}

/// Something in the request that a peer is chosen by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HashOn {
    /// Nothing.
    #[default]
    None,
    /// The consumer, or the credential of an anonymous one.
    Consumer,
    /// The client's address.
    Ip,
    /// The values of a header.
    Header(String),
    /// A cookie, set when it is missing.
    Cookie {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
    },
    /// The normalised path.
    Path,
    /// The values of a query argument.
    QueryArg(String),
    /// A group of the route's regular expression.
    UriCapture(String),
}

/// An address that a target of an upstream stands for.
#[derive(Debug)]
pub struct Peer {
    /// The target as it was declared: `host:port`.
    pub target: Box<str>,
    /// The target's host name or address.
    pub host: Box<str>,
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The share of requests.
    pub weight: u32,
    /// What outlives the balancer.
    pub vitals: Arc<Vitals>,
}

/// What is known of a peer, kept for as long as some configuration has it.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Whether it is fit.
    pub health: Health,
    in_flight: AtomicU32,
    /// Recent latency in milliseconds, and when it was noted, as bits of two `f32`.
    latency: AtomicU64,
}

impl Vitals {
    /// Counts a request until the guard is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Notes how long an answer took; `now` is in seconds since any fixed moment.
    pub fn note_latency(&self, millis: f32, now: f32) {
        let (old, at) = self.read_latency();
        let share = decay(now - at);
        let mixed = if at == 0.0 { millis } else { old * share + millis * (1.0 - share) };
        self.latency
            .store(u64::from(mixed.to_bits()) << 32 | u64::from(now.to_bits()), Ordering::Relaxed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    fn read_latency(&self) -> (f32, f32) {
        let bits = self.latency.load(Ordering::Relaxed);
        (f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32))
    }

    fn expected_latency(&self, now: f32) -> f32 {
        let (latency, at) = self.read_latency();
        latency * decay(now - at)
    }
}

/// What is left of a measurement after some seconds.
fn decay(elapsed: f32) -> f32 {
    (-elapsed.max(0.0) / 10.0).exp()
}

/// A request on its way to a peer.
#[derive(Debug)]
pub struct InFlight(Arc<Vitals>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a choice may depend on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// The text to hash.
    pub key: Option<&'a [u8]>,
    /// Peers that this request has tried in vain.
    pub failed: &'a [usize],
    /// Chance.
    pub random: u64,
    /// Seconds since any fixed moment.
    pub now: f32,
}

/// The peers of one upstream.
#[derive(Debug)]
pub struct Balancer {
    /// The peers.
    pub peers: Vec<Peer>,
    algorithm: Algorithm,
    threshold: f64,
    ring: Option<Ring>,
    /// The running credit of each peer (smooth weighted round-robin).
    credits: Mutex<Vec<i64>>,
}

impl Balancer {
    /// A balancer over peers.
    #[must_use]
    pub fn new(peers: Vec<Peer>, algorithm: Algorithm, slots: usize, checks: &Checks) -> Self {
        let ring = (algorithm == Algorithm::ConsistentHashing).then(|| Ring::new(&peers, slots));
        let credits = Mutex::new(vec![0; peers.len()]);
        Self { peers, algorithm, threshold: checks.threshold, ring, credits }
    }

    /// Whether so much of the weight is available that the upstream counts as healthy.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        let weigh = |fit_only: bool| {
            self.peers
                .iter()
                .filter(|peer| !fit_only || peer.vitals.health.is_fit())
                .map(|peer| f64::from(peer.weight))
                .sum::<f64>()
        };
        let (total, fit) = (weigh(false), weigh(true));
        total > 0.0 && fit > 0.0 && fit / total * 100.0 > self.threshold
    }

    /// The place of the peer for a request; none when there is no fit one.
    #[must_use]
    pub fn pick(&self, wish: Wish<'_>) -> Option<usize> {
        if !self.is_healthy() {
            return None;
        }
        match self.algorithm {
            Algorithm::RoundRobin => self.next_in_turn(wish),
            Algorithm::ConsistentHashing => {
                let key = wish.key.unwrap_or_default();
                self.ring.as_ref()?.find(key, |at| self.is_available(at))
            }
            Algorithm::LeastConnections => self.least_loaded(wish),
            Algorithm::Latency => self.quickest(wish),
        }
    }

    fn is_available(&self, at: usize) -> bool {
        self.peers.get(at).is_some_and(|peer| peer.weight > 0 && peer.vitals.health.is_fit())
    }

    fn next_in_turn(&self, wish: Wish<'_>) -> Option<usize> {
        let mut credits = self.credits.lock().unwrap_or_else(PoisonError::into_inner);
        let untried =
            (0..self.peers.len()).any(|at| self.is_available(at) && !wish.failed.contains(&at));
        let mut best: Option<usize> = None;
        let mut total = 0;
        for (at, peer) in self.peers.iter().enumerate() {
            if !self.is_available(at) {
                continue;
            }
            credits[at] += i64::from(peer.weight);
            total += i64::from(peer.weight);
            let tried = untried && wish.failed.contains(&at);
            if !tried && best.is_none_or(|best| credits[at] > credits[best]) {
                best = Some(at);
            }
        }
        if let Some(best) = best {
            credits[best] -= total;
        }
        best
    }

    fn least_loaded(&self, wish: Wish<'_>) -> Option<usize> {
        let load = |at: &usize| {
            let peer = &self.peers[*at];
            let in_flight = peer.vitals.in_flight.load(Ordering::Relaxed);
            (f64::from(in_flight) + 1.0) / f64::from(peer.weight)
        };
        self.untried(wish).min_by(|a, b| load(a).total_cmp(&load(b)))
    }

    fn quickest(&self, wish: Wish<'_>) -> Option<usize> {
        let all = self.untried(wish).collect::<Vec<_>>();
        let count = all.len() as u64;
        if count == 0 {
            return None;
        }
        let first = wish.random % count;
        let second = (first + 1 + (wish.random >> 32) % count.saturating_sub(1).max(1)) % count;
        #[expect(clippy::cast_possible_truncation, reason = "smaller than the list")]
        let (first, second) = (all[first as usize], all[second as usize]);
        let score = |at: usize| {
            let peer = &self.peers[at];
            peer.vitals.expected_latency(wish.now) / peer.weight.max(1) as f32
        };
        Some(if score(second) < score(first) { second } else { first })
    }

    /// Available peers that were not tried; all available ones when every one was.
    fn untried<'a>(&'a self, wish: Wish<'a>) -> Box<dyn Iterator<Item = usize> + 'a> {
        let available = (0..self.peers.len()).filter(|at| self.is_available(*at));
        if available.clone().any(|at| !wish.failed.contains(&at)) {
            Box::new(available.filter(move |at| !wish.failed.contains(at)))
        } else {
            Box::new(available)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer(weights: &[u32], algorithm: Algorithm) -> Balancer {
        let peers = weights.iter().enumerate().map(|(at, weight)| Peer {
            target: format!("10.0.0.{at}:80").into(),
            host: "h".into(),
            ip: IpAddr::from([10, 0, 0, u8::try_from(at).unwrap()]),
            port: 80,
            weight: *weight,
            vitals: Arc::default(),
        });
        Balancer::new(peers.collect(), algorithm, 10_000, &Checks::default())
    }

    #[test]
    fn turns_follow_weights_exactly_and_smoothly() {
        let balancer = balancer(&[5, 1, 1, 0], Algorithm::RoundRobin);
        let turns = (0..7).map(|_| balancer.pick(Wish::default()).unwrap()).collect::<Vec<_>>();
        assert_eq!(turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn an_unfit_peer_gets_nothing_and_none_left_is_no_answer() {
        let balancer = balancer(&[1, 1], Algorithm::RoundRobin);
        balancer.peers[0].vitals.health.set(false);
        assert!((0..4).all(|_| balancer.pick(Wish::default()) == Some(1)));
        balancer.peers[1].vitals.health.set(false);
        assert_eq!(balancer.pick(Wish::default()), None);
    }

    #[test]
    fn the_least_loaded_peer_counts_its_weight() {
        let balancer = balancer(&[1, 3], Algorithm::LeastConnections);
        let _one = balancer.peers[1].vitals.enter();
        assert_eq!(balancer.pick(Wish::default()), Some(1));
        let _two = balancer.peers[1].vitals.enter();
        let _three = balancer.peers[1].vitals.enter();
        assert_eq!(balancer.pick(Wish::default()), Some(0));
    }
}
