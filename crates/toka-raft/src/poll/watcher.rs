//! Which alarms follow from what the leader sees of the members.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use toka_proto::v1;
use toka_proto::v1::AlarmKind;
use tokio::time::Instant;

use super::lag::Progress;
use crate::alarms;
use crate::vitals::CLOCK_TOLERANCE_MS;

/// Round trips of a member that are remembered,
const ROUND_TRIPS: usize = 10;
/// and that must be known before their median says something.
const ROUND_TRIPS_MIN: usize = 5;

/// Remembers what it needs to tell a bad moment from a bad state.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// A member that is behind for longer is alarmed on.
    lagging_after: Duration,
    /// A round trip of a heartbeat that takes longer endangers elections.
    round_trip_max: Duration,
    progress: Progress,
    round_trips: BTreeMap<u64, VecDeque<Duration>>,
    /// When alarms were raised, milliseconds since the Unix epoch.
    raised: BTreeMap<(AlarmKind, u64), u64>,
}

/// A member in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) node_id: u64,
    /// How far its clock is ahead of the median, milliseconds.
    pub(super) off_by_ms: Option<i64>,
    /// Index of the last entry that it has, if it can be expected to keep up.
    pub(super) matched: Option<u64>,
    pub(super) round_trip: Option<Duration>,
}

impl Watcher {
    pub(crate) fn new(lagging_after: Duration, round_trip_max: Duration) -> Self {
        Self {
            lagging_after,
            round_trip_max,
            progress: Progress::default(),
            round_trips: BTreeMap::new(),
            raised: BTreeMap::new(),
        }
    }

    /// This node does not lead (any more).
    pub(super) fn clear(&mut self) {
        self.progress.clear();
        self.round_trips.clear();
        self.raised.clear();
    }

    /// What is wrong at `now`, which is `unix_ms`, with the leader's log at `last`.
    pub(super) fn alarms(
        &mut self,
        members: &[Seen],
        last: u64,
        now: Instant,
        unix_ms: u64,
    ) -> Vec<v1::Alarm> {
        self.progress.note(now, last);
        let is_member = |id: &u64| members.iter().any(|seen| seen.node_id == *id);
        self.round_trips.retain(|id, _| is_member(id));
        let mut found = BTreeMap::new();
        for seen in members {
            let wrong = [
                (AlarmKind::Clock, clock(seen)),
                (AlarmKind::Lagging, self.lagging(seen, last, now)),
                (AlarmKind::SlowNetwork, self.slow_network(seen)),
            ];
            for (kind, message) in wrong {
                found.extend(message.map(|message| ((kind, seen.node_id), message)));
            }
        }
        for (kind, node_id) in self.raised.keys().filter(|key| !found.contains_key(*key)) {
            tracing::info!(node_id, alarm = alarms::name(*kind), "over");
        }
        self.raised.retain(|key, _| found.contains_key(key));
        let alarms = found.into_iter().map(|((kind, node_id), message)| {
            let since = self.raised.entry((kind, node_id)).or_insert_with(|| {
                tracing::warn!(node_id, alarm = alarms::name(kind), message, "raised");
                unix_ms
            });
            v1::Alarm {
                kind: kind.into(),
                node_id: Some(node_id),
                since_unix_ms: *since,
                message,
                command: String::new(),
            }
        });
        alarms.collect()
    }

    fn lagging(&self, seen: &Seen, last: u64, now: Instant) -> Option<String> {
        let matched = seen.matched?;
        let lag = self.progress.lag(now, matched);
        (lag >= self.lagging_after).then(|| {
            format!(
                "node {} is {} s and {} entries behind the leader: its disk, its machine or the network is \
                 too slow, or it is being sent a snapshot; nobody waits for it, but the cluster does not \
                 tolerate the loss of another voter meanwhile",
                seen.node_id,
                lag.as_secs(),
                last.saturating_sub(matched)
            )
        })
    }

