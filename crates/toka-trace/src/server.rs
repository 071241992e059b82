//! Spans of calls that are answered.

use std::task::{Context as TaskContext, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, SpanKind, TraceContextExt as _};
use tower_service::Service;

use crate::headers;
use crate::rpc::{Open, Rpc};
use crate::tracer::Tracer;

/// A service with a span for each call, which is the current one while the call is worked on. The span is part of the
/// caller's trace where the caller names one, and ends when the head of the answer is there: a stream goes on after it.
#[derive(Clone, Debug)]
pub struct ServerSpans<S> {
    service: S,
    tracer: Tracer,
}

impl<S> ServerSpans<S> {
    /// Spans of `service` by `tracer`.
    pub fn over(service: S, tracer: Tracer) -> Self {
        Self { service, tracer }
    }

    fn start<B>(&self, request: &Request<B>) -> Option<Context> {
        if !self.tracer.is_on() {
            return None;
        }
        let rpc = Rpc::of(request.uri().path())?;
        let caller = headers::extract(request.headers());
        let context = self.tracer.start(rpc.builder(SpanKind::Server), &caller);
        let span = context.span();
        if span.is_recording() {
            rpc.describe(&span);
        }
        Some(context.with_value(self.tracer.clone()))
    }
}

impl<S, B, R> Service<Request<B>> for ServerSpans<S>
where
    S: Service<Request<B>, Response = Response<R>> + 'static,
    S::Future: Send + 'static,
    B: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(context) = self.start(&request) else {
            return Either::Left(self.service.call(request));
        };
        let span = Open::new(context.clone());
        let answered = {
            let _current = context.clone().attach();
            self.service.call(request)
        };
        let answered = answered.with_context(context).map(move |answer| {
            span.answered(&answer, is_failure);
            answer
        });
        Either::Right(answered.boxed())
    }
}

/// Codes that are this side's failure: UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
fn is_failure(code: i64) -> bool {
    matches!(code, 2 | 4 | 12 | 13 | 14 | 15)
}
