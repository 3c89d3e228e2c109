//! Finds objects by namespace and name, comparing names once and not on every step of a search.

use crate::object::Kind;

/// Where the object of each name stands in a list: an open hash table of places.
///
/// It decides nothing and orders nothing: what it finds, a search by halves would find too.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// Part of the hash, and one more than the place; zero where nothing stands. A power of two of them.
    slots: Vec<(u32, u32)>,
}

impl Directory {
    /// The directory of `keys`, each of which stands once in the list.
    pub(super) fn of<'k>(keys: impl ExactSizeIterator<Item = (&'k str, &'k str)>) -> Self {
        let room = (keys.len() * 2).next_power_of_two();
        let mut slots = vec![(0, 0); room];
        for (place, key) in (1_u32..).zip(keys) {
            let (start, mark) = hash(key);
            let free = probe(start, room).find(|at| slots[*at].1 == 0);
            if let Some(free) = free {
                slots[free] = (mark, place);
            }
        }
        Self { slots }
    }

    /// The place for which `is` holds among those that may have `key`.
    pub(super) fn find(&self, key: (&str, &str), is: impl Fn(usize) -> bool) -> Option<usize> {
        let (start, wanted) = hash(key);
        for at in probe(start, self.slots.len()) {
            let (mark, place) = self.slots[at];
            let place = usize::try_from(place).ok()?.checked_sub(1)?;
            if mark == wanted && is(place) {
                return Some(place);
            }
        }
        None
    }
}

/// Every slot once, from the one that a hash means.
fn probe(start: usize, room: usize) -> impl Iterator<Item = usize> {
    (0..room).map(move |step| (start + step) & (room - 1))
}

/// Where the search begins, and what is compared before names are.
fn hash((namespace, name): (&str, &str)) -> (usize, u32) {
    let hash = texts(0, [namespace, name]);
    #[allow(clippy::cast_possible_truncation)]
    (hash as usize, (hash >> 32) as u32)
}

/// A hash of the name of an object of any kind.
pub(crate) fn hash_of(kind: Kind, namespace: &str, name: &str) -> u64 {
    texts(mix(kind as u64), [namespace, name])
}

fn texts(mut hash: u64, texts: [&str; 2]) -> u64 {
    for text in texts {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            hash = mix(hash ^ u64::from_le_bytes(*word));
        }
        hash = mix(hash ^ text.len() as u64);
    }
    hash
}

/// Spreads every bit over the whole word.
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let names: Vec<String> = (0..1_000).map(|n| format!("web-{n}")).collect();
        let keys: Vec<(&str, &str)> = names.iter().map(|name| ("shop", name.as_str())).collect();
        let directory = Directory::of(keys.iter().copied());
        let find = |key: (&str, &str)| directory.find(key, |place| keys[place] == key);
        for (place, key) in keys.iter().enumerate() {
            assert_eq!(find(*key), Some(place));
        }
        assert_eq!(find(("shop", "web")), None);
        assert_eq!(Directory::default().find(("shop", "web"), |_| true), None);
    }
}
