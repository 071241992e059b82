//! Bodies of requests, decoded within bounds.

use std::io::Read as _;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderName, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::gate::{JSON, PROTOBUF, Protocol, essence};
use super::memory::{DECODED_BYTES_MAX, fits, json_fits};
use crate::error::Error;

/// Body of a request once it is decompressed, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Whether the body is compressed.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<bool, Error> {
    let kind = text(headers, &header::CONTENT_TYPE);
    if ![PROTOBUF, JSON].contains(&essence(kind)) {
        return Err(Error::MediaType {
            header: "Content-Type",
            actual: kind.to_owned(),
            expected: "application/x-protobuf or application/json",
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

/// The body, as it comes.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Error> {
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

/// The request in a body. Takes a while where that is large.
pub(super) fn decode(
    protocol: Protocol,
    body: &[u8],
    is_compressed: bool,
) -> Result<ExportTraceServiceRequest, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Body {
        reason: format!("the body is no ExportTraceServiceRequest: {error}"),
    };
    let mut inflated = Vec::new();
    let whole = match is_compressed {
        true => {
            // Of one part or of several, as gzip may be: what is behind the first one is not dropped without a word.
            let limit = REQUEST_BYTES_MAX as u64 + 1;
            let mut parts = MultiGzDecoder::new(body).take(limit);
            let read = parts.read_to_end(&mut inflated);
            read.map_err(|error| unreadable(&error))?;
            &inflated[..]
        }
        false => body,
    };
    if whole.len() > REQUEST_BYTES_MAX {
        return Err(Error::TooLarge {
            max: REQUEST_BYTES_MAX,
        });
    }
    let fits = match protocol {
        Protocol::Grpc | Protocol::Protobuf => fits(whole),
        Protocol::Json => json_fits(whole),
    };
    if !fits {
        return Err(Error::TooMany {
            max: DECODED_BYTES_MAX,
        });
    }
    match protocol {
        Protocol::Grpc | Protocol::Protobuf => {
            ExportTraceServiceRequest::decode(whole).map_err(|error| unreadable(&error))
        }
        Protocol::Json => serde_json::from_slice(whole).map_err(|error| unreadable(&error)),
    }
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
    fn protobuf_and_json_are_read_compressed_or_not() {
        let protobuf = ("content-type", "application/x-protobuf; charset=utf-8");
        assert!(matches!(check_headers(&headers(&[protobuf])), Ok(false)));
        let gzip = ("content-encoding", "gzip");
        let both = headers(&[protobuf, gzip]);
        assert!(matches!(check_headers(&both), Ok(true)));
        let json = headers(&[("content-type", "application/json")]);
        assert!(matches!(check_headers(&json), Ok(false)));
        for wrong in [
            headers(&[]),
            headers(&[("content-type", "text/plain")]),
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
        assert_eq!(
            decode(Protocol::Protobuf, &body, false).expect("decoded"),
            request
        );
        assert_eq!(
            decode(Protocol::Protobuf, &zipped(&body), true).expect("decoded"),
            request
        );
        let bomb = zipped(&vec![0; REQUEST_BYTES_MAX + 1]);
        assert!(matches!(
            decode(Protocol::Protobuf, &bomb, true),
            Err(Error::TooLarge { .. })
        ));
        let parts = [zipped(&body[..1]), zipped(&body[1..])].concat();
        assert_eq!(
            decode(Protocol::Protobuf, &parts, true).expect("decoded"),
            request
        );
        // Two bytes become a structure: of these 4 MiB hundreds of MiB.
        let many = [0x0a, 0x00].repeat(2 << 20);
        assert!(matches!(
            decode(Protocol::Protobuf, &many, false),
            Err(Error::TooMany { .. })
        ));
        for broken in [&b"\xff\xff"[..], b"no gzip"] {
            assert!(matches!(
                decode(Protocol::Protobuf, broken, false),
                Err(Error::Body { .. })
            ));
            assert!(matches!(
                decode(Protocol::Protobuf, broken, true),
                Err(Error::Body { .. })
            ));
        }
    }

    #[test]
    fn json_says_the_same_as_protobuf() {
        let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
            "traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":"b7ad6b7169203331","name":"chat","kind":3,
            "startTimeUnixNano":"1700000000000000001","endTimeUnixNano":1700000000000000002,
            "attributes":[
                {"key":"text","value":{"stringValue":"{[,"}},
                {"key":"number","value":{"intValue":"7"}},
                {"key":"list","value":{"arrayValue":{"values":[{"boolValue":true}]}}},
                {"key":"nothing","value":{}}
            ],
            "status":{"code":2},"droppedLinksCount":1,"notYetKnown":{"a":[1]}
        }]}]}]}"#;
        let decoded = decode(Protocol::Json, body, false).expect("decoded");
        let zip = zipped(body);
        assert_eq!(
            decode(Protocol::Json, &zip, true).expect("decoded"),
            decoded
        );
        let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id[0], span.span_id[0]), (0x0a, 0xb7));
        assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_001);
        assert_eq!(span.end_time_unix_nano, 1_700_000_000_000_000_002);
        assert_eq!((span.kind, span.dropped_links_count), (3, 1));
        assert_eq!(span.attributes.len(), 4);
        let again = decode(Protocol::Protobuf, &decoded.encode_to_vec(), false);
        assert_eq!(again.expect("decoded"), decoded);
        for broken in [&b"{"[..], br#"{"resourceSpans":7}"#] {
            let error = decode(Protocol::Json, broken, false).expect_err("broken");
            assert!(matches!(error, Error::Body { .. }), "{error}");
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
