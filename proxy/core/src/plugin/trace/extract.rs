//! Reading trace context.

use http::HeaderMap;

use super::{Format, Incoming};
use crate::exchange::text;

/// What the headers say in this form; `None` where they do not use it.
pub(super) fn read(format: Format, headers: &HeaderMap) -> Option<Incoming> {
    match format {
        Format::B3 | Format::B3Single => b3_single(headers).or_else(|| b3(headers)),
        Format::W3c => w3c(headers),
        Format::Jaeger => jaeger(headers),
        Format::Ot => ot(headers),
        Format::Datadog => datadog(headers),
        Format::Aws => aws(headers),
        Format::Gcp => gcp(headers),
    }
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { text(value) }
}

fn trace_id(hex: &str) -> Option<Vec<u8>> {
    let id = hex::decode(hex).ok()?;
    (matches!(id.len(), 8 | 16) && id.iter().any(|byte| *byte != 0)).then_some(id)
}

fn span_id(hex: &str) -> Option<[u8; 8]> {
    let id: [u8; 8] = hex::decode(hex).ok()?.try_into().ok()?;
    (id != [0; 8]).then_some(id)
}

fn b3_single(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "b3")?;
    let mut incoming = Incoming { format: Some(Format::B3Single), ..Incoming::default() };
    let mut decide = |word: &str| match word {
        "1" => incoming.sampled = Some(true),
        "0" => incoming.sampled = Some(false),
        "d" => {
            incoming.sampled = Some(true);
            incoming.debug = true;
        }
        _ => {}
    };
    let mut words = value.split('-');
    let first = words.next().unwrap_or_default();
    let Some(span) = words.next() else {
        decide(first);
        return Some(incoming);
    };
    if let Some(word) = words.next() {
        decide(word);
    }
    if let (Some(trace), Some(span)) = (trace_id(first), span_id(span)) {
        incoming.trace = Some(trace);
        incoming.span = Some(span);
        incoming.parent = words.next().and_then(span_id);
    }
    Some(incoming)
}

fn b3(headers: &HeaderMap) -> Option<Incoming> {
    const NAMES: [&str; 5] =
        ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
    if !NAMES.iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    let debug = one(headers, "x-b3-flags") == Some("1");
    let sampled = match one(headers, "x-b3-sampled") {
        Some("1" | "true") => Some(true),
        Some("0" | "false") => Some(false),
        Some(_) | None => None,
    };
    let mut incoming = Incoming {
        format: Some(Format::B3),
        sampled: if debug { Some(true) } else { sampled },
        debug,
        ..Incoming::default()
    };
    if let Some(trace) = one(headers, "x-b3-traceid").and_then(trace_id) {
        incoming.trace = Some(trace);
        incoming.span = one(headers, "x-b3-spanid").and_then(span_id);
        incoming.parent = one(headers, "x-b3-parentspanid").and_then(span_id);
    }
    Some(incoming)
}

fn w3c(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "traceparent")?;
    let words: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags] = words.as_slice() else { return None };
    let flags = hex::decode(flags).ok()?;
    let trace = trace_id(trace).filter(|trace| trace.len() == 16)?;
    (*version == "00" && flags.len() == 1).then_some(())?;
    Some(Incoming {
        format: Some(Format::W3c),
        trace: Some(trace),
        span: Some(span_id(span)?),
        sampled: Some(flags.first().is_some_and(|flags| flags & 1 == 1)),
        ..Incoming::default()
    })
}

fn jaeger(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "uber-trace-id")?;
    let words: Vec<&str> = value.split(':').collect();
    let [trace, span, parent, flags] = words.as_slice() else { return None };
    let padded = |hex: &str, length: usize| format!("{hex:0>length$}");
    let length = if trace.len() > 16 { 32 } else { 16 };
    Some(Incoming {
        format: Some(Format::Jaeger),
        trace: Some(trace_id(&padded(trace, length))?),
        span: Some(span_id(&padded(span, 16))?),
        parent: span_id(&padded(parent, 16)),
        sampled: Some(u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1)),
        debug: false,
    })
}

fn ot(headers: &HeaderMap) -> Option<Incoming> {
    let trace = one(headers, "ot-tracer-traceid")?;
    let sampled = match one(headers, "ot-tracer-sampled") {
        Some("1" | "true") => Some(true),
        Some("0" | "false") => Some(false),
        Some(_) | None => None,
    };
    Some(Incoming {
        format: Some(Format::Ot),
        trace: Some(trace_id(trace)?),
        span: one(headers, "ot-tracer-spanid").and_then(span_id),
        sampled,
        ..Incoming::default()
    })
}

fn datadog(headers: &HeaderMap) -> Option<Incoming> {
    let trace: u64 = one(headers, "x-datadog-trace-id")?.parse().ok()?;
    let span = one(headers, "x-datadog-parent-id").and_then(|id| id.parse::<u64>().ok());
    let priority =
        one(headers, "x-datadog-sampling-priority").and_then(|level| level.parse::<i64>().ok());
    Some(Incoming {
        format: Some(Format::Datadog),
        trace: Some(trace.to_be_bytes().to_vec()),
        span: span.map(u64::to_be_bytes),
        sampled: priority.map(|level| level > 0),
        ..Incoming::default()
    })
}

fn aws(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "x-amzn-trace-id")?;
    let part = |name: &str| {
        value
            .split(';')
            .filter_map(|part| part.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let root: String = part("Root")?.strip_prefix("1-")?.split('-').collect();
    Some(Incoming {
        format: Some(Format::Aws),
        trace: Some(trace_id(&root)?),
        span: Some(part("Parent").and_then(span_id)?),
        sampled: part("Sampled").map(|flag| flag == "1"),
        ..Incoming::default()
    })
}

fn gcp(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "x-cloud-trace-context")?;
    let (ids, options) = value.split_once(';').unwrap_or((value, ""));
    let (trace, span) = ids.split_once('/')?;
    Some(Incoming {
        format: Some(Format::Gcp),
        trace: Some(trace_id(trace).filter(|trace| trace.len() == 16)?),
        span: Some(span.parse::<u64>().ok()?.to_be_bytes()),
        sampled: options.strip_prefix("o=").map(|flag| flag == "1"),
        ..Incoming::default()
    })
}
