//! pre-function and post-function: Lua of the configuration, before all other plugins or after them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_LENGTH;

use super::lua::{Kept, Machine, Outcome, Stage};
use super::record::is_stream;
use super::{Access, BuildError, Config, Flow, Plugin, Services};
use crate::answer::Answer;
use crate::exchange::{BodyFilter, Exchange};

const PHASES: [&str; 5] = ["rewrite", "access", "header_filter", "body_filter", "log"];

/// Whether text is code; the parser's words where it is not.
///
/// # Errors
/// It is not.
pub fn check_code(code: &str) -> Result<(), String> {
    super::lua::check(code)
}

struct Functions {
    id: String,
    machine: Arc<Machine>,
    /// The places of each phase's functions, in the order of [`PHASES`].
    places: [std::ops::Range<usize>; 5],
    reads_body: bool,
    whole_answer: bool,
    services: Arc<dyn Services>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let mut code = Vec::new();
    let places = PHASES.map(|phase| {
        let from = code.len();
        code.extend(config.list(phase));
        from..code.len()
    });
    let services = &config.context.services;
    let machine = Machine::new(&code, services)
        .map_err(|_| BuildError::Field { plugin: "pre-function", field: "access" })?;
    let filters = code.get(places[3].clone()).unwrap_or_default();
    Ok(Box::new(Functions {
        id: config.id.to_owned(),
        machine: Arc::new(machine),
        reads_body: code.iter().any(|code| code.contains("body") || code.contains("post_args")),
        whole_answer: filters.iter().any(|code| code.contains("raw_body")),
        places,
        services: Arc::clone(services),
    }))
}

impl Plugin for Functions {
    fn rewrite(&self, exchange: &mut Exchange) -> Option<Box<Answer>> {
        self.answer(0, exchange)
    }

    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        if self.places[1].is_empty() || is_stream(exchange) {
            return Access::Continue;
        }
        Access::Later(Box::pin(async move {
            if self.reads_body {
                // Functions that find no body go on without one.
                let _ = exchange.request.read_body().await;
            }
            self.answer(1, exchange).map_or(Flow::Continue, Flow::Respond)
        }))
    }

    fn header_filter(&self, exchange: &mut Exchange) {
        self.all(2, Stage::Head, exchange);
        if self.places[3].is_empty() {
            return;
        }
        exchange.response.headers.remove(CONTENT_LENGTH);
        exchange.response.filters.push(Box::new(Filter {
            machine: Arc::clone(&self.machine),
            places: self.places[3].clone(),
            kept: exchange.notes.get::<Kept>().cloned().unwrap_or_default(),
            whole: self.whole_answer.then(BytesMut::new),
        }));
    }

    fn log(&self, exchange: &mut Exchange) {
        self.all(4, Stage::Log, exchange);
    }
}

impl Functions {
    /// Runs a phase's functions until one answers or fails; a failure is the gateway's fault.
    fn answer(&self, phase: usize, exchange: &mut Exchange) -> Option<Box<Answer>> {
        for place in self.places[phase].clone() {
            match self.machine.run(place, (&self.id, Stage::Before), exchange) {
                Outcome::Done(_) => {}
                Outcome::Answered(answer) => return Some(answer),
                Outcome::Failed(problem) => {
                    self.services.log("err", &problem);
                    let status = StatusCode::INTERNAL_SERVER_ERROR;
                    return Some(Box::new(Answer::status_error(exchange, status)));
                }
            }
        }
        None
    }

    /// Runs a phase's functions; one that fails ends the phase.
    fn all(&self, phase: usize, stage: Stage, exchange: &mut Exchange) {
        for place in self.places[phase].clone() {
            if let Outcome::Failed(problem) = self.machine.run(place, (&self.id, stage), exchange) {
                self.services.log("err", &problem);
                return;
            }
        }
    }
}

/// The functions of `body_filter` for one answer.
struct Filter {
    machine: Arc<Machine>,
    places: std::ops::Range<usize>,
    kept: Kept,
    /// What came so far, where functions want all of it at once.
    whole: Option<BytesMut>,
}

impl BodyFilter for Filter {
    fn chunk(&mut self, piece: Bytes, last: bool) -> Bytes {
        let piece = match &mut self.whole {
            None => piece,
            Some(whole) => {
                whole.extend_from_slice(&piece);
                if !last {
                    return Bytes::new();
                }
                whole.split().freeze()
            }
        };
        let all = self.places.clone();
        all.fold(piece, |piece, at| self.machine.filter(at, piece, last, &mut self.kept))
    }
}

#[cfg(test)]
mod tests;
