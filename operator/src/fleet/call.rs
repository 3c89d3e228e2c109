//! One call to one instance: over the kept connection if it still stands, else over a new one.

use operator_core::election::Role;
use operator_core::fleet::event::{Probed, Pushed, TroubleKind};
use tokio::sync::watch;

use crate::admin::{Connection, Post, Target};
use crate::ticks::Ticks;

/// The right to push, looked at again when it matters.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) role: watch::Receiver<Role>,
    pub(super) ticks: Ticks,
    pub(super) term: u64,
}

impl Fence {
    fn holds(&self) -> bool {
        self.role.borrow().term_at(self.ticks.now()) == Some(self.term)
    }
}

/// Asks an instance who it is and what it holds.
pub(super) async fn probe(
    kept: Option<Connection>,
    target: &Target,
) -> (Option<Connection>, Probed) {
    if let Some(mut connection) = kept.filter(Connection::is_open) {
        let probed = connection.probe().await;
        if !closed(&probed) {
            return (Some(connection), probed);
        }
        // A kept connection may end at any time without anything being wrong.
    }
    match Connection::open(target).await {
        Ok(mut connection) => {
            let probed = connection.probe().await;
            let usable = matches!(probed, Probed::Answered(_));
            (usable.then_some(connection), probed)
        }
        Err(trouble) => (None, Probed::Failed(trouble)),
    }
}

fn closed(probed: &Probed) -> bool {
    match probed {
        Probed::Failed(trouble) => trouble.kind == TroubleKind::Unreachable,
        Probed::Answered(_) => false,
    }
}

/// Pushes a configuration. The right to push is looked at again right before the first byte.
pub(super) async fn push(
    kept: Option<Connection>,
    target: &Target,
    post: &Post,
    fence: &Fence,
) -> (Option<Connection>, Pushed) {
    let mut connection = match kept.filter(Connection::is_open) {
        Some(connection) => connection,
        None => match Connection::open(target).await {
            Ok(connection) => connection,
            Err(trouble) => return (None, Pushed::Failed(trouble)),
        },
    };
    if !fence.holds() {
        return (Some(connection), Pushed::Withheld);
    }
    let pushed = connection.push(post).await;
    let usable = !matches!(pushed, Pushed::Failed(_) | Pushed::Leaving);
    (usable.then_some(connection), pushed)
}
