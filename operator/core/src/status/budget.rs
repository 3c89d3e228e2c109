//! How fast the operator may write to the API server: it does not grow with the number of proxies.

use std::time::Duration;

use crate::moment::Moment;

/// A few writes at once, so that the first answers come at once; the others follow at a steady pace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many writes the first second may hold.
    pub burst: u32,
    /// The pause between writes after that.
    pub pace: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { burst: 3, pace: Duration::from_millis(50) }
    }
}

/// The second that begins with the first write after a rest.
const FIRST: Duration = Duration::from_secs(1);

/// What may be written when.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    rate: Rate,
    began: Option<Moment>,
    written: u32,
    last: Moment,
}

impl Budget {
    /// A budget that nothing was taken from.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { rate, began: None, written: 0, last: Moment::ORIGIN }
    }

    /// When the next write may be made.
    #[must_use]
    pub fn next(&self, now: Moment) -> Moment {
        self.allowed().map_or(now, |allowed| allowed.max(now))
    }

    /// Takes one write, made at `now`.
    pub fn take(&mut self, now: Moment) {
        // A rest is a second in which something might have been written and was not.
        if self.allowed().is_none_or(|allowed| now >= allowed.after(FIRST)) {
            self.began = Some(now);
            self.written = 0;
        }
        self.written = self.written.saturating_add(1);
        self.last = now;
    }

    /// From when on the next write is within the budget, if it ever was used.
    fn allowed(&self) -> Option<Moment> {
        let began = self.began?;
        let burst = self.written < self.rate.burst;
        Some(if burst {
            self.last
        } else {
            began.after(FIRST).max(self.last.after(self.rate.pace))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times, in milliseconds, at which `count` writes are made that are all wanted at once.
    fn times(budget: &mut Budget, start: u64, count: usize) -> Vec<u64> {
        let mut now = Moment::at(Duration::from_millis(start));
        let write = |_| {
            now = now.max(budget.next(now));
            budget.take(now);
            u64::try_from(now.elapsed().as_millis()).unwrap()
        };
        (0..count).map(write).collect()
    }

    #[test]
    fn three_at_once_then_twenty_a_second() {
        let mut budget = Budget::new(Rate::default());
        assert_eq!(times(&mut budget, 0, 6), [0, 0, 0, 1_000, 1_050, 1_100]);
    }

    #[test]
    fn after_a_rest_the_first_ones_are_at_once_again() {
        let mut budget = Budget::new(Rate::default());
        times(&mut budget, 0, 6);
        assert_eq!(times(&mut budget, 5_000, 4), [5_000, 5_000, 5_000, 6_000]);
    }

    #[test]
    fn a_thousand_writes_take_fifty_seconds() {
        let mut budget = Budget::new(Rate::default());
        let last = times(&mut budget, 0, 1_000).pop().unwrap();
        assert_eq!(last, 1_000 + 996 * 50);
    }
}
