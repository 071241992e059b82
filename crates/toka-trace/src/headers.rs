//! Trace context in the headers of a call, as W3C's Trace Context, level 1, has it
//! (<https://www.w3.org/TR/trace-context-1/>).

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// What has to be passed on of other systems' notes; longer ones are left out as wholes.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Length of a `traceparent` of version 00; later versions may have more behind it.
const TRACEPARENT_BYTES: usize = 55;

/// The caller's span as a context; an empty one if it names none, or not as it should.
pub(crate) fn extract(headers: &HeaderMap) -> Context {
    match span_context(headers) {
        Some(caller) => Context::new().with_remote_span_context(caller),
        None => Context::new(),
    }
}

fn span_context(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = parents.next()?.to_str().ok()?;
    if parents.next().is_some() {
        return None;
    }
    let (trace_id, span_id, flags) = parse(parent)?;
    Some(SpanContext::new(
        trace_id,
        span_id,
        flags,
        true,
        state(headers),
    ))
}

fn parse(parent: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let is_alone = parent.len() == TRACEPARENT_BYTES;
    // Behind it another field, of a version that is not known here.
    let is_first = parent.as_bytes().get(TRACEPARENT_BYTES) == Some(&b'-');
    let mut fields = parent.get(..TRACEPARENT_BYTES)?.split('-');
    let [version, trace_id, span_id, flags] = [2, 32, 16, 2].map(|digits| {
        let field = fields.next()?;
        let is_lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (field.len() == digits && field.bytes().all(is_lower_hex)).then_some(field)
    });
    let is_whole = match version? {
        "00" => is_alone,
        "ff" => false,
        _ => is_alone || is_first,
    };
    let trace_id = TraceId::from_hex(trace_id?).ok()?;
    let span_id = SpanId::from_hex(span_id?).ok()?;
    let flags = u8::from_str_radix(flags?, 16).ok()?;
    let is_valid = is_whole && trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
    // Flags of later versions mean nothing here.
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    is_valid.then_some((trace_id, span_id, flags))
}

fn state(headers: &HeaderMap) -> TraceState {
    let parts: Option<Vec<&str>> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(|part| part.to_str().ok())
        .collect();
    let text = parts.unwrap_or_default().join(",");
    if text.len() > TRACESTATE_BYTES_MAX {
        return TraceState::NONE;
    }
    text.parse().unwrap_or(TraceState::NONE)
}

/// Tells whoever gets a request with `headers` the span of `context`. What they said of another one is replaced; a
/// context without a span leaves them as they are.
pub(crate) fn inject(context: &Context, headers: &mut HeaderMap) {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let flags = u8::from(span.is_sampled());
    let parent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    let Ok(parent) = HeaderValue::try_from(parent) else {
        return;
    };
    headers.insert(TRACEPARENT, parent);
    let state = span.trace_state().header();
    match HeaderValue::try_from(state) {
        Ok(state) if !state.is_empty() => headers.insert(TRACESTATE, state),
        _ => headers.remove(TRACESTATE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn what_is_extracted_is_injected_again() {
        let sent = headers(&[
            (TRACEPARENT, PARENT),
            (TRACESTATE, "a=1"),
            (TRACESTATE, "b=2"),
        ]);
        let context = extract(&sent);
        let span = context.span().span_context().clone();
        assert!(span.is_remote() && span.is_sampled());
        let mut received = headers(&[
            (TRACEPARENT, "00-another"),
            (TRACESTATE, "c=3"),
            (TRACESTATE, "d=4"),
        ]);
        inject(&context, &mut received);
        let expected = headers(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1,b=2")]);
        assert_eq!(received, expected);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1);
        assert!(parse(&later).is_some());
        assert!(parse(&format!("{later}-what-comes")).is_some());
        let (_, _, flags) = parse(&PARENT.replace("-01", "-fe")).expect("valid");
        assert!(!flags.is_sampled());
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for wrong in [
            "",
            "00",
            "00-1-2-01",
            &PARENT.replacen("00", "ff", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace("0af7", "+af7"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &format!("{PARENT}-more"),
            &format!("{}x", PARENT.replacen("00", "cc", 1)),
            &format!("é{}", &PARENT[2..]),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert!(!extract(&twice).span().span_context().is_valid());
    }

    #[test]
    fn notes_that_are_too_long_are_left_out() {
        let long = format!("a={}", "1".repeat(TRACESTATE_BYTES_MAX));
        let context = extract(&headers(&[(TRACEPARENT, PARENT), (TRACESTATE, &long)]));
        let span = context.span().span_context().clone();
        assert!(span.is_valid());
        assert_eq!(span.trace_state(), &TraceState::NONE);
    }
}
