//! `cargo xtask demo`: a cluster of three processes takes real input, loses its leader, loses nothing.
//!
//! The orchestration knows the product only through the `toka` binary: its commands, their JSON output
//! and their exit codes.

mod check;
pub(crate) mod cluster;
pub(crate) mod corpus;
pub(crate) mod event;
mod git_history;
mod import;
pub(crate) mod progress;
mod report;
mod scenario;
pub(crate) mod toka;
mod watch;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::Processes;
use crate::setup;
use crate::workspace::Workspace;

use self::event::Event;
use self::progress::Progress;
use self::scenario::Input;
use self::toka::Toka;

/// Builds `toka` (unless `bin` is one), runs the scenario and prints the report.
///
/// # Errors
/// Something failed, or an acknowledged event is missing, doubled or out of order on a node.
pub(crate) fn run(workspace: &Workspace, processes: &Processes, bin: Option<&Path>) -> Result<()> {
    let progress = Progress::start();
    let bin = match bin {
        Some(bin) => bin.to_owned(),
        None => build(workspace, processes, &progress)?,
    };
    let input = read_input(workspace, processes, &progress)?;
    let directory = workspace
        .target
        .join(format!("demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("creating {}", directory.display()))?;
    let toka = Toka::new(bin, processes.clone());
    let result = scenario::run(&toka, &directory, &input, &progress);
    match result {
        Ok(report) => {
            print!("{report}");
            std::fs::remove_dir_all(&directory)
                .with_context(|| format!("removing {}", directory.display()))
        }
        Err(error) => {
            eprintln!(
                "the nodes' data and logs are kept in {}",
                directory.display()
            );
            Err(error)
        }
    }
}

/// Builds `toka`, and says how long that may take.
pub(crate) fn build(
    workspace: &Workspace,
    processes: &Processes,
    progress: &Progress,
) -> Result<PathBuf> {
    setup::ensure(processes, &[setup::BUILD])?;
    if !workspace.rocksdb_builds().is_empty() {
        progress
            .say("building toka; RocksDB is compiled already, so this takes a few minutes at most");
    } else {
        progress.say(
            "building toka; the first build compiles RocksDB and takes about fifteen minutes on two \
             cores (RocksDB alone ten), once",
        );
    }
    processes.run(&mut workspace.build_toka())?;
    Ok(workspace.toka_bin())
}

/// What is imported at full speed, and what is the paced load.
fn read_input(workspace: &Workspace, processes: &Processes, progress: &Progress) -> Result<Input> {
    let corpus = workspace.root.join("tests/data/hwu64/utterances.jsonl");
    let conversations = corpus::conversations(&corpus)?;
    match git_history::read(&workspace.root, processes)? {
        git_history::Outcome::Events(history) => {
            let commits = history
                .iter()
                .filter(|event| event.kind == git_history::COMMIT)
                .count();
            progress.say(&format!(
                "input: {commits} commits and {} changed files of this repository, {} utterances",
                history.len() - commits,
                conversations.len()
            ));
            Ok(Input {
                bulk: history,
                bulk_name: "git history",
                paced: conversations,
            })
        }
        git_history::Outcome::Absent(why) => {
            progress.say(&format!(
                "input: {} utterances alone, since there is no git history here ({why})",
                conversations.len()
            ));
            let (bulk, paced) = halves(conversations)?;
            Ok(Input {
                bulk,
                bulk_name: "first half of the utterances",
                paced,
            })
        }
    }
}

/// Splits where a conversation starts, so that no parent is in the other half.
fn halves(mut events: Vec<Event>) -> Result<(Vec<Event>, Vec<Event>)> {
    let middle = events.len() / 2;
    let Some(start) = (middle..events.len()).find(|index| events[*index].parents.is_empty()) else {
        bail!("the corpus has no conversation that starts in its second half");
    };
    let second = events.split_off(start);
    Ok((events, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_keep_conversations_whole() {
        let events: Vec<Event> = (0..10)
            .map(|index| event::for_test(&index.to_string(), &[], index))
            .enumerate()
            .map(|(index, mut event)| {
                if index % 4 != 0 {
                    event.parents = vec![(index - 1).to_string()];
                }
                event
            })
            .collect();
        let (first, second) = halves(events).expect("there are two halves");
        assert_eq!((first.len(), second.len()), (8, 2));
        assert!(second[0].parents.is_empty());
    }
}
