//! What a node knows of itself for metrics alone.

use std::time::Duration;

use toka_ledger::engine::Usage;

use super::{Replica, Survey};
use crate::error::FatalError;
use crate::meters::Distribution;
use crate::tally::Tally;

/// How a member is, as its leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberVital {
    /// The member.
    pub node_id: u64,
    /// How long its last answer took.
    pub round_trip: Duration,
    /// How far its clock is ahead of this node's, milliseconds.
    pub clock_offset_ms: i64,
}

impl Replica {
    /// What was counted since the node was started.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.inner.node.tally
    }

    /// What this node knows by itself, without its own state, for which the ledger would be read.
    #[must_use]
    pub fn own_report(&self) -> Survey {
        let report = self.inner.node.reporter.report();
        Survey {
            nodes: Vec::new(),
            membership: report.membership(),
            alarms: report.all_alarms(),
        }
    }

    /// How long groups of the Raft log have taken to be written and synced.
    #[must_use]
    pub fn log_syncs(&self) -> Distribution {
        self.inner.node.log.sync_distribution()
    }

    /// The members that have answered this leader lately; empty on a node that does not lead.
    #[must_use]
    pub fn member_vitals(&self) -> Vec<MemberVital> {
        let known = self.inner.node.vitals.known().into_iter();
        known
            .map(|(node_id, vital)| MemberVital {
                node_id,
                round_trip: vital.round_trip,
                clock_offset_ms: vital.offset_ms,
            })
            .collect()
    }

    /// What the engine of the ledger uses and has done. Blocks.
    ///
    /// # Errors
    /// The engine's.
    pub fn engine_usage(&self) -> Result<Usage, FatalError> {
        self.inner.node.host.usage()
    }
}
