//! Whether something large still fits on the disk, measured when it is asked for.
//!
//! What a node writes without asking (votes, entries that are under way, files that the ledger rewrites)
//! comes out of the half of the reserve that is left free.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use toka_ledger::disk::{Disk, Space};
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::error::{FatalError, SnapshotError};

/// Reserve of a large disk, bytes, unless told otherwise,
const RESERVE_BYTES: u64 = 1 << 30;
/// and of a small one: one part in so many.
const RESERVE_SHARE: u64 = 20;
/// What may be begun leaves one part in so many of the reserve,
pub(crate) const LEFT_AT_BEGIN: u64 = 2;
/// and is broken off when it would leave less than this one: other writes take somewhat meanwhile.
const LEFT_AT_END: u64 = 4;
/// Room that a flush needs: so many times what is flushed,
const FLUSH_FACTOR: u64 = 2;
/// and for what comes with the smallest one: a file for each table, the manifest, its copy in a snapshot.
const FLUSH_BYTES_MIN: u64 = 1 << 20;
/// Whoever sends what was refused tries again much more often than this.
const REFUSED_LASTS: Duration = Duration::from_secs(60);

/// Measures. Cheap to clone; clones share what was refused. All calls but those with a [`Blocking`] block.
#[derive(Clone, Debug)]
pub(crate) struct Headroom {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Absent: 1 GiB, or a twentieth of a smaller disk.
    reserve_bytes: Option<u64>,
    refused: Arc<Mutex<Option<Refused>>>,
    puts_off: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    at: Instant,
    needed_bytes: u64,
}

