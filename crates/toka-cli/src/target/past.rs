//! A vault as it was at an earlier event, of a cluster or an embedded vault.

use std::sync::Arc;

use anyhow::Result;
use toka_ledger::fork::{Fork, Limits};
use toka_ledger::seam::off_reactor;
use toka_ledger::{Error, Reader};
use toka_runtime::base::{Base, BaseError, ClusterBase, MirrorLimits, RemoteFork};

use super::embedded::failure as local_failure;
use super::{Local, Target, endpoints, failure};
use crate::cli::Global;
use crate::failure::Failure;
use crate::progress;

impl Target {
    /// The vault right behind the event at `sequence`. What is done to it is done to it alone, and gone with it.
    pub(crate) async fn at(&self, global: &Global, sequence: u64) -> Result<Self> {
        let bar = progress::bar(sequence, "events");
        let past = match self {
            Self::Cluster(_) => {
                let (endpoints, timeout, bar) = (endpoints(global)?, global.timeout, bar.clone());
                off_reactor(move || {
                    let builder = endpoints.builder()?.timeout(timeout);
                    let base = ClusterBase::connect(builder, endpoints.written);
                    let base = base.map_err(remote_failure)?;
                    of_cluster(Arc::new(base), sequence, &mut |at| bar.set_position(at))
                })
                .await
            }
            Self::Embedded(local) => {
                let reader = local.reader().clone();
                off_reactor(move || of_embedded(&reader, sequence)).await
            }
        };
        bar.finish_and_clear();
        Ok(Self::Embedded(past??))
    }
}

fn of_cluster(base: Arc<dyn Base>, sequence: u64, progress: &mut dyn FnMut(u64)) -> Result<Local> {
    let limits = (MirrorLimits::default(), Limits::default());
    let past = RemoteFork::at(base, sequence, limits, progress).map_err(remote_failure)?;
    Ok(Local::of_vault(past.fork().vault().clone()))
}

fn of_embedded(reader: &Reader, sequence: u64) -> Result<Local> {
    match Fork::at(reader, sequence) {
        Ok(past) => Ok(Local::of_vault(past.vault().clone())),
        Err(Error::OutOfRange { sequence, .. }) => Err(missing(sequence)),
        Err(error) => Err(local_failure(error)),
    }
}

fn missing(sequence: u64) -> anyhow::Error {
    Failure::NotFound(format!("event at sequence {sequence}")).into()
}

/// Gives an error its exit code.
fn remote_failure(error: BaseError) -> anyhow::Error {
    match error {
        BaseError::Client(error) => failure(*error),
        BaseError::Missing { sequence } => missing(sequence),
        error => error.into(),
    }
}
