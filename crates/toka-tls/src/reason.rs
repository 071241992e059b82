//! What is wrong with a connection, in words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// The error of TLS in an error of a connection.
pub(crate) fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Why a caller was refused.
pub(crate) fn of_caller(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the caller does not speak TLS".to_owned()
        }
        Error::NoCertificatesPresented => "the caller has shown no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "no name in the caller's certificate is one of a node".to_owned()
        }
        Error::InvalidCertificate(error) => {
            format!("the caller's certificate {}", of_certificate(error))
        }
        Error::AlertReceived(alert) => {
            format!("the caller does not accept this node's certificate ({alert:?})")
        }
        other => other.to_string(),
    }
}

/// Why no connection was made to `name`.
pub(crate) fn of_handshake(error: io::Error, name: &str) -> io::Error {
    let kind = error.kind();
    if kind == io::ErrorKind::UnexpectedEof {
        let reason = format!("TLS with {name}: it has closed the connection in the handshake");
        return io::Error::new(kind, reason);
    }
    match of_tls(&error) {
        Some(reason) => io::Error::new(kind, format!("TLS with {name}: {}", of_callee(reason))),
        None => error,
    }
}

/// Why a connection that was made was refused; `None`: it has ended for another reason.
pub(crate) fn of_refusal(error: &io::Error) -> Option<io::Error> {
    match of_tls(error) {
        Some(reason @ Error::AlertReceived(_)) => Some(io::Error::new(
            error.kind(),
            format!("TLS: {}", of_callee(reason)),
        )),
        _ => None,
    }
}

fn of_callee(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it answers in plain text, so that TLS is not on there; nothing was sent".to_owned()
        }
        Error::InvalidCertificate(error) => format!("its certificate {}", of_certificate(error)),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it demands a certificate of the caller".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "it says that the caller's certificate has expired".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("it has refused the connection, or the caller's certificate ({alert:?})")
        }
        other => other.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        // A CA with the right name and another key is no better than one with another name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by a CA that is trusted".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("has another name: {error}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this use (extended key usage)".to_owned()
        }
        other => format!("cannot be used: {other}"),
    }
}
