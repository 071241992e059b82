//! Spans of calls that are made.

use std::task::{Context as TaskContext, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use opentelemetry::trace::{SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use tower_service::Service;

use crate::headers;
use crate::rpc::{Open, Rpc};
use crate::tracer::Tracer;

/// A connection with a span for each call, below the span that is current where the call is made. Whoever answers is
/// told the trace.
#[derive(Clone, Debug)]
pub struct ClientSpans<S> {
    service: S,
    tracer: Tracer,
    /// Who is called.
    callee: Option<KeyValue>,
}

impl<S> ClientSpans<S> {
    /// Spans of `service` by `tracer`; each says who was called, as `callee` has it.
    pub fn over(service: S, tracer: Tracer, callee: impl FnOnce() -> KeyValue) -> Self {
        let callee = tracer.is_on().then(callee);
        Self {
            service,
            tracer,
            callee,
        }
    }

    fn start<B>(&self, request: &Request<B>) -> Option<Context> {
        if !self.tracer.has_part() {
            return None;
        }
        let rpc = Rpc::of(request.uri().path())?;
        let parent = Context::current();
        let context = self.tracer.start(rpc.builder(SpanKind::Client), &parent);
        let span = context.span();
        if span.is_recording() {
            rpc.describe(&span);
            span.set_attributes(self.callee.clone());
        }
        Some(context)
    }
}

impl<S, B, R> Service<Request<B>> for ClientSpans<S>
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(context) = self.start(&request) else {
            return Either::Left(self.service.call(request));
        };
        headers::inject(&context, request.headers_mut());
        let answered = self.service.call(request);
        if !context.span().is_recording() {
            return Either::Left(answered);
        }
        let span = Open::new(context);
        let answered = answered.map(move |answer| {
            span.answered(&answer, |code| code != 0);
            answer
        });
        Either::Right(answered.boxed())
    }
}
