//! Priorities of routes in the expressions dialect, laid out as Kong Ingress Controller lays them out.
//!
//! Gateway API decides between matches of one request by their traits; each trait gets bits of one number, the most
//! important ones on the left. What remains equal is ordered by age, namespace, name, rule and match in the lowest bits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use k8s_openapi::jiff::Timestamp;

/// Bits above all traits, by kind: gRPC below HTTP, and both below Ingress.
const KIND_SHIFT: u32 = 44;
const GRPC: u64 = 1;
const HTTP: u64 = 2;

/// What counts for the precedence of an HTTP match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HttpTraits {
    /// The hostname, if any, has no wildcard.
    pub(crate) precise_host: bool,
    /// Length of the hostname.
    pub(crate) host_length: usize,
    /// The path must be equal.
    pub(crate) exact_path: bool,
    /// The path must match a regular expression.
    pub(crate) regex_path: bool,
    /// Length of the path; zero when there is no condition on it.
    pub(crate) path_length: usize,
    /// There is a condition on the method.
    pub(crate) method: bool,
    /// Number of headers.
    pub(crate) headers: usize,
    /// Number of query parameters.
    pub(crate) query_params: usize,
}

impl HttpTraits {
    /// The priority with empty order bits.
    pub(crate) fn encode(self) -> u64 {
        HTTP << KIND_SHIFT
            | u64::from(self.precise_host) << 43
            | capped(self.host_length, 8) << 35
            | u64::from(self.exact_path) << 34
            | u64::from(self.regex_path) << 33
            | capped(self.path_length.saturating_sub(1), 10) << 23
            | u64::from(self.method) << 22
            | capped(self.headers, 5) << 17
            | capped(self.query_params, 5) << 12
    }
}

/// What counts for the precedence of a gRPC match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrpcTraits {
    /// The hostname, if any, has no wildcard.
    pub(crate) precise_host: bool,
    /// Length of the hostname.
    pub(crate) host_length: usize,
    /// Length of the service's name.
    pub(crate) service_length: usize,
    /// Length of the method's name.
    pub(crate) method_length: usize,
    /// Number of headers.
    pub(crate) headers: usize,
}

impl GrpcTraits {
    /// The priority with empty order bits.
    pub(crate) fn encode(self) -> u64 {
        GRPC << KIND_SHIFT
            | u64::from(self.precise_host) << 43
            | capped(self.host_length, 8) << 35
            | capped(self.service_length, 11) << 24
            | capped(self.method_length, 11) << 13
            | capped(self.headers, 5) << 8
    }
}

/// Fills the order bits: within one priority the first in `order` gets the highest value. The lowest value is shared
/// when there are more equals than the bits can tell apart.
///
/// `order` gives the place of a match among its equals, smallest first.
pub(crate) fn assign<K: Ord>(bases: &[u64], order: impl Fn(usize) -> K, bits: u32) -> Vec<u64> {
    let mut equals: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, base) in bases.iter().enumerate() {
        equals.entry(*base).or_default().push(index);
    }
    let highest = (1_u64 << bits) - 1;
    let mut priorities = vec![0; bases.len()];
    for (base, mut indices) in equals {
        indices.sort_by_cached_key(|index| order(*index));
        for (place, index) in (0_u64..).zip(indices) {
            priorities[index] = base + highest.saturating_sub(place);
        }
    }
    priorities
}

/// The place of a match among its equals: age, namespace and name of its route, rule, match, and hostname.
pub(crate) type Order<'o> =
    (Option<Timestamp>, Option<&'o str>, Option<&'o str>, usize, usize, Reverse<usize>);

/// An [`Order`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    created: Option<Timestamp>,
    /// The namespace of the route.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: Option<String>,
    rule: usize,
    matched: usize,
    host: Reverse<usize>,
}

impl From<Order<'_>> for Rank {
    fn from((created, namespace, name, rule, matched, host): Order<'_>) -> Self {
        let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
        Self { created, namespace, name, rule, matched, host }
    }
}

/// What is known of the places of all matches.
#[derive(Debug)]
pub(crate) enum Ranks {
    /// Nothing, and nobody asks.
    Unknown,
    /// Nothing yet.
    Wanted,
    /// All of them: single routes can be ordered without the others.
    Known(Places),
}

impl Ranks {
    pub(crate) fn of(all: Vec<(u64, Rank)>) -> Self {
        let mut places = Places::default();
        places.add(all);
        Self::Known(places)
    }
}

/// The places of all matches, by their priority with empty order bits.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<u64, BTreeSet<Rank>>);

impl Places {
    pub(crate) fn add(&mut self, places: Vec<(u64, Rank)>) {
        for (base, rank) in places {
            self.0.entry(base).or_default().insert(rank);
        }
    }

    pub(crate) fn remove(&mut self, places: &[(u64, Rank)]) {
        for (base, rank) in places {
            if let Some(equals) = self.0.get_mut(base) {
                equals.remove(rank);
            }
        }
    }

    /// All places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Rank)> {
        self.0.iter().flat_map(|(base, equals)| equals.iter().map(|rank| (*base, rank)))
    }

    /// The places behind this one among its equals.
    pub(crate) fn behind(&self, (base, rank): &(u64, Rank)) -> impl Iterator<Item = &Rank> {
        let behind = (Bound::Excluded(rank), Bound::Unbounded);
        self.0.get(base).into_iter().flat_map(move |equals| equals.range::<Rank, _>(behind))
    }

    /// The priority of a match, as [`assign`] finds it.
    pub(crate) fn priority(&self, (base, rank): &(u64, Rank), bits: u32) -> u64 {
        let before = self.0.get(base).map_or(0, |equals| equals.range(..rank).count());
        let highest = (1_u64 << bits) - 1;
        base + highest.saturating_sub(u64::try_from(before).unwrap_or(u64::MAX))
    }
}

/// A number that stays within its bits, so that an overlong value never reaches into another trait.
fn capped(value: usize, bits: u32) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX).min((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_prefix_has_the_recorded_priority() {
        let traits = HttpTraits {
            precise_host: true,
            host_length: "shop.example.com".len(),
            path_length: "/app".len(),
            ..HttpTraits::default()
        };
        assert_eq!(assign(&[traits.encode()], |_| (), 12), [44_530_246_094_847]);
    }

    #[test]
    fn grpc_method_has_the_recorded_priority() {
        let traits = GrpcTraits {
            precise_host: true,
            host_length: "grpc.example.com".len(),
            service_length: "echo.Echo".len(),
            method_length: "Say".len(),
            headers: 0,
        };
        assert_eq!(assign(&[traits.encode()], |_| (), 8), [26_938_185_900_287]);
    }

    #[test]
    fn equals_are_counted_down_and_never_underflow() {
        let bases = vec![0; 300];
        let priorities = assign(&bases, |index| index, 8);
        assert_eq!(priorities[0], 255);
        assert_eq!(priorities[255], 0);
        assert_eq!(priorities[299], 0);
    }

    #[test]
    fn an_overlong_path_does_not_reach_into_the_next_trait() {
        let long = HttpTraits { path_length: 5_000, ..HttpTraits::default() };
        let regex = HttpTraits { regex_path: true, ..HttpTraits::default() };
        assert!(long.encode() < regex.encode());
    }
}
