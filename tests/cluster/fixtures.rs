//! What earlier builds have written is read: `tests/fixtures`, one directory for each format ever released,
//! made by `cargo xtask fixtures`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use toka_ledger::engine::rocks::{RocksEngine, RocksOptions};
use toka_ledger::engine::{Direction, Engine as _, Table};
use toka_ledger::store::clusters;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::traffic::has_intents;
use toka_tests::{history, wait};

/// The fixture whose vaults have saved their intents.
const WITH_INTENTS: &str = "format-1-intents";
/// The fixture whose vaults are of level 2, and have cursors and consumer groups.
const LEVEL_2: &str = "format-1-level-2";
/// The fixture whose vaults are of level 3, and have tokens, roles and an audit.
const LEVEL_3: &str = "format-1-level-3";
/// The group of the fixture of level 2 of which something is outstanding and parked.
const GROUP: &str = "work";

/// Size of a segment of the Raft log; the zeros at its end are not in the fixture.
const SEGMENT_BYTES: u64 = 64 << 20;

/// A fixture, copied to where it may be changed.
struct Fixture {
    home: TempDir,
    name: String,
    expected: Value,
}

impl Fixture {
    /// One for each released format.
    fn all() -> Result<Vec<Self>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let mut all = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let home = TempDir::with_prefix("toka-test-fixture-")?;
            copy(&entry.path(), home.path())?;
            let expected = fs::read_to_string(home.path().join("expected.json"))?;
            all.push(Self {
                home,
                name: entry.file_name().to_string_lossy().into_owned(),
                expected: serde_json::from_str(&expected)?,
            });
        }
        ensure!(!all.is_empty(), "there is no fixture");
        Ok(all)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Verifies the vault in `data`, which must be at the place that `name` was at.
    async fn verify(&self, toka: &Toka, data: &Path, name: &str) -> Result<()> {
        let data = data.to_str().context("a path in UTF-8")?;
        let report = toka.json(&["--data", data, "verify", "-o", "json"]).await?;
        let report = report.first().context("no report")?;
        ensure!(report["problems_total"] == 0, "{}: {report}", self.name);
        for field in ["events", "history_root", "state_digest"] {
            let (found, expected) = (&report[field], &self.expected[name][field]);
            ensure!(!expected.is_null(), "{}: {name}.{field}", self.name);
            ensure!(
                found == expected,
                "{}: {name}.{field}: {found}, not {expected}",
                self.name
            );
        }
        Ok(())
    }
}

impl Fixture {
    /// Checks that the vault at `at` has the cursors and groups that `name` had, where it had any.
    async fn coordinates(&self, toka: &Toka, at: &[&str], name: &str) -> Result<()> {
        let expected = &self.expected[name]["coordination"];
        if expected.is_null() {
            return Ok(());
        }
        let parked = ["group", "parked", GROUP];
        for (key, words) in [
            ("cursors", &["cursor", "list"][..]),
            ("groups", &["group", "list"][..]),
            ("parked", &parked[..]),
        ] {
            let found = toka.json(&[at, words, &["-o", "json"]].concat()).await?;
            let expected = expected[key].as_array().context("a list")?;
            // Of each what was kept of it: builds may show more than those before.
            let is_same = found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| {
                    let mut fields = expected.as_object().into_iter().flatten();
                    fields.all(|(field, value)| found[field] == *value)
                });
            let of = &self.name;
            ensure!(is_same, "{of}: {name}: {key}: {found:?}, not {expected:?}");
        }
        Ok(())
    }

    /// Checks that the cluster at `at` has the tokens and roles that `name` had, where it had any.
    async fn has_credentials(&self, toka: &Toka, at: &[&str], name: &str) -> Result<()> {
        let expected = &self.expected[name]["credentials"];
        if expected.is_null() {
            return Ok(());
        }
        for (key, words) in [
            ("tokens", ["auth", "token", "list"]),
            ("roles", ["auth", "role", "list"]),
        ] {
            let found = toka
                .json(&[at, &words[..], &["-o", "json"]].concat())
                .await?;
            let expected = expected[key].as_array().context("a list")?;
            let is_same = found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| {
                    let mut fields = expected.as_object().into_iter().flatten();
                    fields.all(|(field, value)| found[field] == *value)
                });
            let of = &self.name;
            ensure!(is_same, "{of}: {name}: {key}: {found:?}, not {expected:?}");
        }
        Ok(())
    }

    /// Checks that the group goes on, where the vault at `at` has one: what was outstanding comes first, and what was
    /// parked can be replayed.
    async fn goes_on(&self, toka: &Toka, at: &[&str], name: &str) -> Result<()> {
        let coordination = &self.expected[name]["coordination"];
        if coordination.is_null() {
            return Ok(());
        }
        let outstanding = coordination["outstanding"].as_array().context("a list")?;
        let consume = ["group", "consume", GROUP, "--until-empty", "-o", "json"];
        let consume = [at, &consume[..]].concat();
        let consumed = toka.json(&consume).await?;
        let sequences = consumed.iter().map(|event| &event["sequence"]);
        let is_first = sequences.take(outstanding.len()).eq(outstanding);
        ensure!(is_first, "{consumed:?}, not {outstanding:?} first");
        ensure!(consumed.len() > outstanding.len(), "nothing new came");
        let replay = ["group", "replay", GROUP];
        toka.ok(&[at, &replay[..]].concat()).await?;
        let consumed = toka.json(&consume).await?;
        let again = consumed.iter().map(|event| &event["sequence"]);
        let parked = coordination["parked"].as_array().context("a list")?;
        let is_replayed = again.eq(parked.iter().map(|event| &event["sequence"]));
        ensure!(is_replayed, "{consumed:?}, not {parked:?}");
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        fs::copy(entry.path(), &target)?;
        if from.ends_with("raft") && target.extension().is_some_and(|name| name == "log") {
            fs::File::options()
                .write(true)
                .open(&target)?
                .set_len(SEGMENT_BYTES)?;
        }
    }
    Ok(())
}

