//! What each end of a connection shows and demands.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::certificate::{Validity, is_allowed, names, validity};
use crate::error::Error;
use crate::material::{File, Pair};
use crate::reload::Reloading;

/// The protocol (ALPN) that a node names when it calls another one: the listener then shows its certificate for nodes, and
/// demands one.
pub const NODE_PROTOCOL: &[u8] = b"toka-node";
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// Between nodes nothing older is left to speak.
static NODE_VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const CLIENT_PROTOCOLS: &[&[u8]] = &[HTTP_2];
const NODE_PROTOCOLS: &[&[u8]] = &[NODE_PROTOCOL, HTTP_2];
const SOUND: &str = "ring has what both versions of TLS need";

/// What a listener shows, as the files say it at the moment.
#[derive(Clone, Debug)]
pub struct Served {
    pub(crate) config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

impl Served {
    /// When its certificate holds; absent: it cannot be read.
    #[must_use]
    pub const fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

/// Whether clients show certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    None,
    /// One that is shown must be signed by this CA.
    Optional(File),
    /// Each must show one that is signed by this CA.
    Required(File),
}

/// How clients are received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForClients {
    /// What they are shown.
    pub pair: Pair,
    /// What they have to show.
    pub certificates: ClientCertificates,
}

/// How nodes are received, and how they call each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForNodes {
    /// What a node shows, whoever calls.
    pub pair: Pair,
    /// The CA of the nodes.
    pub ca: File,
    /// One of these names must be in the certificate of a node that calls ([`is_allowed`]); empty: any will do.
    pub names: Vec<String>,
    /// The CA of clients that call at the same listener.
    pub clients: Option<ClientsCa>,
}

/// A CA that signs certificates of clients: without names it must not be the nodes' too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsCa {
    /// Its file.
    pub file: File,
    /// The setting that says which names nodes have.
    pub names_setting: &'static str,
}

/// Whom a caller trusts, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The CA; absent: those of the system.
    pub ca: Option<File>,
    /// What it shows where it is asked.
    pub pair: Option<Pair>,
    /// It is a node, and says so.
    pub is_node: bool,
}

/// Whom a caller trusts, and what it shows, as the files say it at the moment.
pub type Trusted = Reloading<ClientConfig>;

impl ForClients {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`], naming the setting and the file.
    pub fn open(self) -> Result<Reloading<Served>, Error> {
        let mut files = vec![self.pair.certificate.clone(), self.pair.key.clone()];
        if let ClientCertificates::Optional(ca) | ClientCertificates::Required(ca) =
            &self.certificates
        {
            files.push(ca.clone());
        }
        Reloading::open(files, move |contents| self.make(contents))
    }

    fn make(&self, contents: &[Vec<u8>]) -> Result<Served, Error> {
        let of_ca = content(contents, 2);
        let verifier = match &self.certificates {
            ClientCertificates::None => None,
            ClientCertificates::Optional(ca) => Some(verifier(ca, of_ca, true)?),
            ClientCertificates::Required(ca) => Some(verifier(ca, of_ca, false)?),
        };
        served(
            &self.pair,
            contents,
            verifier,
            rustls::DEFAULT_VERSIONS,
            &[HTTP_2, HTTP_1],
        )
    }
}

impl ForNodes {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`], naming the setting and the file.
    pub fn open(self) -> Result<Reloading<Served>, Error> {
        let pair = &self.pair;
        let mut files = vec![pair.certificate.clone(), pair.key.clone(), self.ca.clone()];
        files.extend(self.clients.iter().map(|clients| clients.file.clone()));
        Reloading::open(files, move |contents| self.make(contents))
    }

    fn make(&self, contents: &[Vec<u8>]) -> Result<Served, Error> {
        let roots = self.ca.roots(content(contents, 2))?;
        if let Some(clients) = self.clients.as_ref().filter(|_| self.names.is_empty())
            && have_one_in_common(&roots, &clients.file.roots(content(contents, 3))?)
        {
            return Err(Error::SharedCa {
                setting: self.ca.setting,
                path: self.ca.path.clone(),
                clients_setting: clients.file.setting,
                names_setting: clients.names_setting,
            });
        }
        let verifier = NodeVerifier {
            of_ca: verifier_with(&self.ca, roots, false)?,
            names: self.names.clone(),
        };
        served(
            &self.pair,
            contents,
            Some(Arc::new(verifier)),
            NODE_VERSIONS,
            NODE_PROTOCOLS,
        )
    }
}

