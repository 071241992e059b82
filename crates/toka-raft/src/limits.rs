//! Limits of a cluster.

/// Voters of a cluster. More make every commit slower and hardly add safety.
pub const VOTERS_MAX: usize = 7;
/// Learners of a cluster: read replicas, and nodes that are to become voters.
pub const LEARNERS_MAX: usize = 16;
