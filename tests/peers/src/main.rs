//! The same loads on Toka Vault, etcd and NATS JetStream: three nodes of each on loopback, one store after the other,
//! in runs that alternate, driven by the same generator (`toka-measure`). `cargo xtask peers` builds it, gets the
//! peers, and runs it; `docs/benchmarks.md` says what is compared and how.

mod alone;
mod calls;
mod etcd;
mod jetstream;
mod load;
mod results;
mod run;
mod store;
mod targets;
mod unary_calls;
mod vault;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::load::Load;
use crate::store::System;

/// What `toka bench` has, for the clients of all stores.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Compare Toka Vault with etcd and NATS JetStream on this machine.
#[derive(Debug, Parser)]
#[command(name = "toka-peers")]
struct Arguments {
    /// The `toka` binary.
    #[arg(long, value_name = "PATH")]
    toka: PathBuf,
    /// The `etcd` binary.
    #[arg(long, value_name = "PATH")]
    etcd: PathBuf,
    /// The `nats-server` binary.
    #[arg(long, value_name = "PATH")]
    nats: PathBuf,
    /// How often each load is run on each store; medians are compared.
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: u32,
    /// Counted for so many seconds, each load.
    #[arg(long, default_value_t = 5.0, value_name = "S")]
    seconds: f64,
    /// Before that, so many seconds that do not count.
    #[arg(long, default_value_t = 2.0, value_name = "S")]
    warm_up_seconds: f64,
    /// Events that are there to be read.
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    stock: u64,
    /// Leaders that are killed in each run.
    #[arg(long, default_value_t = 2, value_name = "N")]
    kills: u32,
    /// These loads alone, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    loads: Vec<Load>,
    /// These stores alone, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    systems: Vec<System>,
    /// Leave out what is measured of Toka Vault alone: restart, catch-up, bytes on disk, embedded.
    #[arg(long)]
    no_alone: bool,
    /// With that, also what takes long: ten minutes of full load, ten million events embedded.
    #[arg(long)]
    long: bool,
    /// Where nodes put their data for the time being [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Write every single figure into this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Arguments {
    fn settings(&self) -> run::Settings {
        run::Settings {
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            duration: Duration::from_secs_f64(self.seconds),
            stock: self.stock,
            kills: self.kills,
        }
    }

    fn wanted(&self, load: Load) -> bool {
        self.loads.is_empty() || self.loads.contains(&load)
    }

    fn systems(&self) -> Vec<System> {
        let all = System::ALL.into_iter();
        all.filter(|system| self.systems.is_empty() || self.systems.contains(system))
            .collect()
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, address] = &arguments[..]
        && command == unary_calls::COMMAND
    {
        return unary_calls::serve(address.parse()?).await;
    }
    let arguments = Arguments::parse();
    tokio::select! {
        result = compare(&arguments) => result,
        () = stopped() => bail!("stopped by a signal"),
    }
}

async fn compare(arguments: &Arguments) -> Result<()> {
    let parent = arguments
        .directory
        .clone()
        .unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("cannot create {}", parent.display()))?;
    let programs = store::Programs {
        toka: arguments.toka.clone(),
        etcd: arguments.etcd.clone(),
        nats: arguments.nats.clone(),
    };
    let loads: Vec<Load> = Load::ALL
        .into_iter()
        .filter(|load| arguments.wanted(*load))
        .collect();
    let mut results = results::Results::default();
    for number in 0..arguments.runs {
        let mut systems = arguments.systems();
        // Nobody is always first.
        let by = number as usize % systems.len().max(1);
        systems.rotate_left(by);
        for system in systems {
            eprintln!("run {} of {}: {system}", number + 1, arguments.runs);
            let settings = arguments.settings();
            let run = run::one(&programs, &parent, system, &loads, &settings, &mut results);
            Box::pin(run).await?;
            results.write(arguments.json.as_deref())?;
        }
    }
    if !arguments.no_alone {
        Box::pin(alone::measure(
            &programs,
            &parent,
            arguments.long,
            &mut results,
        ))
        .await?;
        results.write(arguments.json.as_deref())?;
    }
    println!("{}", results.table());
    println!("{}", targets::table(&results));
    Ok(())
}

/// SIGINT or SIGTERM: the nodes end with this process.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
