//! What waits to be written, and the writing.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use operator_api::FIELD_MANAGER;
use operator_core::moment::Moment;
use operator_core::status::{Act, Intent, Target};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long an intent waits before it is written: most states in between are over by then.
const SETTLE: Duration = Duration::from_millis(150);

/// How long what was written counts as said, although the watch has not told it back.
const ECHO: Duration = Duration::from_secs(10);

/// The pauses after failures: the first, doubled up to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// The newest intent of each object. Nothing is lost and nothing queues: a newer word replaces.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: BTreeMap<Target, Waiting>,
    said: BTreeMap<Target, (Value, Moment)>,
    failed: BTreeMap<Target, (Duration, Moment)>,
}

#[derive(Debug)]
struct Waiting {
    intent: Intent,
    since: Moment,
}

impl Desk {
    /// Takes what is wanted now. What is not wanted any more is forgotten.
    pub(super) fn replace(&mut self, intents: Vec<Intent>, now: Moment) {
        self.said.retain(|_, (_, at)| now.since(*at) < ECHO);
        let mut before = std::mem::take(&mut self.waiting);
        for intent in intents {
            let same = |(said, _): &(Value, Moment)| *said == essence(&intent.act);
            if self.said.get(&intent.target).is_some_and(same) {
                continue;
            }
            // An object that changes all the time is written all the same: its wait goes on.
            let since = before.remove(&intent.target).map_or(now, |waiting| waiting.since);
            self.waiting.insert(intent.target.clone(), Waiting { intent, since });
        }
        self.failed.retain(|target, _| self.waiting.contains_key(target));
    }

    /// When the next intent may be written.
    pub(super) fn due(&self, now: Moment) -> Option<Moment> {
        let due = |(target, waiting): (&Target, &Waiting)| self.due_of(target, waiting);
        self.waiting.iter().map(due).min().map(|due| due.max(now))
    }

    fn due_of(&self, target: &Target, waiting: &Waiting) -> Moment {
        let settled = waiting.since.after(SETTLE);
        self.failed.get(target).map_or(settled, |(_, until)| settled.max(*until))
    }

    /// Takes the intent that is next: transitions first, then who waits longest.
    pub(super) fn take(&mut self, now: Moment) -> Option<Intent> {
        let ready = self.waiting.iter().filter(|(target, one)| self.due_of(target, one) <= now);
        let next = ready.min_by_key(|(_, one)| (!one.intent.transition, one.since))?.0.clone();
        self.waiting.remove(&next).map(|waiting| waiting.intent)
    }

    /// Notes what became of an intent.
    pub(super) fn written(&mut self, intent: Intent, failed: bool, now: Moment) {
        if failed {
            let pause = self.failed.get(&intent.target);
            let pause = pause.map_or(RETRY.0, |(pause, _)| (*pause * 2).min(RETRY.1));
            self.failed.insert(intent.target.clone(), (pause, now.after(pause)));
            let waiting = Waiting { since: now, intent };
            self.waiting.entry(waiting.intent.target.clone()).or_insert(waiting);
        } else {
            self.failed.remove(&intent.target);
            self.said.insert(intent.target, (essence(&intent.act), now));
        }
    }
}

