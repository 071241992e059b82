//! Whether the disk of the Raft log keeps up: every commit waits for it on a quorum of nodes, and a node's
//! answers to heartbeats do too.

use std::collections::VecDeque;
use std::time::Duration;

use toka_proto::v1::AlarmKind;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::log_store::{LogHandle, SyncTimes};
use crate::ticker::ticker;

const INTERVAL: Duration = Duration::from_secs(1);
/// Seconds over which syncs are averaged.
const WINDOW: usize = 10;

/// The task that looks.
pub(crate) struct SlowDisk {
    pub(crate) log: LogHandle,
    /// What a sync may take on the average; one alone may take [`WINDOW`] times as long.
    pub(crate) limit: Duration,
    pub(crate) alarms: Alarms,
}

impl SlowDisk {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let mut interval = ticker(INTERVAL);
        let mut window = Window::default();
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = interval.tick() => {}
            }
            let slow = window.next(self.log.sync_times(), self.limit);
            let message = slow.map(|took| {
                format!(
                    "a sync of the Raft log takes {} ms (more than {} ms): move the data directory to a faster disk, \
                     or find what else uses this one; commits wait for it wherever it is needed for a quorum",
                    took.as_millis(),
                    self.limit.as_millis()
                )
            });
            self.alarms.set(AlarmKind::SlowDisk, message);
        }
    }
}

/// Sums as of the last seconds.
#[derive(Debug, Default)]
struct Window(VecDeque<SyncTimes>);

impl Window {
    /// What a sync takes, if it is more than `limit`.
    fn next(&mut self, now: SyncTimes, limit: Duration) -> Option<Duration> {
        self.0.push_back(now);
        if self.0.len() > WINDOW + 1 {
            self.0.pop_front();
        }
        let first = self.0.front()?;
        let count = u32::try_from(now.count - first.count).unwrap_or(u32::MAX);
        let average = (now.total - first.total).checked_div(count);
        let patience = limit * u32::try_from(WINDOW).unwrap_or(u32::MAX);
        let stuck = now.current.filter(|current| *current > patience);
        stuck.or(average.filter(|average| *average > limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    fn times(count: u64, total_ms: u64, current_ms: Option<u64>) -> SyncTimes {
        SyncTimes {
            count,
            total: Duration::from_millis(total_ms),
            current: current_ms.map(Duration::from_millis),
        }
    }

    #[test]
    fn disk_is_slow_by_the_average_of_the_window() {
        let mut window = Window::default();
        assert_eq!(window.next(times(5, 50, None), LIMIT), None);
        assert_eq!(window.next(times(7, 250, None), LIMIT), None, "exactly");
        assert_eq!(
            window.next(times(8, 750, None), LIMIT),
            Some(Duration::from_millis(700) / 3)
        );
        for _ in 0..WINDOW {
            window.next(times(8, 750, None), LIMIT);
        }
        assert_eq!(window.next(times(8, 750, None), LIMIT), None, "no syncs");
    }

    #[test]
    fn sync_that_does_not_end_is_slow() {
        let mut window = Window::default();
        assert_eq!(window.next(times(1, 1, Some(1_000)), LIMIT), None);
        let stuck = Duration::from_millis(1_001);
        assert_eq!(window.next(times(1, 1, Some(1_001)), LIMIT), Some(stuck));
    }
}
