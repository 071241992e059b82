//! What one principal may use of a node.

/// Bounds for one principal, on each node by itself; absent: the node's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// Calls in a second; a message of a commit stream counts as one.
    pub requests_per_second: Option<u32>,
    /// Bytes of messages received from it and sent to it in a second.
    pub bytes_per_second: Option<u64>,
    /// Subscriptions open at once.
    pub subscriptions: Option<u32>,
}

impl Limits {
    /// These, and where one is absent, that of `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(defaults.requests_per_second),
            bytes_per_second: self.bytes_per_second.or(defaults.bytes_per_second),
            subscriptions: self.subscriptions.or(defaults.subscriptions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_limit_wins_over_the_default() {
        let own = Limits {
            subscriptions: Some(1),
            ..Limits::default()
        };
        let defaults = Limits {
            subscriptions: Some(9),
            requests_per_second: Some(5),
            bytes_per_second: None,
        };
        assert_eq!(
            own.or(defaults),
            Limits {
                subscriptions: Some(1),
                requests_per_second: Some(5),
                bytes_per_second: None,
            }
        );
    }
}
