//! Points in time that travel in payloads, for latencies from one end of a process to another.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Bytes of a stamp.
pub const BYTES: usize = 8;

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// `at` as nanoseconds since an epoch of this process. What was before the first call is 0.
#[must_use]
pub fn of(at: Instant) -> [u8; BYTES] {
    let since = at.saturating_duration_since(epoch());
    u64::try_from(since.as_nanos())
        .unwrap_or(u64::MAX)
        .to_be_bytes()
}

/// The point in time of a stamp that this process made.
#[must_use]
pub fn read(stamp: [u8; BYTES]) -> Instant {
    epoch() + Duration::from_nanos(u64::from_be_bytes(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_made() {
        // The epoch begins with the first call.
        let _ = of(Instant::now());
        let at = Instant::now();
        assert_eq!(read(of(at)), at);
    }
}
