//! How far a check and a restore say that they are.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use toka_ledger::Ledger;
use toka_ledger::apply::LogMark;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::seam::{SystemClock, SystemThreads, Threads};
use toka_raft::{DiskStorage, Storage as _};

use crate::{
    Error, File, Manifest, Owner, Point, Progress, PruneOptions, Repository, Step, prune, restore,
    rfc3339, verify,
};

/// Events of the first backup, and of the second one.
const EARLIER: u64 = 200;
const LATER: u64 = 600;

/// A place with two backups of a vault.
struct Backups {
    dir: TempDir,
    repository: Repository,
    earlier: Manifest,
    later: Manifest,
}

async fn backups() -> Backups {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = dir.path().join("backups");
    let repository = Repository::create(place.to_str().expect("UTF-8")).expect("created");
    let engine = DiskStorage::default()
        .open(&dir.path().join("ledger"))
        .expect("opened");
    let threads: Arc<dyn Threads> = Arc::new(SystemThreads);
    let mut ledger = Ledger::open(Arc::clone(&engine), threads).expect("opened");
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 2,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: toka_ledger::intent::Parameters::default(),
        unix_ms: 3,
    });
    apply(&mut ledger, &[create]);
    commit(&mut ledger, 1..=EARLIER);
    let copy = dir.path().join("earlier");
    let earlier = back_up(&repository, &engine, &ledger, &copy, "earlier").await;
    commit(&mut ledger, EARLIER + 1..=LATER);
    let copy = dir.path().join("later");
    let later = back_up(&repository, &engine, &ledger, &copy, "later").await;
    Backups {
        dir,
        repository,
        earlier,
        later,
    }
}

fn apply(ledger: &mut Ledger, commands: &[Command]) {
    let applied = ledger.apply(commands, LogMark::default(), Durability::Volatile);
    assert_eq!(applied.expect("applied").len(), commands.len());
}

fn commit(ledger: &mut Ledger, numbers: impl Iterator<Item = u64>) {
    let commits = numbers.map(|number| {
        let draft = EventDraft::new("test").payload_bytes(format!("event {number}"));
        Command::Commit(prepare_commit([draft], vec![], number).expect("valid"))
    });
    apply(ledger, &commits.collect::<Vec<_>>());
}

/// Keeps what the ledger has, by way of a copy in `dir`.
async fn back_up(
    repository: &Repository,
    engine: &Arc<dyn Engine>,
    ledger: &Ledger,
    dir: &Path,
    name: &str,
) -> Manifest {
    engine.flush().expect("flushed");
    engine.checkpoint(dir).expect("copied");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        let bytes = std::fs::read(&path).expect("read");
        let blake3 = *blake3::hash(&bytes).as_bytes();
        let file_name = path.file_name().expect("it has a name");
        files.push(File {
            name: file_name.to_str().expect("UTF-8").to_owned(),
            size_bytes: bytes.len() as u64,
            blake3,
        });
        let mut writer = repository.put_object(&blake3);
        if !bytes.is_empty() {
            writer.write(bytes.into()).await.expect("written");
        }
        writer.finish().await.expect("written");
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let position = ledger.position();
    let manifest = Manifest {
        name: name.to_owned(),
        created_unix_ms: 4,
        version: "0.0.0".to_owned(),
        cluster_id: 1,
        history_id: 2,
        node_id: 1,
        feature_level: FEATURE_LEVEL,
        revision: position.revision,
        sequence: position.sequence,
        unix_ms: position.unix_ms,
        history_root: *position.history_root.as_bytes(),
        state_digest: *position.state_digest.as_bytes(),
        files,
    };
    repository
        .put_manifest(&manifest)
        .await
        .expect("the manifest is written");
    manifest
}

/// What was told of, one after the other; each has grown and come to its end.
fn steps(told: &[Progress]) -> Vec<(Step, u64)> {
    let mut steps: Vec<Progress> = Vec::new();
    for now in told {
        assert!(now.done <= now.total, "{now:?}");
        match steps.last_mut() {
            Some(last) if last == now => {}
            Some(last) if last.done < last.total => {
                assert_eq!((now.step, now.total), (last.step, last.total), "{last:?}");
                assert!(now.done > last.done, "{now:?} after {last:?}");
                *last = *now;
            }
            _ => steps.push(*now),
        }
    }
    if let Some(last) = steps.last() {
        assert_eq!(last.done, last.total, "{last:?}");
    }
    let has_ended = |step: &Progress| (step.step, step.total);
    steps.iter().map(has_ended).collect()
}

/// A bar that goes from nothing to all at once is none.
fn events_move_on(told: &[Progress]) -> bool {
    told.iter()
        .any(|now| now.step == Step::Check && now.done > 0 && now.done < now.total)
}

