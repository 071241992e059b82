//! What happens to a cluster on purpose while there are faults.

use super::fault::Kind;

/// A change that an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// None.
    Nothing,
    /// All nodes are restarted, one after the other, each once the one before is ready.
    RollingRestart,
    /// A node is killed and replaced by a new one.
    Replace,
    /// A new node joins.
    Add,
    /// A node is removed.
    Remove,
    /// Tokens are made, rotated and revoked, and roles put and deleted.
    Credentials,
}

impl Errand {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Nothing,
        Self::RollingRestart,
        Self::Replace,
        Self::Add,
        Self::Remove,
        Self::Credentials,
    ];

    /// Whether it changes who the members are. It is begun under faults, with a majority or without, and is done some
    /// time after they are over at the latest.
    pub(super) const fn changes_members(self) -> bool {
        matches!(self, Self::Replace | Self::Add | Self::Remove)
    }

    /// Whether there may be such a fault meanwhile.
    pub(super) const fn bears(self, kind: Kind) -> bool {
        match self {
            Self::Nothing | Self::Credentials => true,
            // Each node has to get ready while the others are at work.
            Self::RollingRestart => matches!(
                kind,
                Kind::Loss | Kind::Delay | Kind::Clock | Kind::Clients | Kind::ClientsOneWay
            ),
            // Who has been killed or has no room cannot be told from who has been removed.
            Self::Replace | Self::Add | Self::Remove => !kind.is_heavy(),
        }
    }
}