    fn slow_network(&mut self, seen: &Seen) -> Option<String> {
        let known = self.round_trips.entry(seen.node_id).or_default();
        known.extend(seen.round_trip);
        while known.len() > ROUND_TRIPS {
            known.pop_front();
        }
        let mut sorted: Vec<Duration> = known.iter().copied().collect();
        sorted.sort_unstable();
        let median = *sorted.get(sorted.len() / 2)?;
        (known.len() >= ROUND_TRIPS_MIN && median > self.round_trip_max).then(|| {
            format!(
                "a round trip to node {} takes {} ms, which is too much for the election timeouts: make the \
                 network or that machine faster, or raise them on every node (--election-timeout-min, \
                 --election-timeout-max, --heartbeat-interval)",
                seen.node_id,
                median.as_millis()
            )
        })
    }
}

fn clock(seen: &Seen) -> Option<String> {
    let off_by_ms = seen.off_by_ms?;
    (off_by_ms.unsigned_abs() > CLOCK_TOLERANCE_MS).then(|| {
        format!(
            "the clock of node {} is {} ms {} of the median of the voters': set it right, and keep it so by NTP{}",
            seen.node_id,
            off_by_ms.unsigned_abs(),
            if off_by_ms > 0 { "ahead" } else { "behind" },
            if off_by_ms > 0 {
                "; until then it must not lead"
            } else {
                ""
            }
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_000_000;

    fn seen(matched: u64) -> Seen {
        Seen {
            node_id: 2,
            off_by_ms: Some(0),
            matched: Some(matched),
            round_trip: Some(Duration::from_millis(1)),
        }
    }

    struct Rounds {
        watcher: Watcher,
        start: Instant,
        second: u64,
    }

    impl Rounds {
        fn new() -> Self {
            Self {
                watcher: Watcher::new(Duration::from_secs(10), Duration::from_millis(100)),
                start: Instant::now(),
                second: 0,
            }
        }

        /// Another second, with the log at 100 entries a second.
        fn next(&mut self, seen: Seen) -> Vec<(AlarmKind, u64)> {
            let now = self.start + Duration::from_secs(self.second);
            let unix_ms = START_MS + self.second * 1_000;
            self.second += 1;
            let alarms = self
                .watcher
                .alarms(&[seen], self.second * 100, now, unix_ms);
            alarms
                .iter()
                .map(|alarm| (alarm.kind(), alarm.since_unix_ms))
                .collect()
        }
    }

    #[test]
    fn member_that_stands_still_is_alarmed_on_until_it_has_caught_up() {
        let mut rounds = Rounds::new();
        for _ in 0..11 {
            assert_eq!(rounds.next(seen(100)), []);
        }
        let raised = [(AlarmKind::Lagging, START_MS + 11_000)];
        assert_eq!(rounds.next(seen(100)), raised);
        assert_eq!(rounds.next(seen(200)), raised);
        assert_eq!(rounds.next(seen(1_300)), []);
        let mut joining = seen(0);
        joining.matched = None;
        assert_eq!(rounds.next(joining), []);
    }

    #[test]
    fn clock_is_alarmed_on_in_both_directions() {
        let mut rounds = Rounds::new();
        let off = |off_by_ms| Seen {
            off_by_ms: Some(off_by_ms),
            matched: None,
            ..seen(0)
        };
        assert_eq!(rounds.next(off(1_000)), []);
        let raised = [(AlarmKind::Clock, START_MS + 1_000)];
        assert_eq!(rounds.next(off(1_001)), raised);
        assert_eq!(rounds.next(off(-5_000)), raised);
        assert_eq!(rounds.next(off(0)), []);
    }

    #[test]
    fn network_is_slow_if_most_round_trips_are() {
        let mut rounds = Rounds::new();
        let took = |ms| Seen {
            matched: None,
            round_trip: Some(Duration::from_millis(ms)),
            ..seen(0)
        };
        for _ in 0..4 {
            assert_eq!(rounds.next(took(500)), []);
        }
        assert_eq!(
            rounds.next(took(500)),
            [(AlarmKind::SlowNetwork, START_MS + 4_000)]
        );
        for _ in 0..6 {
            rounds.next(took(1));
        }
        assert_eq!(rounds.next(took(1)), []);
    }
}
