//! Why a request was not taken, as an exporter is told.

use toka_bridge::BodyError;
use toka_client::Error as ClientError;
use tonic::Code;

/// Why a request was not taken. Nothing that was stored of it is stored twice by a repeat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The vault refused it, or could not be used.
    #[error(transparent)]
    Client(Box<ClientError>),
    /// The embedder failed.
    #[error("the embedder: {0}")]
    Embedder(#[from] smart_embedder::Error),
    /// As many requests are being answered, and wait, as may.
    #[error("{max} requests are being answered or wait; send it again later")]
    Busy {
        /// How many.
        max: usize,
    },
    /// So much is being read already that there is no room for it.
    #[error("requests of {max} bytes are being read; send it again later")]
    Full {
        /// The limit of all together, bytes.
        max: usize,
    },
    /// It was not done in time; a repeat goes on from there.
    #[error("the request was not done within {seconds} s")]
    Late {
        /// How long it had.
        seconds: u64,
    },
    /// The vault asks who is calling, and the request does not say so.
    #[error("the vault asks who is calling: send the header authorization with a bearer token")]
    Unauthenticated,
    /// A web page has sent it.
    #[error("requests of web pages (with an Origin) are not taken")]
    Origin,
    /// Nothing is taken there.
    #[error("only traces are taken here, at /v1/traces and over gRPC")]
    Path,
    /// The body is not what it should be.
    #[error("{reason}")]
    Body {
        /// What is wrong with it.
        reason: String,
    },
    /// The body is of a type, or an encoding, that is not read.
    #[error("{header} {actual:?} is not read here; {expected} is")]
    MediaType {
        /// The header that says so.
        header: &'static str,
        /// What it says.
        actual: String,
        /// What is read.
        expected: &'static str,
    },
    /// The body is larger than may be.
    #[error("the request has more than {max} bytes; export fewer spans at once")]
    TooLarge {
        /// The limit, bytes.
        max: usize,
    },
    /// What it holds would take more memory than a request may.
    #[error("the request would take more than {max} bytes of memory; export fewer spans at once")]
    TooMany {
        /// The limit, bytes.
        max: usize,
    },
    /// This process has failed in the middle of it.
    #[error("the request was interrupted")]
    Interrupted,
}

impl Error {
    /// Whether the same request may be taken later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retryable(),
            Self::Embedder(error) => error.is_retryable(),
            Self::Busy { .. } | Self::Full { .. } | Self::Late { .. } | Self::Interrupted => true,
            Self::Unauthenticated
            | Self::Origin
            | Self::Path
            | Self::Body { .. }
            | Self::MediaType { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. } => false,
        }
    }

    /// What is sent over gRPC. Exporters repeat what is UNAVAILABLE, and drop the spans of everything else that is here.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            _ if self.is_retryable() => Code::Unavailable,
            Self::Client(error) => match **error {
                ClientError::Unauthenticated { .. } | ClientError::Token { .. } => {
                    Code::Unauthenticated
                }
                ClientError::PermissionDenied { .. } | ClientError::PlaintextToken { .. } => {
                    Code::PermissionDenied
                }
                _ => Code::FailedPrecondition,
            },
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Origin => Code::PermissionDenied,
            Self::Embedder(_) => Code::FailedPrecondition,
            Self::Path => Code::Unimplemented,
            _ => Code::InvalidArgument,
        }
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { max } => Self::TooLarge { max },
            BodyError::Full { max } => Self::Full { max },
            BodyError::Late { seconds } => Self::Late { seconds },
            error => Self::Body {
                reason: error.to_string(),
            },
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_sent_again_and_nothing_else() {
        let away = Error::from(ClientError::Unavailable {
            endpoint: "n".to_owned(),
            message: "no leader".to_owned(),
        });
        assert_eq!(away.code(), Code::Unavailable);
        assert_eq!(Error::Busy { max: 1 }.code(), Code::Unavailable);
        let refused = Error::from(ClientError::PermissionDenied {
            message: "write".to_owned(),
        });
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(Error::TooLarge { max: 1 }.code(), Code::InvalidArgument);
        assert_eq!(Error::Unauthenticated.code(), Code::Unauthenticated);
    }
}
