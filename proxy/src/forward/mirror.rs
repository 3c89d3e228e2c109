//! Copies of requests for upstreams whose answers nobody waits for.
//!
//! A copy is made of a request whose body is whole; one that is too large to be kept is not copied. A copy never delays
//! the request itself, and there are only so many on their way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proxy_core::exchange::{Exchange, Mirror, Wishes};
use proxy_core::table::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Outgoing;
use super::attempt::{self, Job};
use super::choose::Chooser;
use super::limits::Limits;
use crate::app::Gateway;
use crate::http::{UpstreamHeaders, Way};
use crate::upstream::{self, TlsPlan};

/// How many copies are on their way at once.
static ROOM: Semaphore = Semaphore::const_new(512);

/// How long a copy may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a copy of a request to one of an upstream's peers.
pub(super) async fn send(
    gateway: &Arc<Gateway>,
    way: &Way<'_>,
    (service, to): (&Service, &Mirror),
    exchange: &mut Exchange,
    (headers, body): (&UpstreamHeaders, Option<Bytes>),
) {
    let Mirror { upstream: name, tls } = to;
    let Some(body) = body else {
        return tracing::debug!(upstream = %name, "request is too large to be mirrored");
    };
    let Ok(permit) = ROOM.try_acquire() else {
        return tracing::debug!(upstream = %name, "too many requests are being mirrored");
    };
    let mut chooser = Chooser::new(gateway, way.generation, (service, name), exchange);
    let Ok(chosen) = chooser.next().await else { return };
    let patience = Limits::new(service, &Wishes::default()).patience();
    let wish = tls.as_deref();
    let job =
        Job { gateway, way, service, chosen: &chosen, headers, patience, unwanted: &[], wish };
    let whole = if body.is_empty() { Outgoing::Empty } else { Outgoing::Whole(body.clone()) };
    let framing = attempt::framing(headers, &whole);
    let host = job.host(exchange);
    let mut copy = attempt::head(&job, exchange, framing, host.as_deref());
    let plan = match wish {
        Some(_) => match job.tls(host.as_deref()) {
            Ok(plan) => plan,
            Err(_) => return,
        },
        None => None,
    };
    copy.extend_from_slice(&body);
    let address = chosen.address;
    tokio::spawn(async move {
        let sent = timeout(PATIENCE, deliver(address, plan, copy)).await;
        tracing::trace!(%address, sent = matches!(sent, Ok(Ok(()))), "request mirrored");
        drop(permit);
    });
}

/// Writes the copy and waits for the beginning of an answer, so that the peer takes it for a whole request.
async fn deliver(
    address: std::net::SocketAddr,
    plan: Option<TlsPlan>,
    copy: Vec<u8>,
) -> std::io::Result<()> {
    let connected = upstream::connect(address, plan.as_ref(), PATIENCE).await;
    let mut stream = connected.map_err(std::io::Error::other)?;
    stream.write_all(&copy).await?;
    stream.flush().await?;
    let mut answer = [0; 1024];
    stream.read(&mut answer).await.map(drop)
}
