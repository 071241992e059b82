//! What holds for the calls to every store.

use std::time::Duration;

use toka_measure::Counted;

/// Calls to a store, and failures as it tells them.
pub(crate) type Calls = Counted<String>;

/// Clients that commit while a leader is killed.
pub(crate) const FAILOVER_CLIENTS: u32 = 16;
/// For the first acknowledgement after that.
pub(crate) const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
