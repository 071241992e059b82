//! Restoring: a data directory for a node of a new cluster, or for an embedded vault, from a backup.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::dir::{Mode, Restoring};
use toka_ledger::disk::{Disk, SystemDisk};
use toka_ledger::read::{Position, Selector};
use toka_ledger::restore::{forget_log, is_beginning, repeat, sequence_at};
use toka_ledger::seam::{SystemThreads, Threads};
use toka_ledger::verify::Report;
use toka_raft::{DiskStorage, Storage, restored};

use crate::check::{check, open, sound};
use crate::create::{Progress, Step};
use crate::error::Error;
use crate::fetch::{fetch, off_reactor, off_reactor_telling};
use crate::manifest::{Manifest, rfc3339};
use crate::repository::Repository;

/// Where the later backup of a point in time is put, beside the ledger.
const SOURCE: &str = "source.tmp";

/// Whose directory to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A node of a new cluster.
    Node {
        /// Its id there.
        node_id: u64,
    },
    /// A vault without a cluster.
    Embedded,
}

/// How much of the history to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// All that the backup of that name has; absent: the one with the highest position.
    Backup(Option<String>),
    /// Up to the event at this sequence.
    Sequence(u64),
    /// Up to the last event at or before this time, milliseconds since the Unix epoch.
    Time(u64),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup(Some(name)) => write!(f, "backup {name:?}"),
            Self::Backup(None) => f.write_str("the last backup"),
            Self::Sequence(sequence) => write!(f, "sequence {sequence}"),
            Self::Time(unix_ms) => write!(f, "time {}", rfc3339(*unix_ms)),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Where the vault is.
    pub position: Position,
    /// The backup that it was made of; of a point in time the later one.
    pub backup: String,
    /// Of a point in time: the backup that it began with, if there was one.
    pub base: Option<String>,
    /// Of a point in time: events that were applied again.
    pub repeated_events: Option<u64>,
    /// What the check of all of it says.
    pub report: Report,
}

