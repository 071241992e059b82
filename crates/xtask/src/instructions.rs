//! `cargo xtask instructions`: how many instructions the hot paths take, against what they took before; and how long
//! they take.
//!
//! Counts, unlike times, are the same on a busy machine. Valgrind's CPU has AVX2 and not AVX-512, so it is the path
//! for AVX2 that is counted. The benches are built in the bench profile, without RocksDB.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::process::Processes;
use crate::setup;
use crate::workspace::Workspace;

/// A path may take so much more than before.
const REGRESSION_PERCENT: f64 = 10.0;
/// From a clean start.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// For one path under callgrind.
const COUNT_LIMIT: Duration = Duration::from_secs(300);
/// For the times of all paths together, which are shown and decide nothing.
const TIMES_LIMIT: Duration = Duration::from_secs(60);
/// For the time of one path, in seconds, beside what it takes to notice that it is over.
const TIME_SECONDS: &str = "0.5";
/// Where a bench calls what is counted, as callgrind names it.
const REGION: &str = "*toka_counted_region*";
const HEAD: &str = "# Instructions for one event (or read) of each hot path, x86_64 with AVX2: \
                    `cargo xtask instructions --update`\n";

const ELSEWHERE: &str = "the file is of x86_64 with AVX2, which this machine is not";

/// Benches that know `--list-paths` and `--count`.
const BENCHES: [(&str, &str); 2] = [("toka-ledger", "hot_paths"), ("toka-proto", "encoding")];

/// A path's instructions for one item, by its name.
type Counts = BTreeMap<String, u64>;

/// The file with the counts of before.
fn baseline(workspace: &Workspace) -> PathBuf {
    workspace.root.join("crates/xtask/instructions.tsv")
}

/// Reads the file with the counts of before.
///
/// # Errors
/// It is not there, or says something else.
pub(crate) fn read_baseline(workspace: &Workspace) -> Result<Counts> {
    let file = baseline(workspace);
    let text = std::fs::read_to_string(&file).with_context(|| {
        let hint = "`cargo xtask instructions --update` writes it";
        format!("reading {}; {hint}", file.display())
    })?;
    parse(&text).with_context(|| format!("reading {}", file.display()))
}

/// Counts all paths, prints what they take, and compares it with the file; `update`: writes the file. Prints their
/// times too.
///
/// # Errors
/// A path takes more than it may, or is not in the file, or only there.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, update: bool) -> Result<()> {
    let is_comparable = counts_here();
    ensure!(is_comparable || !update, "not written: {ELSEWHERE}");
    setup::ensure(processes, &[setup::BUILD])?;
    if is_comparable {
        setup::ensure(processes, &[setup::INSTRUCTIONS])?;
    }
    let before = match update {
        // Whatever is wrong with the file, it is written anew.
        true => read_baseline(workspace).unwrap_or_default(),
        false => read_baseline(workspace)?,
    };
    println!("building the benches in the bench profile, without RocksDB");
    let started = Instant::now();
    let programs = build(workspace, processes)?;
    println!("built in {:.0} s", started.elapsed().as_secs_f64());
    let now = match is_comparable {
        true => Some(count(workspace, processes, &programs)?),
        false => None,
    };
    if let Some(now) = &now {
        print(&before, now);
    }
    print_times(workspace, processes, &programs)?;
    let Some(now) = now else {
        println!("not compared: {ELSEWHERE}");
        return Ok(());
    };
    if update {
        let file = baseline(workspace);
        std::fs::write(&file, text(&now)).with_context(|| format!("writing {}", file.display()))?;
        println!("written: {}", file.display());
        return Ok(());
    }
    let problems = compare(&before, &now);
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Whether counts of this machine can be compared with others'.
fn counts_here() -> bool {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cfg!(target_arch = "x86_64") && cpus.split_whitespace().any(|flag| flag == "avx2")
}

