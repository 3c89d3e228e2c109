//! What is worth an event: transitions, each told once, on the object at fault and on the Pod.

use std::collections::BTreeMap;

use operator_api::ProxyFleet;

use super::{FleetScene, Target};
use crate::fleet::event::IdentityMode;
use crate::fleet::view::{InstanceView, Sync};
use crate::object::ObjectRef;
use crate::outcome::Verdict;

/// How urgent an event is, in Kubernetes' words.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// For information.
    Normal,
    /// Somebody should look.
    Warning,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// The object that it is about.
    pub about: Target,
    /// The UID of that object, when it is known.
    pub uid: Option<String>,
    /// How urgent it is.
    pub urgency: Urgency,
    /// One CamelCase word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What was told last, so that a state that lasts is told once.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The reason and message that each object was last told.
    said: BTreeMap<Target, (String, String)>,
}

impl Story {
    /// Nothing was told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be told now that was not told before.
    pub fn tell(&mut self, fleets: &[FleetScene<'_>]) -> Vec<Told> {
        let mut now = Vec::new();
        for scene in fleets {
            fleet(scene, &mut now);
            for view in scene.view.instances.values() {
                instance(view, &mut now);
            }
            objects(scene, &mut now);
        }
        let mut said = BTreeMap::new();
        let mut news = Vec::new();
        for told in now {
            let words = (told.reason.clone(), told.message.clone());
            let before = self.said.get(&told.about);
            // Good news is news only after bad news, or for an object that was never spoken of.
            if before != Some(&words)
                && (told.urgency == Urgency::Warning || before.is_none_or(|old| old.0 != words.0))
            {
                news.push(told.clone());
            }
            said.insert(told.about, words);
        }
        // What is on its way keeps what was said of it, or each push would be told.
        for (target, words) in std::mem::take(&mut self.said) {
            if fleets.iter().any(|scene| is_under_way(scene, &target)) {
                said.entry(target).or_insert(words);
            }
        }
        self.said = said;
        news
    }
}

fn is_under_way(scene: &FleetScene<'_>, target: &Target) -> bool {
    target.kind == "Pod"
        && scene.view.instances.values().any(|view| {
            *view.member.namespace == *target.namespace
                && *view.member.name == *target.name
                && matches!(view.sync, Sync::Pending | Sync::Applying)
        })
}

fn fleet(scene: &FleetScene<'_>, now: &mut Vec<Told>) {
    let mut say = |reason: &str, message: String| {
        now.push(Told {
            about: fleet_target(scene.fleet),
            uid: scene.fleet.metadata.uid.clone(),
            urgency: Urgency::Warning,
            reason: reason.to_owned(),
            message,
        });
    };
    if let Some(trust) = scene.trust {
        say("TrustUnavailable", trust.to_owned());
    } else if let Some(hold) = &scene.view.hold {
        let message = format!(
            "a configuration that keeps {} of {} {} is held back",
            hold.after, hold.before, hold.kind
        );
        say("ShrinkGuard", message);
    } else if let Some(words) = scene.unexplained {
        say("KongConfigurationApplyFailed", words.to_owned());
    } else if scene.fleet.spec.tls.identity == operator_api::IdentityMode::InsecureNone {
        let message =
            "proxies and operator prove nothing to each other, since tls.identity is InsecureNone";
        say("InsecureNone", message.to_owned());
    }
}

fn fleet_target(fleet: &ProxyFleet) -> Target {
    Target {
        group: operator_api::GROUP.to_owned(),
        version: operator_api::VERSION.to_owned(),
        kind: "ProxyFleet".to_owned(),
        namespace: fleet.metadata.namespace.clone().unwrap_or_default(),
        name: fleet.metadata.name.clone().unwrap_or_default(),
    }
}

fn instance(view: &InstanceView, now: &mut Vec<Told>) {
    let Some(uid) = view.member.id.pod_uid() else { return };
    let trouble = || view.trouble.as_ref().map(|trouble| trouble.message.clone());
    let refusal = || view.rejected.as_ref().map(|rejected| rejected.refusal.message.clone());
    let (urgency, reason, message) = match view.sync {
        Sync::Synced => {
            let insecure =
                view.identity.as_ref().is_some_and(|proof| proof.mode == IdentityMode::None);
            let message =
                if insecure { "configured, without proof of identity" } else { "configured" };
            (Urgency::Normal, "KongConfigurationSucceeded", message.to_owned())
        }
        Sync::Rejected | Sync::Incompatible => {
            let words = refusal().or_else(trouble).unwrap_or_default();
            (Urgency::Warning, "KongConfigurationApplyFailed", words)
        }
        Sync::Drifted => {
            let message = "the proxy holds a configuration that somebody else gave it".to_owned();
            (Urgency::Warning, "Drifted", message)
        }
        Sync::Unreachable => (Urgency::Warning, "Unreachable", trouble().unwrap_or_default()),
        Sync::IdentityMismatch => {
            (Urgency::Warning, "IdentityMismatch", trouble().unwrap_or_default())
        }
        Sync::Pending | Sync::Applying | Sync::Held | Sync::Draining => return,
    };
    let about = Target {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: view.member.namespace.to_string(),
        name: view.member.name.to_string(),
    };
    let (uid, reason) = (Some(uid.to_owned()), reason.to_owned());
    now.push(Told { about, uid, urgency, reason, message });
}

fn objects(scene: &FleetScene<'_>, now: &mut Vec<Told>) {
    let mut say = |object: &ObjectRef, reason: &str, message: &str| {
        now.push(Told {
            about: Target {
                group: object.kind.group().to_owned(),
                version: object.kind.version().to_owned(),
                kind: object.kind.name().to_owned(),
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            },
            uid: Some(object.uid.clone()).filter(|uid| !uid.is_empty()),
            urgency: Urgency::Warning,
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    };
    for outcome in scene.outcomes {
        if let Some(words) = scene.excluded.get(&outcome.object) {
            say(&outcome.object, "KongConfigurationApplyFailed", words);
            continue;
        }
        match &outcome.verdict {
            Verdict::Rejected { reason: _, message } => {
                say(&outcome.object, "KongConfigurationTranslationFailed", message);
            }
            Verdict::Configured => {
                let words: Vec<&str> =
                    outcome.warnings.iter().map(|warning| warning.message.as_str()).collect();
                if !words.is_empty() {
                    say(&outcome.object, "KongConfigurationTranslationFailed", &words.join("; "));
                }
            }
            Verdict::Ignored { why: _ } => {}
        }
    }
}
