//! TLS of a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_tls::{Dialer, Error, File, Pair, Trust};

/// TLS of a client: whom it trusts, and what it shows. The files are looked at before each connection, so that a program
/// that runs for long goes on with certificates that were renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// CA that the nodes' certificates must be signed by, PEM; absent: one of the system's.
    pub ca: Option<PathBuf>,
    /// Certificate of the client and those between it and its CA, PEM; absent: it shows none.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Name that the nodes' certificates must have; absent: the host of each endpoint.
    pub server_name: Option<String>,
}

impl Tls {
    /// Reads the files for the first time. Blocks on the disk.
    pub(crate) fn dialer(&self) -> Result<Dialer, Error> {
        let pair = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(Pair {
                certificate: file("cert", certificate),
                key: file("key", key),
            }),
            (None, None) => None,
            (Some(_), None) => return Err(alone("cert", "key")),
            (None, Some(_)) => return Err(alone("key", "cert")),
        };
        let trust = Trust {
            ca: self.ca.as_deref().map(|ca| file("ca", ca)),
            pair,
            is_node: false,
        };
        let trusted = Arc::new(trust.open()?);
        let dialer = Dialer::new(trusted, "server_name", self.server_name.as_deref())?;
        Ok(dialer.looking_first())
    }
}

fn file(setting: &'static str, path: &Path) -> File {
    File::new(setting, path)
}

const fn alone(given: &'static str, missing: &'static str) -> Error {
    Error::Alone { given, missing }
}
