//! Addresses at which others are served.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::Server;

use crate::certificate::{Certificate, TlsFiles};
use crate::error::Error;
use crate::{exposure, incoming};

/// Addresses of one program.
const ADDRESSES_MAX: usize = 16;
/// A request's headers, bytes; a token has at most 12 KiB.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How often the other end of a connection is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
/// How long requests may take that are being answered when the program stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// How it is listened, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The addresses, at most 16; port 0: any that is free.
    pub listen: Vec<SocketAddr>,
    /// What callers are shown; absent: they speak plain text.
    pub tls: Option<TlsFiles>,
    /// Listen to other machines without TLS, or before a vault that does not ask who is calling.
    pub insecure: bool,
}

/// Bound addresses, not accepting yet.
pub struct Listeners {
    name: &'static str,
    bound: Vec<(TcpListener, SocketAddr)>,
    certificate: Certificate,
}

impl Listeners {
    /// Binds the addresses. `name`: as log lines name the listeners; `vault_asks`: the vault asks callers who they are.
    ///
    /// # Errors
    /// [`Error::Exposed`], [`Error::Addresses`], [`Error::Bind`], [`Error::Tls`].
    pub async fn bind(
        name: &'static str,
        settings: Settings,
        vault_asks: bool,
    ) -> Result<Self, Error> {
        if !settings.insecure {
            exposure::check(&settings.listen, settings.tls.is_some(), vault_asks)?;
        }
        let actual = settings.listen.len();
        if !(1..=ADDRESSES_MAX).contains(&actual) {
            return Err(Error::Addresses {
                max: ADDRESSES_MAX,
                actual,
            });
        }
        let certificate = Certificate::open(settings.tls).await?;
        let mut bound = Vec::with_capacity(actual);
        for address in settings.listen {
            let bind = |source| Error::Bind { address, source };
            let listener = TcpListener::bind(address).await.map_err(bind)?;
            let given_out = listener.local_addr().map_err(bind)?;
            bound.push((listener, given_out));
        }
        Ok(Self {
            name,
            bound,
            certificate,
        })
    }

    /// The addresses, with the ports that were given out.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.bound.iter().map(|(_, address)| *address)
    }

    /// `https` with a certificate, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.certificate.scheme()
    }

    /// Serves callers, over HTTP/1 and HTTP/2, until `stop` is cancelled. `streams_max`: requests of one connection at
    /// once, over HTTP/2.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn serve(
        self,
        routes: Routes,
        streams_max: u32,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let serving = self.bound.into_iter().map(|(listener, _)| {
            let acceptor = self.certificate.acceptor(self.name);
            Server::builder()
                .accept_http1(true)
                .max_concurrent_streams(streams_max)
                .http2_max_header_list_size(HEADERS_BYTES_MAX)
                .http2_keepalive_interval(Some(PING))
                .http2_keepalive_timeout(Some(PING))
                .add_routes(routes.clone())
                .serve_with_incoming_shutdown(
                    incoming::accept(listener, acceptor),
                    stop.clone().cancelled_owned(),
                )
        });
        let serving: Vec<_> = serving.collect();
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_MAX).await;
        };
        tokio::select! {
            served = Box::pin(try_join_all(serving)) => {
                served.map_err(Error::Serve)?;
                Ok(())
            }
            () = late => Ok(()),
            () = self.certificate.clone().watch() => Ok(()),
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<SocketAddr> = self.addresses().collect();
        f.debug_struct("Listeners")
            .field("name", &self.name)
            .field("addresses", &addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(listen: &[&str], insecure: bool) -> Result<Listeners, Error> {
        let listen = listen.iter().map(|text| text.parse().expect("an address"));
        let settings = Settings {
            listen: listen.collect(),
            tls: None,
            insecure,
        };
        Listeners::bind("test", settings, false).await
    }

    #[tokio::test]
    async fn addresses_have_the_ports_that_were_given_out() {
        let bound = bind(&["127.0.0.1:0", "127.0.0.1:0"], false).await;
        let bound = bound.expect("bound");
        let addresses: Vec<SocketAddr> = bound.addresses().collect();
        assert_eq!(addresses.len(), 2);
        assert_ne!(addresses[0], addresses[1]);
        assert!(addresses.iter().all(|address| address.port() != 0));
        assert_eq!(bound.scheme(), "http");
    }

    #[tokio::test]
    async fn addresses_are_bounded_and_there_is_one() {
        let many = ["127.0.0.1:0"; ADDRESSES_MAX + 1];
        for listen in [&[][..], &many[..]] {
            let error = bind(listen, false).await.expect_err("refused");
            assert!(matches!(error, Error::Addresses { .. }), "{error}");
            assert!(error.is_of_settings());
        }
    }

    #[tokio::test]
    async fn what_is_exposed_is_bound_where_that_is_meant() {
        let refused = bind(&["0.0.0.0:0"], false).await;
        let error = refused.expect_err("refused");
        assert!(matches!(error, Error::Exposed { .. }), "{error}");
        assert!(bind(&["0.0.0.0:0"], true).await.is_ok());
    }
}
