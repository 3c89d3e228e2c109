//! The marker that tells which configuration this gateway serves, asked on the port that serves it.
//!
//! `GET /.flotilla/revision` with `x-flotilla-probe: 1` is answered with the configuration's hash as text. The operator
//! believes this rather than what the Admin API accepted. Without the header the path is routed like any other.

use http::{Method, StatusCode};
use kong::admin::{MARKER_HEADER, MARKER_PATH};
use proxy_core::answer::Answer;
use proxy_core::exchange::Exchange;

use crate::state::Generation;

/// The answer, when the request asks for the marker.
pub fn answer(exchange: &Exchange, generation: &Generation) -> Option<Answer> {
    let request = &exchange.request;
    let asked = request.path == MARKER_PATH
        && request.method == Method::GET
        && request.header(MARKER_HEADER) == Some("1");
    asked.then(|| {
        Answer::new(StatusCode::OK, Some("text/plain; charset=utf-8"), generation.hash.to_string())
    })
}
