//! The upstream's answer on its way to the client, through the plugins that see it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use proxy_core::exchange::{Exchange, Source};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::attempt::Job;
use super::plain;
use crate::downstream::Out;
use crate::http::{Client1, REQUEST_ID, add_answer_headers, add_charset, now, strip_answer};
use crate::http1::Framing;
use crate::http1::body::{Decoder, Piece};
use crate::http1::io::Length;
use crate::http1::response::Head;

/// An upstream's HTTP/1 answer, its head read.
pub(super) struct Upstream<'a, R> {
    /// The head.
    pub head: Head,
    /// Where the body comes from.
    pub from: &'a mut R,
    /// What was read ahead.
    pub buffer: &'a mut BytesMut,
}

/// Relays an answer; whether it came whole.
pub(super) async fn whole<R: AsyncRead + Unpin>(
    job: &Job<'_>,
    exchange: &mut Exchange,
    upstream: Upstream<'_, R>,
    client: &mut Client1<'_>,
) -> (StatusCode, bool) {
    if exchange.upstream.buffered {
        return kept(job, exchange, upstream, client).await;
    }
    let Upstream { head, from, buffer } = upstream;
    let Head { status, lines, framing, keep_alive: _ } = head;
    let length = match framing {
        Framing::None => Length::None,
        Framing::Length(length) => Length::Exact(length),
        Framing::Chunked | Framing::UntilClose => Length::Unknown,
    };
    let reason = Some(lines.reason()).filter(|reason| !reason.is_empty());
    if !plain::pass_on(job, exchange, ((status, reason), &lines, length), &mut client.out) {
        let length = start(job, exchange, (status, lines.to_map(), length));
        let shown = exchange.response.status;
        let reason = reason.filter(|_| shown == status);
        client.out.head(shown, reason, &exchange.response.headers, length);
    }
    let mut decoder = Decoder::new(framing);
    let mut deadline = None;
    loop {
        match decoder.next(buffer) {
            Ok(Piece::Data(data)) => {
                if forward(exchange, &mut client.out, data, decoder.is_done()).await.is_err() {
                    client.out.abort().await;
                    return (status, false);
                }
            }
            Ok(Piece::End) => break,
            Ok(Piece::More) => {
                let patience = job.service.read_timeout;
                let deadline = deadline.get_or_insert_with(|| Deadline::new(patience));
                let flushed = client.out.flush().await;
                buffer.reserve(16 * 1024);
                let read = timeout_at(deadline.at, from.read_buf(buffer)).await;
                deadline.extend();
                match (flushed, read) {
                    (Ok(()), Ok(Ok(read))) if read > 0 => {}
                    (Ok(()), Ok(_)) if decoder.may_end() => break,
                    _ => {
                        client.out.abort().await;
                        return (status, false);
                    }
                }
            }
            Err(_) => {
                client.out.abort().await;
                return (status, false);
            }
        }
    }
    exchange.moments.received = Some(now());
    let ended = end(exchange, &mut client.out, None).await;
    (status, ended)
}

/// The largest answer that is held for a plugin.
const MAX_KEPT: usize = 64 << 20;

/// Reads the whole answer, lets the plugins see it, and sends what they made of it.
async fn kept<R: AsyncRead + Unpin>(
    job: &Job<'_>,
    exchange: &mut Exchange,
    upstream: Upstream<'_, R>,
    client: &mut Client1<'_>,
) -> (StatusCode, bool) {
    let Upstream { head, from, buffer } = upstream;
    let Head { status, lines, framing, keep_alive: _ } = head;
    let Some(read) = read_whole(framing, from, buffer, job.service.read_timeout).await else {
        client.out.abort().await;
        return (status, false);
    };
    exchange.moments.received = Some(now());
    exchange.response.whole = Some(read);
    let length = start(job, exchange, (status, lines.to_map(), Length::Unknown));
    let body = exchange.response.whole.take().unwrap_or_default();
    let length = match length {
        Length::Exact(_) | Length::Unknown
            if exchange.response.headers.contains_key(header::CONTENT_LENGTH) =>
        {
            exchange.response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            Length::Exact(body.len() as u64)
        }
        other => other,
    };
    client.out.head(exchange.response.status, None, &exchange.response.headers, length);
    if forward(exchange, &mut client.out, body, false).await.is_err() {
        client.out.abort().await;
        return (status, false);
    }
    let ended = end(exchange, &mut client.out, None).await;
    (status, ended)
}

