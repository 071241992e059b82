//! Principals, and addresses, that have come to one of their limits.

use std::sync::Arc;
use std::time::Duration;

use toka_proto::convert::status;
use toka_raft::meters::Counter;
use tonic::Status;

/// What is limited of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// Calls in a second.
    Requests,
    /// Bytes in a second.
    Bytes,
    /// Subscriptions that are open.
    Subscriptions,
    /// Calls that are open.
    OpenCalls,
    /// Credentials that are not good, from one address in a second.
    FailedAuthentications,
}

impl Limited {
    const ALL: [Self; 5] = [
        Self::Requests,
        Self::Bytes,
        Self::Subscriptions,
        Self::OpenCalls,
        Self::FailedAuthentications,
    ];

    /// Value of a label: the setting's name without `principal_`.
    fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_second",
            Self::Bytes => "bytes_per_second",
            Self::Subscriptions => "subscriptions",
            Self::OpenCalls => "open_calls",
            Self::FailedAuthentications => "failed_authentications_per_second",
        }
    }

    /// For callers.
    fn subject(self) -> &'static str {
        match self {
            Self::Requests => "requests in a second",
            Self::Bytes => "bytes in a second",
            Self::Subscriptions => "open subscriptions",
            Self::OpenCalls => "open calls",
            Self::FailedAuthentications => "failed authentications from its address in a second",
        }
    }
}

/// How many calls were refused since the node was started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttled(Arc<[Counter; Limited::ALL.len()]>);

impl Throttled {
    /// RESOURCE_EXHAUSTED, which says to come back after `wait`; counted.
    pub(super) fn refuse(&self, limited: Limited, wait: Duration) -> Status {
        self.0[limited as usize].increment();
        status::throttled(limited.subject(), wait)
    }

    /// How many, at each limit.
    pub(crate) fn by_limit(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = Limited::ALL.into_iter().map(Limited::label);
        labels.zip(self.0.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_limit() {
        let throttled = Throttled::default();
        for limited in Limited::ALL {
            for _ in 0..=limited as usize {
                throttled.refuse(limited, Duration::from_secs(1));
            }
        }
        let counts: Vec<_> = throttled.by_limit().collect();
        let expected = [
            ("requests_per_second", 1),
            ("bytes_per_second", 2),
            ("subscriptions", 3),
            ("open_calls", 4),
            ("failed_authentications_per_second", 5),
        ];
        assert_eq!(counts, expected);
    }
}
