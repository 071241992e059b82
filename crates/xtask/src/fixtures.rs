//! `cargo xtask fixtures`: writes what the tests of the format open, `tests/fixtures/format-1`; with
//! `--intents-save-events 16` that of vaults which have saved their intents, `tests/fixtures/format-1-intents`; and with
//! `--level-2` that of vaults with cursors and consumer groups, `tests/fixtures/format-1-level-2`; with `--level-3` that
//! of vaults with tokens, roles and an audit, `tests/fixtures/format-1-level-3`.
//!
//! Small, and made by the `toka` binary alone. Of the Raft log's segments the zeros at the end are cut off;
//! what processes leave for themselves (locks, RocksDB's logs and notes of its options, free segments) is left out.

mod coordination;
mod credentials;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::demo::toka::Toka;
use crate::process::Processes;
use crate::workspace::Workspace;

/// Format that this checkout writes.
const FORMAT: &str = "format-1";
/// Beside it, what it does not have: saved micro-clusters.
const FORMAT_INTENTS: &str = "format-1-intents";
/// Beside it, what came with feature level 2: cursors that are saved, and consumer groups.
const FORMAT_LEVEL_2: &str = "format-1-level-2";
/// Beside it, what came with feature level 3: tokens, roles, and the audit.
const FORMAT_LEVEL_3: &str = "format-1-level-3";
/// Events of an import: more than 256, so that there is a state digest in the history.
const EVENTS: usize = 258;
/// Events of the cluster's.
const CLUSTER_EVENTS: usize = 60;
/// Dimension of the embeddings.
const DIMENSION: usize = 8;
const PAGE: usize = 4_096;
const LIMIT: Duration = Duration::from_secs(60);

/// Which fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// [`FORMAT`].
    Plain,
    /// [`FORMAT_INTENTS`], whose vaults save their intents every so many embedded events.
    Intents(u32),
    /// [`FORMAT_LEVEL_2`].
    Level2,
    /// [`FORMAT_LEVEL_3`].
    Level3,
}

impl Which {
    /// What it is for, in `expected.json`.
    const fn key(self) -> &'static str {
        match self {
            Self::Level3 => "credentials",
            Self::Plain | Self::Intents(_) | Self::Level2 => "coordination",
        }
    }
}

/// Makes the fixture; anew, if it is to `replace` one.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    replace: bool,
    which: Which,
) -> Result<()> {
    processes.run(&mut workspace.build_toka())?;
    let maker = Maker {
        toka: Toka::new(workspace.toka_bin(), processes.clone()),
        processes: processes.clone(),
        which,
    };
    let (format, cluster_events, readme) = match which {
        Which::Plain => (FORMAT, CLUSTER_EVENTS, README),
        Which::Intents(_) => (FORMAT_INTENTS, EVENTS, README_INTENTS),
        Which::Level2 => (FORMAT_LEVEL_2, CLUSTER_EVENTS, README_LEVEL_2),
        Which::Level3 => (FORMAT_LEVEL_3, CLUSTER_EVENTS, README_LEVEL_3),
    };
    let fixture = workspace.root.join("tests/fixtures").join(format);
    check_place(&fixture, replace)?;
    let work = workspace.target.join("fixtures-tmp");
    for directory in [&fixture, &work] {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
    }
    fs::write(work.join("embedded.jsonl"), import_lines(EVENTS)?)?;
    fs::write(work.join("node.jsonl"), import_lines(cluster_events)?)?;
    let mut expected = json!({});
    maker.node(&work, &fixture, &mut expected)?;
    expected["embedded"] = match which {
        Which::Plain | Which::Level2 => maker.embedded(&work, &fixture)?,
        Which::Intents(_) | Which::Level3 => maker.restored(&work, &fixture)?,
    };
    let text = serde_json::to_string_pretty(&expected)? + "\n";
    fs::write(fixture.join("expected.json"), text)?;
    fs::write(fixture.join("README.md"), readme)?;
    fs::remove_dir_all(&work)?;
    println!("{} is written", fixture.display());
    Ok(())
}

/// A fixture that is there is what holds later builds to its format.
fn check_place(fixture: &Path, replace: bool) -> Result<()> {
    ensure!(
        replace || !fixture.exists(),
        "{} is there, and tests that this build reads what an earlier one has written: one made by this build \
         would not. A new format gets a directory of its own (`FORMAT` in crates/xtask/src/fixtures.rs); to \
         replace the fixture of a format that was not released, give --replace",
        fixture.display()
    );
    Ok(())
}

/// The data must say that they are of [`FORMAT`].
fn check_format(data: &Path) -> Result<()> {
    let marker = fs::read_to_string(data.join("VAULT"))?;
    let first = marker.lines().next();
    let found = first.and_then(|line| line.strip_prefix("toka-vault "));
    ensure!(
        found == FORMAT.strip_prefix("format-"),
        "`toka` writes format {found:?}: `FORMAT` in crates/xtask/src/fixtures.rs, {FORMAT}, must follow"
    );
    Ok(())
}

