//! The memory that a node may take, and what its storage gets of it.

use std::fs;
use std::path::Path;

/// Where control groups are: those of version 2, and below a directory for each controller those of version 1.
const GROUPS: &str = "/sys/fs/cgroup";
/// Which of them this process is in.
const OWN_GROUPS: &str = "/proc/self/cgroup";
/// The controller of version 1, which says that there is no limit by one that no machine has.
const CONTROLLER: &str = "memory";
const NO_LIMIT_BYTES: u64 = 1 << 62;
/// What the machine has, as Linux says.
const MACHINE: &str = "/proc/meminfo";
const MACHINE_TOTAL: &str = "MemTotal:";
const MIB: u64 = 1 << 20;
const CACHE_BYTES_MIN: u64 = 64 * MIB;
const CACHE_BYTES_MAX: u64 = 4_096 * MIB;
/// Where there is no limit: others are on the machine too, and what is not in this cache may be in the system's.
const CACHE_BYTES_MAX_SHARED: u64 = 1_024 * MIB;
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
    /// Of a process that may take `limit` bytes; `None`: nobody says, and it is one of many on a `machine` that has so many
    /// bytes, if that is known.
    pub(super) fn of(limit: Option<u64>, machine: Option<u64>) -> Self {
        let Some(limit) = limit else {
            let share = machine.unwrap_or(0) / 16;
            return Self {
                cache: share.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX_SHARED),
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
    let own = fs::read_to_string(OWN_GROUPS).ok()?;
    limit_of(Path::new(GROUPS), &own)
}

/// What the machine has, bytes; `None` where that cannot be read.
pub(super) fn machine() -> Option<u64> {
    machine_of(&fs::read_to_string(MACHINE).ok()?)
}

/// The total that `info` states, in KiB whatever it calls them.
fn machine_of(info: &str) -> Option<u64> {
    let mut lines = info.lines();
    let total = lines.find_map(|line| line.strip_prefix(MACHINE_TOTAL))?;
    let kib: u64 = total.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The lowest limit of the groups below `root` that `own` has, a line each: a number, controllers, the group.
fn limit_of(root: &Path, own: &str) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let (_, group) = line.split_once(':')?;
        let (controllers, group) = group.split_once(":/")?;
        if controllers.is_empty() {
            limit_within(root, group, "memory.max")
        } else if controllers.split(',').any(|name| name == CONTROLLER) {
            limit_within(&root.join(CONTROLLER), group, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// The lowest limit of `group` and those above it up to `root`, which in a container is the container's. Each has it in
/// the file `name`.
fn limit_within(root: &Path, group: &str, name: &str) -> Option<u64> {
    let group = root.join(group);
    let groups = group
        .ancestors()
        .take_while(|group| group.starts_with(root));
    let limits = groups.filter_map(|group| {
        let limit = fs::read_to_string(group.join(name)).ok()?;
        // Or "max", which is none.
        let limit = limit.trim().parse::<u64>().ok();
        limit.filter(|bytes| *bytes < NO_LIMIT_BYTES)
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
            } = Shares::of(limit.map(|limit| limit * MIB), Some(MIB << 20));
            (cache / MIB, write_buffer / MIB)
        };
        assert_eq!(of(Some(100)), (64, 32));
        assert_eq!(of(Some(1_024)), (256, 64));
        assert_eq!(of(Some(8_192)), (2_048, 128));
        assert_eq!(of(Some(1 << 20)), (4_096, 128));
    }

    #[test]
    fn without_a_limit_the_cache_goes_by_the_machine_within_bounds() {
        let cache = |machine: Option<u64>| {
            let shares = Shares::of(None, machine.map(|machine| machine * MIB));
            assert_eq!(shares.write_buffer, WRITE_BUFFER_BYTES_MAX);
            shares.cache / MIB
        };
        assert_eq!(cache(None), 64);
        assert_eq!(cache(Some(512)), 64);
        assert_eq!(cache(Some(8_192)), 512);
        assert_eq!(cache(Some(1 << 20)), 1_024);
    }

    #[test]
    fn memory_of_the_machine_is_read_or_unknown() {
        let info = "MemTotal:       24683996 kB\nMemFree:        17580032 kB\n";
        assert_eq!(machine_of(info), Some(24_683_996 << 10));
        for info in ["", "MemFree: 1 kB\n", "MemTotal: much\n"] {
            assert_eq!(machine_of(info), None, "{info}");
        }
    }

    fn set(root: &Path, file: &str, limit: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().expect("below the root")).expect("made");
        fs::write(file, format!("{limit}\n")).expect("written");
    }

    #[test]
    fn lowest_limit_of_a_group_and_those_above_it_holds() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let limit = |group: &str| limit_of(root.path(), &format!("0::/{group}\n"));
        let set = |file: &str, limit: &str| set(root.path(), file, limit);
        assert_eq!(limit(""), None);
        set("pods/one/memory.max", "3000");
        set("pods/two/memory.max", "max");
        set("pods/memory.max", "5000");
        assert_eq!(limit(""), None);
        assert_eq!(limit("pods/one"), Some(3_000));
        assert_eq!(limit("pods/two"), Some(5_000));
        assert_eq!(limit("pods/gone"), Some(5_000));
        set("memory.max", "2000");
        assert_eq!(limit("pods/one"), Some(2_000));
        assert_eq!(limit(""), Some(2_000));
    }

    #[test]
    fn limits_of_version_1_are_found_beside_those_of_version_2() {
        const OWN: &str = "12:pids:/pods/one\n4:cpu,memory:/pods/one\n0::/pods/one\n";
        let root = tempfile::tempdir().expect("a temporary directory");
        let limit = || limit_of(root.path(), OWN);
        let set = |file: &str, limit: &str| set(root.path(), file, limit);
        set("pids/pods/one/memory.limit_in_bytes", "1000");
        // What a machine with pages of 4 KiB says where there is none.
        set("memory/memory.limit_in_bytes", "9223372036854771712");
        assert_eq!(limit(), None);
        set("memory/pods/one/memory.limit_in_bytes", "4000");
        assert_eq!(limit(), Some(4_000));
        set("pods/one/memory.max", "3000");
        assert_eq!(limit(), Some(3_000));
    }
}