/// Criterion's times of the same paths, which depend on the machine, and gate nothing.
fn print_times(workspace: &Workspace, processes: &Processes, programs: &[PathBuf]) -> Result<()> {
    println!("times of the same paths, which decide nothing");
    let until = Instant::now() + TIMES_LIMIT;
    for program in programs {
        let mut times = Command::new(program);
        times
            .args(["--bench", "--quick", "--noplot", "--discard-baseline"])
            .args(["--measurement-time", TIME_SECONDS])
            .env("CARGO_TARGET_DIR", &workspace.target)
            .current_dir(&workspace.root);
        let mut process = processes.spawn(&mut times)?;
        let left = until.saturating_duration_since(Instant::now());
        match process.wait_within(left)? {
            Some(status) => ensure!(status.success(), "{} failed ({status})", program.display()),
            None => {
                // It is killed as it is dropped.
                println!("no more times: they have taken {TIMES_LIMIT:?}");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn count(workspace: &Workspace, processes: &Processes, programs: &[PathBuf]) -> Result<Counts> {
    let started = Instant::now();
    let mut counts = Counts::new();
    for program in programs {
        let mut list = Command::new(program);
        let listed = processes.run_captured(list.arg("--list-paths"), COUNT_LIMIT)?;
        for line in listed.lines() {
            let (name, items) = line.split_once('\t').context("a name and a number")?;
            let items: u64 = items.parse()?;
            let total = count_path(workspace, processes, program, name)?;
            let is_first = counts.insert(name.to_owned(), total / items).is_none();
            ensure!(is_first, "there are two paths {name}");
        }
    }
    println!("counted in {:.0} s", started.elapsed().as_secs_f64());
    Ok(counts)
}

/// What cargo says of a target that it has built.
#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    executable: Option<PathBuf>,
}

/// Builds the benches, without RocksDB.
fn build(workspace: &Workspace, processes: &Processes) -> Result<Vec<PathBuf>> {
    let mut command = workspace.cargo();
    command.args([
        "bench",
        "--no-run",
        "--no-default-features",
        "--message-format",
        "json-render-diagnostics",
    ]);
    for (package, bench) in BENCHES {
        command.args(["--package", package, "--bench", bench]);
    }
    let messages = processes.run_captured(&mut command, BUILD_LIMIT)?;
    let programs: Vec<_> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok()?.executable)
        .collect();
    ensure!(
        programs.len() == BENCHES.len(),
        "cargo has built {programs:?} for {BENCHES:?}"
    );
    Ok(programs)
}

/// Instructions of all counted runs of one path.
fn count_path(
    workspace: &Workspace,
    processes: &Processes,
    program: &Path,
    name: &str,
) -> Result<u64> {
    let out = workspace
        .target
        .join(format!("callgrind-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={REGION}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["--count", name]);
    processes.run_captured(&mut command, COUNT_LIMIT)?;
    let profile =
        std::fs::read_to_string(&out).with_context(|| format!("reading {}", out.display()))?;
    std::fs::remove_file(&out).with_context(|| format!("removing {}", out.display()))?;
    match total(&profile) {
        Some(total) if total > 0 => Ok(total),
        _ => bail!("callgrind has counted nothing of {name}: is {REGION} inlined?"),
    }
}

/// The sum in a profile of callgrind.
fn total(profile: &str) -> Option<u64> {
    let mut lines = profile.lines();
    let line = lines.find_map(|line| {
        line.strip_prefix("totals:")
            .or_else(|| line.strip_prefix("summary:"))
    })?;
    line.split_whitespace().next()?.parse().ok()
}

fn parse(text: &str) -> Result<Counts> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut counts = Counts::new();
    for line in lines {
        let row = line.split_once('\t');
        let row = row.and_then(|(name, count)| Some((name, count.parse::<u64>().ok()?)));
        let (name, count) = row.with_context(|| format!("{line:?} is no name and number"))?;
        // As a merge leaves it.
        let is_first = counts.insert(name.to_owned(), count).is_none();
        ensure!(is_first, "{name} is there twice");
    }
    Ok(counts)
}

fn text(counts: &Counts) -> String {
    let lines = counts
        .iter()
        .map(|(name, count)| format!("{name}\t{count}\n"));
    HEAD.to_owned() + &lines.collect::<String>()
}

fn change_percent(before: u64, now: u64) -> f64 {
    (now as f64 - before as f64) * 100.0 / before.max(1) as f64
}

fn print(before: &Counts, now: &Counts) {
    println!("{:<36} {:>12} {:>12} {:>8}", "path", "before", "now", "");
    for (name, &now) in now {
        let (before, change) = match before.get(name) {
            None => ("-".to_owned(), "new".to_owned()),
            Some(&before) => {
                let change = change_percent(before, now);
                (before.to_string(), format!("{change:+.1} %"))
            }
        };
        println!("{name:<36} {before:>12} {now:>12} {change:>8}");
    }
}

/// What is wrong with the counts of now.
fn compare(before: &Counts, now: &Counts) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, &now) in now {
        match before.get(name) {
            None => problems.push(format!(
                "{name} is not in the file; `cargo xtask instructions --update` writes it anew"
            )),
            Some(&before) if change_percent(before, now) > REGRESSION_PERCENT => {
                problems.push(format!(
                    "{name} takes {now} instructions, and took {before}: {:.1} % more, at most {REGRESSION_PERCENT} %",
                    change_percent(before, now)
                ));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    problems.extend(gone.map(|name| format!("{name} is in the file, and no path any more")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let some = counts(&[("apply/small", 5_000), ("get/by id, payload", 7)]);
        assert_eq!(parse(&text(&some)).expect("as written"), some);
        assert!(parse("no number").is_err());
        assert!(parse("a\tmany").is_err());
        let twice = parse("a\t1\nb\t2\na\t3\n").expect_err("a is there twice");
        assert!(twice.to_string().contains("a is there twice"), "{twice}");
    }

    #[test]
    fn more_than_a_tenth_fails_and_a_tenth_passes() {
        let before = counts(&[("a", 100)]);
        assert!(compare(&before, &counts(&[("a", 110)])).is_empty());
        assert!(compare(&before, &counts(&[("a", 10)])).is_empty());
        let problems = compare(&before, &counts(&[("a", 111)]));
        assert!(problems[0].contains("11.0 % more"), "{problems:?}");
    }

    #[test]
    fn the_file_has_the_paths_that_there_are() {
        let before = counts(&[("gone", 1)]);
        let problems = compare(&before, &counts(&[("new", 1)]));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("new is not in the file"));
        assert!(problems[1].starts_with("gone is in the file"));
    }

    #[test]
    fn the_sum_of_a_profile_is_its_first() {
        assert_eq!(total("events: Ir\nfn=(1) x\n12 7\ntotals: 42\n"), Some(42));
        assert_eq!(total("version: 1\nsummary: 9\n"), Some(9));
        assert_eq!(total("version: 1\n"), None);
    }
}
