//! Whether, where and when a failed call is tried again.

use std::error::Error as _;
use std::sync::Arc;

use toka_ledger::seam::Entropy;
use toka_proto::convert::metadata::{self, Leader};
use toka_proto::convert::status::{self, Detail, Failure};
use tokio::time::Duration;
use tonic::{Code, Status};

use crate::config::Config;

/// What follows from a failed try.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The call itself is refused: no node would do otherwise.
    Final,
    /// Another node leads; this one.
    Leader(Option<Leader>),
    /// The node did not answer.
    Unreachable,
    /// The node answered and cannot serve now; another one may.
    Elsewhere,
    /// The node's own data or disk has failed; another one may serve.
    Broken,
    /// The same node will do, a little later.
    Later(Duration),
}

/// Reads a failed try.
pub(crate) fn judge(status: &Status) -> (Verdict, Failure) {
    let failure = status::parse(status);
    let verdict = match (&failure.detail, failure.code) {
        (Some(Detail::NotLeader { leader }), _) => Verdict::Leader(
            leader
                .clone()
                .or_else(|| metadata::leader(status.metadata())),
        ),
        (Some(Detail::Overloaded | Detail::ChangeInProgress), _) => {
            Verdict::Later(failure.retry_after.unwrap_or(Duration::ZERO))
        }
        (Some(Detail::DataDamaged | Detail::StorageFailed), _) => Verdict::Broken,
        (
            Some(
                Detail::NoLeader
                | Detail::NotCreated
                | Detail::NodeBehind { .. }
                | Detail::Stopping,
            ),
            _,
        ) => Verdict::Elsewhere,
        (Some(_), _) => Verdict::Final,
        // Made by this side: the connection could not be made, or broke.
        (None, _) if status.source().is_some() => Verdict::Unreachable,
        (None, Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) => {
            Verdict::Unreachable
        }
        (None, _) => Verdict::Final,
    };
    (verdict, failure)
}

/// Growing, jittered waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    entropy: Arc<dyn Entropy>,
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(config: &Config, entropy: &Arc<dyn Entropy>) -> Self {
        Self {
            entropy: Arc::clone(entropy),
            next: config.backoff_min,
            min: config.backoff_min,
            max: config.backoff_max,
        }
    }

    /// The next wait: between half of the current step and all of it, but not less than `at_least`.
    pub(crate) fn wait(&mut self, at_least: Duration) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        let base = at_least.max(step / 2);
        base + (step / 2).mul_f64(self.fraction())
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    /// In 0.0 .. 1.0.
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0
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

    fn waits(entropy: u8) -> Vec<u128> {
        let config = Config {
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            ..Config::default()
        };
        let entropy: Arc<dyn Entropy> = Arc::new(Constant(entropy));
        let mut backoff = Backoff::new(&config, &entropy);
        (0..5)
            .map(|_| backoff.wait(Duration::ZERO).as_millis())
            .collect()
    }

    #[test]
    fn waits_grow_to_the_limit() {
        assert_eq!(waits(0), [10, 20, 40, 50, 50]);
        assert_eq!(waits(255), [20, 40, 80, 100, 100]);
    }

    #[test]
    fn wait_is_not_shorter_than_the_node_asks() {
        let entropy: Arc<dyn Entropy> = Arc::new(Constant(0));
        let mut backoff = Backoff::new(&Config::default(), &entropy);
        let asked = Duration::from_millis(700);
        assert_eq!(backoff.wait(asked), asked);
    }

    #[test]
    fn failures_are_told_apart() {
        let verdict = |status| judge(&status).0;
        assert!(matches!(
            verdict(Status::unavailable("")),
            Verdict::Unreachable
        ));
        assert!(matches!(verdict(Status::internal("")), Verdict::Final));
        assert!(matches!(verdict(status::stopping()), Verdict::Elsewhere));
        assert!(matches!(
            verdict(status::not_leader(None)),
            Verdict::Leader(None)
        ));
        assert!(matches!(
            verdict(status::event_not_found("x")),
            Verdict::Final
        ));
        assert!(matches!(
            verdict(status::overloaded(Duration::from_millis(7))),
            Verdict::Later(wait) if wait == Duration::from_millis(7)
        ));
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert!(matches!(verdict(broken), Verdict::Unreachable));
    }
}
