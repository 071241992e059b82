//! Why it is not served.

use std::net::SocketAddr;

/// Why it is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Whoever reaches the address would find it without this.
    #[error(
        "{address} can be reached from other machines, and would be without {lacks}: {remedy}, or say with --insecure that \
         it is meant"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        lacks: &'static str,
        /// What would provide it.
        remedy: &'static str,
    },
    /// There is no address, or there are too many.
    #[error("{actual} addresses to listen on; there must be 1 to {max}")]
    Addresses {
        /// The limit.
        max: usize,
        /// How many there are.
        actual: usize,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] toka_tls::Error),
    /// The server ended by itself.
    #[error("the server has failed: {0}")]
    Serve(#[source] tonic::transport::Error),
}

impl Error {
    /// Whether other settings would help, and nothing else.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        match self {
            Self::Exposed { .. } | Self::Addresses { .. } | Self::Tls(_) => true,
            Self::Bind { .. } | Self::Serve(_) => false,
        }
    }
}
