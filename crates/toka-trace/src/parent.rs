//! Spans of what has happened already, elsewhere, on behalf of a call.

use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Link, SpanBuilder, SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use crate::tracer::Tracer;

/// Links that a span can have; as many as OpenTelemetry's SDK keeps by default.
const LINKS_MAX: usize = 128;

/// The span under which something is recorded that happens elsewhere. There is one only for a call that is recorded
/// itself: whoever holds one has something to record.
#[derive(Clone, Debug)]
pub struct Parent {
    tracer: Tracer,
    span: SpanContext,
}

/// A span as another one can be linked to it, or be under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded(SpanContext);

/// What happened, and when. Its name and attributes must not have anything of a payload.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What else is known of it.
    pub attributes: Vec<KeyValue>,
    /// What it has to do with; at most 128 are kept.
    pub links: Vec<Recorded>,
    /// Why it came to nothing, if it did.
    pub failure: Option<&'static str>,
}

impl Stage {
    /// What happened from `began` to `ended`.
    #[must_use]
    pub fn new(name: &'static str, began: Instant, ended: Instant) -> Self {
        Self {
            name,
            began,
            ended: ended.max(began),
            attributes: Vec::new(),
            links: Vec::new(),
            failure: None,
        }
    }
}

/// The time of day that an [`Instant`] is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    time: SystemTime,
}

impl Clock {
    /// As it is now. Stages that belong together are given the same one, so that they fit each other.
    #[must_use]
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }

    fn time(&self, instant: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(instant);
        let ahead = instant.saturating_duration_since(self.instant);
        let time = self.time.checked_sub(ago);
        time.map_or(SystemTime::UNIX_EPOCH, |time| time + ahead)
    }
}

impl Parent {
    /// The span of the call that is answered here, if it is recorded.
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::map_current(|context| {
            // Put there with the span of the call; without it there is nothing else to look for.
            let tracer = context.get::<Tracer>()?;
            let span = context.span();
            let span = span.span_context();
            span.is_sampled().then(|| Self {
                tracer: tracer.clone(),
                span: span.clone(),
            })
        })
    }

    /// Itself, for links to it.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        Recorded(self.span.clone())
    }

    /// Records a stage under this span.
    pub fn record(&self, stage: Stage, clock: &Clock) -> Recorded {
        let links = stage.links.into_iter().take(LINKS_MAX);
        let links = links.map(|recorded| Link::with_context(recorded.0));
        let builder = SpanBuilder::from_name(stage.name)
            .with_start_time(clock.time(stage.began))
            .with_attributes(stage.attributes)
            .with_links(links.collect());
        let parent = Context::new().with_remote_span_context(self.span.clone());
        let context = self.tracer.start(builder, &parent);
        let span = context.span();
        if let Some(reason) = stage.failure {
            span.set_status(Status::error(reason));
        }
        span.end_with_timestamp(clock.time(stage.ended));
        Recorded(span.span_context().clone())
    }

    /// A span under this one as the parent of further ones.
    #[must_use]
    pub fn below(&self, recorded: &Recorded) -> Self {
        Self {
            tracer: self.tracer.clone(),
            span: recorded.0.clone(),
        }
    }
}
