//! Answers that no plugin sees, passed on line by line.
//!
//! Most answers go to the client as they came, but for a few lines of the gateway's own. Those never become a map of
//! headers. What is out of the ordinary takes the long way, and both ways say the same.

use http::StatusCode;
use proxy_core::exchange::{Exchange, Moments, Source};
use proxy_core::plugin::Phases;

use super::attempt::Job;
use crate::downstream::Out;
use crate::http::{REQUEST_DEBUG, Text, VIA_11, charset_type, now};
use crate::http1::io::{Length, put_line};
use crate::http1::response::{Kind, Lines};

/// An answer's status and reason, its headers, and how long its body will be.
type Answer<'a> = ((StatusCode, Option<&'a [u8]>), &'a Lines, Length);

/// Writes the head of an answer that needs nothing else; says whether it did.
pub(super) fn pass_on(
    job: &Job<'_>,
    exchange: &mut Exchange,
    (status, lines, length): Answer<'_>,
    out: &mut Out<'_>,
) -> bool {
    let Out::Http1(out) = out else { return false };
    let plan = &job.way.route.plan;
    let seen = plan.has(Phases::HEADER_FILTER) || plan.has(Phases::LOG);
    if seen
        || !exchange.early.is_empty()
        || !exchange.response.filters.is_empty()
        || exchange.request.headers.contains_key(&REQUEST_DEBUG)
        || exchange.upstream.scheme.is_some_and(|scheme| scheme.starts_with("grpc"))
        || !is_ordinary(lines)
    {
        return false;
    }
    exchange.moments.answered = Some(now());
    exchange.response.status = status.0;
    exchange.response.source = Source::Upstream;
    let exchange = &*exchange;
    out.head_with(status, length, |head| put(job, exchange, (status.0, lines), head));
    true
}

/// Whether each header is there once where that matters, and none asks for more than being passed on.
fn is_ordinary(lines: &Lines) -> bool {
    let (mut types, mut dates, mut servers) = (0, 0, 0);
    lines.iter().all(|(kind, _, value)| match kind {
        Kind::Odd => false,
        Kind::Connection => {
            value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
        }
        Kind::ContentType => {
            types += 1;
            types == 1 && !value.is_empty()
        }
        Kind::Date => {
            dates += 1;
            dates == 1
        }
        Kind::Server => {
            servers += 1;
            servers == 1
        }
        Kind::Plain | Kind::ContentLength | Kind::TransferEncoding | Kind::Hop => true,
    })
}

/// Writes the upstream's headers and behind them the gateway's, as the long way does.
fn put(
    job: &Job<'_>,
    exchange: &Exchange,
    (status, lines): (StatusCode, &Lines),
    head: &mut Vec<u8>,
) {
    let shown = &job.gateway.settings.headers;
    let (mut dated, mut named) = (false, !shown.server);
    for (kind, name, value) in lines.iter() {
        match kind {
            Kind::Connection | Kind::TransferEncoding | Kind::Hop => continue,
            Kind::ContentType => {
                let better = charset_type(status, value);
                put_line(head, name, &[better.map_or(value, |better| better.as_bytes())]);
                continue;
            }
            Kind::Date => dated = true,
            Kind::Server => named = true,
            Kind::Plain | Kind::ContentLength | Kind::Odd => {}
        }
        put_line(head, name, &[value]);
    }
    let mut own = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    if shown.latency {
        let moments = &exchange.moments;
        let waited = Moments::between(moments.forwarded, moments.answered);
        let spent = Moments::between(Some(moments.started), moments.forwarded);
        own(b"X-Kong-Upstream-Latency", Text::of(waited).as_bytes());
        own(b"X-Kong-Proxy-Latency", Text::of(spent).as_bytes());
    }
    if shown.via {
        own(b"Via", VIA_11.as_bytes());
    }
    if shown.upstream_status {
        own(b"X-Kong-Upstream-Status", status.as_str().as_bytes());
    }
    if !dated {
        own(b"Date", job.gateway.date().as_bytes());
    }
    if shown.request_id {
        own(b"X-Kong-Request-Id", exchange.id.as_bytes());
    }
    if !named {
        own(b"Server", job.gateway.product.as_bytes());
    }
}
