//! The question to the data path: which configuration do you serve?
//!
//! What an Admin API has stored is not what the gateway serves yet: a Kong of ten thousand routes went on
//! with the old ones for the better part of a second. Only the port that serves can tell.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kong::admin::{MARKER_HEADER, MARKER_PATH};
use operator_core::fleet::event::{Trouble, TroubleKind};
use operator_core::revision::ConfigHash;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{AGENT, trouble};

/// A hash is 32 digits; more than this is no answer to the question.
const ANSWER_MOST: usize = 64;

/// The hash of the configuration that the data path serves; none when the gateway does not know the
/// question, as stock Kong.
///
/// # Errors
/// When nobody answers, in one word and a sentence.
pub(super) async fn served(
    address: SocketAddr,
    patience: Duration,
) -> Result<Option<ConfigHash>, Trouble> {
    let asked = timeout(patience, ask(address)).await.unwrap_or_else(|_| {
        let message = "no answer in time".to_owned();
        Err(Trouble { kind: TroubleKind::Timeout, message })
    });
    asked.map_err(|Trouble { kind, message }| Trouble {
        kind,
        message: format!("traffic port {}: {message}", address.port()),
    })
}

async fn ask(address: SocketAddr) -> Result<Option<ConfigHash>, Trouble> {
    let stream = TcpStream::connect(address).await.map_err(|error| trouble::of(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| trouble::of(&error))?;
    // Dropping it ends the task that moves the connection's bytes.
    let mut mover = JoinSet::new();
    mover.spawn(connection);
    let request = Request::get(MARKER_PATH)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, AGENT)
        .header(MARKER_HEADER, "1")
        .body(Empty::<Bytes>::new())
        .map_err(|error| trouble::of(&error))?;
    let response = sender.send_request(request).await.map_err(|error| trouble::of(&error))?;
    if response.status() != StatusCode::OK {
        return Ok(None);
    }
    // A route of somebody's own may answer here; what it says is no hash.
    let Ok(body) = Limited::new(response.into_body(), ANSWER_MOST).collect().await else {
        return Ok(None);
    };
    Ok(std::str::from_utf8(&body.to_bytes()).ok().and_then(ConfigHash::parse))
}