impl Trust {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`], naming the setting and the file.
    pub fn open(self) -> Result<Trusted, Error> {
        let mut files: Vec<File> = self.ca.iter().cloned().collect();
        if let Some(pair) = &self.pair {
            files.extend([pair.certificate.clone(), pair.key.clone()]);
        }
        Reloading::open(files, move |contents| self.make(contents))
    }

    fn make(&self, contents: &[Vec<u8>]) -> Result<ClientConfig, Error> {
        let (of_ca, of_pair) = contents.split_at(usize::from(self.ca.is_some()));
        let (versions, protocols) = if self.is_node {
            (NODE_VERSIONS, NODE_PROTOCOLS)
        } else {
            (rustls::DEFAULT_VERSIONS, CLIENT_PROTOCOLS)
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect(SOUND);
        let builder = match (&self.ca, of_ca) {
            (Some(ca), [contents]) => builder.with_root_certificates(ca.roots(contents)?),
            _ => builder
                .with_platform_verifier()
                .map_err(|source| Error::System {
                    source: Box::new(source),
                })?,
        };
        let mut config = match (&self.pair, of_pair) {
            (Some(pair), [certificate, key]) => {
                let certificates = pair.certificate.certificates(certificate)?;
                builder
                    .with_client_auth_cert(certificates, pair.key.key(key)?)
                    .map_err(|source| unusable(pair, source))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// That of the file with this index; files that are not there hold nothing.
fn content(contents: &[Vec<u8>], index: usize) -> &[u8] {
    contents.get(index).map(Vec::as_slice).unwrap_or_default()
}

/// `contents` begins with those of the certificate and of the key.
fn served(
    pair: &Pair,
    contents: &[Vec<u8>],
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Result<Served, Error> {
    let certificates = pair.certificate.certificates(content(contents, 0))?;
    let key = pair.key.key(content(contents, 1))?;
    let validity = certificates.first().and_then(validity);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect(SOUND);
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|source| unusable(pair, source))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // A session that is resumed shows no certificate: it would outlive that, and the CA.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Served {
        config: Arc::new(config),
        validity,
    })
}

/// A certificate that is not one, or a key that is none, or not the certificate's.
fn unusable(pair: &Pair, source: rustls::Error) -> Error {
    let file = match source {
        rustls::Error::InvalidCertificate(_) => &pair.certificate,
        _ => &pair.key,
    };
    file.unusable(source)
}

fn verifier(
    ca: &File,
    contents: &[u8],
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    verifier_with(ca, ca.roots(contents)?, is_optional)
}

fn verifier_with(
    ca: &File,
    roots: RootCertStore,
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = if is_optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    builder.build().map_err(|source| Error::Ca {
        setting: ca.setting,
        path: ca.path.clone(),
        source,
    })
}

/// By their keys: a CA's certificate may be issued again.
fn have_one_in_common(roots: &RootCertStore, others: &RootCertStore) -> bool {
    roots.roots.iter().any(|root| {
        let is_it = |other: &rustls::pki_types::TrustAnchor<'_>| {
            other.subject_public_key_info == root.subject_public_key_info
        };
        others.roots.iter().any(is_it)
    })
}

/// Besides the chain it wants one of the names of nodes.
#[derive(Debug)]
struct NodeVerifier {
    of_ca: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_ca.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .of_ca
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.names.is_empty() || is_allowed(&names(end_entity), &self.names) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_ca.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.of_ca.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_ca.supported_verify_schemes()
    }
}
