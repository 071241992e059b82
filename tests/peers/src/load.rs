//! What is done to each store.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// A load. An *event* has 256 bytes of payload and an embedding of 768 dimensions, which the peers get as one value
/// of 3.3 KB; a *small* event has the payload alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// Events, one client, a call each.
    Unary1,
    /// Events, 64 clients, a call each.
    Unary64,
    /// Events, 512 clients, a call each.
    Unary512,
    /// The same at half the rate that it came to.
    HalfRate,
    /// Events, 512 on their way at once.
    Stream512,
    /// Gets of events by id, 64 clients, from what the node has.
    Get64,
    /// The same, 100 events with a call.
    BatchGet64,
    /// Linearizable gets from a follower, 64 clients.
    FollowerGet64,
    /// Calls of a service that does nothing, 64 clients.
    EmptyCalls64,
    /// Ten subscribers, while events are committed as fast as it goes.
    Subscribe10,
    /// The same at 300 events a second.
    SubscribePaced10,
    /// Small events, 512 clients, a call each.
    SmallUnary512,
    /// Small events, 512 on their way at once.
    SmallStream512,
    /// The leader is killed.
    Failover,
}

impl Load {
    /// In the order in which they are run.
    pub(crate) const ALL: [Self; 14] = [
        Self::Unary1,
        Self::Unary64,
        Self::Unary512,
        Self::HalfRate,
        Self::Stream512,
        Self::Get64,
        Self::BatchGet64,
        Self::FollowerGet64,
        Self::EmptyCalls64,
        Self::Subscribe10,
        Self::SubscribePaced10,
        Self::SmallUnary512,
        Self::SmallStream512,
        Self::Failover,
    ];

    /// Whether it is run in a cluster of small events.
    pub(crate) const fn is_small(self) -> bool {
        matches!(
            self,
            Self::SmallUnary512 | Self::SmallStream512 | Self::Failover
        )
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unary1 => "events, unary, 1 client",
            Self::Unary64 => "events, unary, 64",
            Self::Unary512 => "events, unary, 512",
            Self::HalfRate => "events, unary, half rate",
            Self::Stream512 => "events, stream, 512",
            Self::Get64 => "get, local, 64",
            Self::BatchGet64 => "get 100 at once, local, 64",
            Self::FollowerGet64 => "get, linearizable, follower, 64",
            Self::EmptyCalls64 => "empty calls, 64",
            Self::Subscribe10 => "deliveries to 10",
            Self::SubscribePaced10 => "deliveries to 10, 300 events/s",
            Self::SmallUnary512 => "small, unary, 512",
            Self::SmallStream512 => "small, stream, 512",
            Self::Failover => "leader killed",
        })
    }
}
