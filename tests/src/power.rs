//! Power cuts for real processes: strace records what a node writes and syncs, and what it had not synced
//! when it was killed is taken from its files. SIGKILL alone leaves the page cache.
//!
//! What a cut leaves is a state in which a power failure can leave a disk that keeps what POSIX promises:
//! - bytes behind the last sync of a file are cut off, or zeros where the file had been extended before;
//! - a name is gone if its directory was not synced after it was made. Renames and removals stay, and so
//!   does every name in that directory that was made before them, for changes of names become durable in
//!   their order;
//! - files that the caller names keep everything: what is overwritten in place cannot be put back.
//!
//! The simulation loses what this leaves: renames and removals, and any part of what was not synced.

mod record;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::record::{Record, Unsynced};
use crate::wait;

/// How long strace may take to write down the end of a process.
const PATIENCE: Duration = Duration::from_secs(20);
/// What changes files and names, and what makes that durable. Those with a question mark are missing on
/// some architectures.
const CALLS: &str = "trace=write,pwrite64,copy_file_range,sendfile,fsync,fdatasync,openat,?rename,renameat,\
                     renameat2,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?link,linkat";
/// Zeros that are written at once.
const ZEROS: [u8; 4 << 10] = [0; 4 << 10];

/// How a process is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncs {
    /// As they are.
    Honest,
    /// Each is answered with success and not made: a disk that acknowledges what it does not have.
    Lies,
}

/// What a power cut has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Bytes that were written and not synced.
    pub bytes: u64,
    /// Names of files and directories.
    pub names: u64,
}

/// The arguments with which strace starts `binary` and writes its record to `record`. The process that it
/// starts has the id of the one that was asked for: strace itself is a grandchild, and ends with it.
pub fn arguments(
    record: &Path,
    syncs: Syncs,
    binary: &Path,
    arguments: &[String],
) -> Result<Vec<String>> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    // Only what is recorded is held up, and buffers are left out of the record.
    let flags = [
        "-D",
        "-f",
        "--seccomp-bpf",
        "-q",
        "-y",
        "-s",
        "0",
        "-e",
        CALLS,
    ];
    let mut all = flags.map(str::to_owned).to_vec();
    if syncs == Syncs::Lies {
        let inject = "inject=fsync,fdatasync:retval=0";
        all.extend(["-e".to_owned(), inject.to_owned()]);
    }
    all.extend(["-o".to_owned(), text(record)?, text(binary)?]);
    all.extend(arguments.iter().cloned());
    Ok(all)
}

/// Takes from the files below `root` what process `pid`, which was killed, had not synced according to
/// its record. Files named in `keep` keep what they have.
pub async fn lose_unsynced(pid: u32, record: &Path, root: &Path, keep: &[&str]) -> Result<Lost> {
    // Else the record would have other paths than the caller.
    ensure!(root.canonicalize()? == root, "{} is a link", root.display());
    let pid = pid.to_string();
    let text = wait::until("the record is complete", PATIENCE, async || {
        let text = std::fs::read_to_string(record)?;
        let mut last = text.lines().rev().map(|line| line.split_once(' '));
        let has_ended = last.any(|line| {
            line.is_some_and(|(of, what)| of == pid && what.trim_start().starts_with("+++ "))
        });
        ensure!(
            has_ended,
            "{}: process {pid} has not ended",
            record.display()
        );
        Ok(text)
    })
    .await?;
    let unsynced = Record::read(&text)?.unsynced(root);
    cut(&unsynced, keep)
}

fn cut(unsynced: &Unsynced, keep: &[&str]) -> Result<Lost> {
    let mut lost = Lost::default();
    for (path, writes) in &unsynced.files {
        let name = path.file_name().unwrap_or_default();
        if keep.iter().any(|kept| name == *kept) {
            continue;
        }
        let file = match OpenOptions::new().write(true).open(path) {
            // Removed meanwhile, by a name that strace did not see.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.with_context(|| path.display().to_string())?,
        };
        lost.bytes += cut_file(&file, writes).with_context(|| path.display().to_string())?;
    }
    // The newest first: what is in a directory goes before the directory.
    for path in &unsynced.names {
        lost.names += u64::from(remove(path)?);
    }
    Ok(lost)
}

/// Cuts a file back to what was synced of it; returns how many bytes went.
fn cut_file(file: &File, writes: &record::Writes) -> Result<u64> {
    let before = file.metadata()?.len();
    let mut length = before.saturating_sub(writes.appended);
    let mut ranges = writes.ranges.clone();
    ranges.sort_unstable_by_key(|range| std::cmp::Reverse(range.end));
    for range in &ranges {
        if range.end >= length {
            length = length.min(range.start);
        }
    }
    file.set_len(length)?;
    let mut bytes = before - length;
    for range in &ranges {
        let end = range.end.min(length);
        let mut at = range.start;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            file.write_all_at(&ZEROS[..usize::try_from(count)?], at)?;
            at += count;
            bytes += count;
        }
    }
    Ok(bytes)
}

/// Removes a name, if it is there.
fn remove(path: &Path) -> Result<bool> {
    let removed = match std::fs::symlink_metadata(path) {
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => {
            removed.with_context(|| path.display().to_string())?;
            Ok(true)
        }
    }
}
