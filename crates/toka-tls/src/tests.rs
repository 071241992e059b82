//! Certificates that are made for a test, and connections over loopback.

mod connections;
mod files;

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use super::*;

/// A CA, and a directory for what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("written");
        Self {
            issuer: Issuer::new(params, key),
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self) -> File {
        File::new("ca", self.path("ca.pem"))
    }

    /// A certificate for loopback and for `names`, whose files begin with `name`.
    fn pair(&self, name: &str, names: &[&str]) -> Pair {
        self.pair_of(name, params(name, names))
    }

    fn pair_of(&self, name: &str, params: CertificateParams) -> Pair {
        let certificate = self.path(&format!("{name}.pem"));
        let key = self.path(&format!("{name}.key"));
        self.write(&certificate, &key, &params);
        Pair {
            certificate: File::new("cert", certificate),
            key: File::new("key", key),
        }
    }

    fn write(&self, certificate: &Path, key: &Path, params: &CertificateParams) {
        let pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&pair, &self.issuer).expect("signed");
        std::fs::write(certificate, signed.pem()).expect("written");
        std::fs::write(key, pair.serialize_pem()).expect("written");
    }
}

/// What is signed for loopback and for `names`, for both ends of a connection.
fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = ["127.0.0.1"]
        .iter()
        .chain(names)
        .map(|name| (*name).to_owned())
        .collect();
    let mut params = CertificateParams::new(names).expect("names");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}
