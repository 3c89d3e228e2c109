//! Reading trace context. What a form does not forgive makes its headers count as absent; the next form is then tried.

use http::HeaderMap;

use super::{Format, Incoming};
use crate::exchange::text;
use crate::plugin::args::decode;

/// What the headers say in this form; `None` where they do not use it.
pub(super) fn read(format: Format, headers: &HeaderMap) -> Option<Incoming> {
    match format {
        Format::B3 | Format::B3Single => b3(headers),
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

/// The bytes of a hexadecimal number; one digit more is put in front of an odd count.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let even =
        if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    (!digits.is_empty()).then(|| hex::decode(even).ok())?
}

/// The bytes of a hexadecimal number of one of these lengths.
fn exactly(digits: &str, lengths: &[usize]) -> Option<Vec<u8>> {
    if lengths.contains(&digits.len()) { hex::decode(digits).ok() } else { None }
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|byte| *byte == 0)
}

/// The last bytes of an id, filled up in front.
fn fit<const N: usize>(id: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().rev().zip(id.iter().rev()) {
        *to = *from;
    }
    out
}

impl Incoming {
    fn of(format: Format) -> Self {
        Self { format: Some(format), ..Self::default() }
    }

    fn set_trace(&mut self, id: &[u8]) {
        self.trace = Some(fit(id));
        self.size = Some(id.len());
    }
}

/// Truth values as older tracers write them.
fn decision(value: Option<&str>) -> Option<bool> {
    match value? {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn b3(headers: &HeaderMap) -> Option<Incoming> {
    const NAMES: [&str; 5] =
        ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];
    let single = one(headers, "b3").or_else(|| one(headers, "tracestate")?.strip_prefix("b3="));
    let is_used = headers.contains_key("b3")
        || single.is_some()
        || NAMES.iter().any(|name| headers.contains_key(*name));
    if !is_used {
        return None;
    }
    let mut incoming = Incoming::of(Format::B3);
    incoming.reuses_span = true;
    if let Some(value) = single {
        incoming.format = Some(Format::B3Single);
        b3_single(value, &mut incoming);
    }
    let flags = one(headers, "x-b3-flags");
    let asked = if flags == Some("1") { Some(true) } else { None };
    incoming.sampled =
        incoming.sampled.or(asked).or_else(|| decision(one(headers, "x-b3-sampled")));
    incoming.flags = incoming.flags.or_else(|| flags.map(str::to_owned));
    let [trace, span, parent] =
        [("x-b3-traceid", &[16, 32][..]), ("x-b3-spanid", &[16]), ("x-b3-parentspanid", &[16])]
            .map(|(name, lengths)| one(headers, name).map(|digits| exactly(digits, lengths)));
    // One bad id spoils them all.
    if ![&trace, &span, &parent].iter().any(|id| matches!(id, Some(None))) {
        if let (None, Some(trace)) = (&incoming.trace, trace.flatten()) {
            incoming.set_trace(&trace);
        }
        incoming.span = incoming.span.or_else(|| span.flatten().map(|id| fit(&id)));
        incoming.parent = incoming.parent.or_else(|| parent.flatten().map(|id| fit(&id)));
    }
    if incoming.trace.is_none() {
        (incoming.span, incoming.parent) = (None, None);
    }
    Some(incoming)
}

/// `<trace>-<span>-<decision>-<parent>`, where the end may be left out, or a decision alone.
fn b3_single(value: &str, incoming: &mut Incoming) {
    let decide = |word: &str| match word {
        "1" | "d" => Some(true),
        "0" => Some(false),
        _ => None,
    };
    let debug = |word: &str| (word == "d").then(|| "1".to_owned());
    if let Some(sampled) = decide(value) {
        incoming.sampled = Some(sampled);
        incoming.flags = debug(value);
        return;
    }
    let mut words = value.split('-');
    let trace = words.next().and_then(|word| exactly(word, &[16, 32]));
    let span = words.next().and_then(|word| exactly(word, &[16]));
    let (Some(trace), Some(span)) = (trace, span) else { return };
    let (word, parent) = match (words.next(), words.next(), words.next()) {
        (None, ..) => ("", ""),
        (Some(word), None, _) if matches!(word, "" | "0" | "1" | "d") => (word, ""),
        (Some(parent), None, _) => ("", parent),
        (Some(word), Some(parent), None) => (word, parent),
        (Some(_), Some(_), Some(_)) => return,
    };
    let parent = match exactly(parent, &[16]) {
        None if !parent.is_empty() => return,
        parent => parent,
    };
    incoming.sampled = decide(word);
    incoming.flags = debug(word);
    incoming.set_trace(&trace);
    incoming.span = Some(fit(&span));
    incoming.parent = parent.map(|id| fit(&id));
}

fn w3c(headers: &HeaderMap) -> Option<Incoming> {
    let words: Vec<&str> = one(headers, "traceparent")?.split('-').collect();
    let [version, trace, span, flags] = words.as_slice() else { return None };
    let flags = exactly(flags, &[2])?;
    let trace = exactly(trace, &[32]).filter(|id| !is_zero(id))?;
    let span = exactly(span, &[16]).filter(|id| !is_zero(id))?;
    (*version == "00").then_some(())?;
    let mut incoming = Incoming::of(Format::W3c);
    incoming.set_trace(&trace);
    incoming.span = Some(fit(&span));
    incoming.sampled = Some(flags.first().is_some_and(|flags| flags & 1 == 1));
    Some(incoming)
}

fn jaeger(headers: &HeaderMap) -> Option<Incoming> {
    let words: Vec<&str> = one(headers, "uber-trace-id")?.split(':').collect();
    let [trace, span, parent, flags] = words.as_slice() else { return None };
    let id =
        |digits: &str, most: usize| bytes(digits).filter(|id| digits.len() <= most && !is_zero(id));
    let (trace, span, parent) = (id(trace, 32)?, id(span, 16)?, bytes(parent)?);
    let flags = bytes(flags).filter(|flags| flags.len() == 1)?;
    let mut incoming = Incoming::of(Format::Jaeger);
    incoming.reuses_span = true;
    incoming.set_trace(&trace);
    incoming.span = Some(fit(&span));
    incoming.parent = (!is_zero(&parent)).then(|| fit(&parent));
    incoming.sampled = flags.first().map(|flags| flags & 1 == 1);
    incoming.baggage = baggage(headers, "uberctx-");
    Some(incoming)
}

/// What tracers carry along, one header each.
fn baggage(headers: &HeaderMap, prefix: &str) -> Vec<(String, String)> {
    let named = |name: &http::HeaderName| name.as_str().strip_prefix(prefix).map(str::to_owned);
    let pair = |name: &http::HeaderName| Some((named(name)?, decode(one(headers, name.as_str())?)));
    headers.keys().filter_map(pair).collect()
}

fn ot(headers: &HeaderMap) -> Option<Incoming> {
    let mut incoming = Incoming::of(Format::Ot);
    incoming.sampled = decision(one(headers, "ot-tracer-sampled"));
    let trace = one(headers, "ot-tracer-traceid").map(|digits| exactly(digits, &[16, 32]));
    let span = one(headers, "ot-tracer-spanid").map(|digits| exactly(digits, &[16]));
    if let (Some(Some(trace)), None | Some(Some(_))) = (&trace, &span) {
        incoming.set_trace(trace);
        incoming.span = span.flatten().map(|id| fit(&id));
    }
    if trace.is_some() || one(headers, "ot-tracer-spanid").is_some() || incoming.sampled.is_some() {
        incoming.baggage = baggage(headers, "ot-baggage-");
    }
    let says_something =
        incoming.trace.is_some() || incoming.sampled.is_some() || !incoming.baggage.is_empty();
    says_something.then_some(incoming)
}

/// The bytes of a decimal number, without zeroes in front.
fn decimal(digits: &str) -> Option<Vec<u8>> {
    let number: u128 = digits.parse().ok()?;
    let bytes = number.to_be_bytes();
    let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeroes..).map(<[u8]>::to_vec)
}