/// A fixture of a level that is made by a build of another one would be of that one.
fn check_level(status: &Value, which: Which) -> Result<()> {
    let wanted = match which {
        Which::Plain | Which::Intents(_) => return Ok(()),
        Which::Level2 => 2,
        Which::Level3 => 3,
    };
    let level = &status["settings"]["feature_level"];
    ensure!(
        *level == wanted,
        "the vault is at feature level {level}: this fixture is kept as the build of level {wanted} has made it"
    );
    Ok(())
}

const README: &str = "# Format 1

Made by `cargo xtask fixtures`; opened by `tests/cluster/fixtures.rs`, which compares it with `expected.json`.
A build that changes nothing of the format need not make it again; once it is released it is kept for ever.

- `embedded/`: an embedded vault: events with and without embeddings, parents, attributes, labels, a cursor
- `node/`: the data directory of the only node of a cluster, stopped by SIGTERM: the same, a snapshot, a Raft log
  (the zeros at the end of its segments are cut off: a test fills them up to 64 MiB again)
- `backup/`: a backup of that cluster, taken before its last commits
- `export.jsonl`: an export of it, of the same moment
";

const README_INTENTS: &str = "# Format 1, with saved intents

Made by `cargo xtask fixtures --intents-save-events 16`; otherwise as `../format-1`, whose vaults have fewer
embedded events than the 16,384 after which intents are saved. Here the micro-clusters of all vaults stand in the
table `clusters`, and more embedded events follow behind the last save.

- `embedded/`: an embedded vault, restored from `backup/`, with one more event: that is how it comes to have the setting
- `node/`, `backup/`, `export.jsonl`: as in `../format-1`
";

const README_LEVEL_2: &str = "# Format 1, at feature level 2

Made by `cargo xtask fixtures --level-2`; otherwise as `../format-1`, whose vaults are of level 1. Here every vault has
cursors that were saved and deleted by themselves, and consumer groups: events of `work` are acknowledged (one of them
together with a commit), leased, rejected, parked and replayed. `expected.json` has them as `coordination`.

- `embedded/`, `node/`, `backup/`, `export.jsonl`: as in `../format-1`
";

const README_LEVEL_3: &str = "# Format 1, at feature level 3

Made by `cargo xtask fixtures --level-3`; otherwise as `../format-1`, whose vaults are of level 1. Here every vault has
roles, tokens (one that counts, one that was revoked, one that was rotated and the one for it; their secrets are kept
nowhere), and audit events. `expected.json` has them as `credentials`.

- `embedded/`: an embedded vault, restored from `backup/`, with one more event: by itself it has no tokens
- `node/`, `backup/`, `export.jsonl`: as in `../format-1`
";

/// Events in three directions and some without an embedding, in a tree.
fn import_lines(events: usize) -> Result<String> {
    let mut lines = String::new();
    for number in 0..events {
        let mut line = json!({
            "ref": format!("e{number}"),
            "kind": format!("fixture.{}", number % 3),
            "payload": {"number": number},
        });
        if number % 16 == 0 {
            line["attributes"] = json!({"sixteenth": "yes"});
        }
        if number > 0 {
            line["parents"] = json!([format!("e{}", number / 2)]);
        }
        if number % 4 == 0 {
            let mut embedding = vec![0.01; DIMENSION];
            embedding[number / 4 % 3] = 1.0;
            embedding[3 + number / 4 % 5] = 0.05;
            line["embedding"] = json!(embedding);
            line["embedding_model"] = json!("fixture-model");
        }
        writeln!(lines, "{line}")?;
    }
    Ok(lines)
}

struct Maker {
    toka: Toka,
    processes: Processes,
    which: Which,
}

impl Maker {
    fn call(&self, at: &[&str], arguments: &[&str]) -> Result<String> {
        let arguments = [at, arguments].concat();
        let mut command = self.toka.command(&arguments);
        self.processes.run_captured(&mut command, LIMIT)
    }

