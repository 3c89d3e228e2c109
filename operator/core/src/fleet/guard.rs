//! Guards: configurations too suspicious to push without asking a person.
//!
//! A store that lost its objects, a label selector with a typo, a wrong class: each makes a perfectly
//! valid configuration that empties the gateways. Deletion is the dangerous verb, so it is bounded.

use crate::revision::{Census, ConfigHash, Revision};

/// The kinds whose loss a client notices.
const GUARDED: [&str; 3] = ["services", "routes", "consumers"];

/// How much a configuration may shrink at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShrinkGuard {
    /// The share of a kind's entities, in percent, that may vanish at once.
    pub percent: u8,
    /// A kind with fewer live entities than this is never guarded.
    pub floor: usize,
}

impl Default for ShrinkGuard {
    fn default() -> Self {
        Self { percent: 50, floor: 20 }
    }
}

/// A configuration that a guard holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The held revision.
    pub number: u64,
    /// Its hash: allowing names it, so that only this very configuration is allowed.
    pub hash: ConfigHash,
    /// The kind that shrinks.
    pub kind: &'static str,
    /// How many entities of it are live.
    pub before: usize,
    /// How many would be left.
    pub after: usize,
}

impl ShrinkGuard {
    /// Judges the step from the live configuration to a new one.
    #[must_use]
    pub fn judge(self, live: &Census, next: &Revision) -> Option<Hold> {
        let hash = next.bodies().next().map(|(_, body)| body.hash())?;
        GUARDED.into_iter().find_map(|kind| {
            let (before, after) = (live.of(kind), next.census().of(kind));
            let lost = before.saturating_sub(after);
            let bound = before.saturating_mul(usize::from(self.percent)) / 100;
            (before >= self.floor && lost > bound).then(|| Hold {
                number: next.number(),
                hash,
                kind,
                before,
                after,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;
    use crate::revision::Dialect;

    #[track_caller]
    fn check(before: usize, after: usize, held: bool) {
        let census = |count| Census::new([("routes".to_owned(), count)]);
        let next = Revision::new(
            2,
            [(Dialect::Traditional, format!("{after}").into())],
            census(after),
            Moment::ORIGIN,
        );
        assert_eq!(ShrinkGuard::default().judge(&census(before), &next).is_some(), held);
    }

    #[test]
    fn sharp_shrink_is_held_and_small_or_gentle_ones_pass() {
        check(100, 0, true);
        check(100, 49, true);
        check(100, 50, false);
        check(19, 0, false);
        check(20, 0, true);
        check(0, 0, false);
        check(10, 500, false);
    }
}
