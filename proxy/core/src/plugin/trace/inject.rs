//! Writing trace context.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Format, Outgoing};
use crate::plugin::args::escape;

/// The trace id in the length that a form takes: the caller's where the form takes that too.
fn sized(context: &Outgoing, allowed: &[usize]) -> Vec<u8> {
    let first = allowed.first().copied().unwrap_or(16);
    let size = context.size.filter(|size| allowed.contains(size)).unwrap_or(first);
    context.trace.get(16 - size..).unwrap_or_default().to_vec()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Writes the context in this form over whatever stood there; says the form's name and the trace id as the form has it.
pub(super) fn write(
    format: Format,
    context: &Outgoing,
    headers: &mut HeaderMap,
) -> (&'static str, String) {
    let mut put = |name: &str, value: String| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    };
    let long = hex::encode(context.trace);
    let span = hex::encode(context.span);
    let parent = context.parent.map(hex::encode);
    let bit = if context.sampled { "1" } else { "0" };
    match format {
        Format::B3 => {
            let trace = hex::encode(sized(context, &[16, 8]));
            put("x-b3-traceid", trace.clone());
            put("x-b3-spanid", span);
            if let Some(parent) = parent {
                put("x-b3-parentspanid", parent);
            }
            match &context.flags {
                Some(flags) => put("x-b3-flags", flags.clone()),
                None => put("x-b3-sampled", bit.into()),
            }
            ("b3", trace)
        }
        Format::B3Single => {
            let trace = hex::encode(sized(context, &[16, 8]));
            let decision = if context.flags.as_deref() == Some("1") { "d" } else { bit };
            let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
            put("b3", format!("{trace}-{span}-{decision}{parent}"));
            ("b3", trace)
        }
        Format::W3c => {
            put("traceparent", format!("00-{long}-{span}-0{bit}"));
            ("w3c", long)
        }
        Format::Jaeger => {
            let trace = hex::encode(sized(context, &[16, 8]));
            let parent = parent.unwrap_or_else(|| "0".into());
            put("uber-trace-id", format!("{trace}:{span}:{parent}:0{bit}"));
            carry(context, "uberctx-", &mut put);
            ("jaeger", trace)
        }
        Format::Ot => {
            let trace = hex::encode(sized(context, &[8, 16]));
            put("ot-tracer-traceid", trace.clone());
            put("ot-tracer-spanid", span);
            put("ot-tracer-sampled", bit.into());
            carry(context, "ot-baggage-", &mut put);
            ("ot", trace)
        }
        Format::Datadog => {
            let trace = number(&sized(context, &[8])).to_string();
            put("x-datadog-trace-id", trace.clone());
            put("x-datadog-parent-id", number(&context.span).to_string());
            put("x-datadog-sampling-priority", bit.into());
            ("datadog", trace)
        }
        Format::Aws => {
            let (time, rest) = long.split_at(8);
            put("x-amzn-trace-id", format!("Root=1-{time}-{rest};Parent={span};Sampled={bit}"));
            ("aws", long)
        }
        Format::Gcp => {
            let context = format!("{long}/{};o={bit}", number(&context.span));
            put("x-cloud-trace-context", context);
            ("gcp", long)
        }
    }
}

/// What the caller's tracer carries along.
fn carry(context: &Outgoing, prefix: &str, put: &mut impl FnMut(&str, String)) {
    for (name, value) in &context.baggage {
        let mut escaped = String::new();
        escape(value, &mut escaped);
        put(&format!("{prefix}{name}"), escaped);
    }
}
