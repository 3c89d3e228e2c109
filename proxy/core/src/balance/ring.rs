//! The ring of consistent hashing, point for point the one that Kong builds.
//!
//! Each peer gets points in proportion to its weight, named `ip::port n`; a key belongs to the first point at or before
//! its own. A gateway that takes over from Kong sends every key where it went before.

use super::Peer;

/// Points of a peer when all weights are equal.
const POINTS: f64 = 160.0;
/// The smallest ring.
const SMALLEST: usize = 1000;

/// Which peer each point belongs to; sorted by point.
#[derive(Debug)]
pub struct Ring {
    points: Vec<(u32, u32)>,
    size: u32,
}

impl Ring {
    /// The ring of peers, with at least so many slots.
    #[must_use]
    pub fn new(peers: &[Peer], slots: usize) -> Self {
        let size = u32::try_from(slots.max(SMALLEST)).unwrap_or(u32::MAX);
        let total = peers.iter().map(|peer| f64::from(peer.weight)).sum::<f64>();
        let mut taken = std::collections::BTreeMap::<u32, u32>::new();
        let mut order =
            (0_u32..).zip(peers).filter(|(_, peer)| peer.weight > 0).collect::<Vec<_>>();
        order.sort_by(|(_, a), (_, b)| (&a.target, a.ip, a.port).cmp(&(&b.target, b.ip, b.port)));
        for (place, peer) in order {
            let share = f64::from(peer.weight) / total * peers.len() as f64 * POINTS;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small positive number"
            )]
            let mut entries = (share.floor() as u32).max(1);
            let mut number = 1;
            while number <= entries && entries <= size {
                let name = match peer.ip {
                    std::net::IpAddr::V4(ip) => format!("{ip}::{} {number}", peer.port),
                    std::net::IpAddr::V6(ip) => format!("[{ip}]::{} {number}", peer.port),
                };
                match taken.entry(xxhash32(name.as_bytes()) % size) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(place);
                    }
                    std::collections::btree_map::Entry::Occupied(_) => entries += 1,
                }
                number += 1;
            }
        }
        Self { points: taken.into_iter().collect(), size }
    }

    /// The peer of a key, the next one back where it is not available.
    pub fn find(&self, key: &[u8], is_available: impl Fn(usize) -> bool) -> Option<usize> {
        let point = xxhash32(key) % self.size;
        let after = self.points.partition_point(|(at, _)| *at <= point);
        let (before, rest) = self.points.split_at(after);
        before
            .iter()
            .rev()
            .chain(rest.iter().rev())
            .map(|(_, peer)| *peer as usize)
            .find(|peer| is_available(*peer))
    }
}

/// `XXH32` with seed zero.
#[must_use]
pub fn xxhash32(bytes: &[u8]) -> u32 {
    const P1: u32 = 2_654_435_761;
    const P2: u32 = 2_246_822_519;
    const P3: u32 = 3_266_489_917;
    const P4: u32 = 668_265_263;
    const P5: u32 = 374_761_393;
    let word =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let mut blocks = bytes.chunks_exact(16);
    let mut hash = if bytes.len() >= 16 {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, 0_u32.wrapping_sub(P1)];
        for block in &mut blocks {
            for (lane, part) in lanes.iter_mut().zip(block.chunks_exact(4)) {
                *lane =
                    lane.wrapping_add(word(part).wrapping_mul(P2)).rotate_left(13).wrapping_mul(P1);
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    } else {
        P5
    };
    #[expect(clippy::cast_possible_truncation, reason = "the length enters modulo 2^32")]
    let length = bytes.len() as u32;
    hash = hash.wrapping_add(length);
    let mut words = blocks.remainder().chunks_exact(4);
    for part in &mut words {
        hash = hash.wrapping_add(word(part).wrapping_mul(P3)).rotate_left(17).wrapping_mul(P4);
    }
    for byte in words.remainder() {
        hash =
            hash.wrapping_add(u32::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh32() {
        assert_eq!(xxhash32(b""), 46_947_589);
        assert_eq!(xxhash32(b"a"), 1_426_945_110);
        assert_eq!(xxhash32(b"Nobody inspects the spammish repetition"), 3_794_352_943);
    }
}
