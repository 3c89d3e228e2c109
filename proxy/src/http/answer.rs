//! Answers that the gateway makes itself.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use proxy_core::answer::Answer;
use proxy_core::exchange::{Exchange, Moments};
use proxy_core::plugin::{Phases, Plan};

use super::{add_charset, now};
use crate::app::Gateway;
use crate::downstream::Out;
use crate::http1::io::Length;

/// Sends an own answer through the plugins that see answers, and ends the exchange.
pub async fn respond(
    gateway: &Gateway,
    plan: &Arc<Plan>,
    exchange: &mut Exchange,
    answer: Answer,
    out: &mut Out<'_>,
) {
    write(gateway, plan, exchange, answer, out).await;
    finish(gateway, plan, exchange);
}

/// Sends an own answer that no plugin sees.
pub async fn send_own(
    gateway: &Gateway,
    exchange: &mut Exchange,
    answer: Answer,
    out: &mut Out<'_>,
) {
    write(gateway, &Arc::default(), exchange, answer, out).await;
}

/// Sends an own answer; the exchange goes on to its end.
pub(super) async fn write(
    gateway: &Gateway,
    plan: &Arc<Plan>,
    exchange: &mut Exchange,
    answer: Answer,
    out: &mut Out<'_>,
) {
    let Answer { status, mut headers, body } = answer;
    let early = std::mem::take(&mut exchange.early);
    let mut last = None;
    for (name, value) in early {
        last = name.or(last);
        if let Some(name) = &last {
            headers.append(name.clone(), value);
        }
    }
    if exchange.replayed {
        // It carries the headers that it had when it came from the upstream.
        if gateway.settings.headers.server {
            headers.entry(header::SERVER).or_insert_with(|| gateway.product.clone());
        }
    } else if exchange.moments.forwarded.is_some() {
        super::add_answer_headers(gateway, exchange, &mut headers);
        if gateway.settings.headers.server {
            headers.entry(header::SERVER).or_insert_with(|| gateway.product.clone());
        }
    } else {
        let settings = &gateway.settings.headers;
        if settings.latency {
            let latency = Moments::between(Some(exchange.moments.started), Some(now()));
            headers.insert("x-kong-response-latency", HeaderValue::from(latency));
        }
        if settings.server {
            headers.insert(header::SERVER, gateway.product.clone());
        }
    }
    headers.entry(header::DATE).or_insert_with(|| gateway.date());
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_TYPE);
    }
    exchange.response.status = status;
    exchange.response.headers = headers;
    plan.header_filter(exchange);
    if gateway.settings.headers.request_id
        && let Ok(id) = HeaderValue::from_str(&exchange.id)
    {
        exchange.response.headers.insert(super::headers::REQUEST_ID, id);
    }
    add_charset(exchange.response.status, &mut exchange.response.headers);
    let body = filtered(exchange, body);
    let response = &exchange.response;
    let length = match response.status {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Length::None,
        _ if !response.headers.contains_key(header::CONTENT_LENGTH) && !body.is_empty() => {
            Length::Unknown
        }
        _ => Length::Exact(body.len() as u64),
    };
    out.head(response.status, None, &response.headers, length);
    exchange.response.body_size = body.len() as u64;
    // A client that has gone away gets no answer.
    if out.data(body).await.is_ok() {
        let _ = out.end(None).await;
    }
}

/// The body after its filters, with a length that is true if it has one.
fn filtered(exchange: &mut Exchange, body: Bytes) -> Bytes {
    let mut filters = std::mem::take(&mut exchange.response.filters);
    if filters.is_empty() {
        return body;
    }
    let body = filters.iter_mut().fold(body, |body, filter| filter.chunk(body, true));
    if exchange.response.headers.contains_key(header::CONTENT_LENGTH) {
        exchange.response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    body
}

/// The bytes of a head as HTTP/1.1 writes it.
fn head_size(headers: &HeaderMap) -> u64 {
    const STATUS_LINE: usize = "HTTP/1.1 200 OK\r\n\r\n".len();
    let lines: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (STATUS_LINE + lines) as u64
}

/// Ends an exchange: moments, plugins that log, the access log.
pub fn finish(gateway: &Gateway, plan: &Arc<Plan>, exchange: &mut Exchange) {
    exchange.moments.ended = Some(now());
    if plan.has(Phases::LOG) {
        exchange.response.size =
            head_size(&exchange.response.headers) + exchange.response.body_size;
    }
    plan.log(exchange);
    gateway.access_log.write(exchange);
}