/// What is in a directory.
fn names(directory: &Path) -> Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// The digests of a vault's events, in their order.
async fn digests(toka: &Toka, at: &[&str]) -> Result<Vec<String>> {
    let events = toka.json(&[at, &["log", "-o", "json"]].concat()).await?;
    let digest = |event: &Value| event["digest"].as_str().map(str::to_owned);
    events
        .iter()
        .map(|event| digest(event).context("no digest"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_vaults_of_every_format_are_read_and_go_on() -> Result<()> {
    for fixture in Fixture::all()? {
        let toka = Toka::new(fixture.home.path());
        let data = fixture.path("embedded");
        fixture.verify(&toka, &data, "embedded").await?;
        let at = ["--data", data.to_str().context("a path in UTF-8")?];
        fixture.coordinates(&toka, &at, "embedded").await?;
        let before = digests(&toka, &at).await?;
        ensure!(before.len() as u64 == fixture.expected["embedded"]["events"]);
        fixture.goes_on(&toka, &at, "embedded").await?;
        toka.ok(&[&at[..], &["commit", "next", "1", "--cursor", "reader=7:9"]].concat())
            .await?;
        let intents = toka.ok(&[&at[..], &["intents"]].concat()).await?.stdout;
        ensure!(intents.contains("the first intent"), "{intents}");
        toka.ok(&[&at[..], &["verify"]].concat()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_and_exports_of_every_format_are_read() -> Result<()> {
    for fixture in Fixture::all()? {
        let toka = Toka::new(fixture.home.path());
        let name = |name: &str| -> Result<String> {
            let path = fixture.path(name);
            Ok(path.to_str().context("a path in UTF-8")?.to_owned())
        };
        let (backup, restored) = (name("backup")?, name("restored")?);
        toka.ok(&["backup", "verify", &backup]).await?;
        toka.ok(&["--data", &restored, "restore", &backup, "--embedded"])
            .await?;
        fixture
            .verify(&toka, Path::new(&restored), "backup")
            .await?;
        let at = ["--data", restored.as_str()];
        fixture.coordinates(&toka, &at, "backup").await?;
        fixture.goes_on(&toka, &at, "backup").await?;

        // An import gives events new times, and their digests again.
        let (export, imported) = (name("export.jsonl")?, name("imported")?);
        toka.ok(&["--data", &imported, "import", &export]).await?;
        let found = digests(&toka, &["--data", &imported]).await?;
        let all = digests(&toka, &["--data", &restored]).await?;
        ensure!(found.len() >= 60 && all.starts_with(&found));
    }
    Ok(())
}

/// One node becomes two: the snapshot and the log of that format are good for others.
async fn becomes_two(cluster: &mut Cluster, events: u64) -> Result<()> {
    let second = cluster.join(&[]).await?;
    cluster.wait_ready(second).await?;
    cluster.has_members(&[1, second], &[]).await?;
    cluster.logs(1, "snapshot sent").await?;
    cluster.logs(second, "snapshot installed").await?;
    cluster.converged(events).await?;
    let first = history::local_log(&cluster.client_of(1).await?).await?;
    let other = history::local_log(&cluster.client_of(second).await?).await?;
    ensure!(first == other, "the logs differ");
    ensure!(first.len() as u64 == events, "{} events", first.len());
    has_intents(&first)
}

/// Micro-clusters that stand in the ledger at `path`; an embedded vault's has a write-ahead log.
fn saved_micros(path: &Path, wal: bool) -> Result<usize> {
    let options = RocksOptions {
        wal,
        create: false,
        read_only: true,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(path, &options)?;
    let end = clusters::end_of(clusters::MICRO);
    let rows = engine.scan(
        Table::Clusters,
        clusters::MICRO,
        Some(&end),
        Direction::Forward,
    );
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    Ok(rows.len())
}

/// What the fixture is for: the intents of the other one are made of embeddings whenever it is opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fixture_with_saved_intents_has_them_in_every_ledger() -> Result<()> {
    let mut all = Fixture::all()?.into_iter();
    let fixture = all.find(|fixture| fixture.name == WITH_INTENTS);
    let fixture = fixture.with_context(|| format!("there is no {WITH_INTENTS}"))?;
    let current = fs::read_to_string(fixture.path("node/CURRENT"))?;
    let mut ledgers = vec![
        (fixture.path("embedded/ledger"), true),
        (fixture.path("node").join(current.trim()), false),
    ];
    for snapshot in fs::read_dir(fixture.path("node/snapshots"))? {
        ledgers.push((snapshot?.path().join("ledger"), false));
    }
    for (ledger, wal) in ledgers {
        let saved = saved_micros(&ledger, wal)?;
        ensure!(saved > 0, "{} has none", ledger.display());
    }
    Ok(())
}

/// What the fixture is for: the others have neither.
#[test]
fn fixture_of_level_2_has_cursors_and_groups_in_every_vault() -> Result<()> {
    let mut all = Fixture::all()?.into_iter();
    let fixture = all.find(|fixture| fixture.name == LEVEL_2);
    let fixture = fixture.with_context(|| {
        format!("there is no {LEVEL_2}; `cargo xtask fixtures --level-2` makes it")
    })?;
    for name in ["embedded", "node", "backup"] {
        let coordination = &fixture.expected[name]["coordination"];
        for key in ["cursors", "groups", "parked", "outstanding"] {
            let list = coordination[key].as_array();
            let has_some = list.is_some_and(|list| !list.is_empty());
            ensure!(has_some, "{name} has no {key}: {coordination}");
        }
    }
    Ok(())
}

/// What the fixture is for: the others have neither.
#[test]
fn fixture_of_level_3_has_tokens_and_roles_in_every_vault() -> Result<()> {
    let mut all = Fixture::all()?.into_iter();
    let fixture = all.find(|fixture| fixture.name == LEVEL_3);
    let fixture = fixture.with_context(|| {
        format!("there is no {LEVEL_3}; `cargo xtask fixtures --level-3` makes it")
    })?;
    for name in ["node", "backup"] {
        let credentials = &fixture.expected[name]["credentials"];
        for key in ["tokens", "roles"] {
            let list = credentials[key].as_array();
            let has_some = list.is_some_and(|list| !list.is_empty());
            ensure!(has_some, "{name} has no {key}: {credentials}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_every_format_serve_what_they_had() -> Result<()> {
    for fixture in Fixture::all()? {
        // What the snapshot covers is purged, or nobody would be sent it.
        let settings = ["--keep-log-entries", "0"];
        cluster::run(1, &settings, async |cluster: &mut Cluster| {
            let data = cluster.node(1).data.clone();
            cluster.terminate(1).await?;
            fs::remove_dir_all(&data)?;
            copy(&fixture.path("node"), &data)?;
            fixture
                .verify(&Toka::new(cluster.directory()), &data, "node")
                .await?;
            let snapshots = names(&data.join("snapshots"))?;
            ensure!(!snapshots.is_empty(), "the fixture has no snapshot");
            let before = cluster.log(1).len();
            cluster.restart(1).await?;
            // One that cannot be read is removed, and made anew of the ledger some day: nobody would notice.
            let log = cluster.log(1).split_off(before);
            ensure!(!log.contains("snapshot that cannot be read"), "{log}");
            let kept = names(&data.join("snapshots"))?;
            ensure!(snapshots.is_subset(&kept), "{snapshots:?} became {kept:?}");
            let state = wait::until("all events", PATIENCE, async || {
                let state = cluster.state(1).await?;
                ensure!(state.node.sequence == fixture.expected["node"]["events"]);
                Ok(state)
            })
            .await?;
            let root = state.history_root.to_string();
            ensure!(
                fixture.expected["node"]["history_root"] == root.as_str(),
                "{root}"
            );
            let endpoint = cluster.node(1).endpoint();
            let found = digests(&cluster.toka(), &["--endpoint", &endpoint]).await?;
            ensure!(found.len() as u64 == fixture.expected["node"]["events"]);
            wait::until("the log is purged", PATIENCE, async || {
                cluster.check_purged(0)
            })
            .await?;
            fixture.coordinates(&cluster.toka(), &[], "node").await?;
            fixture
                .has_credentials(&cluster.toka(), &[], "node")
                .await?;
            cluster.toka().ok(&["commit", "next", "1"]).await?;
            becomes_two(cluster, found.len() as u64 + 1).await?;
            let second = cluster.node(2).endpoint();
            let at = ["--endpoint", second.as_str()];
            fixture.coordinates(&cluster.toka(), &at, "node").await?;
            fixture.goes_on(&cluster.toka(), &at, "node").await
        })
        .await?;
    }
    Ok(())
}
