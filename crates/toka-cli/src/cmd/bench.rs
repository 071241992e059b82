//! `toka bench`: what a cluster, or an embedded vault, does and what it spends on it.

mod agreement;
mod commit;
mod embedded;
mod failover;
mod groups;
mod import;
mod intents;
mod read;
mod recall;
mod recording;
mod report;
mod restart;
mod session;
mod subscribe;

use anyhow::{Result, bail};

use super::serve::terminated;
use crate::cli::{Bench, Format, Global};
use crate::failure::Failure;

/// Runs one benchmark. A signal ends it, and with it the nodes that it has started.
pub(crate) async fn run(global: &Global, bench: Bench, format: Format) -> Result<()> {
    tokio::select! {
        result = measure(global, bench, format) => result,
        () = terminated() => bail!(Failure::Interrupted),
    }
}

async fn measure(global: &Global, bench: Bench, format: Format) -> Result<()> {
    match bench {
        Bench::Commit(flags) => Box::pin(commit::run(global, flags, format)).await,
        Bench::Get(flags) => Box::pin(read::get(global, flags, format)).await,
        Bench::List(flags) => Box::pin(read::list(global, flags, format)).await,
        Bench::Subscribe(flags) => Box::pin(subscribe::run(global, flags, format)).await,
        Bench::Groups(flags) => Box::pin(groups::run(global, flags, format)).await,
        Bench::Failover(flags) => Box::pin(failover::run(global, flags, format)).await,
        Bench::Restart(flags) => Box::pin(restart::run(global, flags, format)).await,
        Bench::Import(flags) => Box::pin(import::run(global, flags, format)).await,
        Bench::Embedded(flags) => Box::pin(embedded::run(flags, format)).await,
        Bench::Intents(flags) => Box::pin(intents::run(flags, format)).await,
    }
}
