//! What a span says of the rpc that it is of, as OpenTelemetry's conventions name it.

use http::{HeaderMap, Response};
use opentelemetry::trace::{SpanBuilder, SpanKind, SpanRef, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

/// Longest name of an rpc that has a span: a caller can put anything into a path.
const NAME_BYTES_MAX: usize = 128;
/// Services that are looked at all the time, such as health, have none.
const PREFIX: &str = "toka.";

/// An rpc, as its path has it.
pub(crate) struct Rpc<'a> {
    name: &'a str,
    service: &'a str,
    method: &'a str,
}

impl<'a> Rpc<'a> {
    /// That of a path such as `/toka.vault.v1.VaultService/Commit`; `None` for what has no span.
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        let (service, method) = name.split_once('/')?;
        let has_span = service.starts_with(PREFIX) && name.len() <= NAME_BYTES_MAX;
        has_span.then_some(Self {
            name,
            service,
            method,
        })
    }

    pub(crate) fn builder(&self, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::from_name(self.name.to_owned()).with_kind(kind)
    }

    pub(crate) fn describe(&self, span: &SpanRef<'_>) {
        span.set_attributes([
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", self.service.to_owned()),
            KeyValue::new("rpc.method", self.method.to_owned()),
        ]);
    }
}

/// A span that ends when this is dropped, also where nobody waited for the answer.
#[derive(Debug)]
pub(crate) struct Open(Context);

impl Open {
    pub(crate) fn new(context: Context) -> Self {
        Self(context)
    }

    /// Ends it with what was answered. `is_failure` says which codes of gRPC are failures to this side.
    pub(crate) fn answered<R, E>(
        self,
        answer: &Result<Response<R>, E>,
        is_failure: fn(i64) -> bool,
    ) {
        let span = self.0.span();
        match answer {
            Ok(response) => {
                let code = code(response.headers());
                span.set_attribute(KeyValue::new("rpc.grpc.status_code", code));
                if is_failure(code) {
                    span.set_status(Status::error(format!("gRPC code {code}")));
                }
            }
            Err(_) => span.set_status(Status::error("there was no answer")),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.span().end();
    }
}

/// The code of an answer that is a refusal: it has nothing but a head. That of any other comes behind its messages, and
/// only a stream's can still be a failure.
fn code(head: &HeaderMap) -> i64 {
    let code = head.get("grpc-status").and_then(|code| code.to_str().ok());
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}