impl Headroom {
    /// On the disk that `path`, which is there, is on.
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, reserve_bytes: Option<u64>) -> Self {
        Self {
            disk,
            path,
            reserve_bytes,
            refused: Arc::default(),
            puts_off: Arc::default(),
        }
    }

    /// What there is.
    pub(crate) fn measure(&self) -> io::Result<Space> {
        self.disk.space(&self.path)
    }

    /// What is kept free.
    pub(crate) fn reserve_bytes(&self, space: Space) -> u64 {
        self.reserve_bytes
            .unwrap_or_else(|| RESERVE_BYTES.min(space.total_bytes / RESERVE_SHARE))
    }

    /// Refuses to begin with `bytes` that would leave less than half of the reserve.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), SnapshotError> {
        self.check_leaving(LEFT_AT_BEGIN, bytes)
    }

    /// Refuses to go on with `bytes` that are still to come of what [`Headroom::check`] has let begin.
    pub(crate) fn check_rest(&self, bytes: u64) -> Result<(), SnapshotError> {
        self.check_leaving(LEFT_AT_END, bytes)
    }

    /// As [`Headroom::check`], of what another node sends; notes what is refused.
    pub(crate) fn admit(&self, bytes: u64) -> Result<(), SnapshotError> {
        let checked = self.check(bytes);
        *self.refused() = match checked {
            Err(SnapshotError::NoRoom { needed_bytes, .. }) => Some(Refused {
                at: Instant::now(),
                needed_bytes,
            }),
            _ => None,
        };
        checked
    }

    /// Whether what was refused last would be again: asked before another node is made to prepare it.
    pub(crate) fn check_again(&self) -> Result<(), SnapshotError> {
        let space = self.space()?;
        match self.refused_bytes(space) {
            Some(needed_bytes) => Err(SnapshotError::NoRoom {
                free_bytes: space.free_bytes,
                needed_bytes,
            }),
            None => self.check(0),
        }
    }

    /// Bytes that must be free for what was refused a short time ago, if they are not.
    pub(crate) fn refused_bytes(&self, space: Space) -> Option<u64> {
        let refused = (*self.refused())?;
        let counts =
            refused.at.elapsed() < REFUSED_LASTS && space.free_bytes < refused.needed_bytes;
        counts.then_some(refused.needed_bytes)
    }

    /// Whether the bytes that are in memory only, as `unflushed` tells, can be flushed, and a snapshot be made,
    /// which begins with a flush. A flush that fails stops the node, and one that is put off costs nothing: the
    /// log has it all, and nothing is added to it as long as less than half of the reserve is free.
    pub(crate) async fn takes_flush(
        &self,
        blocking: Blocking,
        unflushed: impl FnOnce() -> Result<u64, FatalError> + Send + 'static,
    ) -> Result<bool, FatalError> {
        let this = self.clone();
        let look = move || unflushed().map(|bytes| this.takes_flush_of(bytes));
        blocking.run(look).await
    }

    fn takes_flush_of(&self, bytes: u64) -> bool {
        let Ok(space) = self.measure() else {
            // The flush itself will tell.
            return true;
        };
        let needed_bytes = bytes
            .saturating_mul(FLUSH_FACTOR)
            .saturating_add(FLUSH_BYTES_MIN);
        let free_bytes = space.free_bytes;
        let is_spent = free_bytes < self.reserve_bytes(space) / LEFT_AT_BEGIN;
        let puts_off = is_spent && free_bytes < needed_bytes;
        if self.puts_off.swap(puts_off, Ordering::Relaxed) != puts_off {
            if puts_off {
                tracing::warn!(
                    free_bytes,
                    needed_bytes,
                    "flushes and snapshots are put off until there is room on the disk"
                );
            } else {
                tracing::info!(free_bytes, "flushes and snapshots go on");
            }
        }
        !puts_off
    }

    fn space(&self) -> Result<Space, SnapshotError> {
        self.measure()
            .map_err(SnapshotError::file("measure the room on", &self.path))
    }

    fn check_leaving(&self, part: u64, bytes: u64) -> Result<(), SnapshotError> {
        let space = self.space()?;
        let needed_bytes = bytes.saturating_add(self.reserve_bytes(space) / part);
        if space.free_bytes < needed_bytes {
            return Err(SnapshotError::NoRoom {
                free_bytes: space.free_bytes,
                needed_bytes,
            });
        }
        Ok(())
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::disk::MemoryDisk;

    use super::*;

    fn on_disk(reserve_bytes: u64) -> (MemoryDisk, Headroom) {
        let disk = MemoryDisk::new();
        let path = PathBuf::from("/data");
        disk.create_dir_all(&path).expect("created");
        let headroom = Headroom::new(Arc::new(disk.clone()), path, Some(reserve_bytes));
        (disk, headroom)
    }

    #[test]
    fn half_of_the_reserve_is_left_by_what_begins_and_a_quarter_by_what_ends() {
        let (disk, headroom) = on_disk(1_000);
        disk.set_free(800);
        headroom.check(300).expect("500 are left");
        let refused = headroom.check(301).expect_err("499 are left");
        assert!(
            matches!(
                refused,
                SnapshotError::NoRoom {
                    free_bytes: 800,
                    needed_bytes: 801
                }
            ),
            "{refused}"
        );
        headroom.check_rest(550).expect("250 are left");
        headroom.check_rest(551).expect_err("249 are left");
        headroom.check(u64::MAX).expect_err("it does not wrap");
    }

    #[test]
    fn what_was_refused_is_wanted_until_there_is_room_or_it_is_admitted() {
        let (disk, headroom) = on_disk(1_000);
        disk.set_free(800);
        let wanted = |headroom: &Headroom| {
            let space = headroom.measure().expect("measured");
            headroom.refused_bytes(space)
        };
        assert_eq!(wanted(&headroom), None);
        headroom.check_again().expect("nothing was refused");
        headroom.admit(400).expect_err("400 are left");
        assert_eq!(wanted(&headroom.clone()), Some(900));
        headroom.check_again().expect_err("there is no more room");
        disk.set_free(900);
        assert_eq!(wanted(&headroom), None);
        headroom.check_again().expect("there is room");
        headroom.admit(400).expect("there is room");
        disk.set_free(800);
        assert_eq!(wanted(&headroom), None, "it was admitted");
        disk.set_free(499);
        headroom
            .check_again()
            .expect_err("there is room for nothing");
    }

    #[test]
    fn flush_is_put_off_only_where_nothing_more_comes_in_and_it_does_not_fit() {
        let (disk, headroom) = on_disk(1_000 << 20);
        let takes = |free_mib: u64, mib: u64| {
            disk.set_free(free_mib << 20);
            headroom.takes_flush_of(mib << 20)
        };
        assert!(takes(500, 1_000), "commits go on");
        assert!(takes(499, 100), "it fits");
        assert!(!takes(200, 100));
        assert!(takes(201, 100));
        assert!(!takes(0, 0), "there are files all the same");
        assert!(takes(1, 0));
    }

    #[test]
    fn reserve_is_a_share_of_a_small_disk() {
        let headroom = Headroom::new(Arc::new(MemoryDisk::new()), PathBuf::new(), None);
        let reserve = |total_bytes| {
            headroom.reserve_bytes(Space {
                free_bytes: 0,
                total_bytes,
            })
        };
        assert_eq!(reserve(100 << 20), 5 << 20);
        assert_eq!(reserve(1 << 40), 1 << 30);
    }
}
