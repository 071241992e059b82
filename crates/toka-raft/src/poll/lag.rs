//! How far members are behind, in time.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Notes that are kept: about a quarter of an hour, at one a second.
const NOTES_MAX: usize = 1_000;

/// Where the leader's log ended when.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// (when, index of the last entry then), ascending.
    notes: VecDeque<(Instant, u64)>,
}

impl Progress {
    pub(super) fn clear(&mut self) {
        self.notes.clear();
    }

    /// The log ends at `last`, at `now`.
    pub(super) fn note(&mut self, now: Instant, last: u64) {
        self.notes.push_back((now, last));
        if self.notes.len() > NOTES_MAX {
            self.notes.pop_front();
        }
    }

    /// For how long the log has gone on beyond `matched`; at least, where it did so before the first note.
    pub(super) fn lag(&self, now: Instant, matched: u64) -> Duration {
        let beyond = self.notes.partition_point(|(_, last)| *last <= matched);
        let since = self.notes.get(beyond).map(|(at, _)| *at);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_begins_with_the_first_entry_that_is_missing() {
        let mut progress = Progress::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(progress.lag(start, 0), Duration::ZERO);
        progress.note(at(0), 10);
        progress.note(at(1), 20);
        progress.note(at(2), 20);
        assert_eq!(progress.lag(at(3), 20), Duration::ZERO);
        assert_eq!(progress.lag(at(3), 15), Duration::from_secs(2));
        assert_eq!(progress.lag(at(3), 5), Duration::from_secs(3));
        progress.clear();
        assert_eq!(progress.lag(at(3), 5), Duration::ZERO);
    }

    #[test]
    fn notes_are_bounded() {
        let mut progress = Progress::default();
        for index in 0..3_000 {
            progress.note(Instant::now(), index);
        }
        assert_eq!(progress.notes.len(), NOTES_MAX);
    }
}
