//! Whose clock is right, and the time that commits are stamped with.
//!
//! A commit's time is its leader's, for ever, and never runs backwards: one stamp that is a year ahead would
//! stop the vault's time for a year. So a leader stamps nothing in a term before it has compared its clock
//! with those of a quorum, and nothing after its clock has jumped ahead, until it has compared again.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::seam::Clock;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::error::CommitError;
use crate::type_config::Leader;

/// What a clock may be away from the median of the voters', milliseconds.
pub(crate) const CLOCK_TOLERANCE_MS: u64 = 1_000;
/// Longest wait for clocks to be compared.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It has to be compared.
    Unknown,
    /// In this term it was not ahead since this reading, or what it was set to since would have shown.
    Right { term: u64, since: Reading },
    /// In this term it was ahead of the median.
    Ahead { term: u64, by_ms: u64 },
}

/// What this node's clock said, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    unix_ms: u64,
    at: Instant,
}

/// The clock that a leader stamps commits with. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StampClock {
    clock: Arc<dyn Clock>,
    trust: Arc<watch::Sender<Trust>>,
    /// Somebody waits for a comparison.
    pub(crate) wanted: Arc<Notify>,
}

impl StampClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            trust: Arc::new(watch::Sender::new(Trust::Unknown)),
            wanted: Arc::default(),
        }
    }

    /// What it says, right or wrong.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    /// What it says now.
    pub(crate) fn read(&self) -> Reading {
        Reading {
            unix_ms: self.clock.unix_ms(),
            at: Instant::now(),
        }
    }

    /// The time for a commit in the term of `leader`, which is this node and leads according to `leaders`,
    /// milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`CommitError::Clock`] if it is ahead, or could not be compared in time; [`CommitError::NotLeader`] if
    /// another term has begun before it was.
    pub(crate) async fn stamp(
        &self,
        leader: &Leader,
        mut leaders: watch::Receiver<Option<Leader>>,
    ) -> Result<u64, CommitError> {
        let deadline = Instant::now() + COMPARE_TIMEOUT;
        let mut trust = self.trust.subscribe();
        loop {
            let known = *trust.borrow_and_update();
            match known {
                Trust::Right { term, since } if term == leader.term => {
                    let now = self.clock.unix_ms();
                    let expected = expected_ms(since);
                    if now <= expected.saturating_add(CLOCK_TOLERANCE_MS) {
                        return Ok(now);
                    }
                    tracing::warn!(
                        by_ms = now - expected,
                        "the clock has jumped ahead; it is compared again before the next commit"
                    );
                    self.trust.send_if_modified(|trust| {
                        let is_that = *trust == known;
                        if is_that {
                            *trust = Trust::Unknown;
                        }
                        is_that
                    });
                    continue;
                }
                Trust::Ahead { term, by_ms } if term == leader.term => {
                    return Err(CommitError::Clock { ahead_ms: by_ms });
                }
                _ => {}
            }
            self.wanted.notify_one();
            let deposed = leaders.wait_for(|now| {
                now.as_ref()
                    .is_none_or(|now| (now.node_id, now.term) != (leader.node_id, leader.term))
            });
            tokio::select! {
                // Never an error: the sender is here.
                _ = trust.changed() => {}
                now = deposed => return Err(match now {
                    Ok(now) => CommitError::NotLeader { leader: now.clone() },
                    Err(_) => CommitError::Stopped,
                }),
                () = sleep_until(deadline) => return Err(CommitError::Clock { ahead_ms: 0 }),
            }
        }
    }

    /// What [`StampClock::stamp`] gives in `term` without a wait; `None` where that has more to do.
    pub(crate) fn stamp_at_once(&self, term: u64) -> Option<u64> {
        let Trust::Right { term: of, since } = *self.trust.borrow() else {
            return None;
        };
        let now = self.clock.unix_ms();
        let is_right = now <= expected_ms(since).saturating_add(CLOCK_TOLERANCE_MS);
        (of == term && is_right).then_some(now)
    }

    /// It was compared in `term`, and was not ahead. `since` was read before anybody was asked: whatever it
    /// is set to from then on shows in an answer, or as a jump away from `since`.
    pub(crate) fn trust(&self, term: u64, since: Reading) {
        self.trust.send_replace(Trust::Right { term, since });
    }

    /// It was compared in `term`, and was ahead.
    pub(crate) fn distrust(&self, term: u64, by_ms: u64) {
        self.trust.send_replace(Trust::Ahead { term, by_ms });
    }
}

/// What a clock says now that was right at `since` and was not set, milliseconds since the Unix epoch.
fn expected_ms(since: Reading) -> u64 {
    let elapsed = since.at.elapsed().as_millis();
    let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
    since.unix_ms.saturating_add(elapsed)
}