/// An act without the times that only say when it was derived.
fn essence(act: &Act) -> Value {
    let mut value = match act {
        Act::Create { object, status } => json!([object, status]),
        Act::Apply { status } | Act::Replace { status, resource_version: _ } => status.clone(),
        Act::Ensure { object } => object.clone(),
        Act::Delete { uid } => json!({ "delete": uid }),
    };
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for time in ["lastTransitionTime", "observedAt", "startedAt"] {
                fields.remove(time);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The API server refused or failed.
    #[error("failed to write")]
    Api(#[from] kube::Error),
    /// The API server did not answer.
    #[error("failed to write: no answer in time")]
    Slow,
}

impl WriteError {
    /// Whether the object merely changed or went while we looked.
    pub(super) fn is_race(&self) -> bool {
        match self {
            Self::Api(kube::Error::Api(status)) => matches!(status.code, 404 | 409),
            Self::Api(_) | Self::Slow => false,
        }
    }
}

/// Writes to the API server.
pub(super) struct Writer {
    client: Client,
}

impl Writer {
    /// A writer through `client`.
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Carries out an intent.
    pub(super) async fn write(&self, intent: &Intent) -> Result<(), WriteError> {
        let Intent { target, act, transition: _ } = intent;
        match timeout(REQUEST, self.act(target, act)).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(WriteError::Slow),
        }
    }

    async fn act(&self, target: &Target, act: &Act) -> kube::Result<()> {
        let api = self.api(target);
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let status_of = |status: &Value| {
            let mut object = header(target);
            object["status"] = status.clone();
            object
        };
        match act {
            Act::Create { object, status } => {
                api.patch(&target.name, &apply, &Patch::Apply(object)).await?;
                let status = status_of(status);
                api.patch_status(&target.name, &apply, &Patch::Apply(status)).await?;
            }
            Act::Ensure { object } => {
                api.patch(&target.name, &apply, &Patch::Apply(object)).await?;
            }
            Act::Apply { status } => {
                let status = status_of(status);
                api.patch_status(&target.name, &apply, &Patch::Apply(status)).await?;
            }
            Act::Replace { status, resource_version } => {
                let metadata = json!({ "resourceVersion": resource_version });
                let patch = json!({ "metadata": metadata, "status": status });
                let params = PatchParams::default();
                api.patch_status(&target.name, &params, &Patch::Merge(patch)).await?;
            }
            Act::Delete { uid } => {
                let only = Preconditions { uid: Some(uid.clone()), resource_version: None };
                let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
                match api.delete(&target.name, &params).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }

    fn api(&self, target: &Target) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(&target.group, &target.version, &target.kind);
        let resource = ApiResource::from_gvk(&kind);
        if target.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &target.namespace, &resource)
        }
    }
}

fn header(target: &Target) -> Value {
    let version = match target.group.as_str() {
        "" => target.version.clone(),
        group => format!("{group}/{}", target.version),
    };
    json!({ "apiVersion": version, "kind": target.kind, "metadata": { "name": target.name } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(name: &str, word: &str, transition: bool) -> Intent {
        let text = str::to_owned;
        let target = Target {
            group: text("flotilla.dev"),
            version: text("v1alpha1"),
            kind: text("ProxyInstance"),
            namespace: text("gw"),
            name: text(name),
        };
        Intent { target, act: Act::Apply { status: json!({ "sync": word }) }, transition }
    }

    fn at(millis: u64) -> Moment {
        Moment::at(Duration::from_millis(millis))
    }

    #[test]
    fn newer_word_replaces_the_waiting_one_and_keeps_its_turn() {
        let mut desk = Desk::default();
        desk.replace(vec![intent("a", "Applying", true)], at(0));
        desk.replace(vec![intent("a", "Synced", true)], at(140));
        assert_eq!(desk.due(at(140)), Some(at(150)));
        assert_eq!(desk.take(at(150)), Some(intent("a", "Synced", true)));
        assert_eq!(desk.take(at(150)), None);
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_written() {
        let mut desk = Desk::default();
        desk.replace(vec![intent("a", "Applying", true)], at(0));
        desk.replace(Vec::new(), at(100));
        assert_eq!(desk.due(at(100)), None);
    }

    #[test]
    fn transitions_are_written_before_figures() {
        let mut desk = Desk::default();
        desk.replace(vec![intent("a", "Synced", false)], at(0));
        desk.replace(vec![intent("a", "Synced", false), intent("b", "Rejected", true)], at(10));
        assert_eq!(desk.take(at(500)).unwrap().target.name, "b");
    }

    #[test]
    fn what_was_said_is_not_said_again_while_its_echo_is_on_its_way() {
        let mut desk = Desk::default();
        desk.written(intent("a", "Synced", true), false, at(0));
        desk.replace(vec![intent("a", "Synced", true)], at(100));
        assert_eq!(desk.due(at(100)), None);
        desk.replace(vec![intent("a", "Synced", true)], at(11_000));
        assert!(desk.due(at(11_000)).is_some());
    }

    #[test]
    fn failed_write_is_tried_again_after_growing_pauses() {
        let mut desk = Desk::default();
        desk.written(intent("a", "Synced", true), true, at(0));
        assert_eq!(desk.due(at(0)), Some(at(1_000)));
        let again = desk.take(at(1_000)).unwrap();
        desk.written(again, true, at(1_000));
        assert_eq!(desk.due(at(1_000)), Some(at(3_000)));
    }
}
