//! Deadlines that are hardly ever reached, at little cost.
//!
//! Arming and disarming a timer for every wait takes a lock twice. A [`Timer`] is armed once and left as it is while
//! deadlines move on: when it goes off too early, it is armed for the deadline of that moment.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for one wait after another.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// What the future gives, unless the deadline passes before.
    pub async fn until<F: Future>(&mut self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|ctx| {
            if let Poll::Ready(output) = future.as_mut().poll(ctx) {
                return Poll::Ready(Some(output));
            }
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            while sleep.as_mut().poll(ctx).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
                sleep.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_wait_ends_at_its_own_deadline_and_not_before() {
        let mut timer = Timer::default();
        for milliseconds in [10, 30, 5, 20] {
            let deadline = Instant::now() + Duration::from_millis(milliseconds);
            assert!(timer.until(deadline, std::future::pending::<()>()).await.is_none());
            assert!(Instant::now() >= deadline);
            assert_eq!(timer.until(Instant::now(), std::future::ready(1)).await, Some(1));
        }
    }

    #[tokio::test]
    async fn what_comes_in_time_wins_over_an_older_alarm() {
        let mut timer = Timer::default();
        let first = Instant::now() + Duration::from_millis(10);
        let soon = tokio::time::sleep(Duration::from_millis(1));
        assert_eq!(timer.until(first + Duration::from_secs(60), soon).await, Some(()));
        let later = tokio::time::sleep(Duration::from_millis(20));
        assert_eq!(timer.until(first + Duration::from_secs(60), later).await, Some(()));
    }
}
