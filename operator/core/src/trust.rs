//! Decisions about certificates: when a leaf is renewed, how an authority is replaced without a
//! moment at which somebody trusts the wrong one, and how the identity of a pod is written.
//!
//! Times are seconds since the Unix epoch and come in as arguments. Keys never come here.

use std::fmt;
use std::str::FromStr;

/// The domain in the identities, unless the installation says otherwise.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// The audience that an enrollment token must be bound to.
pub const ENROLLMENT_AUDIENCE: &str = "flotilla.dev/enrollment";

/// How far certificates begin in the past, so that a clock that lags does not refuse them.
pub const BACKDATE_SECONDS: i64 = 300;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// A validity that begins a little before `now` and ends `life` seconds after it.
    #[must_use]
    pub fn starting(now: i64, life: i64) -> Self {
        Self { not_before: now - BACKDATE_SECONDS, not_after: now + life }
    }

    /// When two thirds of the life are over.
    #[must_use]
    pub fn renew_at(self) -> i64 {
        self.not_before + (self.not_after - self.not_before) / 3 * 2
    }

    /// Whether `now` lies within.
    #[must_use]
    pub fn covers(self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// What is done about a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafStep {
    /// It is good until this second.
    Keep {
        /// When to look again.
        until: i64,
    },
    /// A new one is needed now.
    Renew,
}

/// Decides about a leaf: renewed at two thirds of its life, and at once when the clock says that it
/// is not valid, or when its authority is not `trusted` any more.
#[must_use]
pub fn leaf_step(now: i64, leaf: Validity, trusted: bool) -> LeafStep {
    if !trusted || !leaf.covers(now) || now >= leaf.renew_at() {
        LeafStep::Renew
    } else {
        LeafStep::Keep { until: leaf.renew_at() }
    }
}

/// An authority as the decisions see it: the one that signs, and those around it that are trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthorityView {
    /// The one that signs.
    pub current: Validity,
    /// The one that will sign: everybody is being taught to trust it.
    pub next: Option<Validity>,
    /// The one that signed: its leaves are still about.
    pub previous: Option<Validity>,
}

/// How long the steps of an authority's replacement take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Overlap {
    /// How long a new authority is published before it signs, in seconds.
    pub teach: i64,
    /// The longest life of a leaf, in seconds: so long an authority that signs no more is trusted.
    pub leaf_life: i64,
}

/// What is done about an authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthorityStep {
    /// Nothing, until this second.
    Keep {
        /// When to look again.
        until: i64,
    },
    /// A next authority is made and published beside the current one.
    Introduce,
    /// The next one signs from now on; the current one becomes the previous one.
    Promote,
    /// The previous one is forgotten.
    Retire,
    /// The current one is of no use any more, and no next one is there: start anew.
    Replace,
}

/// Decides about an authority. One step at a time: whoever carries it out asks again.
#[must_use]
pub fn authority_step(now: i64, view: AuthorityView, overlap: Overlap) -> AuthorityStep {
    let AuthorityView { current, next, previous } = view;
    if let Some(next) = next {
        let taught = next.not_before + BACKDATE_SECONDS + overlap.teach;
        // An authority that has ended cannot wait for the lesson to end.
        return if now >= taught || now > current.not_after {
            AuthorityStep::Promote
        } else {
            AuthorityStep::Keep { until: taught.min(current.not_after + 1) }
        };
    }
    if now > current.not_after {
        return AuthorityStep::Replace;
    }
    if previous.is_some() {
        // The current one began to sign `teach` after it was made; since then nothing else signed.
        let forgotten = current.not_before + BACKDATE_SECONDS + overlap.teach + overlap.leaf_life;
        return if now >= forgotten {
            AuthorityStep::Retire
        } else {
            AuthorityStep::Keep { until: forgotten }
        };
    }
    if now >= current.renew_at() {
        AuthorityStep::Introduce
    } else {
        AuthorityStep::Keep { until: current.renew_at() }
    }
}

/// The identity of a pod: `spiffe://<trust-domain>/ns/<namespace>/sa/<account>/pod/<uid>`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PodIdentity {
    /// The trust domain.
    pub trust_domain: String,
    /// The namespace of the pod.
    pub namespace: String,
    /// The service account of the pod.
    pub service_account: String,
    /// The UID of the pod.
    pub pod_uid: String,
}

impl fmt::Display for PodIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_domain, namespace, service_account, pod_uid } = self;
        write!(
            formatter,
            "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}/pod/{pod_uid}"
        )
    }
}

/// A text that is no identity of a pod.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("failed to read a pod identity: it must be spiffe://<domain>/ns/<ns>/sa/<sa>/pod/<uid>")]
pub struct NotPodIdentity;

