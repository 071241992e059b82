//! What can be wrong with certificates and keys. No error shows what a file holds.

use std::io;
use std::path::PathBuf;

use rustls::server::VerifierBuilderError;

/// Certificates or keys that cannot be used; every error names the setting and the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("{setting}: {} cannot be read: {source}", path.display())]
    Read {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The file is too long.
    #[error("{setting}: {} has more than {bytes_max} bytes", path.display())]
    TooLong {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is read of a file at most.
        bytes_max: u64,
    },
    /// The file is not PEM.
    #[error("{setting}: {} is not valid PEM", path.display())]
    Pem {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate in the file.
    #[error("{setting}: there is no certificate in {} (a section `CERTIFICATE` of PEM)", path.display())]
    NoCertificate {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// There is no key in the file that can be read.
    #[error(
        "{setting}: there is no private key in {} (a section `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY` of \
         PEM, not encrypted)",
        path.display()
    )]
    NoKey {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A certificate, or a certificate and its key, that cannot be used.
    #[error("{setting}: {} cannot be used: {source}", path.display())]
    Unusable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// Certificates of a CA with which nobody can be verified.
    #[error("{setting}: {} cannot be used: {source}", path.display())]
    Ca {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
    /// The CA of the nodes signs clients' certificates too, and nothing else tells them apart.
    #[error(
        "{setting}: {} has a certificate that {clients_setting} has too, so that every client with a certificate could \
         call as a node: give the nodes a CA of their own, or say in {names_setting} which names their certificates have",
        path.display()
    )]
    SharedCa {
        /// The setting that names the nodes' CA.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The setting that names the clients' CA.
        clients_setting: &'static str,
        /// The setting that names the names.
        names_setting: &'static str,
    },
    /// The system has no certificates of CAs, or they cannot be read.
    #[error("the certificates of the system's CAs cannot be used: {source}; name a CA")]
    System {
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("{given} is given without {missing}")]
    Alone {
        /// The setting that is given.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// A name that no certificate can have.
    #[error("{setting}: {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The setting that names it.
        setting: &'static str,
        /// The name.
        name: String,
    },
}
