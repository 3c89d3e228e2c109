//! From a routed request to an upstream's answer: the choice of a peer, attempts, and what a failure means.
//!
//! An attempt may be repeated as long as nothing was lost: any request before it was sent, an idempotent one after it
//! failed or timed out, and only while its body can be sent again. The bound on kept bodies is what decides that.

mod attempt;
pub(crate) mod choose;
mod http2;
mod limits;
mod mirror;
mod plain;
mod relay;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use proxy_core::answer::{Answer, Format};
use proxy_core::exchange::{Body, Exchange, Try};
use proxy_core::health::Report;
use proxy_core::route::Protocol;
use proxy_core::table::Service;

use crate::app::Gateway;
use crate::downstream::{Piece, RequestBody};
use crate::http::{Client1, Way, now, upstream_headers};
use crate::http1::io::BodyFault;

use choose::Chooser;
use choose::Chosen;
use limits::Limits;

/// The largest body that is kept to be sent again.
const REPLAY: usize = 1024 * 1024;

/// A request body on its way to the upstream.
pub enum Outgoing {
    /// None.
    Empty,
    /// Whole, and so repeatable.
    Whole(Bytes),
    /// What was read so far, and the rest.
    Streaming(Bytes, Box<RequestBody>),
    /// Sent, not to be had again.
    Spent,
}

impl Outgoing {
    /// The body once more, unless it passes by.
    fn copy(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Whole(bytes) => Some(bytes.clone()),
            Self::Streaming(..) | Self::Spent => None,
        }
    }

    fn is_repeatable(&self) -> bool {
        matches!(self, Self::Empty | Self::Whole(_))
    }
}

/// Why an attempt gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// No TLS.
    Tls,
    /// The upstream went away; whether it had been a kept connection.
    Closed {
        /// Whether the connection had served before.
        reused: bool,
    },
    /// It took nothing in time.
    WriteTimeout,
    /// It said nothing in time.
    ReadTimeout,
    /// It said something else than HTTP.
    Garbage,
    /// It answered with a status that is no better than nothing.
    Unwanted(StatusCode),
    /// The client's body was broken.
    ClientBody,
    /// The client is gone.
    ClientGone,
}

