//! When a unit that has ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::unit::Failure;

/// Whether a unit that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    Never,
    /// If it has failed, and may do better.
    #[default]
    OnFailure,
    /// Also if it has ended by itself.
    Always,
}

/// When a unit that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether it is.
    pub restart: Restart,
    /// The first wait; each further one within the window is twice as long as the one before.
    pub wait_min: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// Restarts within the window at most; one more failure is the last.
    pub restarts_max: u32,
    /// What counts as the recent past.
    pub window: Duration,
}

impl Default for Policy {
    /// On failure, after 200 ms to 30 s, ten times within five minutes.
    fn default() -> Self {
        Self {
            restart: Restart::OnFailure,
            wait_min: Duration::from_millis(200),
            wait_max: Duration::from_secs(30),
            restarts_max: 10,
            window: Duration::from_secs(300),
        }
    }
}

/// The restarts of one unit.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: Policy,
    /// When those within the window were, at most `restarts_max`.
    recent: VecDeque<Instant>,
}

impl Restarts {
    pub(super) const fn new(policy: Policy) -> Self {
        Self {
            policy,
            recent: VecDeque::new(),
        }
    }

    /// The unit has ended. How long to wait before it is started again; `None`: it is not.
    pub(super) fn after(&mut self, failure: Option<&Failure>, now: Instant) -> Option<Duration> {
        let is_wanted = match (self.policy.restart, failure) {
            (Restart::Never, _) | (Restart::OnFailure, None) => false,
            (Restart::OnFailure | Restart::Always, Some(failure)) => failure.is_retryable(),
            (Restart::Always, None) => true,
        };
        if !is_wanted {
            return None;
        }
        let window = self.policy.window;
        while let Some(&oldest) = self.recent.front()
            && now.duration_since(oldest) > window
        {
            self.recent.pop_front();
        }
        let made = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if made >= self.policy.restarts_max {
            return None;
        }
        self.recent.push_back(now);
        let wait = self.policy.wait_min.saturating_mul(1 << made.min(16));
        Some(wait.min(self.policy.wait_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        restart: Restart::OnFailure,
        wait_min: Duration::from_millis(10),
        wait_max: Duration::from_millis(35),
        restarts_max: 4,
        window: Duration::from_secs(1),
    };

    fn waits(policy: Policy, failure: Option<&Failure>, after: &[u64]) -> Vec<Option<u128>> {
        let (mut restarts, begin) = (Restarts::new(policy), Instant::now());
        let waits = after.iter().map(|&ms| {
            let wait = restarts.after(failure, begin + Duration::from_millis(ms));
            wait.map(|wait| wait.as_millis())
        });
        waits.collect()
    }

    #[test]
    fn waits_double_until_there_were_too_many_within_the_window() {
        let failure = Failure::transient("no");
        let found = waits(POLICY, Some(&failure), &[0, 0, 0, 0, 0]);
        assert_eq!(found, [Some(10), Some(20), Some(35), Some(35), None]);
    }

    #[test]
    fn restarts_of_long_ago_do_not_count() {
        let failure = Failure::transient("no");
        let found = waits(POLICY, Some(&failure), &[0, 0, 0, 0, 1_500]);
        assert_eq!(found[4], Some(10));
    }

    #[test]
    fn policy_says_which_ends_are_followed_by_a_start() {
        let (transient, permanent) = (Failure::transient("no"), Failure::permanent("never"));
        let is_started = |restart, failure| {
            let policy = Policy { restart, ..POLICY };
            waits(policy, failure, &[0])[0].is_some()
        };
        let ends = [None, Some(&transient), Some(&permanent)];
        assert_eq!(ends.map(|end| is_started(Restart::Never, end)), [false; 3]);
        let on_failure = ends.map(|end| is_started(Restart::OnFailure, end));
        assert_eq!(on_failure, [false, true, false]);
        let always = ends.map(|end| is_started(Restart::Always, end));
        assert_eq!(always, [true, true, false]);
    }
}
