//! What becomes of commands.

use std::sync::Arc;

use crate::core::EventHeader;
use crate::core::credentials::{Role, StoredToken};
use crate::core::groups::{Delivery, Group, SettleOutcome};
use crate::error::Rejection;
use crate::intent::IntentId;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The commit was applied, or had been before.
    Committed {
        /// Commands applied, this one included.
        revision: u64,
        /// One per event of the commit, in its order.
        headers: Vec<Arc<EventHeader>>,
    },
    /// The vault was created.
    Created {
        /// Commands applied, this one included.
        revision: u64,
    },
    /// An intent was labelled.
    Labelled {
        /// Commands applied, this one included.
        revision: u64,
        /// The intent; the successor of one that was retired.
        intent: IntentId,
    },
    /// The feature level was raised, or had been before.
    Raised {
        /// Commands applied, this one included.
        revision: u64,
        /// The vault's level.
        level: u32,
    },
    /// A cursor is where it was to be put.
    CursorSaved {
        /// Commands applied, this one included.
        revision: u64,
        /// Where it is.
        position: u64,
    },
    /// A cursor was deleted.
    CursorDeleted {
        /// Commands applied, this one included.
        revision: u64,
    },
    /// A consumer group was created, or there was one of that name with the same settings.
    GroupCreated {
        /// Commands applied, this one included.
        revision: u64,
        /// The group as it is.
        group: Group,
    },
    /// A consumer group was deleted, or as much of it as one command deletes.
    GroupDeleted {
        /// Commands applied, this one included.
        revision: u64,
        /// Outstanding and parked events that are left of it; 0: it is gone.
        rows_left: u64,
    },
    /// A consumer group has the settings that it was to have.
    GroupUpdated {
        /// Commands applied, this one included.
        revision: u64,
        /// The group as it is.
        group: Group,
    },
    /// Events were leased to a consumer; perhaps fewer than were named.
    Delivered {
        /// Commands applied, this one included.
        revision: u64,
        /// The events, ascending.
        deliveries: Vec<Delivery>,
        /// Events that had had all their deliveries, and were parked instead.
        parked: u32,
    },
    /// Deliveries were settled.
    Settled {
        /// Commands applied, this one included.
        revision: u64,
        /// One per settlement, in their order.
        outcomes: Vec<SettleOutcome>,
    },
    /// Parked events were replayed or discarded.
    ParkedMoved {
        /// Commands applied, this one included.
        revision: u64,
        /// How many.
        moved: u32,
    },
    /// A token was created, or one was rotated to it.
    TokenCreated {
        /// Commands applied, this one included.
        revision: u64,
        /// The token.
        token: Arc<StoredToken>,
    },
    /// A token is revoked, by this command or an earlier one.
    TokenRevoked {
        /// Commands applied, this one included.
        revision: u64,
        /// The token.
        token: Arc<StoredToken>,
    },
    /// A role is as it was to be.
    RolePut {
        /// Commands applied, this one included.
        revision: u64,
        /// The role.
        role: Arc<Role>,
    },
    /// A role was deleted.
    RoleDeleted {
        /// Commands applied, this one included.
        revision: u64,
    },
    /// Records were added to the audit.
    Audited {
        /// Commands applied, this one included.
        revision: u64,
        /// How many.
        events: u32,
    },
    /// The command was refused; nothing but the revision and the time changed.
    Rejected {
        /// Commands applied, this one included.
        revision: u64,
        /// Why.
        rejection: Rejection,
    },
}
