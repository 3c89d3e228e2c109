//! What the compiler takes from decoding as it goes, so that it need not be read from its text again.

use kong::declarative::Harvest;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::CompileError;
use super::source::RouteEntity;

/// The routes of a configuration: by far the most entities of a large one.
#[derive(Default)]
pub struct Harvested {
    routes: Vec<(Box<str>, Option<Result<RouteEntity, serde_json::Error>>)>,
}

impl Harvested {
    /// The routes in the order of their ids.
    pub(super) fn routes(mut self) -> impl Iterator<Item = Result<RouteEntity, CompileError>> {
        // Routes are larger than what they are sorted by, and move only once.
        let mut order: Vec<usize> = (0..self.routes.len()).collect();
        order.sort_unstable_by(|one, other| self.routes[*one].0.cmp(&self.routes[*other].0));
        let fault = |source| CompileError::Entity { kind: "routes", source };
        order.into_iter().filter_map(move |at| Some(self.routes[at].1.take()?.map_err(fault)))
    }
}

impl Harvest for Harvested {
    fn reap(&mut self, kind: &'static str, entity: Map<String, Value>) {
        if kind == "routes" {
            let id = entity.get("id").and_then(Value::as_str).unwrap_or_default().into();
            self.routes.push((id, Some(RouteEntity::deserialize(Value::Object(entity)))));
        }
    }

    fn start_over(&mut self) {
        self.routes.clear();
    }
}
