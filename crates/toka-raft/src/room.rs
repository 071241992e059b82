//! Whether there is room left on the disk.
//!
//! A disk that is full when something must be written stops a node. So a node whose disk is nearly full
//! takes no more commits, and later no more of the log from its leader; heartbeats and reads go on, and so
//! does everything else when there is room again.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::disk::Space;
use toka_proto::v1::AlarmKind;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::amount::{self, Amount};
use crate::blocking::Blocking;
use crate::headroom::{Headroom, LEFT_AT_BEGIN};
use crate::tally::Tally;
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
    pub(crate) tally: Arc<Tally>,
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
        let reserve_bytes = self.headroom.reserve_bytes(space);
        self.tally.disk(space, reserve_bytes);
        let now = Room::of(space.free_bytes, reserve_bytes, before);
        let shortage = shortage(self.alarms.node_id(), now, space);
        // Also where there is room for everything else: this node falls behind until there is more.
        let message = shortage.or_else(|| self.refused(space));
        self.room.send_replace(now);
        self.alarms.set(AlarmKind::DiskNearlyFull, message);
    }

    fn refused(&self, space: Space) -> Option<String> {
        let needed_bytes = self.headroom.refused_bytes(space)?;
        Some(format!(
            "a snapshot of the leader does not fit on the disk of node {}: {} are free, {} are needed; the node \
             falls behind until there is room",
            self.alarms.node_id(),
            amount::free(space),
            Amount(needed_bytes)
        ))
    }
}

/// What an operator is told of a disk that is nearly full.
fn shortage(node_id: u64, room: Room, space: Space) -> Option<String> {
    let (_, reserve_bytes) = room.shortage()?;
    let log = if room.is_spent() {
        ", and nothing from the leader,"
    } else {
        ""
    };
    Some(format!(
        "the disk of node {node_id} is nearly full: {} are free, {} are kept free; it takes no commits{log} until \
         there is room, reads go on",
        amount::free(space),
        Amount(reserve_bytes)
    ))
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

    #[test]
    fn alarm_names_the_node_and_how_much_is_free() {
        let space = |free_bytes| Space {
            free_bytes,
            total_bytes: 16 << 30,
        };
        let said = |mib: u64| {
            let room = Room::of(mib << 20, 1 << 30, Room::Enough);
            shortage(3, room, space(mib << 20))
        };
        assert_eq!(said(1_024), None);
        assert_eq!(
            said(600).as_deref(),
            Some(
                "the disk of node 3 is nearly full: 600 MiB of 16.0 GiB (3.6 %) are free, 1.0 GiB are kept free; it \
                 takes no commits until there is room, reads go on"
            )
        );
        let spent = said(60).expect("less than half of the reserve");
        assert!(spent.contains("and nothing from the leader"), "{spent}");
    }
}
