//! Files with certificates and keys, in PEM.

use std::io::Read as _;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// Bytes of a file: more than a bundle of all public CAs has.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// As errors name it, such as `tls_cert`.
    pub setting: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// A certificate with those between it and the CA, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificates, the holder's first.
    pub certificate: File,
    /// The key.
    pub key: File,
}

impl File {
    /// The file at `path`, which `setting` names.
    #[must_use]
    pub fn new(setting: &'static str, path: impl Into<PathBuf>) -> Self {
        Self {
            setting,
            path: path.into(),
        }
    }

    /// What it holds now. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::TooLong`].
    pub(crate) fn read(&self) -> Result<Vec<u8>, Error> {
        let mut contents = Vec::new();
        let read = std::fs::File::open(&self.path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents));
        let length = read.map_err(|source| Error::Read {
            setting: self.setting,
            path: self.path.clone(),
            source,
        })?;
        if length as u64 > FILE_BYTES_MAX {
            return Err(Error::TooLong {
                setting: self.setting,
                path: self.path.clone(),
                bytes_max: FILE_BYTES_MAX,
            });
        }
        Ok(contents)
    }

    /// The certificates in `contents`, at least one.
    pub(crate) fn certificates(
        &self,
        contents: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(contents).collect();
        // The parser's error may show a line of the file.
        let certificates = certificates.map_err(|_| self.not_pem())?;
        if certificates.is_empty() {
            return Err(Error::NoCertificate {
                setting: self.setting,
                path: self.path.clone(),
            });
        }
        Ok(certificates)
    }

    /// The first private key in `contents`.
    pub(crate) fn key(&self, contents: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
        match PrivateKeyDer::pem_slice_iter(contents).next() {
            Some(Ok(key)) => Ok(key),
            Some(Err(_)) => Err(self.not_pem()),
            None => Err(Error::NoKey {
                setting: self.setting,
                path: self.path.clone(),
            }),
        }
    }

    /// The CAs in `contents`; each must be usable, so that none is left out unnoticed.
    pub(crate) fn roots(&self, contents: &[u8]) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(contents)? {
            let added = roots.add(certificate);
            added.map_err(|source| self.unusable(source))?;
        }
        Ok(roots)
    }

    pub(crate) fn unusable(&self, source: rustls::Error) -> Error {
        Error::Unusable {
            setting: self.setting,
            path: self.path.clone(),
            source: Box::new(source),
        }
    }

    fn not_pem(&self) -> Error {
        Error::Pem {
            setting: self.setting,
            path: self.path.clone(),
        }
    }
}
