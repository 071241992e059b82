//! What a process has used, as the kernel counts it.

use std::path::Path;
use std::time::Duration;

use crate::error::Error;

/// Ticks a second in which the kernel tells times: `USER_HZ`, the same on every Linux of today.
const TICKS_PER_SECOND: u64 = 100;
/// Place of user time among the fields that follow a process's name in `/proc/PID/stat`.
const USER_TICKS: usize = 11;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, to 10 ms.
    pub cpu: Duration,
    /// Bytes that it had written to a disk, as the kernel says of it: more than is written, with large folios.
    pub written_bytes: u64,
    /// Memory that it holds now.
    pub resident_bytes: u64,
}

impl Usage {
    /// Reads `/proc`.
    ///
    /// # Errors
    /// [`Error::File`]: it is not there, or is another user's.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).map_err(Error::file("read", path))
        };
        Ok(Self {
            cpu: cpu(&read("stat")?),
            written_bytes: number(&read("io")?, "write_bytes:"),
            resident_bytes: number(&read("status")?, "VmRSS:") * 1024,
        })
    }

    /// What was used between `before` and this.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            resident_bytes: self.resident_bytes,
        }
    }
}

fn cpu(stat: &str) -> Duration {
    // The name may have blanks in it, and stands in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(USER_TICKS).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Bytes of all files in a directory and below, as they are on the disk (holes do not count).
///
/// # Errors
/// [`Error::File`]. A file that is deleted meanwhile is none.
pub fn disk_bytes(directory: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::file("read", directory)(error)),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(Error::file("read", directory))?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += disk_bytes(&entry.path())?,
            // In units of 512 bytes, whatever the file system's own are.
            Ok(metadata) => bytes += metadata.blocks() * 512,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("look at", entry.path())(error)),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_the_name_whatever_it_is() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 2 0 150 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu(stat), Duration::from_secs(2));
    }

    #[test]
    fn a_number_stands_behind_its_name() {
        let io = "wchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n";
        assert_eq!(number(io, "write_bytes:"), 4096);
        assert_eq!(number(io, "absent:"), 0);
    }

    #[test]
    fn this_process_can_be_read() {
        let usage = Usage::of(std::process::id()).expect("it is here");
        assert!(usage.resident_bytes > 0);
    }

    #[test]
    fn a_directory_is_as_large_as_its_files() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("in")).expect("a directory");
        std::fs::write(root.path().join("in/file"), vec![1; 10_000]).expect("a file");
        let bytes = disk_bytes(root.path()).expect("readable");
        assert!(bytes == 0 || bytes >= 10_000, "{bytes}");
        assert_eq!(disk_bytes(&root.path().join("gone")).ok(), Some(0));
    }
}
