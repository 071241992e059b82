//! `Export` over gRPC and over HTTP.

use std::io::Read as _;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use toka_bridge::Callers;
use tonic::{Code, Status};

use super::gate::{PROTOBUF, Protocol, refusal, status};
use crate::error::Error;
use crate::receive::Receiver;

/// Body of a request once it is decompressed, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 16 << 20;

/// What both protocols lead to.
pub(super) struct Exports {
    pub(super) callers: Callers,
    pub(super) receiver: Receiver,
}

impl Exports {
    async fn export(
        &self,
        headers: &HeaderMap,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Error> {
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

/// Over gRPC.
pub(super) struct OverGrpc(pub(super) Arc<Exports>);

#[tonic::async_trait]
impl TraceService for OverGrpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let exported = self.0.export(&metadata.into_headers(), message).await;
        match exported {
            Ok(response) => Ok(tonic::Response::new(response)),
            Err(error) => {
                tracing::debug!(%error, "a request was refused");
                Err(status(&error))
            }
        }
    }
}

/// Over HTTP: `POST /v1/traces`.
pub(super) async fn over_http(State(exports): State<Arc<Exports>>, request: Request) -> Response {
    match answer(&exports, request).await {
        Ok(response) => {
            let headers = [(header::CONTENT_TYPE, PROTOBUF)];
            (StatusCode::OK, headers, response.encode_to_vec()).into_response()
        }
        Err(error) => refusal(Protocol::Http, &error),
    }
}

async fn answer(exports: &Exports, request: Request) -> Result<ExportTraceServiceResponse, Error> {
    let (parts, body) = request.into_parts();
    let is_compressed = check_headers(&parts.headers)?;
    let body = read(&parts.headers, body).await?;
    let decoding = tokio::task::spawn_blocking(move || decode(&body, is_compressed));
    let request = decoding.await.map_err(|_| Error::Interrupted)??;
    exports.export(&parts.headers, request).await
}

/// Whether the body is compressed.
fn check_headers(headers: &HeaderMap) -> Result<bool, Error> {
    let kind = text(headers, &header::CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind != PROTOBUF {
        return Err(Error::MediaType {
            header: "Content-Type",
            actual: kind.to_owned(),
            expected: PROTOBUF,
        });
    }
    match text(headers, &header::CONTENT_ENCODING) {
        "" | "identity" => Ok(false),
        "gzip" => Ok(true),
        other => Err(Error::MediaType {
            header: "Content-Encoding",
            actual: other.to_owned(),
            expected: "gzip",
        }),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    let value = headers.get(name).map(|value| value.to_str());
    // What is no text is nothing that is read here.
    value.map_or("", |text| text.unwrap_or("?"))
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Error> {
    let too_large = || Error::TooLarge {
        max: REQUEST_BYTES_MAX,
    };
    let length = text(headers, &header::CONTENT_LENGTH).parse::<u64>().ok();
    if length.is_some_and(|length| length > REQUEST_BYTES_MAX as u64) {
        return Err(too_large());
    }
    // A body that has said how long it is can only have broken off.
    let read = to_bytes(body, REQUEST_BYTES_MAX).await;
    read.map_err(|error| match length {
        Some(_) => Error::Body {
            reason: format!("the body cannot be read: {error}"),
        },
        None => too_large(),
    })
}

fn decode(body: &[u8], is_compressed: bool) -> Result<ExportTraceServiceRequest, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Body {
        reason: format!("the body is no ExportTraceServiceRequest: {error}"),
    };
    if !is_compressed {
        return ExportTraceServiceRequest::decode(body).map_err(|error| unreadable(&error));
    }
    let mut whole = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let inflated = GzDecoder::new(body).take(limit).read_to_end(&mut whole);
    inflated.map_err(|error| unreadable(&error))?;
    if whole.len() > REQUEST_BYTES_MAX {
        return Err(Error::TooLarge {
            max: REQUEST_BYTES_MAX,
        });
    }
    ExportTraceServiceRequest::decode(&whole[..]).map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("compressed");
        encoder.finish().expect("compressed")
    }

    #[test]
    fn only_protobuf_is_read_compressed_or_not() {
        let protobuf = ("content-type", "application/x-protobuf; charset=utf-8");
        assert!(matches!(check_headers(&headers(&[protobuf])), Ok(false)));
        let gzip = ("content-encoding", "gzip");
        let both = headers(&[protobuf, gzip]);
        assert!(matches!(check_headers(&both), Ok(true)));
        for wrong in [
            headers(&[]),
            headers(&[("content-type", "application/json")]),
            headers(&[protobuf, ("content-encoding", "zstd")]),
        ] {
            let error = check_headers(&wrong).expect_err("not read");
            assert!(matches!(error, Error::MediaType { .. }), "{error}");
        }
    }

    #[test]
    fn a_body_is_decoded_within_its_bound() {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![Default::default()],
        };
        let body = request.encode_to_vec();
        assert_eq!(decode(&body, false).expect("decoded"), request);
        assert_eq!(decode(&zipped(&body), true).expect("decoded"), request);
        let bomb = zipped(&vec![0; REQUEST_BYTES_MAX + 1]);
        assert!(matches!(decode(&bomb, true), Err(Error::TooLarge { .. })));
        for broken in [&b"\xff\xff"[..], b"no gzip"] {
            assert!(matches!(decode(broken, false), Err(Error::Body { .. })));
            assert!(matches!(decode(broken, true), Err(Error::Body { .. })));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_not_read() {
        let announced = headers(&[("content-length", "99999999")]);
        let read_announced = read(&announced, Body::empty()).await;
        assert!(matches!(read_announced, Err(Error::TooLarge { .. })));
        let body = Body::from(vec![0_u8; REQUEST_BYTES_MAX + 1]);
        let read_unannounced = read(&HeaderMap::new(), body).await;
        assert!(matches!(read_unannounced, Err(Error::TooLarge { .. })));
        let small = read(&HeaderMap::new(), Body::from("x")).await;
        assert_eq!(small.expect("read"), "x");
    }
}