/// Restores a vault into the directory `path`, which must be new or empty. All of it is checked. If it
/// fails, the directory is left as it was. `progress` is told of every step: files, events that are checked, and
/// of a point in time events that are applied again.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NoBackups`], [`Error::NotCovered`], [`Error::BeforeFirst`], [`Error::Damaged`],
/// [`Error::Ledger`] if the directory cannot be taken, [`Error::Storage`], [`Error::File`].
pub async fn restore(
    repository: &Repository,
    point: &Point,
    path: &Path,
    owner: Owner,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Restored, Error> {
    let plan = Plan::new(repository, point).await?;
    plan.source.check_level()?;
    let restoring = Restoring::begin(Arc::new(SystemDisk), path)?;
    let ledger = ledger_in_progress(&restoring, owner);
    make_dir(&ledger)?;
    let restored = if plan.is_whole {
        whole(repository, plan.source, &ledger, progress).await?
    } else {
        let work = Repeating {
            repository,
            base: plan.base,
            source: plan.source,
            end_unix_ms: plan.end_unix_ms,
            point,
            ledger: ledger.clone(),
            other: path.join(SOURCE),
        };
        work.run(progress).await?
    };
    let root = path.to_owned();
    off_reactor(move || -> Result<(), Error> {
        publish(&restoring, owner, &ledger).map_err(Error::file("complete", &root))?;
        let mode = match owner {
            Owner::Node { node_id } => Mode::Node {
                cluster_id: None,
                node_id,
            },
            Owner::Embedded => Mode::Embedded,
        };
        Ok(restoring.finish(mode)?)
    })
    .await?;
    Ok(restored)
}

fn ledger_in_progress(restoring: &Restoring, owner: Owner) -> PathBuf {
    match owner {
        Owner::Node { .. } => restored::ledger_in_progress(Arc::new(SystemDisk), restoring.path()),
        // It has its name at once: no marker says yet that it is anything.
        Owner::Embedded => restoring.embedded_ledger(),
    }
}

fn publish(restoring: &Restoring, owner: Owner, ledger: &Path) -> std::io::Result<()> {
    match owner {
        Owner::Node { .. } => restored::publish(Arc::new(SystemDisk), restoring.path()),
        Owner::Embedded => restored::sync(&SystemDisk, ledger),
    }
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    SystemDisk
        .create_dir(dir)
        .map_err(Error::file("create", dir))
}

/// What is restored.
struct Plan {
    /// The backup that ends at the point, or the first one behind it.
    source: Manifest,
    /// `source` ends at the point.
    is_whole: bool,
    /// The last one before the point.
    base: Option<Manifest>,
    /// Where the last backup ends.
    end_unix_ms: u64,
}

impl Plan {
    async fn new(repository: &Repository, point: &Point) -> Result<Self, Error> {
        if let Point::Backup(Some(name)) = point {
            let source = repository.manifest(name).await?;
            return Ok(Self {
                end_unix_ms: source.unix_ms,
                source,
                is_whole: true,
                base: None,
            });
        }
        let mut manifests = repository.manifests().await?;
        let newest = manifests.last().cloned();
        let newest = newest.ok_or_else(|| Error::NoBackups {
            repository: repository.to_string(),
        })?;
        require_event(point, &newest, repository)?;
        let covers = |manifest: &Manifest| match *point {
            Point::Backup(_) => manifest.name == newest.name,
            Point::Sequence(sequence) => manifest.sequence >= sequence,
            // One that ends in that very millisecond might lack events of it.
            Point::Time(unix_ms) => manifest.unix_ms > unix_ms,
        };
        // Of another history nothing can be taken.
        manifests.retain(|manifest| manifest.history_id == newest.history_id);
        let at = manifests.iter().position(covers);
        let at = at.ok_or_else(|| Error::NotCovered {
            wanted: point.to_string(),
            repository: repository.to_string(),
            reason: format!(
                "the last one ends at {} and {}",
                Point::Sequence(newest.sequence),
                Point::Time(newest.unix_ms)
            ),
        })?;
        let base = at.checked_sub(1).map(|before| manifests[before].clone());
        let source = manifests.swap_remove(at);
        let is_whole = match *point {
            Point::Backup(_) => true,
            Point::Sequence(sequence) => source.sequence == sequence,
            Point::Time(_) => false,
        };
        Ok(Self {
            base: base.filter(|_| !is_whole),
            source,
            is_whole,
            end_unix_ms: newest.unix_ms,
        })
    }
}

/// Refuses sequence 0, which is no event's: an empty vault is hardly what was meant.
fn require_event(point: &Point, newest: &Manifest, repository: &Repository) -> Result<(), Error> {
    match point {
        Point::Sequence(0) if newest.sequence == 0 => Err(Error::NotCovered {
            wanted: point.to_string(),
            repository: repository.to_string(),
            reason: "the last one has no events".to_owned(),
        }),
        Point::Sequence(0) => Err(Error::BeforeFirst {
            field: "sequence",
            wanted: point.to_string(),
            range: format!("1 to {}", newest.sequence),
        }),
        Point::Backup(_) | Point::Sequence(_) | Point::Time(_) => Ok(()),
    }
}

async fn whole(
    repository: &Repository,
    manifest: Manifest,
    ledger: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Restored, Error> {
    fetch(repository, &manifest, ledger, progress).await?;
    let ledger = ledger.to_owned();
    off_reactor_telling(progress, move |tell| {
        let report = check(&ledger, &manifest, tell)?;
        let engine = DiskStorage::default().open(&ledger)?;
        forget_log(&*engine)?;
        drop(engine);
        let (_, reader) = open(&ledger)?;
        let position = reader.position();
        if position != manifest.position() {
            let reason = "its position changed while it was restored";
            return Err(Error::damaged(
                format!("backup {:?}", manifest.name),
                reason,
            ));
        }
        Ok(Restored {
            position,
            backup: manifest.name,
            base: None,
            repeated_events: None,
            report,
        })
    })
    .await
}

/// A point in time on its way.
struct Repeating<'a> {
    repository: &'a Repository,
    base: Option<Manifest>,
    source: Manifest,
    /// Where the last backup ends.
    end_unix_ms: u64,
    point: &'a Point,
    ledger: PathBuf,
    /// Where the later backup goes.
    other: PathBuf,
}

impl Repeating<'_> {
    async fn run(self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Restored, Error> {
        make_dir(&self.other)?;
        fetch(self.repository, &self.source, &self.other, progress).await?;
        if let Some(base) = &self.base {
            fetch(self.repository, base, &self.ledger, progress).await?;
        }
        let (source, base, point) = (self.source, self.base, self.point.clone());
        let (ledger, other, end_unix_ms) = (self.ledger, self.other, self.end_unix_ms);
        off_reactor_telling(progress, move |tell| {
            check(&other, &source, tell)?;
            let until = sequence_of(&point, &other, end_unix_ms)?;
            let restored = repeat_up_to(&ledger, base, &other, source, until, tell)?;
            SystemDisk
                .remove_dir_all(&other)
                .map_err(Error::file("remove", &other))?;
            Ok(restored)
        })
        .await
    }
}

/// Sequence of the last event up to the point, of the ledger in `source`.
fn sequence_of(point: &Point, source: &Path, end_unix_ms: u64) -> Result<u64, Error> {
    let (_, reader) = open(source)?;
    let unix_ms = match *point {
        Point::Sequence(sequence) => return Ok(sequence),
        Point::Backup(_) => return Ok(reader.position().sequence),
        Point::Time(unix_ms) => unix_ms,
    };
    let sequence = sequence_at(&reader, unix_ms)?;
    if sequence > 0 {
        return Ok(sequence);
    }
    let first = reader.header(&Selector::Sequence(1))?;
    let first = first.map_or_else(
        || "that of the first event".to_owned(),
        |first| rfc3339(first.unix_ms),
    );
    Err(Error::BeforeFirst {
        field: "time",
        wanted: point.to_string(),
        range: format!(
            "from {first} on, and must be before {}",
            rfc3339(end_unix_ms)
        ),
    })
}

/// Restores up to the event at `until` of the ledger in `other`, which is checked.
fn repeat_up_to(
    ledger: &Path,
    base: Option<Manifest>,
    other: &Path,
    source: Manifest,
    until: u64,
    tell: &mut dyn FnMut(Progress),
) -> Result<Restored, Error> {
    let (_, reader) = open(other)?;
    // The base ends at or before the point.
    let begin = base.as_ref().map_or(0, |base| base.sequence);
    if let Some(base) = &base {
        check(ledger, base, tell)?;
        let (_, beginning) = open(ledger)?;
        if !is_beginning(&beginning, &reader)? {
            let reason = format!("backup {:?} is not a beginning of it", base.name);
            return Err(Error::damaged(format!("backup {:?}", source.name), reason));
        }
    }
    let engine = DiskStorage::default().open(ledger)?;
    let threads: Arc<dyn Threads> = Arc::new(SystemThreads);
    let repeated_events = repeat(&engine, &reader, until, &threads, &mut |done| {
        tell(Progress {
            step: Step::Repeat,
            done,
            total: until.saturating_sub(begin),
        });
    })?;
    forget_log(&*engine)?;
    drop(engine);
    let (_, restored) = open(ledger)?;
    let report = sound("what was restored", &restored, tell)?;
    Ok(Restored {
        position: restored.position(),
        backup: source.name,
        base: base.map(|base| base.name),
        repeated_events: Some(repeated_events),
        report,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_written() {
        assert_eq!(rfc3339(1_795_713_300_123), "2026-11-26T17:15:00.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(Point::Time(0).to_string(), "time 1970-01-01T00:00:00.000Z");
    }
}
