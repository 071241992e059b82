//! Certificates that a test makes, and how a cluster is told of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use toka_client::Tls;

use crate::cluster::Cluster;

/// A CA. What it signs holds for decades, unless it is told otherwise.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Files of one holder, in a directory of their own that is swapped as a whole, as a Kubernetes secret is.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A certificate for both ends of connections: its holder's name, and the addresses and names that it has.
    pub fn sign(&self, name: &str, names: &[&str]) -> Result<Signed> {
        self.sign_until(name, names, 2090)
    }

    /// As [`Authority::sign`]; it expires when the year `until` begins.
    pub fn sign_until(&self, name: &str, names: &[&str], until: i32) -> Result<Signed> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Files {
    /// New files below `parent`.
    pub fn new(parent: &Path, name: &str, signed: &Signed, ca: &str) -> Result<Self> {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory)?;
        let files = Self { directory };
        files.swap(signed, ca)?;
        Ok(files)
    }

    /// Puts others in their place, all at once.
    pub fn swap(&self, signed: &Signed, ca: &str) -> Result<()> {
        let count = std::fs::read_dir(&self.directory)?.count();
        let name = format!("..{count}");
        let version = self.directory.join(&name);
        std::fs::create_dir(&version)?;
        for (file, text) in [
            ("tls.crt", &*signed.certificate),
            ("tls.key", &*signed.key),
            ("ca.crt", ca),
        ] {
            std::fs::write(version.join(file), text)?;
        }
        let link = self.directory.join("..data_tmp");
        std::os::unix::fs::symlink(name, &link)?;
        std::fs::rename(link, self.directory.join("..data"))?;
        Ok(())
    }

    /// Where the certificate is.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("..data/tls.crt")
    }

    /// Where its key is.
    pub fn key(&self) -> PathBuf {
        self.directory.join("..data/tls.key")
    }

    /// Where the CA is.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("..data/ca.crt")
    }

    /// TLS of a client that trusts the CA and shows the certificate.
    pub fn client(&self) -> Tls {
        Tls {
            ca: Some(self.ca()),
            certificate: Some(self.certificate()),
            key: Some(self.key()),
            server_name: None,
        }
    }

    /// Arguments of a node that shows this certificate to nodes and clients, and takes for a node who has one of the CA.
    pub fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        for (flag, path) in [
            ("--tls-cert", self.certificate()),
            ("--tls-key", self.key()),
            ("--raft-tls-ca", self.ca()),
        ] {
            arguments.extend([flag.to_owned(), text(&path)?]);
        }
        Ok(arguments)
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path in UTF-8")?;
    Ok(text.to_owned())
}

/// A cluster's certificates: of its nodes, and of a client.
pub struct Certificates {
    /// Signs nodes' certificates.
    pub nodes: Authority,
    /// Signs clients' certificates.
    pub clients: Authority,
    /// What all nodes have.
    pub of_nodes: Files,
    /// What a client has; its CA is the nodes'.
    pub of_client: Files,
    /// Where the CA of the clients is.
    pub clients_ca: PathBuf,
}

impl Certificates {
    /// Makes some for a cluster of which nothing runs yet, and tells it of them. Clients must show theirs.
    pub fn set_up(cluster: &mut Cluster) -> Result<Self> {
        let directory = cluster.directory().join("tls");
        std::fs::create_dir_all(&directory)?;
        let (nodes, clients) = (Authority::new("nodes")?, Authority::new("clients")?);
        let host = cluster.host().to_string();
        let node = nodes.sign("node", &[&host])?;
        let of_nodes = Files::new(&directory, "nodes", &node, &nodes.pem)?;
        let client = clients.sign("client", &["client.example"])?;
        let of_client = Files::new(&directory, "client", &client, &nodes.pem)?;
        let clients_ca = directory.join("clients-ca.crt");
        std::fs::write(&clients_ca, &clients.pem)?;
        let mut arguments = of_nodes.arguments()?;
        arguments.extend(["--tls-client-ca".to_owned(), text(&clients_ca)?]);
        cluster.set_tls(&of_client.client(), &arguments)?;
        Ok(Self {
            nodes,
            clients,
            of_nodes,
            of_client,
            clients_ca,
        })
    }
}
