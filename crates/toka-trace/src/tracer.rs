//! Where spans come from, and the one that is current.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures::future::Either;
use opentelemetry::Context;
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{
    FutureExt as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _,
};

/// What made the spans, as OpenTelemetry names it.
pub(crate) const SCOPE: &str = "toka";
/// Most spans that may wait for their export.
pub const QUEUE_SPANS_MAX: usize = 1 << 20;
/// Calls of which one asks again whether the process has a provider that it had not.
const LOOK_AGAIN_CALLS: u32 = 1_024;

/// Makes spans, or does nothing at all. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Off,
    Own {
        tracer: Arc<BoxedTracer>,
        dropped: Arc<AtomicU64>,
    },
    Global(Arc<Provider>),
}

/// The provider of the process, as far as calls have shown whether there is one. OpenTelemetry does not tell, and a span
/// of none costs as many allocations as any other.
#[derive(Debug, Default)]
struct Provider {
    is_absent: AtomicBool,
    /// Since it was found absent.
    calls: AtomicU32,
}

impl Provider {
    fn is_worth_asking(&self) -> bool {
        !self.is_absent.load(Ordering::Relaxed)
            || self.calls.fetch_add(1, Ordering::Relaxed) % LOOK_AGAIN_CALLS == LOOK_AGAIN_CALLS - 1
    }

    /// Takes down what it has made of a span that it was asked for.
    fn answered(&self, parent: &Context, context: &Context) {
        // Below another span there is a valid one even without a provider.
        if !parent.has_active_span() && !parent.is_telemetry_suppressed() {
            let is_absent = !context.span().span_context().is_valid();
            self.is_absent.store(is_absent, Ordering::Relaxed);
        }
    }
}

impl Tracer {
    /// Makes no spans.
    #[must_use]
    pub const fn off() -> Self {
        Self(Source::Off)
    }

    /// Makes spans by whatever provider the process has set for all of OpenTelemetry when each of them begins; where it
    /// has set none, the trace that is current is passed on and nothing else. One that is set after calls were made
    /// without any is found within 1,024 calls.
    #[must_use]
    pub fn global() -> Self {
        Self(Source::Global(Arc::default()))
    }

    /// Makes spans by `tracer`; of those that it loses `dropped` is the number.
    #[must_use]
    pub fn own(tracer: BoxedTracer, dropped: Arc<AtomicU64>) -> Self {
        Self(Source::Own {
            tracer: Arc::new(tracer),
            dropped,
        })
    }

    /// Whether it makes any.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !matches!(self.0, Source::Off)
    }

    /// Spans that were made and never exported: the queue was full, or the collector took none. Of a provider that is
    /// not its own it is not known, and 0.
    #[must_use]
    pub fn spans_dropped(&self) -> u64 {
        match &self.0 {
            Source::Own { dropped, .. } => dropped.load(Ordering::Relaxed),
            Source::Off | Source::Global(_) => 0,
        }
    }

    /// Whether a call that is made now has anything of tracing: a span, or one to tell of.
    pub(crate) fn has_part(&self) -> bool {
        match &self.0 {
            Source::Off => false,
            Source::Own { .. } => true,
            Source::Global(provider) => {
                provider.is_worth_asking() || Context::map_current(Context::has_active_span)
            }
        }
    }

    /// Begins a span under that of `parent`; it is the one of the context that this returns.
    pub(crate) fn start(&self, builder: SpanBuilder, parent: &Context) -> Context {
        match &self.0 {
            Source::Off => parent.clone(),
            Source::Own { tracer, .. } => {
                parent.with_span(tracer.build_with_context(builder, parent))
            }
            Source::Global(provider) => {
                let tracer = global::tracer(SCOPE);
                let context = parent.with_span(tracer.build_with_context(builder, parent));
                provider.answered(parent, &context);
                context
            }
        }
    }

    /// Begins a trace.
    pub fn root(&self, name: &'static str) -> Root {
        let begin = || self.start(SpanBuilder::from_name(name), &Context::new());
        Root(self.is_on().then(begin))
    }
}

/// The first span of a trace; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the span ends when it is dropped"]
pub struct Root(Option<Context>);

impl Root {
    /// Does `work` with the span as the current one.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Notes that the work has come to nothing; `reason` has nothing of what was worked on.
    pub fn failed(&self, reason: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(reason));
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

/// The span of a call, for what is done on its behalf in another task.
#[derive(Clone, Debug)]
pub struct Carried {
    context: Option<Context>,
    times_left: u32,
}

impl Carried {
    /// The span that is current, for as many pieces of work: a call that goes on for ever must not have a trace without
    /// end.
    #[must_use]
    pub fn current(times: u32) -> Self {
        let context = Context::current();
        Self {
            context: context.has_active_span().then_some(context),
            times_left: times,
        }
    }

    /// `work` with the span as the current one, wherever it is polled; alone, if there is none, or no longer.
    pub fn around<F: Future>(&mut self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match self.times_left.checked_sub(1) {
            Some(left) => self.times_left = left,
            None => self.context = None,
        }
        match self.context.clone() {
            Some(context) => Either::Left(work.with_context(context)),
            None => Either::Right(work),
        }
    }
}

/// `work` with the span that is current now, in whatever task it is polled.
pub fn with_current<F: Future>(work: F) -> impl Future<Output = F::Output> {
    Carried::current(1).around(work)
}

/// The current span, for a line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    trace_id: String,
    span_id: String,
}

impl Current {
    /// The current span, if there is one that is recorded.
    #[must_use]
    pub fn get() -> Option<Self> {
        Context::map_current(|context| {
            let span = context.span();
            let span = span.span_context();
            span.is_sampled().then(|| Self {
                trace_id: span.trace_id().to_string(),
                span_id: span.span_id().to_string(),
            })
        })
    }

    /// Its trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// Itself, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &str {
        &self.span_id
    }
}

impl fmt::Display for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trace_id={} span_id={}", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// The only test of the provider that all tests of this process share.
    #[test]
    fn a_provider_that_is_not_set_is_asked_seldom_and_found_once_it_is() {
        let tracer = Tracer::global();
        let start = || {
            let context = tracer.start(SpanBuilder::from_name("span"), &Context::new());
            context.span().span_context().is_valid()
        };
        assert!(tracer.has_part(), "nothing is known yet");
        assert!(!start());
        assert!(!tracer.has_part(), "there is none");
        let caller = SpanContext::new(
            TraceId::from(1_u128),
            SpanId::from(2_u64),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let current = Context::new().with_remote_span_context(caller).attach();
        assert!(tracer.has_part(), "a trace is passed on");
        drop(current);
        global::set_tracer_provider(SdkTracerProvider::builder().build());
        let asked = (0..LOOK_AGAIN_CALLS).filter(|_| tracer.has_part());
        assert_eq!(asked.count(), 1);
        assert!(start());
        assert!(tracer.has_part(), "it is there");
    }
}
