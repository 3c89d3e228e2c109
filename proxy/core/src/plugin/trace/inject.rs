//! Writing trace context.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Format, Outgoing};

/// Writes the context in this form over whatever stood there.
pub(super) fn write(format: Format, context: &Outgoing, headers: &mut HeaderMap) {
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let trace = hex::encode(&context.trace);
    let long = format!("{trace:0>32}");
    let span = hex::encode(context.span);
    let parent = context.parent.map(hex::encode);
    let bit = if context.sampled { "1" } else { "0" };
    match format {
        Format::B3 => {
            put("x-b3-traceid", trace);
            put("x-b3-spanid", span);
            if let Some(parent) = parent {
                put("x-b3-parentspanid", parent);
            }
            if context.debug {
                put("x-b3-flags", "1".into());
            } else {
                put("x-b3-sampled", bit.into());
            }
        }
        Format::B3Single => {
            let decision = if context.debug { "d" } else { bit };
            let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
            put("b3", format!("{trace}-{span}-{decision}{parent}"));
        }
        Format::W3c => put("traceparent", format!("00-{long}-{span}-0{bit}")),
        Format::Jaeger => {
            let parent = parent.unwrap_or_else(|| "0".into());
            put("uber-trace-id", format!("{trace}:{span}:{parent}:0{bit}"));
        }
        Format::Ot => {
            // A trace that begins here gets the eight bytes that OpenTracing's tracers expect.
            let short = trace.get(trace.len().saturating_sub(16)..).unwrap_or(&trace).to_owned();
            put("ot-tracer-traceid", if context.is_new { short } else { trace });
            put("ot-tracer-spanid", span);
            put("ot-tracer-sampled", bit.into());
        }
        Format::Datadog => {
            let number = |bytes: &[u8]| {
                bytes
                    .iter()
                    .rev()
                    .take(8)
                    .rev()
                    .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
            };
            put("x-datadog-trace-id", number(&context.trace).to_string());
            put("x-datadog-parent-id", number(&context.span).to_string());
            put("x-datadog-sampling-priority", bit.into());
        }
        Format::Aws => {
            let (time, rest) = long.split_at(8);
            put("x-amzn-trace-id", format!("Root=1-{time}-{rest};Parent={span};Sampled={bit}"));
        }
        Format::Gcp => {
            put(
                "x-cloud-trace-context",
                format!("{long}/{};o={bit}", u64::from_be_bytes(context.span)),
            );
        }
    }
}
