//! How much readers keep and look at.

use std::sync::OnceLock;

use super::family::DESCENDANTS_BYTES_MAX;
use super::ring::RING_EVENTS_MAX;

/// How much readers keep and look at. Tests narrow it, so that a few events do all that many do; what readers
/// answer does not depend on it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Headers that the ring keeps.
    pub ring_events: usize,
    /// Events that a subscription takes from the ring, or matches that it reads from storage, at once.
    pub follow_events: usize,
    /// Rows that one page looks at.
    pub scan_rows: usize,
    /// Rows of the index of children, or headers, that are looked at before other readers of a set of descendants
    /// have a turn.
    pub step_rows: usize,
    /// Headers that are looked at rather than walking a small set again.
    pub rescan_events: u64,
    /// Bytes of one set of descendants.
    pub descendants_bytes: u64,
}

impl Bounds {
    /// What holds unless a test says otherwise.
    pub const WIDE: Self = Self {
        ring_events: RING_EVENTS_MAX,
        follow_events: 256,
        scan_rows: 20_000,
        step_rows: 512,
        rescan_events: 1_024,
        descendants_bytes: DESCENDANTS_BYTES_MAX,
    };
}

/// The bounds of a vault's readers.
#[derive(Debug, Default)]
pub(super) struct Narrowed(OnceLock<Bounds>);

impl Narrowed {
    pub(super) fn get(&self) -> Bounds {
        self.0.get().copied().unwrap_or(Bounds::WIDE)
    }

    /// Without effect the second time.
    pub(super) fn set(&self, bounds: Bounds) {
        let _ = self.0.set(bounds);
    }
}