/// The whole body, unless it is too large or does not come whole.
async fn read_whole<R: AsyncRead + Unpin>(
    framing: Framing,
    from: &mut R,
    buffer: &mut BytesMut,
    patience: Duration,
) -> Option<Bytes> {
    let mut decoder = Decoder::new(framing);
    let mut deadline = Deadline::new(patience);
    let mut read = BytesMut::new();
    loop {
        match decoder.next(buffer) {
            Ok(Piece::Data(data)) => read.extend_from_slice(&data),
            Ok(Piece::End) => return Some(read.freeze()),
            Ok(Piece::More) => {
                buffer.reserve(16 * 1024);
                let more = timeout_at(deadline.at, from.read_buf(buffer)).await;
                deadline.extend();
                match more {
                    Ok(Ok(more)) if more > 0 => {}
                    Ok(Ok(_)) if decoder.may_end() => return Some(read.freeze()),
                    _ => return None,
                }
            }
            Err(_) => return None,
        }
        if read.len() > MAX_KEPT {
            return None;
        }
    }
}

/// When the next read must have come. As in nginx it moves only by steps worth a timer: at least 300 ms.
struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    fn new(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, patience }
    }

    fn extend(&mut self) {
        let next = Instant::now() + self.patience;
        if next.duration_since(self.at) >= Duration::from_millis(300) {
            self.at = next;
        }
    }
}

/// Takes the head into the exchange, runs the plugins over it, and says how long the body will be.
fn start(
    job: &Job<'_>,
    exchange: &mut Exchange,
    (status, mut headers, length): (StatusCode, HeaderMap, Length),
) -> Length {
    exchange.moments.answered = Some(now());
    strip_answer(&mut headers);
    if headers.get(header::CONTENT_TYPE).is_some_and(HeaderValue::is_empty) {
        headers.remove(header::CONTENT_TYPE);
    }
    add_answer_headers(job.gateway, exchange, &mut headers);
    if job.gateway.settings.headers.upstream_status {
        headers.insert("x-kong-upstream-status", HeaderValue::from(status.as_u16()));
    }
    let early = std::mem::take(&mut exchange.early);
    let mut last = None;
    for (name, value) in early {
        last = name.or(last);
        if let Some(name) = &last {
            headers.append(name.clone(), value);
        }
    }
    headers.entry(header::DATE).or_insert_with(|| job.gateway.date());
    exchange.response.status = status;
    exchange.response.headers = headers;
    exchange.response.source = Source::Upstream;
    job.way.route.plan.header_filter(exchange);
    if job.gateway.settings.headers.request_id
        && let Ok(id) = HeaderValue::from_str(&exchange.id)
    {
        exchange.response.headers.insert(REQUEST_ID, id);
    }
    let response = &mut exchange.response;
    if job.gateway.settings.headers.server {
        response.headers.entry(header::SERVER).or_insert_with(|| job.gateway.product.clone());
    }
    add_charset(response.status, &mut response.headers);
    if response.filters.is_empty() || length == Length::None {
        return length;
    }
    // Whoever changes the length takes the announced one away, or announces another.
    let announced = response.headers.get(header::CONTENT_LENGTH);
    match announced.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(announced) => Length::Exact(announced),
        None if exchange.request.method == Method::HEAD => Length::None,
        None => Length::Unknown,
    }
}

/// Passes a piece through the filters and on.
async fn forward(
    exchange: &mut Exchange,
    out: &mut Out<'_>,
    data: Bytes,
    last: bool,
) -> std::io::Result<()> {
    let _ = last;
    let filters = &mut exchange.response.filters;
    let data = filters.iter_mut().fold(data, |data, filter| filter.chunk(data, false));
    exchange.response.body_size += data.len() as u64;
    out.data(data).await
}

