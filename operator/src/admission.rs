//! The admission webhook: answers the API server's question whether an object may be written.
//!
//! It only decodes, asks [`operator_core::admission`] and answers; every replica does so from its own stores. What it
//! cannot judge it allows: the same verdict comes later, in status and events.

mod bundle;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use operator_core::admission::{Proposal, Review, review};
use operator_core::object::{Kind, ObjectRef};
use operator_core::options::{Engine, Options};
use operator_core::revision::Dialect;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::telemetry::Metrics;
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::fleets::Fleets;
use crate::scenes::{Scenes, Served};

pub use bundle::{Bundle, keep as keep_bundle};

/// The path of the one thing that can be asked for.
pub const PATH: &str = "/validate";

/// The largest question: an object of the largest size, before and after.
const BODY_MOST: usize = 8 * 1024 * 1024;

/// How many questions are thought about at once.
const CONCURRENT: usize = 2;

/// The API server waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// The API server cuts longer warnings, and drops what goes beyond a few.
const WARNINGS: usize = 10;
const WARNING_CHARACTERS: usize = 250;

/// What the webhook looks at.
#[derive(Clone, Debug)]
pub struct Webhook {
    scenes: Scenes,
    fleets: watch::Receiver<Fleets>,
    /// What objects are judged by as long as there is no fleet.
    fallback: Options,
    served: Served,
    answers: Answers,
    room: Arc<Semaphore>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    verdict: &'static str,
}

type Answers = Family<Labels, Counter>;

impl Webhook {
    /// A webhook that judges by what these show.
    #[must_use]
    pub fn new(
        (scenes, fleets): (Scenes, watch::Receiver<Fleets>),
        (fallback, served): (Options, Served),
        metrics: &Metrics,
    ) -> Self {
        let answers = Answers::default();
        metrics.register(|registry| {
            let help = "Objects that the admission webhook was asked about";
            registry.register("flotilla_admission_reviews", help, answers.clone());
        });
        let room = Arc::new(Semaphore::new(CONCURRENT));
        Self { scenes, fleets, fallback, served, answers, room }
    }

    /// Its page.
    pub fn router(self) -> Router {
        Router::new()
            .route(PATH, post(validate))
            .layer(DefaultBodyLimit::max(BODY_MOST))
            .with_state(self)
    }

    /// What each fleet's objects are judged by.
    fn options(&self) -> Vec<Options> {
        let mut all: Vec<Options> = Vec::new();
        for fleet in self.fleets.borrow().values() {
            let options = fleet.options.borrow();
            // Until a proxy was seen, the fleet is taken for one of our own.
            let dialects = fleet.view.borrow().dialects();
            let mut engines: Vec<Engine> = dialects.into_iter().map(Dialect::engine).collect();
            if engines.is_empty() {
                engines.push(options.engine);
            }
            for engine in engines {
                let options = Options { engine, ..options.clone() };
                if !all.contains(&options) {
                    all.push(options);
                }
            }
        }
        if all.is_empty() { vec![self.fallback.clone()] } else { all }
    }

    async fn judge(&self, request: &AdmissionRequest<DynamicObject>) -> Option<(Kind, Review)> {
        let kind = Kind::find(&request.kind.group, &request.kind.kind)?;
        let (Operation::Create | Operation::Update) = request.operation else { return None };
        let document = serde_json::to_value(request.object.as_ref()?).ok()?;
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let object = ObjectRef::new(kind, namespace, &request.name);
        if !self.served.serves(&object) {
            return None;
        }
        let scene = self.scenes.served.borrow().clone()?;
        let _place = self.room.acquire().await.ok()?;
        let options = self.options();
        let job = move || review(&scene.snapshot, &Proposal::read(object, document), &options);
        match tokio::task::spawn_blocking(job).await {
            Ok(review) => Some((kind, review)),
            Err(error) => {
                warn!(%error, "object not judged, allowed");
                None
            }
        }
    }
}

async fn validate(
    State(webhook): State<Webhook>,
    Json(question): Json<AdmissionReview<DynamicObject>>,
) -> Json<AdmissionReview<DynamicObject>> {
    let request: AdmissionRequest<DynamicObject> = match question.try_into() {
        Ok(request) => request,
        Err(error) => {
            let reason = format!("the body is no AdmissionReview with a request: {error}");
            return Json(AdmissionResponse::invalid(reason).into_review());
        }
    };
    let mut response = AdmissionResponse::from(&request);
    let judged = tokio::time::timeout(PATIENCE, webhook.judge(&request)).await.ok().flatten();
    if let Some((kind, Review { denied, warnings })) = judged {
        let verdict = if denied.is_some() { "denied" } else { "allowed" };
        webhook.answers.get_or_create(&Labels { kind: kind.name(), verdict }).inc();
        let warnings: Vec<String> = warnings.into_iter().take(WARNINGS).map(cut).collect();
        response.warnings = (!warnings.is_empty()).then_some(warnings);
        if let Some(reason) = denied {
            let (namespace, name) =
                (request.namespace.as_deref().unwrap_or_default(), &request.name);
            info!(%kind, namespace, name, reason, "object denied");
            response = response.deny(reason);
        }
    }
    Json(response.into_review())
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(WARNING_CHARACTERS) {
        text.truncate(at);
        text.push('…');
    }
    text
}
