//! This repository's own history as causal events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::event::{Event, PARENTS_MAX, truncated};
use crate::process::Processes;

/// The kind of a commit's event.
pub(crate) const COMMIT: &str = "git.commit";
/// The kind of a changed file's event.
const FILE: &str = "git.file";

/// The newest commits are taken.
const COMMITS_MAX: usize = 3_000;
const FILES_MAX: usize = 20_000;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const SOURCE_BYTES_MAX: usize = 100;
const LIMIT: Duration = Duration::from_secs(120);

/// Starts a commit, separates its fields, and ends them.
const RECORD: char = '\u{1e}';
const FIELD: char = '\u{1f}';
const BODY_END: char = '\u{1d}';

/// The history, or why there is none.
pub(crate) enum Outcome {
    Events(Vec<Event>),
    Absent(String),
}

/// Reads the history of the repository whose root is `root`.
pub(crate) fn read(root: &Path, processes: &Processes) -> Result<Outcome> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(root)
            .args(["-c", "core.quotePath=false", "-c", "log.showRoot=true"]);
        processes.run_captured(command.args(arguments), LIMIT)
    };
    // An archive unpacked inside of another repository must not show that one's history.
    match git(&["rev-parse", "--show-prefix"]) {
        Ok(prefix) if prefix.trim().is_empty() => {}
        Ok(_) => return Ok(Outcome::Absent("the repository's root is elsewhere".into())),
        Err(error) => return Ok(Outcome::Absent(first_line_of_git(&error))),
    }
    if git(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_err() {
        return Ok(Outcome::Absent("no commit yet".into()));
    }
    let commits_max = format!("--max-count={COMMITS_MAX}");
    // Parents before children: import takes references to earlier lines.
    let log = git(&[
        "log",
        &commits_max,
        "--topo-order",
        "--reverse",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--no-color",
        "--no-show-signature",
        "--format=%x1e%H%x1f%P%x1f%an%x1f%ae%x1f%at%x1f%B%x1d",
    ])?;
    Ok(Outcome::Events(events(&log)))
}

/// What git said, without the command and its exit code.
fn first_line_of_git(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines()
        .find(|line| line.starts_with("fatal:"))
        .unwrap_or(&text)
        .to_owned()
}

/// The events in the output of the `git log` above.
fn events(log: &str) -> Vec<Event> {
    let mut known = BTreeSet::new();
    let mut files = 0;
    let mut events = Vec::new();
    for record in log.split(RECORD).skip(1) {
        let (head, changes) = record.split_once(BODY_END).unwrap_or((record, ""));
        let mut fields = head.splitn(6, FIELD);
        let mut field = || fields.next().unwrap_or_default();
        let commit = Commit {
            hash: field(),
            parents: field(),
            author: field(),
            email: field(),
            unix_seconds: field(),
            message: field(),
        };
        events.push(commit.event(&known));
        known.insert(commit.hash);
        let changed = changes.lines().filter_map(|line| commit.file_event(line));
        let before = events.len();
        events.extend(changed.take(FILES_MAX - files));
        files += events.len() - before;
    }
    events
}

struct Commit<'a> {
    hash: &'a str,
    /// Hashes, separated by spaces.
    parents: &'a str,
    author: &'a str,
    email: &'a str,
    unix_seconds: &'a str,
    message: &'a str,
}

impl Commit<'_> {
    /// Parents that are not in `known` lie beyond the newest commits, or beyond a shallow clone.
    fn event(&self, known: &BTreeSet<&str>) -> Event {
        let parents = self
            .parents
            .split_whitespace()
            .filter(|parent| known.contains(parent));
        Event {
            reference: self.reference(),
            parents: parents
                .take(PARENTS_MAX)
                .map(|parent| format!("commit:{parent}"))
                .collect(),
            kind: COMMIT,
            payload: json!({
                "hash": self.hash,
                "author": self.author,
                "email": self.email,
                "unix_seconds": self.unix_seconds.parse::<i64>().unwrap_or_default(),
                "message": truncated(self.message.trim_end(), MESSAGE_BYTES_MAX),
            }),
            source: self.source(),
            attributes: BTreeMap::new(),
        }
    }

    /// `line` is git's raw format: `:OLD_MODE NEW_MODE OLD_BLOB NEW_BLOB STATUS<TAB>PATH`.
    fn file_event(&self, line: &str) -> Option<Event> {
        let (description, path) = line.strip_prefix(':')?.split_once('\t')?;
        let mut words = description.split(' ').skip(3);
        let (blob, status) = (words.next()?, words.next()?);
        Some(Event {
            reference: format!("file:{}:{path}", self.hash),
            parents: vec![self.reference()],
            kind: FILE,
            payload: json!({
                "commit": self.hash,
                "author": self.author,
                "path": path,
                "status": status_name(status),
                "blob": blob,
            }),
            source: self.source(),
            attributes: BTreeMap::new(),
        })
    }

    fn reference(&self) -> String {
        format!("commit:{}", self.hash)
    }

    fn source(&self) -> String {
        let printable: String = self.author.chars().filter(|c| !c.is_control()).collect();
        truncated(&printable, SOURCE_BYTES_MAX).to_owned()
    }
}