#[tokio::test]
async fn check_tells_of_files_and_then_of_events_to_their_end() {
    let Backups {
        dir,
        repository,
        later,
        ..
    } = backups().await;
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).expect("created");
    let mut told = Vec::new();
    let report = verify(&repository, &later, &scratch, &mut |now| told.push(now)).await;
    assert_eq!(report.expect("it is sound").events, LATER);
    let expected = [(Step::Files, later.size_bytes()), (Step::Check, LATER)];
    assert_eq!(steps(&told), expected);
    assert!(events_move_on(&told), "{told:?}");
}

#[tokio::test]
async fn restore_tells_of_files_and_then_of_events_to_their_end() {
    let Backups {
        dir,
        repository,
        later,
        ..
    } = backups().await;
    let (path, owner) = (dir.path().join("restored"), Owner::Node { node_id: 1 });
    let mut told = Vec::new();
    let point = Point::Backup(None);
    let restored = restore(&repository, &point, &path, owner, &mut |now| told.push(now)).await;
    assert_eq!(restored.expect("restored").report.events, LATER);
    let expected = [(Step::Files, later.size_bytes()), (Step::Check, LATER)];
    assert_eq!(steps(&told), expected);
    assert!(events_move_on(&told), "{told:?}");
}

#[tokio::test]
async fn point_in_time_tells_of_every_step_to_its_end() {
    const POINT: u64 = 550;
    let Backups {
        dir,
        repository,
        earlier,
        later,
    } = backups().await;
    let (path, owner) = (dir.path().join("restored"), Owner::Node { node_id: 1 });
    let mut told = Vec::new();
    let point = Point::Sequence(POINT);
    let restored = restore(&repository, &point, &path, owner, &mut |now| told.push(now)).await;
    let repeated = restored.expect("restored").repeated_events;
    assert_eq!(repeated, Some(POINT - EARLIER));
    let expected = [
        (Step::Files, later.size_bytes()),
        (Step::Files, earlier.size_bytes()),
        (Step::Check, LATER),
        (Step::Check, EARLIER),
        (Step::Repeat, POINT - EARLIER),
        (Step::Check, POINT),
    ];
    assert_eq!(steps(&told), expected);
}

#[tokio::test]
async fn point_before_the_first_event_is_refused_with_the_range() {
    let Backups {
        dir,
        repository,
        later,
        ..
    } = backups().await;
    let (path, owner) = (dir.path().join("restored"), Owner::Node { node_id: 1 });
    let end = rfc3339(later.unix_ms);
    for (point, flag, range) in [
        (Point::Sequence(0), "--sequence", format!("1 to {LATER}")),
        (Point::Time(0), "--time", end),
    ] {
        let restored = restore(&repository, &point, &path, owner, &mut |_| {}).await;
        let refused = restored.expect_err("there is no event");
        assert!(matches!(refused, Error::BeforeFirst { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains(flag) && said.contains(&range), "{said}");
        assert!(!path.exists(), "something was left");
    }
}

/// To remove what is asked for, and nothing for its age.
fn removing(delete: &[&str], keep_last: Option<usize>) -> PruneOptions {
    PruneOptions {
        delete: delete.iter().map(|name| (*name).to_owned()).collect(),
        keep_last,
        grace_ms: u64::MAX,
    }
}

#[tokio::test]
async fn prune_that_would_keep_none_is_refused() {
    let Backups {
        dir: _dir,
        repository,
        ..
    } = backups().await;
    let pruned = prune(&repository, &removing(&[], Some(0)), &SystemClock).await;
    let refused = pruned.expect_err("it would remove all");
    assert!(matches!(refused, Error::KeepsNone), "{refused}");
    assert!(refused.to_string().contains("at least 1"), "{refused}");
    assert_eq!(repository.names().await.expect("listed").len(), 2);
}

#[tokio::test]
async fn manifest_that_cannot_be_read_keeps_prune_from_files_until_it_is_given_up() {
    let Backups {
        dir, repository, ..
    } = backups().await;
    let manifest = dir.path().join("backups/backups/earlier");
    std::fs::write(&manifest, "half").expect("written");
    let pruned = prune(&repository, &removing(&[], Some(1)), &SystemClock).await;
    let refused = pruned.expect_err("nobody can tell what it needs");
    let said = refused.to_string();
    assert!(
        matches!(&refused, Error::Unreadable { name, .. } if name == "earlier"),
        "{said}"
    );
    assert!(said.contains(&manifest.display().to_string()), "{said}");
    assert!(said.contains("--delete earlier"), "{said}");
    assert_eq!(repository.names().await.expect("listed").len(), 2);
    let pruned = prune(&repository, &removing(&["earlier"], Some(1)), &SystemClock).await;
    assert_eq!(pruned.expect("it is given up").backups, 1);
}