impl Fault {
    fn status(self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::WriteTimeout | Self::ReadTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ClientBody | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::Unwanted(status) => status,
            Self::Refused | Self::Tls | Self::Closed { .. } | Self::Garbage => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// Whether the upstream may have seen the request.
    fn after_sending(self) -> bool {
        match self {
            Self::Refused | Self::ConnectTimeout | Self::Tls => false,
            Self::Closed { .. }
            | Self::WriteTimeout
            | Self::ReadTimeout
            | Self::Garbage
            | Self::Unwanted(_)
            | Self::ClientBody
            | Self::ClientGone => true,
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Self::Garbage | Self::ClientBody | Self::ClientGone)
    }

    fn report(self, last: bool) -> Option<Report> {
        match self {
            Self::ConnectTimeout | Self::WriteTimeout | Self::ReadTimeout => Some(Report::Timeout),
            Self::Refused | Self::Tls | Self::Closed { .. } if !last => Some(Report::TcpFailure),
            Self::Refused | Self::Tls | Self::Closed { .. } | Self::Garbage => {
                Some(Report::Status(502))
            }
            Self::Unwanted(status) => Some(Report::Status(status.as_u16())),
            Self::ClientBody | Self::ClientGone => None,
        }
    }
}

/// What became of an attempt.
pub enum Tried {
    /// An answer went to the client, whole or cut off.
    Answered(StatusCode),
    /// Nothing did.
    Failed(Fault),
}

/// Forwards a request and relays the answer, or answers for an upstream that did not.
pub async fn forward(
    gateway: &Arc<Gateway>,
    way: &Way<'_>,
    exchange: &mut Exchange,
    client: &mut Client1<'_>,
) {
    let Some(service) = way.route.service.clone() else { return };
    let wishes = std::mem::take(&mut exchange.upstream.wishes);
    let service = redirected(service, exchange, wishes.tls.is_some());
    let mut body = match take_body(way, exchange).await {
        Ok(body) => body,
        Err(fault) => return give_up(gateway, way, exchange, client, fault).await,
    };
    if exchange.upstream.scheme.is_none() {
        exchange.upstream.scheme = Some(service.protocol.name());
    }
    let headers = upstream_headers(gateway, way, exchange);
    let mut limits = Limits::new(&service, &wishes);
    let mut chooser = Chooser::new(gateway, way.generation, (&service, &service.host), exchange);
    for to in &wishes.mirrors {
        mirror::send(gateway, way, (&service, to), exchange, (&headers, body.copy())).await;
    }
    let mut free = 1;
    loop {
        let started = now();
        let chosen = match chooser.next().await {
            Ok(chosen) => chosen,
            Err(problem) => {
                let answer = problem.answer(exchange);
                return crate::http::write_answer(
                    gateway,
                    &way.route.plan,
                    exchange,
                    answer,
                    client,
                )
                .await;
            }
        };
        let forwarded = now();
        exchange.moments.forwarded = Some(forwarded);
        exchange.tries.push(Try {
            ip: chosen.address.ip(),
            port: chosen.address.port(),
            started,
            latency: forwarded.saturating_sub(started),
            state: None,
            code: None,
        });
        let job = attempt::Job {
            gateway,
            way,
            service: &service,
            chosen: &chosen,
            headers: &headers,
            patience: limits.patience(),
            unwanted: limits.unwanted(&body),
            wish: wishes.tls.as_deref(),
        };
        let fault = match attempt::run(&job, exchange, &mut body, client).await {
            Tried::Answered(status) => {
                return chooser.report(&chosen, Report::Status(status.as_u16()));
            }
            Tried::Failed(fault) => fault,
        };
        let kept_died = matches!(fault, Fault::Closed { reused: true }) && free > 0;
        let again = may_repeat(fault, &exchange.request.method, &body)
            && (kept_died || limits.may_try_again());
        if let Some(report) = fault.report(!again) {
            chooser.report(&chosen, report);
        }
        note(exchange, fault);
        if !again {
            return give_up(gateway, way, exchange, client, fault).await;
        }
        if kept_died {
            free -= 1;
        } else {
            limits.tried().await;
            chooser.avoid(&chosen);
        }
    }
}

/// The service, at the target and in the protocol that plugins want instead of its own.
fn redirected(service: Arc<Service>, exchange: &Exchange, secure: bool) -> Arc<Service> {
    if exchange.upstream.target.is_none() && !secure {
        return service;
    }
    let mut other = Service::clone(&service);
    if let Some((host, port)) = &exchange.upstream.target {
        other.host.clone_from(host);
        other.port = *port;
    }
    other.protocol = match exchange.upstream.scheme {
        Some("http") => Protocol::Http,
        Some("https") => Protocol::Https,
        Some(_) | None => other.protocol,
    };
    other.protocol = match other.protocol {
        Protocol::Http if secure => Protocol::Https,
        Protocol::Grpc if secure => Protocol::Grpcs,
        Protocol::Ws if secure => Protocol::Wss,
        protocol => protocol,
    };
    Arc::new(other)
}

fn may_repeat(fault: Fault, method: &Method, body: &Outgoing) -> bool {
    let lock = method.as_str() == "LOCK";
    let once = matches!(*method, Method::POST | Method::PATCH) || lock;
    let wanted = matches!(fault, Fault::Unwanted(_));
    !fault.is_final() && body.is_repeatable() && (wanted || !(once && fault.after_sending()))
}

fn note(exchange: &mut Exchange, fault: Fault) {
    if let Some(last) = exchange.tries.last_mut() {
        last.state = Some("failed");
        last.code = Some(fault.status().as_u16());
    }
}

/// The body as it will go out: whole where that is wanted and it fits, else streaming.
async fn take_body(way: &Way<'_>, exchange: &mut Exchange) -> Result<Outgoing, Fault> {
    let reader = match std::mem::replace(&mut exchange.request.body, Body::Taken) {
        Body::Empty | Body::Taken => return Ok(Outgoing::Empty),
        Body::Whole(bytes) => {
            exchange.request.headers.remove(header::TRANSFER_ENCODING);
            exchange.request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            return Ok(Outgoing::Whole(bytes));
        }
        Body::Unread(reader) => reader,
    };
    let Ok(mut reader) = reader.into_any().downcast::<RequestBody>() else {
        return Ok(Outgoing::Empty);
    };
    if !way.route.request_buffering || is_grpc(way) {
        let (ready, whole) = reader.ready().map_err(|_| Fault::ClientBody)?;
        if !whole {
            return Ok(Outgoing::Streaming(ready, reader));
        }
        exchange.request.size += ready.len() as u64;
        exchange.request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(ready.len()));
        return Ok(Outgoing::Whole(ready));
    }
    let mut read = BytesMut::new();
    loop {
        match reader.next().await {
            Ok(Some(Piece::Data(data))) => read.extend_from_slice(&data),
            Ok(Some(Piece::Trailers(_))) => {}
            Ok(None) => break,
            Err(BodyFault::Framing) => return Err(Fault::ClientBody),
            Err(BodyFault::Connection) => return Err(Fault::ClientGone),
        }
        if read.len() > REPLAY {
            exchange.request.size += read.len() as u64;
            return Ok(Outgoing::Streaming(read.freeze(), reader));
        }
    }
    exchange.request.size += read.len() as u64;
    exchange.request.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(read.len()));
    Ok(Outgoing::Whole(read.freeze()))
}

fn is_grpc(way: &Way<'_>) -> bool {
    let protocol = way.route.service.as_ref().map(|service| service.protocol);
    matches!(protocol, Some(Protocol::Grpc | Protocol::Grpcs))
}

/// Answers for an upstream that gave no answer.
async fn give_up(
    gateway: &Arc<Gateway>,
    way: &Way<'_>,
    exchange: &mut Exchange,
    client: &mut Client1<'_>,
    fault: Fault,
) {
    if fault == Fault::ClientGone {
        return client.out.abort().await;
    }
    if fault == Fault::ClientBody {
        exchange.moments.forwarded.get_or_insert_with(now);
        client.out.close_after();
    }
    let answer = error_page(exchange, fault.status());
    crate::http::write_answer(gateway, &way.route.plan, exchange, answer, client).await;
}

/// The page of Kong's error handler: plain text unless something is asked for, compact JSON for gRPC.
fn error_page(exchange: &Exchange, status: StatusCode) -> Answer {
    let accepted = exchange.request.headers.get(header::ACCEPT).map(Format::accepted);
    match accepted {
        Some(Format::Grpc) => {
            let text = proxy_core::answer::handled_text(status).unwrap_or_default();
            Answer::message(status, text)
        }
        _ => Answer::bare(exchange, status),
    }
}
