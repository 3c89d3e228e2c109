//! Publishes events. What is worth one is decided by [`operator_core::status::story`].

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use operator_core::status::Target;
use operator_core::status::story::{Told, Urgency};
use tokio::time::timeout;
use tracing::debug;

/// How long one event may take: a lost one is no harm.
const REQUEST: Duration = Duration::from_secs(2);

/// The longest note that the API server takes.
const NOTE_MOST: usize = 1024;

/// Tells events.
pub(super) struct Teller {
    recorder: Recorder,
}

impl Teller {
    /// A teller; `instance` is this replica.
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "flotilla.dev/operator".to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells one event.
    pub(super) async fn tell(&self, told: &Told) {
        let Told { about, uid, urgency, reason, message } = told;
        let event = Event {
            type_: match urgency {
                Urgency::Normal => EventType::Normal,
                Urgency::Warning => EventType::Warning,
            },
            reason: reason.clone(),
            note: Some(message.chars().take(NOTE_MOST).collect()),
            action: "Configure".to_owned(),
            secondary: None,
        };
        let reference = reference(about, uid.clone());
        match timeout(REQUEST, self.recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(reason, %error, "event not told"),
            Err(_) => debug!(reason, "event not told in time"),
        }
    }
}

fn reference(about: &Target, uid: Option<String>) -> ObjectReference {
    let Target { group, version, kind, namespace, name } = about;
    let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(kind.clone()),
        name: Some(name.clone()),
        namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
        uid,
        ..ObjectReference::default()
    }
}
