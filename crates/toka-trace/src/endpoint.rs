//! Where a collector is.

use http::Uri;

/// An endpoint at which there can be no collector. It is not shown, as it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}; it must be http://HOST:PORT or https://HOST:PORT")]
pub struct EndpointError {
    detail: &'static str,
}

/// Checks the endpoint of a collector that takes OTLP over gRPC.
///
/// # Errors
/// [`EndpointError`].
pub fn check_endpoint(endpoint: &str) -> Result<(), EndpointError> {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return Err(EndpointError {
            detail: "it is no URL",
        });
    };
    let detail = if !matches!(uri.scheme_str(), Some("http" | "https")) {
        "its scheme is neither http nor https"
    } else if endpoint.contains('@') {
        // `--dump-config` and the log show it.
        "a user or a password belongs into OTEL_EXPORTER_OTLP_HEADERS"
    } else if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        "it has a path, of which OTLP over gRPC knows nothing"
    } else {
        return Ok(());
    };
    Err(EndpointError { detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_collectors_are_taken() {
        for endpoint in ["http://127.0.0.1:4317", "https://collector.example:4317/"] {
            assert_eq!(check_endpoint(endpoint), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_and_not_shown() {
        for endpoint in [
            "",
            "collector:4317",
            "grpc://collector:4317",
            "http://me:secret@collector:4317",
            "http://collector:4318/v1/traces",
        ] {
            let error = check_endpoint(endpoint).expect_err(endpoint).to_string();
            assert!(error.contains("http://HOST:PORT"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