/// How far a peer's clock is ahead of this node's, milliseconds, if it said `theirs` between `asked` and
/// `answered` of this node's: within half of a round trip.
pub(crate) fn offset_ms(theirs: u64, asked: u64, answered: u64) -> i64 {
    let ours = asked / 2 + answered / 2;
    let offset = i128::from(theirs) - i128::from(ours);
    let clamped = offset.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(clamped).expect("clamped")
}

/// The median of clocks, as the distance from this node's, milliseconds. Of an even number the lower one:
/// where nobody can tell which half is right, a leader is rather not trusted.
pub(crate) fn median(mut offsets: Vec<i64>) -> Option<i64> {
    offsets.sort_unstable();
    offsets.get(offsets.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::FutureExt;

    use super::*;
    use crate::type_config::Member;

    #[derive(Debug)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn unix_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

    fn leader(term: u64) -> Leader {
        Leader {
            node_id: 1,
            member: Arc::new(Member::default()),
            term,
        }
    }

    /// A stamp for a commit of this node, which leads in `term`.
    async fn stamp(clock: &StampClock, term: u64) -> Result<u64, CommitError> {
        let leads = watch::Sender::new(Some(leader(term)));
        clock.stamp(&leader(term), leads.subscribe()).await
    }

    #[tokio::test]
    async fn nothing_is_stamped_before_clocks_are_compared_in_the_term() {
        let clock = StampClock::new(Arc::new(Hands(AtomicU64::new(5_000))));
        assert!(stamp(&clock, 2).now_or_never().is_none());
        assert_eq!(clock.stamp_at_once(2), None);
        clock.trust(2, clock.read());
        assert_eq!(stamp(&clock, 2).await, Ok(5_000));
        assert_eq!(clock.stamp_at_once(2), Some(5_000));
        assert_eq!(clock.stamp_at_once(3), None);
        assert!(stamp(&clock, 3).now_or_never().is_none());
        clock.distrust(3, 7);
        let ahead = Err(CommitError::Clock { ahead_ms: 7 });
        assert_eq!(stamp(&clock, 3).await, ahead);
    }

    #[tokio::test]
    async fn who_waits_for_a_comparison_learns_of_another_leader() {
        let clock = StampClock::new(Arc::new(Hands(AtomicU64::new(5_000))));
        let leads = watch::Sender::new(Some(leader(2)));
        let this = leader(2);
        let mut stamp = Box::pin(clock.stamp(&this, leads.subscribe()));
        assert!((&mut stamp).now_or_never().is_none());
        let next = Some(leader(3));
        leads.send_replace(next.clone());
        assert_eq!(stamp.await, Err(CommitError::NotLeader { leader: next }));
    }

    /// A member that does not answer makes a round long.
    #[tokio::test]
    async fn jump_while_clocks_are_compared_is_not_trusted() {
        let hands = Arc::new(Hands(AtomicU64::new(5_000)));
        let clock = StampClock::new(Arc::clone(&hands) as Arc<dyn Clock>);
        let before = clock.read();
        hands.0.store(5_000 + YEAR_MS, Ordering::Relaxed);
        clock.trust(1, before);
        assert!(stamp(&clock, 1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn clock_that_jumps_ahead_is_compared_before_the_next_stamp() {
        let hands = Arc::new(Hands(AtomicU64::new(5_000)));
        let clock = StampClock::new(Arc::clone(&hands) as Arc<dyn Clock>);
        clock.trust(1, clock.read());
        hands.0.store(5_000 + YEAR_MS, Ordering::Relaxed);
        let stamping = clock.clone();
        let stamping = tokio::spawn(async move { stamp(&stamping, 1).await });
        clock.wanted.notified().await;
        clock.distrust(1, YEAR_MS);
        let ahead = Err(CommitError::Clock { ahead_ms: YEAR_MS });
        assert_eq!(stamping.await.expect("no panic"), ahead);
        // Backwards is harmless: the vault's time stands still meanwhile.
        clock.trust(1, clock.read());
        hands.0.store(10, Ordering::Relaxed);
        assert_eq!(stamp(&clock, 1).await, Ok(10));
    }

    #[test]
    fn offsets_are_measured_from_the_middle_of_the_round_trip() {
        assert_eq!(offset_ms(1_100, 1_000, 1_200), 0);
        assert_eq!(offset_ms(600, 1_000, 1_200), -500);
        assert_eq!(offset_ms(u64::MAX, 0, 0), i64::MAX);
    }

    #[test]
    fn median_of_an_even_number_is_the_lower_one() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![0]), Some(0));
        assert_eq!(median(vec![0, -9]), Some(-9));
        assert_eq!(median(vec![0, 9, -9]), Some(0));
        assert_eq!(median(vec![0, 9, -9, 1]), Some(0));
    }
}
