//! `Export` over gRPC and over HTTP.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{Buf as _, Bytes};
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde_json::json;
use toka_bridge::Callers;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use super::decode::{REQUEST_BYTES_MAX, check_headers, decode, read};
use super::gate::{Protocol, refusal, status};
use crate::error::Error;
use crate::receive::Receiver;

/// Where traces are sent to over gRPC.
pub(super) const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What both protocols lead to.
pub(super) struct Exports {
    pub(super) callers: Callers,
    pub(super) receiver: Receiver,
}

impl Exports {
    async fn export(
        &self,
        protocol: Protocol,
        headers: &HeaderMap,
        body: Bytes,
        is_compressed: bool,
    ) -> Result<ExportTraceServiceResponse, Error> {
        let decoding = move || decode(protocol, &body, is_compressed);
        let decoding = tokio::task::spawn_blocking(decoding);
        let request = decoding.await.map_err(|_| Error::Interrupted)??;
        let client = self.callers.client(headers).await?;
        let received = self.receiver.receive(&client, request).await;
        let received = received.inspect_err(|error| {
            // An exporter drops such spans, and nobody else may notice.
            if error.code() == Code::FailedPrecondition {
                tracing::warn!(%error, "the vault does not take spans");
            }
        })?;
        tracing::debug!(
            spans = received.stored,
            refused = received.refused,
            "spans are stored"
        );
        if let Some(reason) = &received.reason {
            tracing::warn!(refused = received.refused, reason, "spans cannot be stored");
        }
        Ok(received.into())
    }
}

/// Over gRPC. Requests are decoded here, as those over HTTP are, and not by a codec, which would not bound what they become.
pub(super) async fn over_grpc(State(exports): State<Arc<Exports>>, request: Request) -> Response {
    let mut grpc = Grpc::new(Undecoded)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    grpc.unary(Export(exports), request).await.map(Body::new)
}

/// What is called over gRPC.
struct Export(Arc<Exports>);

impl UnaryService<Bytes> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let exports = Arc::clone(&self.0);
        Box::pin(async move {
            let (metadata, _, body) = request.into_parts();
            let headers = metadata.into_headers();
            let exported = exports.export(Protocol::Grpc, &headers, body, false);
            match exported.await {
                Ok(response) => Ok(tonic::Response::new(response)),
                Err(error) => {
                    tracing::debug!(%error, "a request was refused");
                    Err(status(&error))
                }
            }
        })
    }
}

/// Messages of requests as they come, decompressed.
struct Undecoded;

impl Codec for Undecoded {
    type Encode = ExportTraceServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Undecoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let encoded = item.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Undecoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let bytes = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(bytes)))
    }
}

/// Over HTTP, as protobuf or JSON: `POST /v1/traces`.
pub(super) async fn over_http(State(exports): State<Arc<Exports>>, request: Request) -> Response {
    let protocol = Protocol::of(request.headers());
    match answer(&exports, protocol, request).await {
        Ok(response) => {
            let body = match protocol {
                Protocol::Json => json_of(&response).into_bytes(),
                Protocol::Grpc | Protocol::Protobuf => response.encode_to_vec(),
            };
            let headers = [(header::CONTENT_TYPE, protocol.content_type())];
            (StatusCode::OK, headers, body).into_response()
        }
        Err(error) => refusal(protocol, &error),
    }
}

/// As the JSON of protobuf has it, in which large numbers are texts.
fn json_of(response: &ExportTraceServiceResponse) -> String {
    let Some(partial) = &response.partial_success else {
        return "{}".to_owned();
    };
    let partial = json!({
        "rejectedSpans": partial.rejected_spans.to_string(),
        "errorMessage": partial.error_message,
    });
    json!({ "partialSuccess": partial }).to_string()
}

async fn answer(
    exports: &Exports,
    protocol: Protocol,
    request: Request,
) -> Result<ExportTraceServiceResponse, Error> {
    let (parts, body) = request.into_parts();
    let is_compressed = check_headers(&parts.headers)?;
    let body = read(&parts.headers, body).await?;
    let exported = exports.export(protocol, &parts.headers, body, is_compressed);
    exported.await
}

/// A path of gRPC that is none here.
pub(super) async fn elsewhere() -> Response {
    refusal(Protocol::Grpc, &Error::Path)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn answers_in_json_say_what_was_refused() {
        let mut response = ExportTraceServiceResponse::default();
        assert_eq!(json_of(&response), "{}");
        response.partial_success = Some(ExportTracePartialSuccess {
            rejected_spans: 2,
            error_message: "no id".to_owned(),
        });
        let said = json!({ "partialSuccess": { "rejectedSpans": "2", "errorMessage": "no id" } });
        assert_eq!(json_of(&response), said.to_string());
    }
}
