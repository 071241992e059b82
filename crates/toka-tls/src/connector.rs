//! How a node is reached.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::config::Trusted;
use crate::dialed::Dialed;
use crate::error::Error;
use crate::gathering::Gathering;
use crate::reason;
use crate::refusals::Refusals;
use crate::reload::Refreshed;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How TLS is made with whoever is called.
#[derive(Clone, Debug)]
pub struct Dialer {
    config: Arc<Trusted>,
    /// The name that the certificate must have; absent: the host that is called.
    server_name: Option<ServerName<'static>>,
    looks_first: bool,
}

impl Dialer {
    /// Trusts and shows what `config` says. The certificate of whoever answers must have `server_name`, or that of the host
    /// that was called.
    ///
    /// # Errors
    /// [`Error::ServerName`]: `setting` is none.
    pub fn new(
        config: Arc<Trusted>,
        setting: &'static str,
        server_name: Option<&str>,
    ) -> Result<Self, Error> {
        let parse = |name: &str| {
            ServerName::try_from(name.to_owned()).map_err(|_| Error::ServerName {
                setting,
                name: name.to_owned(),
            })
        };
        Ok(Self {
            config,
            server_name: server_name.map(parse).transpose()?,
            looks_first: false,
        })
    }

    /// Looks at the files before each connection: for programs in which nobody else does.
    #[must_use]
    pub fn looking_first(mut self) -> Self {
        self.looks_first = true;
        self
    }

    async fn secure(&self, stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
        if self.looks_first {
            self.look().await;
        }
        // An IPv6 address stands in brackets.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(bare.to_owned()).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{bare:?}: {error}"))
            })?,
        };
        let connector = TlsConnector::from(self.config.current());
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| reason::of_handshake(error, bare))
    }

    async fn look(&self) {
        let config = Arc::clone(&self.config);
        let looked = tokio::task::spawn_blocking(move || config.refresh()).await;
        if let Ok(Refreshed::Kept(reason)) = looked {
            tracing::warn!(
                reason,
                "certificates have changed and cannot be used; those from before are used on"
            );
        }
    }
}

/// Makes connections over TCP, and TLS over those: for an endpoint of tonic. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connector {
    tcp: HttpConnector,
    dialer: Option<Dialer>,
    refusals: Refusals,
    gathers: bool,
}

impl Connector {
    /// Connections that are made within `timeout` over TCP, with TLS if there is a `dialer`, and in plain text if there
    /// is none.
    #[must_use]
    pub fn new(dialer: Option<Dialer>, timeout: Duration, keepalive: Option<Duration>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(keepalive);
        tcp.set_connect_timeout(Some(timeout));
        Self {
            tcp,
            dialer,
            refusals: Refusals::default(),
            gathers: false,
        }
    }

    /// The same, with what tasks have at the same moment in one write ([`Gathering`]): for connections of HTTP/2 over which
    /// many make calls.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self {
            gathers: true,
            ..self
        }
    }

    /// What those who were called have had against the connections of this connector and its clones.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Gathering<Dialed>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().to_owned();
        let place = uri.authority().map(Authority::as_str);
        let place = place.unwrap_or_default().to_owned();
        let connecting = self.tcp.call(uri);
        let (dialer, refusals) = (self.dialer.clone(), self.refusals.clone());
        let gathers = self.gathers;
        Box::pin(async move {
            let note = refusals.note(&place);
            let dialed = async {
                let stream = connecting.await?.into_inner();
                Ok::<_, BoxError>(match dialer {
                    Some(dialer) => Dialed::secured(dialer.secure(stream, &host).await?, note),
                    None => Dialed::plain(stream, note),
                })
            };
            let dialed = dialed.await;
            if dialed.is_err() {
                // The error says more than what was before.
                refusals.forget(&place);
            }
            dialed.map(|dialed| TokioIo::new(Gathering::new(dialed, gathers)))
        })
    }
}