impl FromStr for PodIdentity {
    type Err = NotPodIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("spiffe://").ok_or(NotPodIdentity)?;
        let parts: Vec<&str> = rest.split('/').collect();
        match parts.as_slice() {
            [domain, "ns", namespace, "sa", account, "pod", uid]
                if [domain, namespace, account, uid].iter().all(|part| !part.is_empty()) =>
            {
                Ok(Self {
                    trust_domain: (*domain).to_owned(),
                    namespace: (*namespace).to_owned(),
                    service_account: (*account).to_owned(),
                    pod_uid: (*uid).to_owned(),
                })
            }
            _ => Err(NotPodIdentity),
        }
    }
}

/// The name in the certificate that the proxies of a fleet share, unless its spec names another.
#[must_use]
pub fn shared_server_name(namespace: &str, fleet: &str) -> String {
    format!("{fleet}.{namespace}.flotilla.internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const OVERLAP: Overlap = Overlap { teach: 3_600, leaf_life: DAY };

    fn authority(now: i64) -> AuthorityView {
        AuthorityView { current: Validity::starting(now, 300 * DAY), next: None, previous: None }
    }

    #[test]
    fn leaf_is_renewed_at_two_thirds_of_its_life() {
        let leaf = Validity { not_before: 0, not_after: 900 };
        assert_eq!(leaf_step(599, leaf, true), LeafStep::Keep { until: 600 });
        assert_eq!(leaf_step(600, leaf, true), LeafStep::Renew);
    }

    #[test]
    fn leaf_of_a_forgotten_authority_is_renewed_at_once() {
        assert_eq!(
            leaf_step(1, Validity { not_before: 0, not_after: 900 }, false),
            LeafStep::Renew
        );
    }

    #[test]
    fn leaf_from_the_future_is_renewed() {
        let leaf = Validity { not_before: 100, not_after: 900 };
        assert_eq!(leaf_step(50, leaf, true), LeafStep::Renew);
    }

    /// Plays a whole replacement and returns the steps with the times at which they were due.
    fn replacement() -> Vec<(i64, AuthorityStep)> {
        let (mut now, mut view, mut steps) = (0, authority(0), Vec::new());
        while steps.len() < 3 {
            let step = authority_step(now, view, OVERLAP);
            match step {
                AuthorityStep::Keep { until } => {
                    assert!(until > now, "a step must bring time forward");
                    now = until;
                    continue;
                }
                AuthorityStep::Introduce => view.next = Some(Validity::starting(now, 300 * DAY)),
                AuthorityStep::Promote => {
                    view.previous = Some(view.current);
                    view.current = view.next.take().unwrap();
                }
                AuthorityStep::Retire => view.previous = None,
                AuthorityStep::Replace => panic!("nothing has ended"),
            }
            steps.push((now, step));
        }
        steps
    }

    #[test]
    fn authority_is_replaced_in_three_steps() {
        let steps: Vec<AuthorityStep> = replacement().into_iter().map(|(_, step)| step).collect();
        let wanted = [AuthorityStep::Introduce, AuthorityStep::Promote, AuthorityStep::Retire];
        assert_eq!(steps, wanted);
    }

    #[test]
    fn new_authority_is_taught_before_it_signs_and_the_old_one_outlives_its_leaves() {
        let steps = replacement();
        assert_eq!(steps[1].0 - steps[0].0, OVERLAP.teach);
        assert!(steps[2].0 - steps[1].0 >= OVERLAP.leaf_life);
    }

    #[test]
    fn authority_that_ended_while_nobody_looked_is_replaced() {
        let step = authority_step(301 * DAY, authority(0), OVERLAP);
        assert_eq!(step, AuthorityStep::Replace);
    }

    #[test]
    fn next_authority_signs_early_when_the_current_one_has_ended() {
        let mut view = authority(0);
        view.next = Some(Validity::starting(300 * DAY, 300 * DAY));
        assert_eq!(authority_step(300 * DAY + 1, view, OVERLAP), AuthorityStep::Promote);
    }

    #[test]
    fn pod_identity_reads_back() {
        let text = "spiffe://cluster.local/ns/gw/sa/proxy/pod/0b3c";
        assert_eq!(text.parse::<PodIdentity>().unwrap().to_string(), text);
    }

    #[test]
    fn other_identities_are_no_pods() {
        for text in
            ["", "spiffe://d/ns/a/sa/b", "spiffe://d/ns/a/sa/b/pod/", "https://d/ns/a/sa/b/pod/c"]
        {
            assert_eq!(text.parse::<PodIdentity>(), Err(NotPodIdentity), "{text}");
        }
    }
}
