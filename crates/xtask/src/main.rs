//! The project's commands, run as `cargo xtask COMMAND`.
//!
//! Depends on no product crate, so that it starts within seconds on a fresh machine: whatever it needs
//! of the product it gets from the `toka` binary and from cargo.

mod bench;
mod console;
mod demo;
mod dist;
mod fixtures;
mod fuzz;
mod image;
mod instructions;
mod metadata;
mod namespace;
mod peers;
mod process;
mod python;
mod release;
mod setup;
mod simulate;
mod soak;
mod story;
mod suite;
mod tidy;
mod wheel;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::process::Processes;
use crate::workspace::Workspace;

/// The commands of the Toka Vault repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run a three-node cluster on real input, kill its leader, and check that nothing is lost
    Demo {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
    },
    /// Run three agents on real input against three nodes, kill the leader and the agents, and replay what they did
    Story {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
        /// The program of the agents to use instead of building it
        #[arg(long, value_name = "PATH")]
        agents: Option<PathBuf>,
    },
    /// Measure commits on three local nodes, and print the table of docs/benchmarks.md
    Bench {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
    },
    /// Run the same loads on Toka Vault, etcd and NATS JetStream, side by side; downloads the two
    Peers {
        #[command(flatten)]
        programs: peers::Programs,
        /// What the comparison itself is told; `cargo xtask peers -- --help` lists it
        #[arg(last = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Count the instructions of the hot paths, and compare them with crates/xtask/instructions.tsv
    Instructions {
        /// Write the file anew
        #[arg(long)]
        update: bool,
    },
    /// Run every check and test; the same as CI
    Test {
        /// Leave out the documentation and the cluster tests
        #[arg(long)]
        fast: bool,
    },
    /// Write the fixture of the format, tests/fixtures/format-1
    Fixtures {
        /// Also if it is there: what later builds were to be able to read is then gone
        #[arg(long)]
        replace: bool,
        /// Write tests/fixtures/format-1-intents instead: its vaults save their intents every so many
        /// embedded events
        #[arg(long, value_name = "N")]
        intents_save_events: Option<u32>,
        /// Write tests/fixtures/format-1-level-2 instead: its vaults have cursors and consumer groups
        #[arg(long, conflicts_with = "intents_save_events")]
        level_2: bool,
        /// Write tests/fixtures/format-1-level-3 instead: its vaults have tokens, roles and an audit
        #[arg(long, conflicts_with_all = ["intents_save_events", "level_2"])]
        level_3: bool,
    },
    /// Run the fuzz targets of tests/fuzz over their corpora and on from there; needs nightly
    Fuzz {
        /// One of them; all, one after the other, if absent
        target: Option<String>,
        /// How long each runs
        #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS)]
        seconds: u64,
        /// Write the seeds of the corpora again instead
        #[arg(long)]
        seeds: bool,
        /// Replay every kept input once instead, with the ordinary toolchain
        #[arg(long, conflicts_with_all = ["target", "seconds", "seeds"])]
        replay: bool,
    },
    /// Simulate whole clusters, on which everything goes wrong that can, each from a seed
    Simulate {
        /// How many seeds
        #[arg(long, value_name = "N", default_value_t = 100)]
        seeds: u64,
        /// The first of them
        #[arg(long, value_name = "SEED", default_value_t = 1)]
        first: u64,
        /// Switch a known bug on, and look for it until it is found: acknowledge-before-flush,
        /// purge-before-snapshot, apply-ahead-of-log, vote-twice, hash-map-order
        #[arg(long, value_name = "NAME")]
        bug: Option<String>,
    },
    /// Build `toka` of the next feature level beside the ordinary one, for single tests of upgrades
    Next,
    /// Run for long what the suite runs shortly: the nemesis at work on five nodes, the simulation with seeds that
    /// nobody has run, the fuzz targets
    Soak {
        /// For how many minutes, beside builds: a third for each of the three
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
        /// What faults and seeds of the simulation are drawn from; another one each time if it is not given
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
    },
    /// Write an OCI archive with `toka`: an image without a container daemon, from Debian's packages
    Image {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
        /// The image's name, with its registry and without a tag
        #[arg(long, value_name = "NAME", default_value = "toka-vault")]
        name: String,
        /// Debian's release [default: the one of this machine]
        #[arg(long, value_name = "CODENAME")]
        suite: Option<String>,
        /// Where to write it [default: dist, below the target directory]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Write an archive to give away: `toka`, completions, manual pages, licences, SBOM, checksums
    Dist {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
        /// Where to write it [default: dist, below the target directory]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Build the Python wheel of crates/toka-python, and test it in a fresh environment against three nodes
    Python {
        /// A `toka` binary to use instead of building one
        #[arg(long, value_name = "PATH")]
        bin: Option<PathBuf>,
        /// Build it as it is given away, into `dist` below the target directory, and test that
        #[arg(long)]
        release: bool,
    },
    /// Build the console's page into crates/toka-console/dist, from what is on npm
    Console {
        /// Only see whether it is what its sources make
        #[arg(long)]
        check: bool,
        /// Take the pictures of docs/images again, too
        #[arg(long, conflicts_with = "check")]
        screenshots: bool,
    },
    /// Check the repository's own rules: crate dependencies, file sizes, names, comments
    Tidy,
    /// Install what the demo and the tests need on this machine
    Setup,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let processes = Processes::stopped_by_signals()?;
    match &arguments.command {
        Task::Demo { bin } => demo::run(&workspace, &processes, bin.as_deref()),
        Task::Story { bin, agents } => {
            story::run(&workspace, &processes, bin.as_deref(), agents.as_deref())
        }
        Task::Bench { bin } => bench::run(&workspace, &processes, bin.as_deref()),
        Task::Peers {
            programs,
            arguments,
        } => peers::run(&workspace, &processes, programs, arguments),
        Task::Instructions { update } => instructions::run(&workspace, &processes, *update),
        Task::Test { fast } => suite::run(&workspace, &processes, *fast),
        Task::Fixtures {
            replace,
            intents_save_events,
            level_2,
            level_3,
        } => {
            let which = match intents_save_events {
                _ if *level_3 => fixtures::Which::Level3,
                _ if *level_2 => fixtures::Which::Level2,
                Some(events) => fixtures::Which::Intents(*events),
                None => fixtures::Which::Plain,
            };
            fixtures::run(&workspace, &processes, *replace, which)
        }
        Task::Fuzz {
            target,
            seconds,
            seeds,
            replay,
        } => match replay {
            true => processes.run(&mut fuzz::replay_corpora(&workspace)),
            false => fuzz::run(&workspace, &processes, target.as_deref(), *seconds, *seeds),
        },
        Task::Simulate { seeds, first, bug } => {
            let runs = simulate::Runs {
                seeds: *seeds,
                first: *first,
                bug: bug.as_deref(),
            };
            simulate::run(&workspace, &processes, &runs)
        }
        Task::Next => suite::build_next(&workspace, &processes),
        Task::Soak { minutes, seed } => soak::run(&workspace, &processes, *minutes, *seed),
        Task::Image {
            bin,
            name,
            suite,
            output,
        } => {
            let wanted = image::Wanted {
                bin: bin.as_deref(),
                name,
                suite: suite.as_deref(),
                output: output.as_deref(),
            };
            image::run(&workspace, &processes, &wanted)
        }
        Task::Dist { bin, output } => {
            dist::run(&workspace, &processes, bin.as_deref(), output.as_deref())
        }
        Task::Python { bin, release } => {
            wheel::run(&workspace, &processes, bin.as_deref(), *release)
        }
        Task::Console { check: true, .. } => {
            let tools = python::prepare(&workspace, &processes)?;
            console::check(&workspace, &processes, &tools)
        }
        Task::Console { screenshots, .. } => console::run(&workspace, &processes, *screenshots),
        Task::Tidy => tidy::run(&workspace),
        Task::Setup => {
            setup::ensure(
                &processes,
                &[setup::BUILD, setup::TEST, setup::IMAGE, setup::INSTRUCTIONS],
            )?;
            namespace::ensure(&processes)?;
            python::prepare(&workspace, &processes)?;
            println!("this machine has all that `cargo xtask demo` and `cargo xtask test` need");
            Ok(())
        }
    }
}