/// Tells the filters that the body is over and ends the answer; whether the client got it.
async fn end(exchange: &mut Exchange, out: &mut Out<'_>, trailers: Option<HeaderMap>) -> bool {
    let mut filters = std::mem::take(&mut exchange.response.filters);
    let mut trailers = trailers;
    if !filters.is_empty() {
        if let Some(trailers) = &mut trailers {
            filters.iter_mut().for_each(|filter| filter.trailers(trailers));
        }
        let rest = filters.iter_mut().fold(Bytes::new(), |data, filter| filter.chunk(data, true));
        exchange.response.body_size += rest.len() as u64;
        if out.data(rest).await.is_err() {
            return false;
        }
    }
    out.end(trailers).await.is_ok()
}

/// Relays an HTTP/2 answer with its trailers.
pub(super) async fn http2_answer(
    job: &Job<'_>,
    exchange: &mut Exchange,
    response: Response<Incoming>,
    client: &mut Client1<'_>,
) -> StatusCode {
    let (parts, mut body) = response.into_parts();
    let exact = http_body::Body::size_hint(&body).exact();
    let ended = http_body::Body::is_end_stream(&body);
    let length = match exact {
        _ if ended => Length::None,
        Some(length) => Length::Exact(length),
        None => Length::Unknown,
    };
    let length = start(job, exchange, (parts.status, parts.headers, length));
    let status = exchange.response.status;
    client.out.head(status, None, &exchange.response.headers, length);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            client.out.abort().await;
            return parts.status;
        };
        match frame.into_data() {
            Ok(data) => {
                let sent = forward(exchange, &mut client.out, data, false).await;
                if sent.is_err() || client.out.flush().await.is_err() {
                    return parts.status;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    exchange.moments.received = Some(now());
    end(exchange, &mut client.out, trailers).await;
    parts.status
}

/// Relays the answer that switches protocols, then bytes both ways until one side ends.
pub(super) async fn tunnel<R, W>(
    job: &Job<'_>,
    exchange: &mut Exchange,
    head: Head,
    (mut from, mut to, ahead): (R, W, BytesMut),
    client: &mut Client1<'_>,
) -> StatusCode
where
    R: AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let (status, headers) = (head.status, head.lines.to_map());
    let upgrade = headers.get(header::UPGRADE).cloned();
    start(job, exchange, (status, headers, Length::None));
    if let Some(upgrade) = upgrade {
        exchange.response.headers.insert(header::UPGRADE, upgrade);
    }
    client.out.head(status, None, &exchange.response.headers, Length::None);
    client.out.close_after();
    let (Out::Http1(out), Some(reader)) = (&mut client.out, client.reader.as_deref_mut()) else {
        return status;
    };
    if out.data_raw(&ahead).await.is_err() {
        return status;
    }
    let patience = job.service.read_timeout;
    let heard = std::sync::Mutex::new(Instant::now());
    let hear = || *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    let up = async {
        loop {
            hear();
            if !reader.buffer.is_empty() {
                let bytes = reader.buffer.split();
                if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
            if !matches!(reader.fill().await, Ok(read) if read > 0) {
                // The upstream may have closed first; half-closing is a courtesy.
                let _ = to.shutdown().await;
                return;
            }
        }
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        while matches!(from.read_buf(&mut buffer).await, Ok(read) if read > 0) {
            hear();
            if out.data_raw(&buffer.split()).await.is_err() {
                return;
            }
            buffer.reserve(16 * 1024);
        }
    };
    let silence = async {
        loop {
            let until = *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) + patience;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    tokio::pin!(up, down, silence);
    // Biased: what the upstream still says after the client has finished must arrive.
    tokio::select! {
        biased;
        () = &mut down => {}
        () = &mut up => {
            // Biased: the last words win over the end of patience.
            tokio::select! {
                biased;
                () = &mut down => {}
                () = &mut silence => {}
            }
        }
        () = &mut silence => {}
    }
    status
}