fn datadog(headers: &HeaderMap) -> Option<Incoming> {
    let mut incoming = Incoming::of(Format::Datadog);
    incoming.sampled = match one(headers, "x-datadog-sampling-priority") {
        Some("1" | "2") => Some(true),
        Some("0" | "-1") => Some(false),
        Some(_) => return None,
        None => None,
    };
    let number = |name: &str| {
        let digits = one(headers, name)?.trim();
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| decimal(digits))?
    };
    if let Some(trace) = number("x-datadog-trace-id") {
        incoming.set_trace(&trace);
        incoming.span = number("x-datadog-parent-id").map(|id| fit(&id));
    }
    (incoming.trace.is_some() || incoming.sampled.is_some()).then_some(incoming)
}

fn aws(headers: &HeaderMap) -> Option<Incoming> {
    let mut incoming = Incoming::of(Format::Aws);
    let parts = one(headers, "x-amzn-trace-id")?.split(';');
    for (key, value) in parts.map(|part| part.split_once('=').unwrap_or((part, ""))) {
        match (key.trim(), value.trim()) {
            ("Root", root) => {
                let (time, unique) = root.strip_prefix("1-")?.split_once('-')?;
                let trace = [exactly(time, &[8])?, exactly(unique, &[24])?].concat();
                incoming.set_trace(&trace);
            }
            ("Parent", parent) => incoming.span = Some(fit(&exactly(parent, &[16])?)),
            ("Sampled", flag @ ("0" | "1")) => incoming.sampled = Some(flag == "1"),
            ("Sampled", _) => return None,
            _ => {}
        }
    }
    let says_something =
        incoming.trace.is_some() || incoming.span.is_some() || incoming.sampled.is_some();
    says_something.then_some(incoming)
}

