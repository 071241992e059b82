//! The memory that a node may take, and what its storage gets of it.

use std::fs;
use std::path::Path;

/// Where control groups (version 2) are.
const GROUPS: &str = "/sys/fs/cgroup";
/// Which of them this process is in.
const OWN_GROUP: &str = "/proc/self/cgroup";
const MIB: u64 = 1 << 20;
const CACHE_BYTES_MIN: u64 = 64 * MIB;
const CACHE_BYTES_MAX: u64 = 4_096 * MIB;
const WRITE_BUFFER_BYTES_MIN: u64 = 32 * MIB;
/// Room for what is applied between two flushes (`flush_bytes` of the log, which take over twice that in memory), so that
/// RocksDB does not flush by itself in between, into files that are small.
const WRITE_BUFFER_BYTES_MAX: u64 = 128 * MIB;

/// What the storage may have in memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) cache: u64,
    pub(super) write_buffer: u64,
}

impl Shares {
    /// Of a process that may take `limit` bytes; `None`: nobody says.
    pub(super) fn of(limit: Option<u64>) -> Self {
        let Some(limit) = limit else {
            return Self {
                cache: CACHE_BYTES_MIN,
                write_buffer: WRITE_BUFFER_BYTES_MAX,
            };
        };
        Self {
            cache: (limit / 4).clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX),
            // Twice as much, while those before are being flushed.
            write_buffer: (limit / 16).clamp(WRITE_BUFFER_BYTES_MIN, WRITE_BUFFER_BYTES_MAX),
        }
    }
}

/// The lowest limit of the control groups that this process is in; `None` where there is none, or none can be read.
pub(super) fn limit() -> Option<u64> {
    let groups = fs::read_to_string(OWN_GROUP).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    limit_within(Path::new(GROUPS), own)
}

/// The lowest limit of `group` and those above it up to `root`, which in a container is the container's.
fn limit_within(root: &Path, group: &str) -> Option<u64> {
    let group = root.join(group);
    let groups = group
        .ancestors()
        .take_while(|group| group.starts_with(root));
    let limits = groups.filter_map(|group| {
        let limit = fs::read_to_string(group.join("memory.max")).ok()?;
        // Or "max", which is none.
        limit.trim().parse::<u64>().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_gets_shares_of_the_limit_within_bounds() {
        let of = |limit: Option<u64>| {
            let Shares {
                cache,
                write_buffer,
            } = Shares::of(limit.map(|limit| limit * MIB));
            (cache / MIB, write_buffer / MIB)
        };
        assert_eq!(of(None), (64, 128));
        assert_eq!(of(Some(100)), (64, 32));
        assert_eq!(of(Some(1_024)), (256, 64));
        assert_eq!(of(Some(8_192)), (2_048, 128));
        assert_eq!(of(Some(1 << 20)), (4_096, 128));
    }

    #[test]
    fn lowest_limit_of_a_group_and_those_above_it_holds() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let limit = |group: &str| limit_within(root.path(), group);
        let set = |group: &str, limit: &str| {
            let group = root.path().join(group);
            fs::create_dir_all(&group).expect("made");
            fs::write(group.join("memory.max"), format!("{limit}\n")).expect("written");
        };
        assert_eq!(limit(""), None);
        set("pods/one", "3000");
        set("pods/two", "max");
        set("pods", "5000");
        assert_eq!(limit(""), None);
        assert_eq!(limit("pods/one"), Some(3_000));
        assert_eq!(limit("pods/two"), Some(5_000));
        assert_eq!(limit("pods/gone"), Some(5_000));
        set("", "2000");
        assert_eq!(limit("pods/one"), Some(2_000));
        assert_eq!(limit(""), Some(2_000));
    }
}
