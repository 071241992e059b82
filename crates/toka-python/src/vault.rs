//! A vault: one in this process, or a cluster.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use toka_agents::Store;
use toka_client::{Bearer, Client, Tls};
use toka_ledger::VaultBus;

use crate::call::{Call, is_forked, let_go, off_reactor};
use crate::error::Failure;
use crate::names::seconds;

/// Where a vault is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// In this process.
    Embedded(VaultBus),
    /// Behind its nodes.
    Cluster(Client),
}

impl Target {
    /// As agents see it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(bus) => Arc::new(bus.clone()),
            Self::Cluster(client) => Arc::new(client.clone()),
        }
    }
}

/// A vault that is open. `toka_vault.Vault` and `toka_vault.AsyncVault` are made of it.
#[pyclass(frozen, name = "NativeVault", module = "toka_vault._native")]
pub(crate) struct Vault(Mutex<Option<Target>>);

impl Vault {
    fn new(target: Target) -> Self {
        Self(Mutex::new(Some(target)))
    }

    /// # Errors
    /// `ClosedError`.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        // Nothing panics while it is held.
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        target.clone().ok_or_else(Failure::closed)
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let target = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let_go(target.take());
    }
}

#[pymethods]
impl Vault {
    /// Whether it is one in this process.
    #[getter]
    fn is_embedded(&self) -> Result<bool, Failure> {
        Ok(matches!(self.target()?, Target::Embedded(_)))
    }

    /// Whether it was closed.
    #[getter]
    fn is_closed(&self) -> bool {
        self.target().is_err()
    }

    /// Node id and endpoint of the leader, as far as replies have named it; `None` of a vault in this process.
    #[getter]
    fn leader(&self) -> Result<Option<(u64, String)>, Failure> {
        Ok(match self.target()? {
            Target::Embedded(_) => None,
            Target::Cluster(client) => {
                let leader = client.leader();
                leader.map(|leader| (leader.node_id, leader.endpoint))
            }
        })
    }

    /// The endpoints that were given, as `host:port`.
    #[getter]
    fn endpoints(&self) -> Result<Vec<String>, Failure> {
        Ok(match self.target()? {
            Target::Embedded(_) => Vec::new(),
            Target::Cluster(client) => client.endpoints().to_vec(),
        })
    }

    /// The highest revision that is known here.
    #[getter]
    fn revision(&self) -> Result<u64, Failure> {
        Ok(match self.target()? {
            Target::Embedded(bus) => bus.position().revision,
            Target::Cluster(client) => client.revision(),
        })
    }

    /// Closes it: what was accepted is finished. Others that were made of it have to be gone too before a directory can
    /// be opened again: claims, keepers, and followers, unless they are closed.
    fn close(&self) -> Result<Call, Failure> {
        // Taken, it would be dropped with the call, which is never waited for.
        if is_forked() {
            return Err(Failure::forked());
        }
        let target = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Call::new(async move {
            match target {
                Some(Target::Embedded(bus)) => {
                    bus.clone().close().await;
                    // Its threads are waited for where that holds nobody up.
                    off_reactor(move || {
                        drop(bus);
                        Ok(())
                    })
                    .await
                }
                Some(Target::Cluster(_)) | None => Ok(()),
            }
        }))
    }

    /// The sequence of the last event; 0 if there is none.
    fn head(&self) -> Result<Call, Failure> {
        let store = self.target()?.store();
        Ok(Call::new(async move { Ok(store.head().await?) }))
    }

    fn __repr__(&self) -> String {
        match self.target() {
            Ok(Target::Embedded(_)) => "<NativeVault embedded>".to_owned(),
            Ok(Target::Cluster(client)) => {
                format!("<NativeVault {}>", client.endpoints().join(","))
            }
            Err(_) => "<NativeVault closed>".to_owned(),
        }
    }
}

/// Opens a vault in a directory, or makes one there; in memory without a directory.
#[pyfunction]
#[pyo3(signature = (path=None, *, dimension=None, model=None, cache_bytes=None))]
pub(crate) fn open(
    path: Option<PathBuf>,
    dimension: Option<u16>,
    model: Option<String>,
    cache_bytes: Option<usize>,
) -> Call {
    Call::blocking(move || {
        let mut builder = VaultBus::builder();
        if let Some(dimension) = dimension {
            builder = builder.dimension(dimension);
        }
        if let Some(model) = model {
            builder = builder.model(model);
        }
        if let Some(bytes) = cache_bytes {
            builder = builder.cache_bytes(bytes);
        }
        let bus = match path {
            Some(path) => builder.open(path)?,
            None => builder.open_in_memory()?,
        };
        Ok(Vault::new(Target::Embedded(bus)))
    })
}

/// A client of a cluster. Connects when it is used.
#[pyfunction]
#[pyo3(signature = (
    endpoints, *, timeout=None, token=None, token_file=None, tls_ca=None, tls_certificate=None, tls_key=None,
    tls_server_name=None, send_token_in_plaintext=false
))]
#[allow(clippy::too_many_arguments, reason = "they have names in Python")]
pub(crate) fn connect(
    endpoints: Vec<String>,
    timeout: Option<f64>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_server_name: Option<String>,
    send_token_in_plaintext: bool,
) -> Result<Call, Failure> {
    let mut builder = Client::builder();
    if let Some(timeout) = timeout {
        builder = builder.timeout(seconds("timeout", timeout)?);
    }
    let tls = Tls {
        ca: tls_ca,
        certificate: tls_certificate,
        key: tls_key,
        server_name: tls_server_name,
    };
    if tls != Tls::default() {
        builder = builder.tls(tls);
    }
    if send_token_in_plaintext {
        builder = builder.send_token_in_plaintext();
    }
    Ok(Call::new(async move {
        let bearer = off_reactor(move || match (token, token_file) {
            (Some(_), Some(_)) => Err(Failure::invalid(
                "token",
                "give a token or a file, not both",
            )),
            (Some(token), None) => Ok(Some(Bearer::new(&token)?)),
            (None, Some(file)) => Ok(Some(Bearer::from_file(file)?)),
            (None, None) => Ok(None),
        });
        if let Some(bearer) = bearer.await? {
            builder = builder.bearer(bearer);
        }
        let client = builder.connect(endpoints).await?;
        Ok(Vault::new(Target::Cluster(client)))
    }))
}