fn status_name(status: &str) -> &'static str {
    match status.chars().next() {
        Some('A') => "added",
        Some('D') => "deleted",
        Some('T') => "type changed",
        _ => "modified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with two commits, a branch with one, and their merge.
    fn repository() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = "
            set -e
            git init -q -b main .
            git config user.name 'Ada Lovelace'; git config user.email ada@example.org
            git config commit.gpgSign false
            echo 1 > one; echo 1 > 'naïve name'; git add .; git commit -q -m 'First' -m 'With a body.'
            echo 2 > one; git commit -q -am 'Second'
            git checkout -q -b side HEAD~1
            echo 3 > three; git rm -q 'naïve name'; git add .; git commit -q -m 'Side'
            git checkout -q main; git merge -q --no-ff -m 'Merge' side
        ";
        let output = Command::new("sh")
            .args(["-c", script])
            .current_dir(directory.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("sh runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        directory
    }

    fn read_events(root: &Path) -> Vec<Event> {
        match read(root, &Processes::default()).expect("git runs") {
            Outcome::Events(events) => events,
            Outcome::Absent(why) => panic!("no history: {why}"),
        }
    }

    fn messages(events: &[Event]) -> Vec<&str> {
        events
            .iter()
            .filter_map(|event| event.payload["message"].as_str())
            .collect()
    }

    #[test]
    fn parents_come_before_children() {
        let repository = repository();
        let events = read_events(repository.path());
        let mut seen = BTreeSet::new();
        for event in &events {
            for parent in &event.parents {
                assert!(
                    seen.contains(parent),
                    "{} before its parent {parent}",
                    event.reference
                );
            }
            assert!(
                seen.insert(event.reference.clone()),
                "{} twice",
                event.reference
            );
        }
    }

    #[test]
    fn commits_carry_author_message_and_git_parents() {
        let repository = repository();
        let events = read_events(repository.path());
        let found = messages(&events);
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], "First\n\nWith a body.");
        let merge = events
            .iter()
            .rfind(|event| event.kind == COMMIT)
            .expect("the merge");
        assert_eq!(merge.payload["message"], "Merge");
        assert_eq!(merge.parents.len(), 2);
        assert_eq!(merge.source, "Ada Lovelace");
    }

    #[test]
    fn changed_files_hang_on_their_commit() {
        let repository = repository();
        let events = read_events(repository.path());
        let mut files: Vec<(&str, &str)> = events
            .iter()
            .filter(|event| event.kind == FILE)
            .filter_map(|event| {
                let payload = &event.payload;
                assert_eq!(
                    event.parents,
                    [format!("commit:{}", payload["commit"].as_str()?)]
                );
                Some((payload["path"].as_str()?, payload["status"].as_str()?))
            })
            .collect();
        files.sort_unstable();
        assert_eq!(
            files,
            [
                ("naïve name", "added"),
                ("naïve name", "deleted"),
                ("one", "added"),
                ("one", "modified"),
                ("three", "added")
            ]
        );
    }

    #[test]
    fn shallow_clone_drops_parents_that_it_lacks() {
        let repository = repository();
        let clone = tempfile::tempdir().expect("a temporary directory");
        let url = format!("file://{}", repository.path().display());
        let output = Command::new("git")
            .args(["clone", "-q", "--depth", "1", &url, "."])
            .current_dir(clone.path())
            .output()
            .expect("git runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let events = read_events(clone.path());
        assert_eq!(messages(&events), ["Merge"]);
        assert!(events[0].parents.is_empty());
    }

    #[test]
    fn directory_without_a_repository_has_no_history() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let outcome = read(directory.path(), &Processes::default()).expect("git runs");
        assert!(matches!(outcome, Outcome::Absent(_)));
    }

    #[test]
    fn directory_inside_another_repository_has_no_history() {
        let repository = repository();
        let inner = repository.path().join("unpacked");
        std::fs::create_dir(&inner).expect("a directory");
        let outcome = read(&inner, &Processes::default()).expect("git runs");
        assert!(matches!(outcome, Outcome::Absent(_)));
    }

    #[test]
    fn files_are_bounded() {
        let changes: String = (0..FILES_MAX + 5)
            .map(|index| format!(":000000 100644 0 1 A\tfile{index}\n"))
            .collect();
        let log = format!("{RECORD}h{FIELD}{FIELD}a{FIELD}e{FIELD}1{FIELD}m{BODY_END}\n{changes}");
        assert_eq!(events(&log).len(), 1 + FILES_MAX);
    }
}