    fn ask(&self, at: &[&str], arguments: &[&str]) -> Result<Value> {
        let answer = self.call(at, &[arguments, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// What every vault of the fixture has. Returns its cursors and groups, or its tokens and roles, where it has any;
    /// `null`: it does not.
    fn fill(&self, at: &[&str], import: &Path) -> Result<Value> {
        self.call(at, &["import", text(import)?])?;
        self.call(at, &["commit", "read", "1", "--cursor", "reader=0:3"])?;
        self.call(at, &["intents", "label", "1", "the first intent"])?;
        self.call(at, &["commit", "read", "2", "--cursor", "reader=3:7"])?;
        if self.which == Which::Level3 {
            return self.credentials(at);
        }
        if self.which != Which::Level2 {
            return Ok(Value::Null);
        }
        let outstanding = self.coordinate(at)?;
        self.coordination(at, &outstanding)
    }

    fn embedded(&self, work: &Path, fixture: &Path) -> Result<Value> {
        let data = work.join("embedded");
        let at = ["--data", text(&data)?];
        let coordination = self.fill(&at, &work.join("embedded.jsonl"))?;
        let mut expected = self.ask(&at, &["verify"])?;
        expected["coordination"] = coordination;
        copy(&data, &fixture.join("embedded"))?;
        Ok(expected)
    }

    /// An embedded vault with the settings of the cluster's.
    fn restored(&self, work: &Path, fixture: &Path) -> Result<Value> {
        let data = work.join("embedded");
        let at = ["--data", text(&data)?];
        let backup = fixture.join("backup");
        self.call(&at, &["restore", text(&backup)?, "--embedded"])?;
        self.call(&at, &["commit", "restored", "1"])?;
        let expected = self.ask(&at, &["verify"])?;
        copy(&data, &fixture.join("embedded"))?;
        Ok(expected)
    }

    fn node(&self, work: &Path, fixture: &Path, expected: &mut Value) -> Result<()> {
        let data = work.join("node");
        let [client, raft, http] = free_addresses()?;
        let mut arguments = vec![
            "--data",
            text(&data)?,
            "serve",
            "--node-id",
            "1",
            "--listen",
            &client,
            "--raft-listen",
            &raft,
            "--http-listen",
            &http,
            "--snapshot-log-entries",
            "8",
            "--keep-log-entries",
            "3",
        ];
        let save_events = match self.which {
            Which::Intents(events) => Some(events.to_string()),
            Which::Plain | Which::Level2 | Which::Level3 => None,
        };
        if let Some(events) = &save_events {
            arguments.extend(["--intents-save-events", events]);
        }
        let log = work.join("node.log");
        let mut node = self.toka.spawn(&arguments, &log, Stdio::null())?;
        let at = ["--endpoint", client.as_str()];
        wait("the node", || {
            self.ask(&at, &["cluster", "status"]).map(drop)
        })?;
        let has = self.fill(&at, &work.join("node.jsonl"))?;
        self.call(&at, &["backup", "create", text(&fixture.join("backup"))?])?;
        self.call(&at, &["export", text(&fixture.join("export.jsonl"))?])?;
        let status = self.ask(&at, &["cluster", "status"])?;
        check_level(&status, self.which)?;
        let key = self.which.key();
        expected["backup"] = place(&status);
        expected["backup"][key] = has.clone();
        wait("a snapshot", || {
            self.call(&at, &["commit", "later", "1", "--unique"])?;
            let snapshots = fs::read_dir(data.join("snapshots"))?;
            let mut complete = snapshots.flatten().map(|entry| entry.path().join("META"));
            ensure!(complete.any(|note| note.exists()), "there is none");
            Ok(())
        })?;
        for number in 0..5 {
            let number = number.to_string();
            self.call(&at, &["commit", "last", &number])?;
        }
        let status = node.terminate(LIMIT)?;
        ensure!(status.success(), "the node ended with {status}");
        check_format(&data)?;
        expected["node"] = self.ask(&["--data", text(&data)?], &["verify"])?;
        expected["node"][key] = has;
        copy(&data, &fixture.join("node"))
    }
}

/// Where the cluster is, as `toka verify` would say it.
fn place(status: &Value) -> Value {
    let node = &status["nodes"][0];
    json!({
        "events": node["sequence"],
        "history_root": node["history_root"],
        "state_digest": node["state_digest"],
    })
}

fn wait(what: &str, mut condition: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    loop {
        match condition() {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > LIMIT => bail!("not in {LIMIT:?}: {what}: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn free_addresses() -> Result<[String; 3]> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0));
    // Held together, so that no port is given out twice.
    let sockets: Vec<TcpListener> = (0..3).map(bind).collect::<Result<_, _>>()?;
    let addresses: Vec<String> = sockets
        .iter()
        .map(|socket| Ok(socket.local_addr()?.to_string()))
        .collect::<Result<_>>()?;
    addresses
        .try_into()
        .map_err(|_| anyhow::anyhow!("three sockets have three addresses"))
}

/// Copies a data directory of a process that has ended, without what is of no use to another one.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let target = to.join(&*name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        let is_left_out = ["LOCK", "engine.lock"].contains(&&*name)
            || ["LOG", "OPTIONS-"]
                .iter()
                .any(|start| name.starts_with(start))
            || name.ends_with(".free");
        if is_left_out {
            continue;
        }
        let mut bytes = fs::read(entry.path())?;
        if from.ends_with("raft") {
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            bytes.truncate(used.next_multiple_of(PAGE).min(bytes.len()));
        }
        fs::write(&target, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixture_that_is_there_is_only_replaced_on_demand() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let fixture = home.path().join(FORMAT);
        assert!(check_place(&fixture, false).is_ok());
        fs::create_dir(&fixture).expect("created");
        let refused = check_place(&fixture, false).expect_err("it is there");
        assert!(refused.to_string().contains("--replace"), "{refused}");
        assert!(check_place(&fixture, true).is_ok());
    }

    #[test]
    fn data_of_another_format_are_refused() {
        let data = tempfile::tempdir().expect("a temporary directory");
        let check = |first: &str| {
            fs::write(data.path().join("VAULT"), format!("{first}\nmode\n")).expect("written");
            check_format(data.path())
        };
        let number = FORMAT.strip_prefix("format-").expect("so named");
        assert!(check(&format!("toka-vault {number}")).is_ok());
        assert!(check("toka-vault 99").is_err());
        assert!(check("something else").is_err());
    }
}
