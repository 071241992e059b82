//! What callers are shown, as long as its files hold something that can be used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toka_tls::{
    Acceptor, ClientCertificates, File, ForClients, Pair, Refreshed, Reloading, Served,
};

/// How often it is looked whether the certificate has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Files with a certificate and its key, PEM; they are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What callers are shown: a certificate, or nothing where they speak plain text.
#[derive(Clone)]
pub(crate) struct Certificate(Option<Arc<Reloading<Served>>>);

impl Certificate {
    /// Reads the files, off the reactor.
    pub(crate) async fn open(files: Option<TlsFiles>) -> Result<Self, toka_tls::Error> {
        let Some(files) = files else {
            return Ok(Self(None));
        };
        let clients = ForClients {
            pair: Pair {
                certificate: File::new("--tls-cert", files.certificate),
                key: File::new("--tls-key", files.key),
            },
            certificates: ClientCertificates::None,
        };
        match tokio::task::spawn_blocking(move || clients.open()).await {
            Ok(opened) => Ok(Self(Some(Arc::new(opened?)))),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self.0 {
            Some(_) => "https",
            None => "http",
        }
    }

    /// What receives the callers of a listener, which log lines name so.
    pub(crate) fn acceptor(&self, listener: &'static str) -> Acceptor {
        match &self.0 {
            Some(served) => Acceptor::new(listener, Some(Arc::clone(served)), None),
            None => Acceptor::plain(listener),
        }
    }

    /// Looks at the files from time to time, for ever.
    pub(crate) async fn watch(self) {
        let Some(served) = self.0 else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let looked = Arc::clone(&served);
            match tokio::task::spawn_blocking(move || looked.refresh()).await {
                Ok(Refreshed::Unchanged) => {}
                Ok(Refreshed::Replaced) => {
                    tracing::info!(
                        "the certificate has changed, and is in use for new connections"
                    );
                }
                Ok(Refreshed::Kept(reason)) => tracing::error!(
                    reason,
                    "the certificate has changed and cannot be used; the one from before is used on"
                ),
                Err(error) => tracing::error!(%error, "the certificate was not looked at"),
            }
        }
    }
}
