//! What the TLS of a node rests on, and how it is looked at again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use toka_ledger::seam::{self, Clock};
use toka_raft::Transport;
use toka_tls::{
    Acceptor, ClientCertificates, ClientsCa, Dialer, Error, File, ForClients, ForNodes, Pair,
    Refreshed, Reloading, Served, Trust, Trusted,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::expiry;
use super::nodes::TlsTransport;
use crate::config::{ClientAuth, Tls};

/// Between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
const NAMES_SETTING: &str = "raft_tls_names";

/// What the listeners of a node show, and how it calls other nodes, as the files say it at the moment.
pub struct Security {
    /// For clients, and for nodes that forward their calls.
    clients: Acceptor,
    /// For nodes.
    nodes: Acceptor,
    /// For HTTP.
    pub(crate) http: Acceptor,
    transport: Arc<dyn Transport>,
    files: Vec<Watched>,
}

/// Files, and what is made of them.
enum Watched {
    Shown {
        /// The setting that names the certificate.
        setting: &'static str,
        served: Arc<Reloading<Served>>,
    },
    Trusted(Arc<Trusted>),
}

impl Watched {
    fn refresh(&self) -> Refreshed {
        match self {
            Self::Shown { served, .. } => served.refresh(),
            Self::Trusted(trusted) => trusted.refresh(),
        }
    }

    fn failure(&self) -> Option<String> {
        match self {
            Self::Shown { served, .. } => served.failure(),
            Self::Trusted(trusted) => trusted.failure(),
        }
    }
}

/// How clients and nodes are received.
pub(crate) fn acceptors(security: Option<&Security>) -> (Acceptor, Acceptor) {
    match security {
        Some(security) => (security.clients.clone(), security.nodes.clone()),
        None => (Acceptor::plain("listen"), Acceptor::plain("raft_listen")),
    }
}

impl Security {
    /// That of a node with these settings; absent: it has no TLS.
    ///
    /// # Errors
    /// [`Error`], naming the setting and the file.
    pub(crate) async fn of(tls: Option<&Tls>) -> Result<Option<Arc<Self>>, Error> {
        let Some(tls) = tls.cloned() else {
            return Ok(None);
        };
        match seam::off_reactor(move || Self::open(&tls)).await {
            Ok(opened) => Ok(Some(Arc::new(opened?))),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and with it whoever waits.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error`], naming the setting and the file.
    fn open(tls: &Tls) -> Result<Self, Error> {
        let for_clients = Arc::new(for_clients(tls).open()?);
        let for_nodes = Arc::new(for_nodes(tls).open()?);
        let trusted = Trust {
            ca: Some(File::new("raft_tls_ca", &tls.raft_ca)),
            pair: Some(raft_pair(tls)),
            is_node: true,
        };
        let trusted = Arc::new(trusted.open()?);
        let name = tls.raft_server_name.as_deref();
        let dialer = Dialer::new(Arc::clone(&trusted), "raft_tls_server_name", name)?;
        let mut files = vec![
            Watched::Shown {
                setting: "tls_cert",
                served: Arc::clone(&for_clients),
            },
            Watched::Shown {
                setting: "raft_tls_cert",
                served: Arc::clone(&for_nodes),
            },
            Watched::Trusted(trusted),
        ];
        let http = if tls.http {
            let shown = ForClients {
                pair: pair(tls),
                certificates: ClientCertificates::None,
            };
            let served = Arc::new(shown.open()?);
            files.push(Watched::Shown {
                setting: "tls_cert",
                served: Arc::clone(&served),
            });
            Acceptor::new("http_listen", Some(served), None)
        } else {
            Acceptor::plain("http_listen")
        };
        Ok(Self {
            clients: Acceptor::new("listen", Some(for_clients), Some(Arc::clone(&for_nodes))),
            nodes: Acceptor::new("raft_listen", None, Some(for_nodes)),
            http,
            transport: Arc::new(TlsTransport::new(dialer)),
            files,
        })
    }

    /// How the node calls others.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    /// Looks at the files again and again, and when the process is told to (SIGHUP); tells `alarm` after each look what an
    /// operator has to do.
    pub(crate) async fn watch(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        alarm: impl Fn(Option<String>) + Send,
    ) {
        // Fails only where the process may not install handlers; time is enough then.
        let mut told = signal(SignalKind::hangup()).ok();
        loop {
            alarm(self.alarm(clock.unix_ms() / 1_000));
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => {}
                () = hung_up(&mut told) => {
                    tracing::info!("SIGHUP: certificates are looked at");
                }
            }
            let looking = Arc::clone(&self);
            // It fails only if the process ends.
            let _ = seam::off_reactor(move || looking.look()).await;
        }
    }

    fn look(&self) {
        for files in &self.files {
            match files.refresh() {
                Refreshed::Unchanged => {}
                Refreshed::Replaced => {
                    tracing::info!("certificates have changed, and are in use for new connections");
                }
                Refreshed::Kept(reason) => tracing::error!(
                    reason,
                    "certificates have changed and cannot be used; those from before are used on"
                ),
            }
        }
    }

    /// What an operator has to do at `now`, seconds since the Unix epoch.
    fn alarm(&self, now: u64) -> Option<String> {
        let mut said: Vec<String> = Vec::new();
        let failures = self.files.iter().filter_map(|files| {
            let failure = files.failure()?;
            Some(format!("{failure}; what was there before is used on"))
        });
        let ends = self.shown().filter_map(|(setting, served)| {
            expiry::warning(setting, served.current().validity()?, now)
        });
        for sentence in failures.chain(ends) {
            if !said.contains(&sentence) {
                said.push(sentence);
            }
        }
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// Files that have changed and cannot be used.
    pub(crate) fn failures(&self) -> usize {
        let failing = |files: &&Watched| files.failure().is_some();
        self.files.iter().filter(failing).count()
    }

    /// Callers who were refused in the handshake, at all listeners.
    pub(crate) fn refused(&self) -> u64 {
        self.clients.refused() + self.nodes.refused() + self.http.refused()
    }

    /// When the first of the certificates that are shown ends, seconds since the Unix epoch; absent: nobody knows.
    pub(crate) fn first_end(&self) -> Option<u64> {
        let ends = self.shown().filter_map(|(_, served)| {
            let validity = served.current().validity()?;
            Some(validity.not_after)
        });
        ends.min()
    }

    fn shown(&self) -> impl Iterator<Item = (&'static str, &Arc<Reloading<Served>>)> {
        self.files.iter().filter_map(|files| match files {
            Watched::Shown { setting, served } => Some((*setting, served)),
            Watched::Trusted(_) => None,
        })
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

async fn hung_up(told: &mut Option<Signal>) {
    let heard = match told {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

fn pair(tls: &Tls) -> Pair {
    Pair {
        certificate: File::new("tls_cert", &tls.certificate),
        key: File::new("tls_key", &tls.key),
    }
}

fn raft_pair(tls: &Tls) -> Pair {
    Pair {
        certificate: File::new("raft_tls_cert", &tls.raft_certificate),
        key: File::new("raft_tls_key", &tls.raft_key),
    }
}

fn client_ca(tls: &Tls) -> Option<File> {
    let path = tls.client_ca.as_ref()?;
    Some(File::new("tls_client_ca", path))
}

fn for_clients(tls: &Tls) -> ForClients {
    let certificates = match (client_ca(tls), tls.client_auth) {
        (None, _) => ClientCertificates::None,
        (Some(ca), ClientAuth::Optional) => ClientCertificates::Optional(ca),
        (Some(ca), ClientAuth::Required) => ClientCertificates::Required(ca),
    };
    ForClients {
        pair: pair(tls),
        certificates,
    }
}

fn for_nodes(tls: &Tls) -> ForNodes {
    ForNodes {
        pair: raft_pair(tls),
        ca: File::new("raft_tls_ca", &tls.raft_ca),
        names: tls.raft_names.clone(),
        clients: client_ca(tls).map(|file| ClientsCa {
            file,
            names_setting: NAMES_SETTING,
        }),
    }
}
