//! Whether there is room left on the disk.
//!
//! A disk that is full when something must be written stops a node. So a node whose disk is nearly full
//! takes no more commits, and later no more of the log from its leader; heartbeats and reads go on, and so
//! does everything else when there is room again.

use std::time::Duration;

use toka_ledger::disk::Space;
use toka_proto::v1::AlarmKind;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::blocking::Blocking;
use crate::headroom::{Headroom, LEFT_AT_BEGIN};
use crate::ticker::ticker;

const INTERVAL: Duration = Duration::from_secs(1);

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Enough.
    Enough,
    /// Less than the reserve: no commits are proposed.
    Low {
        /// Bytes that can still be written.
        free_bytes: u64,
        /// Bytes that are kept free.
        reserve_bytes: u64,
    },
}

impl Room {
    /// With `free_bytes` left, after it was `before`. Commits go on when a quarter more than the reserve is
    /// free, so that they do not come and go.
    fn of(free_bytes: u64, reserve_bytes: u64, before: Self) -> Self {
        let again = match before {
            Self::Enough => reserve_bytes,
            Self::Low { .. } => reserve_bytes.saturating_add(reserve_bytes / 4),
        };
        if free_bytes < again {
            Self::Low {
                free_bytes,
                reserve_bytes,
            }
        } else {
            Self::Enough
        }
    }

    /// Bytes that are free and that should be, unless there is enough.
    pub(crate) const fn shortage(self) -> Option<(u64, u64)> {
        match self {
            Self::Enough => None,
            Self::Low {
                free_bytes,
                reserve_bytes,
            } => Some((free_bytes, reserve_bytes)),
        }
    }

    /// Less than half of the reserve: nothing is appended for a leader either.
    pub(crate) const fn is_spent(self) -> bool {
        match self {
            Self::Enough => false,
            Self::Low {
                free_bytes,
                reserve_bytes,
            } => free_bytes < reserve_bytes / LEFT_AT_BEGIN,
        }
    }
}

/// The task that looks.
pub(crate) struct RoomKeeper {
    pub(crate) headroom: Headroom,
    pub(crate) room: watch::Sender<Room>,
    pub(crate) alarms: Alarms,
    pub(crate) blocking: Blocking,
}

impl RoomKeeper {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let mut interval = ticker(INTERVAL);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = interval.tick() => {}
            }
            let headroom = self.headroom.clone();
            match self.blocking.run(move || headroom.measure()).await {
                Ok(space) => self.note(space),
                Err(error) => tracing::warn!(%error, "the room on the disk cannot be measured"),
            }
        }
    }

    fn note(&self, space: Space) {
        let before = *self.room.borrow();
        let now = Room::of(space.free_bytes, self.headroom.reserve_bytes(space), before);
        let shortage = now.shortage().map(|(free_bytes, reserve_bytes)| {
            format!(
                "the disk is nearly full: {free_bytes} bytes are free, {reserve_bytes} are kept free; no commits \
                 are taken{} until there is room, reads go on",
                if now.is_spent() {
                    ", and nothing from the leader,"
                } else {
                    ""
                }
            )
        });
        // Also where there is room for everything else: this node falls behind until there is more.
        let message = shortage.or_else(|| self.refused(space));
        self.room.send_replace(now);
        self.alarms.set(AlarmKind::DiskNearlyFull, message);
    }

    fn refused(&self, space: Space) -> Option<String> {
        let needed_bytes = self.headroom.refused_bytes(space)?;
        let free_bytes = space.free_bytes;
        Some(format!(
            "a snapshot of the leader does not fit on the disk: {free_bytes} bytes are free, {needed_bytes} are \
             needed; this node falls behind until there is room"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_stop_at_the_reserve_and_go_on_above_it() {
        let full = |free| Room::of(free, 1_000, Room::Enough);
        assert_eq!(full(1_000), Room::Enough);
        let low = full(999);
        assert_eq!(low.shortage(), Some((999, 1_000)));
        assert!(!low.is_spent() && full(499).is_spent());
        let still_low = Room::of(1_249, 1_000, low);
        assert_eq!(still_low.shortage(), Some((1_249, 1_000)));
        assert_eq!(Room::of(1_250, 1_000, low), Room::Enough);
    }
}
