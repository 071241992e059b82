//! The command line: many seeds, each in a process of its own, or one of them.
//!
//! A process for each, since what the standard library and others draw once in a process must be drawn by the seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use toka_ledger::simulation::Bug;

use crate::cluster;

const USAGE: &str = "\
usage: toka-simulation run [--seeds N] [--first SEED] [--jobs N] [--bug NAME]
       toka-simulation one SEED [--bug NAME] [--trace FILE]";

/// Stack of the simulation's thread: builds with few optimisations need much.
const STACK_BYTES: usize = 64 << 20;

#[derive(Default)]
struct Arguments {
    seeds: Option<u64>,
    first: Option<u64>,
    jobs: Option<usize>,
    bug: Option<Bug>,
    trace: Option<PathBuf>,
    seed: Option<u64>,
}

/// Runs what the command line says.
pub(crate) fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = parse(words).and_then(|arguments| match &*command {
        "run" => run(&arguments),
        "one" => one(&arguments),
        _ => Err(USAGE.to_owned()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        if let Ok(seed) = word.parse() {
            arguments.seed = Some(seed);
            continue;
        }
        let value = words.next().ok_or(USAGE)?;
        let number = || -> Result<u64, String> {
            let number = value.parse();
            number.map_err(|_| format!("{word} {value:?} is not a number"))
        };
        match &*word {
            "--seeds" => arguments.seeds = Some(number()?),
            "--first" => arguments.first = Some(number()?),
            "--jobs" => arguments.jobs = Some(number()?.max(1) as usize),
            "--trace" => arguments.trace = Some(PathBuf::from(value)),
            "--bug" => {
                let bug = Bug::ALL.into_iter().find(|bug| bug.name() == value);
                let names = Bug::ALL.map(Bug::name).join(", ");
                arguments.bug = Some(bug.ok_or(format!("--bug {value:?} is none of: {names}"))?);
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(arguments)
}

/// Runs one seed. Prints what came of it on one line, or the violation and how to see it again.
fn one(arguments: &Arguments) -> Result<(), String> {
    let (seed, bug) = (arguments.seed.ok_or(USAGE)?, arguments.bug);
    if let Some(bug) = bug {
        bug.switch_on();
    }
    let trace = arguments.trace.clone();
    let simulation = thread::Builder::new()
        .name("simulation".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || cluster::run(seed, trace.as_deref()));
    let simulation = simulation.map_err(|error| error.to_string())?;
    let summary = simulation
        .join()
        .map_err(|_| format!("seed {seed}: the simulation itself has panicked"))?
        .map_err(|error| format!("the trace cannot be written: {error}"))?;
    let verdict = match summary.violation {
        None => "ok",
        Some(_) => "FAILED",
    };
    println!(
        "seed={seed} {verdict} trace={} {}",
        summary.trace, summary.figures
    );
    match summary.violation {
        None => Ok(()),
        Some(violation) => Err(format!(
            "violation: {violation}\nreplay it with: {}",
            replay(seed, bug)
        )),
    }
}

fn replay(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.name()));
    format!("cargo xtask simulate --seeds 1 --first {seed}{bug}")
}

/// Sums of the figures of all seeds.
#[derive(Default)]
struct Totals {
    seeds: u64,
    figures: BTreeMap<String, u64>,
    failures: Vec<u64>,
}

impl Totals {
    fn take(&mut self, seed: u64, output: &Output) {
        self.seeds += 1;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
            self.failures.push(seed);
        }
        let figures = text.lines().next().unwrap_or_default().split_whitespace();
        let counted = figures.filter_map(|figure| figure.split_once('='));
        for (name, value) in counted.filter(|(name, _)| *name != "seed") {
            if let Ok(value) = value.parse::<u64>() {
                *self.figures.entry(name.to_owned()).or_default() += value;
            }
        }
    }
}

/// Runs many seeds. With a bug it ends at the first one that finds it, and fails if none does.
fn run(arguments: &Arguments) -> Result<(), String> {
    let (seeds, first) = (arguments.seeds.unwrap_or(20), arguments.first.unwrap_or(1));
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores);
    let (next, is_found) = (AtomicU64::new(first), AtomicBool::new(false));
    let totals = Mutex::<Totals>::default();
    let work = || -> Result<(), String> {
        while !is_found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.saturating_add(seeds) {
                return Ok(());
            }
            let mut command = Command::new(&program);
            command.arg("one").arg(seed.to_string());
            if let Some(bug) = arguments.bug {
                command.args(["--bug", bug.name()]);
            }
            let output = command.output().map_err(|error| error.to_string())?;
            if !output.status.success() && arguments.bug.is_some() {
                is_found.store(true, Ordering::Relaxed);
            }
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.take(seed, &output);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let mut results = workers.into_iter().map(|worker| worker.join());
        results.try_for_each(|result| {
            result.unwrap_or_else(|_| Err("a worker has panicked".to_owned()))
        })
    })?;
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    report(arguments.bug, &totals)
}

fn report(bug: Option<Bug>, totals: &Totals) -> Result<(), String> {
    let figures = totals.figures.iter();
    let figures: Vec<String> = figures.map(|(name, sum)| format!("{name}={sum}")).collect();
    println!("{} seeds: {}", totals.seeds, figures.join(" "));
    match (bug, totals.failures.iter().min()) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(format!("seeds that failed: {:?}", totals.failures)),
        (Some(bug), Some(seed)) => {
            println!("{} is found by seed {seed}", bug.name());
            Ok(())
        }
        (Some(bug), None) => Err(format!("{} is not found", bug.name())),
    }
}
