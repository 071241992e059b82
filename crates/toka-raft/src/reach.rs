//! Which members answer the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, Raft};
use tokio::time::Instant;

use crate::state_machine::StateMachine;
use crate::type_config::TypeConfig;

/// The other members that have answered what this leader sent them in the last `time`.
pub(crate) fn answered_within(
    raft: &Raft<TypeConfig, StateMachine>,
    time: Duration,
) -> BTreeSet<u64> {
    let metrics = raft.metrics().borrow_watched().clone();
    let answered = metrics.heartbeat.iter().flatten();
    let lately = answered.filter(|(_, at)| at.is_some_and(|at| at.elapsed() <= time));
    lately.map(|(id, _)| *id).collect()
}

/// What the leader has heard of the others. Empty on other nodes.
#[derive(Debug, Default)]
pub(crate) struct Reach(Mutex<BTreeMap<u64, Heard>>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Of a member that has never answered: when this leader began to ask.
    last: Instant,
    /// The time of that, milliseconds since the Unix epoch, once it counts as unreachable.
    unreachable_since_ms: Option<u64>,
}

/// A member that has become unreachable, or answers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    Silent { node_id: u64, silent_for: Duration },
    Back { node_id: u64 },
}

impl Reach {
    /// This node does not lead (any more).
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Takes down how long ago each of the other members has answered; `None`: it has not. `unix_ms` is
    /// the time of `now`. A member counts as unreachable after `limit`.
    pub(crate) fn update(
        &self,
        answered: &BTreeMap<u64, Option<Duration>>,
        limit: Duration,
        now: Instant,
        unix_ms: u64,
    ) -> Vec<Turned> {
        let mut turned = Vec::new();
        let mut all = self.lock();
        all.retain(|id, _| answered.contains_key(id));
        for (&node_id, ago) in answered {
            let known = all.entry(node_id).or_insert(Heard {
                last: now,
                unreachable_since_ms: None,
            });
            let last = ago.and_then(|ago| now.checked_sub(ago));
            known.last = last.map_or(known.last, |last| last.max(known.last));
            let silent_for = now.duration_since(known.last);
            match known.unreachable_since_ms {
                None if silent_for >= limit => {
                    let ms = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX);
                    known.unreachable_since_ms = Some(unix_ms.saturating_sub(ms));
                    turned.push(Turned::Silent {
                        node_id,
                        silent_for,
                    });
                }
                Some(_) if silent_for < limit => {
                    known.unreachable_since_ms = None;
                    turned.push(Turned::Back { node_id });
                }
                _ => {}
            }
        }
        turned
    }

    /// Members that count as unreachable, with the time since when, milliseconds since the Unix epoch.
    pub(crate) fn unreachable(&self) -> BTreeMap<u64, u64> {
        let all = self.lock();
        let unreachable = all
            .iter()
            .filter_map(|(id, heard)| Some((*id, heard.unreachable_since_ms?)));
        unreachable.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn member_turns_silent_once_and_back_once() {
        let reach = Reach::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let heard = |ago: Option<u64>| BTreeMap::from([(2, ago.map(Duration::from_secs))]);
        assert_eq!(reach.update(&heard(None), LIMIT, at(0), 1_000_000), []);
        let silent = Turned::Silent {
            node_id: 2,
            silent_for: LIMIT,
        };
        assert_eq!(
            reach.update(&heard(None), LIMIT, at(10), 1_010_000),
            [silent]
        );
        assert_eq!(reach.unreachable(), BTreeMap::from([(2, 1_000_000)]));
        assert_eq!(reach.update(&heard(None), LIMIT, at(11), 1_011_000), []);
        assert_eq!(
            reach.update(&heard(Some(1)), LIMIT, at(12), 1_012_000),
            [Turned::Back { node_id: 2 }]
        );
        assert_eq!(reach.update(&heard(Some(2)), LIMIT, at(13), 1_013_000), []);
        assert_eq!(reach.unreachable(), BTreeMap::new());
    }

    #[test]
    fn member_that_was_removed_is_forgotten() {
        let reach = Reach::default();
        let start = Instant::now();
        let all = BTreeMap::from([(2, None)]);
        reach.update(&all, LIMIT, start, 0);
        reach.update(&all, LIMIT, start + LIMIT, 0);
        assert_eq!(reach.unreachable().len(), 1);
        reach.update(&BTreeMap::new(), LIMIT, start + LIMIT, 0);
        assert_eq!(reach.unreachable().len(), 0);
    }
}
