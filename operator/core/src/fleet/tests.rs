//! What the fleet as a whole decides.

use super::*;
use crate::revision::Census;

fn revision(number: u64, routes: usize) -> Arc<Revision> {
    let census = Census::new([("routes".to_owned(), routes)]);
    let body = [(Dialect::Traditional, format!("{routes} routes").into())];
    Arc::new(Revision::new(number, body, census, Moment::ORIGIN))
}

#[test]
fn wider_guard_lets_the_held_revision_through() {
    let mut fleet = Fleet::new(Settings::default(), 0);
    fleet.handle(Moment::ORIGIN, Event::Revision(revision(1, 100)));
    fleet.handle(Moment::ORIGIN, Event::Revision(revision(2, 10)));
    let newest = |fleet: &Fleet| fleet.newest().map(|newest| newest.number());
    assert_eq!(newest(&fleet), Some(1));
    let shrink = |percent| ShrinkGuard { percent, ..ShrinkGuard::default() };
    let held =
        fleet.configure(Moment::ORIGIN, Settings { shrink: shrink(60), ..Settings::default() });
    assert_eq!(newest(&fleet), Some(1));
    // It was said once that it is held.
    assert!(!held.iter().any(|effect| matches!(effect, Effect::Note(Note::Held(_)))));
    fleet.configure(Moment::ORIGIN, Settings { shrink: shrink(90), ..Settings::default() });
    assert_eq!(newest(&fleet), Some(2));
    assert!(fleet.view().hold.is_none());
}