fn gcp(headers: &HeaderMap) -> Option<Incoming> {
    let value = one(headers, "x-cloud-trace-context")?;
    let (ids, options) = value.split_once(';').map_or((value, None), |(a, b)| (a, Some(b)));
    let (trace, span) = ids.split_once('/')?;
    let trace =
        exactly(trace, &[32]).filter(|_| !trace.bytes().any(|byte| byte.is_ascii_uppercase()))?;
    let is_number = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let flag = match options {
        None => None,
        Some(options) => Some(options.strip_prefix("o=").filter(|flag| is_number(flag, 1))?),
    };
    let mut incoming = Incoming::of(Format::Gcp);
    incoming.set_trace(&trace);
    incoming.span = Some(fit(&decimal(span).filter(|_| is_number(span, 20))?));
    incoming.sampled = Some(flag == Some("1"));
    Some(incoming)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(parse).collect()
    }

    /// Trace and span in hexadecimal, the bytes that the trace id had, and the decision.
    type Read = (Option<String>, Option<String>, Option<usize>, Option<bool>);

    fn check(format: Format, pairs: &[(&str, &str)], want: impl Into<Option<Read>>) {
        let found = read(format, &headers(pairs)).map(|found| {
            (found.trace.map(hex::encode), found.span.map(hex::encode), found.size, found.sampled)
        });
        assert_eq!(found, want.into(), "{pairs:?}");
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn full(sampled: Option<bool>) -> Option<Read> {
        Some((Some(TRACE.into()), Some(SPAN.into()), Some(16), sampled))
    }

    #[test]
    fn a_form_without_its_decision_leaves_it_open_except_for_gcp() {
        let aws = format!("Root=1-4bf92f35-{};Parent={SPAN}", &TRACE[8..]);
        check(Format::Aws, &[("x-amzn-trace-id", &aws)], full(None));
        let gcp = format!("{TRACE}/67667974448284343");
        check(Format::Gcp, &[("x-cloud-trace-context", &gcp)], full(Some(false)));
        let b3 = format!("{TRACE}-{SPAN}");
        check(Format::B3, &[("b3", &b3)], full(None));
    }

    #[test]
    fn a_decision_alone_is_context() {
        let only = |sampled| Some((None, None, None, Some(sampled)));
        check(Format::Datadog, &[("x-datadog-sampling-priority", "-1")], only(false));
        check(Format::Ot, &[("ot-tracer-sampled", "true")], only(true));
        check(Format::Aws, &[("x-amzn-trace-id", "Sampled=1")], only(true));
        check(Format::Ot, &[("ot-tracer-spanid", SPAN)], None);
    }

    #[test]
    fn what_a_form_does_not_forgive_makes_it_absent() {
        check(
            Format::Aws,
            &[(
                "x-amzn-trace-id",
                "Root=1-5e1b4151-5ac6c58f2d3f4e1d2b0a0d8;Parent=53995c3f42cd8ad8",
            )],
            None,
        );
        check(Format::Aws, &[("x-amzn-trace-id", "Sampled=?")], None);
        check(Format::Datadog, &[("x-datadog-sampling-priority", "9")], None);
        let capitals = format!("{}/1;o=1", TRACE.to_uppercase());
        check(Format::Gcp, &[("x-cloud-trace-context", &capitals)], None);
        check(Format::W3c, &[("traceparent", &format!("01-{TRACE}-{SPAN}-01"))], None);
        check(Format::Jaeger, &[("uber-trace-id", &format!("{TRACE}:{SPAN}:0:001"))], None);
    }

    #[test]
    fn short_ids_are_filled_up_and_their_length_is_remembered() {
        let short = |trace: &str, span: &str, size, sampled| {
            Some((Some(format!("{trace:0>32}")), Some(format!("{span:0>16}")), Some(size), sampled))
        };
        let datadog = [("x-datadog-trace-id", "4660"), ("x-datadog-parent-id", "1")];
        check(Format::Datadog, &datadog, short("1234", "1", 2, None));
        check(Format::Jaeger, &[("uber-trace-id", "123:4:0:1")], short("123", "4", 2, Some(true)));
    }

    #[test]
    fn one_bad_id_of_b3_spoils_them_all() {
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", "12"), ("x-b3-sampled", "1")];
        check(Format::B3, &ids, Some((None, None, None, Some(true))));
    }

    #[test]
    fn baggage_is_unescaped() {
        let ids = format!("{TRACE}:{SPAN}:0:1");
        let found =
            read(Format::Jaeger, &headers(&[("uber-trace-id", &ids), ("uberctx-who", "a%20b")]));
        assert_eq!(found.unwrap().baggage, [("who".to_owned(), "a b".to_owned())]);
    }
}
