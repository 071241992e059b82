//! How often, and when, something is tried again.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::seam::Entropy;

/// A bound on tries, and the waits between them: each twice as long as the one before, up to a longest one, and
/// shortened at random by up to a half, so that those who have failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub attempts: u32,
    /// The first wait.
    pub wait_min: Duration,
    /// The longest wait.
    pub wait_max: Duration,
}

impl RetryPolicy {
    /// For handlers: five tries within some seconds.
    pub const HANDLER: Self = Self {
        attempts: 5,
        wait_min: Duration::from_millis(100),
        wait_max: Duration::from_secs(5),
    };
    /// For calls to the vault. The client of a cluster has tried for its own deadline before each of them fails.
    pub const STORE: Self = Self {
        attempts: 10,
        wait_min: Duration::from_millis(50),
        wait_max: Duration::from_secs(5),
    };
}

/// The tries of one thing.
#[derive(Clone, Debug)]
pub(crate) struct Tries {
    policy: RetryPolicy,
    entropy: Arc<dyn Entropy>,
    made: u32,
}

impl Tries {
    pub(crate) fn new(policy: RetryPolicy, entropy: &Arc<dyn Entropy>) -> Self {
        Self {
            policy,
            entropy: Arc::clone(entropy),
            made: 0,
        }
    }

    /// How many have failed.
    pub(crate) const fn made(&self) -> u32 {
        self.made
    }

    /// One has failed. How long to wait for the next one; `None`: it was the last.
    pub(crate) fn failed(&mut self) -> Option<Duration> {
        self.made = self.made.saturating_add(1);
        if self.made >= self.policy.attempts {
            return None;
        }
        let doublings = (self.made - 1).min(16);
        let step = self.policy.wait_min.saturating_mul(1 << doublings);
        let step = step.min(self.policy.wait_max);
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        let share = f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0;
        Some(step / 2 + (step / 2).mul_f64(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    fn waits(byte: u8) -> Vec<u128> {
        let policy = RetryPolicy {
            attempts: 5,
            wait_min: Duration::from_millis(20),
            wait_max: Duration::from_millis(100),
        };
        let entropy: Arc<dyn Entropy> = Arc::new(Constant(byte));
        let mut tries = Tries::new(policy, &entropy);
        std::iter::from_fn(|| tries.failed().map(|wait| wait.as_millis())).collect()
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_last_try() {
        assert_eq!(waits(0), [10, 20, 40, 50]);
        assert_eq!(waits(255), [20, 40, 80, 100]);
    }
}
