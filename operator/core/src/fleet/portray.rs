//! How state becomes a view: the only place that turns one into the other.

use crate::fleet::instance::{Instance, Wanted};
use crate::fleet::view::{Desired, InstanceView, Rejected, RevisionView};
use crate::revision::Revision;

/// The newest revision as others see it.
pub(crate) fn revision(revision: &Revision) -> RevisionView {
    RevisionView {
        number: revision.number(),
        hashes: revision.bodies().map(|(dialect, body)| (dialect, body.hash())).collect(),
        sizes: revision.bodies().map(|(dialect, body)| (dialect, body.bytes().len())).collect(),
        census: revision.census().clone(),
        changed_at: revision.changed_at(),
    }
}

/// An instance as others see it, or `None` when that is what they see already.
pub(crate) fn instance(
    instance: &Instance,
    wanted: Wanted<'_>,
    held: bool,
    before: Option<&std::sync::Arc<InstanceView>>,
) -> Option<InstanceView> {
    let sync = instance.sync(wanted, held);
    let unchanged = before.filter(|before| before.sync == sync);
    let desired = wanted.newest.and_then(|newest| {
        let hash = newest.hash(instance.dialect()?)?;
        Some(Desired { number: newest.number(), hash })
    });
    let rejected =
        desired.and_then(|desired| instance.refused(desired.hash)).map(|refused| Rejected {
            number: refused.number,
            hash: refused.hash,
            at: refused.at,
            refusal: refused.refusal.clone(),
        });
    let view = InstanceView {
        member: instance.member.clone(),
        found_at: instance.found_at,
        sync,
        since: unchanged.map_or(wanted.now, |before| before.since),
        desired,
        reported: instance.reported,
        behind: instance.behind > 0,
        verified: instance.verified,
        last_apply: instance.last_apply.clone(),
        identity: instance.identity.clone(),
        node: instance.node.clone(),
        rejected,
        trouble: instance.trouble.clone(),
        contested_until: instance.contested_until.filter(|until| *until > wanted.now),
    };
    (before.map(AsRef::as_ref) != Some(&view)).then_some(view)
}
