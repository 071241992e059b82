//! What the files of a data directory are, and which of them a bit is flipped in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// What a file is, and with that what becomes of a node in which a bit of it is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Locks, and the notes that a restore is under way or a snapshot was used: no bytes, so nothing to flip. RocksDB's write-ahead
    /// log, which is off, has none either.
    Empty,
    /// Nobody depends on it: what RocksDB notes for people, its options and the name it gave itself, files of
    /// the Raft log that wait to be written again, the mark, of which there are two, and when the last scrub was.
    Unread(Unread),
    /// The marker: refused.
    Marker,
    /// The pointer to the ledger: repaired.
    Pointer,
    /// RocksDB's list of files, and the pointer to it: repaired.
    LedgerManifest,
    LedgerCurrent,
    /// Repaired, once the scrub or a read has come upon it.
    LedgerTable,
    /// Discarded.
    SnapshotNote,
    /// Made anew, once the scrub has come upon it.
    SnapshotManifest,
    SnapshotCurrent,
    SnapshotTable,
    /// Refused.
    LogSegment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unread {
    LedgerOptions,
    LedgerIdentity,
    LedgerNotes,
    SnapshotOptions,
    LogMark,
    LogRecycled,
    /// What cannot be read of it is as if no scrub had come to its end.
    ScrubNote,
}

/// Nobody depends on these.
pub(super) const UNREAD: [Kind; 7] = [
    Kind::Unread(Unread::LedgerOptions),
    Kind::Unread(Unread::LedgerIdentity),
    Kind::Unread(Unread::LedgerNotes),
    Kind::Unread(Unread::SnapshotOptions),
    Kind::Unread(Unread::LogMark),
    Kind::Unread(Unread::LogRecycled),
    Kind::Unread(Unread::ScrubNote),
];

/// Damage that is found when the node starts, whatever the others do meanwhile.
pub(super) const FOUND_AT_START: [Kind; 5] = [
    Kind::Marker,
    Kind::Pointer,
    Kind::LedgerManifest,
    Kind::LedgerCurrent,
    Kind::SnapshotNote,
];

/// Damage that somebody has to come upon: a snapshot that takes the place of what is damaged would be first.
pub(super) const FOUND_LATER: [Kind; 4] = [
    Kind::LedgerTable,
    Kind::SnapshotManifest,
    Kind::SnapshotCurrent,
    Kind::SnapshotTable,
];

/// What `toka verify` reads of a node that is stopped: of the others nobody can say what was written.
pub(super) const CHECKED: [Kind; 12] = [
    Kind::Marker,
    Kind::Pointer,
    Kind::LedgerManifest,
    Kind::LedgerCurrent,
    Kind::LedgerTable,
    Kind::SnapshotNote,
    Kind::SnapshotManifest,
    Kind::SnapshotCurrent,
    Kind::SnapshotTable,
    Kind::LogSegment,
    Kind::Unread(Unread::LogMark),
    Kind::Unread(Unread::ScrubNote),
];

/// Whether a snapshot has them is RocksDB's business; everything else is there sooner or later.
pub(super) const MAY_BE_MISSING: Kind = Kind::Unread(Unread::SnapshotOptions);

/// The kind of the file at `path` below the data directory. One that is not known fails the test: somebody
/// has to say what becomes of it.
fn kind(path: &Path) -> Result<Kind> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let table = |name: &str| name.ends_with(".sst");
    Ok(match parts[..] {
        ["LOCK" | "RESTORING"] | ["raft", "LOCK"] => Kind::Empty,
        ["VAULT"] => Kind::Marker,
        ["CURRENT"] => Kind::Pointer,
        // The other one is what an end of the process may leave.
        ["SCRUB" | "SCRUB.tmp"] => Kind::Unread(Unread::ScrubNote),
        ["raft", "mark"] => Kind::Unread(Unread::LogMark),
        ["raft", name] if name.ends_with(".log") => Kind::LogSegment,
        ["raft", name] if name.ends_with(".free") => Kind::Unread(Unread::LogRecycled),
        [ledger, name] if ledger.starts_with("ledger-") => match name {
            "LOCK" | "engine.lock" => Kind::Empty,
            "CURRENT" => Kind::LedgerCurrent,
            "IDENTITY" => Kind::Unread(Unread::LedgerIdentity),
            "LOG" => Kind::Unread(Unread::LedgerNotes),
            name if name.starts_with("LOG.old.") => Kind::Unread(Unread::LedgerNotes),
            name if name.starts_with("OPTIONS-") => Kind::Unread(Unread::LedgerOptions),
            name if name.starts_with("MANIFEST-") => Kind::LedgerManifest,
            name if name.ends_with(".log") => Kind::Empty,
            name if table(name) => Kind::LedgerTable,
            _ => bail!("what is {}?", path.display()),
        },
        ["snapshots", _, "META"] => Kind::SnapshotNote,
        ["snapshots", _, "USED"] => Kind::Empty,
        ["snapshots", _, "ledger", name] => match name {
            "LOCK" | "LOG" => Kind::Empty,
            "CURRENT" => Kind::SnapshotCurrent,
            name if name.starts_with("LOG.old.") => Kind::Empty,
            name if name.starts_with("OPTIONS-") => Kind::Unread(Unread::SnapshotOptions),
            name if name.starts_with("MANIFEST-") => Kind::SnapshotManifest,
            name if name.ends_with(".log") => Kind::Empty,
            name if table(name) => Kind::SnapshotTable,
            _ => bail!("what is {}?", path.display()),
        },
        _ => bail!("what is {}?", path.display()),
    })
}

/// All files below `dir`.
pub(super) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// The file in `dir` whose name begins with `prefix`.
pub(super) fn one(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix))
    };
    let found = files(dir)?.into_iter().rfind(is_wanted);
    found.with_context(|| format!("no {prefix} in {}", dir.display()))
}

/// The largest file of a kind, if there is one with bytes in it: of the ledger in use, and of nothing that is
/// removed at the next start.
pub(super) fn file_of(data: &Path, wanted: Kind) -> Result<Option<(PathBuf, u64)>> {
    let current = std::fs::read_to_string(data.join("CURRENT"))?;
    let is_left_over = |path: &Path| {
        path.iter().filter_map(|part| part.to_str()).any(|part| {
            let is_old = part.starts_with("ledger-") && part != current.trim();
            is_old || part.ends_with(".tmp")
        })
    };
    let mut largest = None;
    for path in files(data)? {
        let below = path.strip_prefix(data)?;
        if is_left_over(below) {
            continue;
        }
        let length = std::fs::metadata(&path)?.len();
        if kind(below)? == wanted && length > 0 {
            largest = largest.max(Some((length, path)));
        }
    }
    Ok(largest.map(|(length, path)| (path, length)))
}

/// Bits of each kind of file that are flipped.
pub(super) const PLACES: usize = 2;

/// Which ones, in a file of `length` bytes: where something is that somebody reads, and near the end.
pub(super) fn places(kind: Kind, length: u64) -> [u64; PLACES] {
    match kind {
        // Rows; what leads to them.
        Kind::LedgerTable | Kind::SnapshotTable => [length / 4, length - 20],
        // The two slots.
        Kind::Unread(Unread::LogMark) => [12, 4_096 + 12],
        // A name, and the number behind it.
        Kind::Pointer | Kind::LedgerCurrent | Kind::SnapshotCurrent => [2, length - 2],
        _ => [length / 2, length - 12],
    }
}
