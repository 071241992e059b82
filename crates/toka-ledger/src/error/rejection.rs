//! Why a command was not applied.

use super::{Invalid, ParentName, extent};
use crate::core::credentials::TokenId;
use crate::core::{CursorName, EventId, GroupName, IntentId, Kind, RoleName};

/// A precondition that did not hold, with the actual state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The parent has a child of that kind.
    #[error("{parent} already has a child of kind {kind}: {child}")]
    HasChild {
        /// The parent.
        parent: EventId,
        /// The kind.
        kind: Kind,
        /// The first such child.
        child: EventId,
    },
    /// The kind's last event is another one.
    #[error("the last event of kind {kind} is at sequence {actual}, not {expected}")]
    KindSequence {
        /// The kind.
        kind: Kind,
        /// What the precondition said; 0 for none.
        expected: u64,
        /// What is; 0 for none.
        actual: u64,
    },
    /// It is too early.
    #[error("the vault's time is {actual} ms, before {expected} ms")]
    TooEarly {
        /// What the precondition said, milliseconds since the Unix epoch.
        expected: u64,
        /// The vault's time.
        actual: u64,
    },
    /// The cursor is elsewhere.
    #[error("cursor {name} is at {actual}, not {expected}")]
    Cursor {
        /// The cursor.
        name: CursorName,
        /// What the precondition said.
        expected: u64,
        /// Where it is; 0 if there is none.
        actual: u64,
    },
    /// The last event with a kind prefix is another one.
    #[error(
        "the last event whose kind starts with {prefix:?} is at sequence {actual}, not {expected}"
    )]
    KindPrefixSequence {
        /// The prefix.
        prefix: String,
        /// What the precondition said; 0 for none.
        expected: u64,
        /// What is; 0 for none.
        actual: u64,
    },
    /// More kinds start with the prefix than are looked through: it is not known which is the last event.
    #[error("more than {max} kinds start with {prefix:?}")]
    PrefixTooWide {
        /// The prefix.
        prefix: String,
        /// How many there may be.
        max: u64,
    },
    /// The precondition names an event that the vault does not have. Below feature level 2 this is a
    /// [`Rejection::UnknownPreconditionParent`].
    #[error("precondition {precondition} names an event that is not in the vault: {parent}")]
    UnknownEvent {
        /// Index in the list of preconditions.
        precondition: usize,
        /// The event as it was named.
        parent: ParentName,
    },
    /// A delivery is not, or no longer, the event's current one.
    #[error(
        "delivery {delivery} of event {sequence} to group {group} is not current: {}",
        actual.map_or_else(
            || "no consumer has the event, or there is no such group".to_owned(),
            |actual| format!("it is {actual}")
        )
    )]
    Delivery {
        /// The group.
        group: GroupName,
        /// The event.
        sequence: u64,
        /// What the precondition said.
        delivery: u32,
        /// The delivery that a consumer has; absent: none has the event, or there is no such group.
        actual: Option<u32>,
    },
}

/// Why there cannot be another group of that name, where it was not said in full.
const GROUP_EXISTS: &str = "with other settings, or one that is being deleted";

/// Why a commit was not applied. A replicated result, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A parent that the vault does not have.
    #[error("event {event} of the commit names a parent that is not in the vault: {parent}")]
    UnknownParent {
        /// Index in the commit.
        event: usize,
        /// The parent as it was named.
        parent: ParentName,
    },
    /// A precondition names a parent that the vault, which is below feature level 2, does not have. Above it is one
    /// of the violations ([`Violation::UnknownEvent`]).
    #[error("precondition {precondition} names an event that is not in the vault: {parent}")]
    UnknownPreconditionParent {
        /// Index in the list of preconditions.
        precondition: usize,
        /// The parent as it was named.
        parent: ParentName,
    },
    /// An input that the vault's settings do not admit.
    #[error("event {event} of the commit: {invalid}")]
    Invalid {
        /// Index in the commit.
        event: usize,
        /// What is wrong.
        invalid: Invalid,
    },
    /// Preconditions that did not hold, all of them.
    #[error("preconditions failed: {}", join(violations))]
    Preconditions {
        /// Each with the actual state.
        violations: Vec<Violation>,
    },
    /// An intent that the vault does not have.
    #[error("there is no intent {intent}")]
    UnknownIntent {
        /// The intent as it was named.
        intent: IntentId,
    },
    /// The vault has as many cursors as it may have.
    #[error("the vault has {max} cursors; it may not have more")]
    CursorsFull {
        /// How many there may be.
        max: u64,
    },
    /// A cursor that the vault does not have.
    #[error("there is no cursor {name}")]
    UnknownCursor {
        /// The cursor.
        name: CursorName,
    },
    /// A consumer group that the vault does not have, or does not have any more: one that was made later with the
    /// same name is another group.
    #[error("there is no group {name}, or it is another one by now")]
    UnknownGroup {
        /// The group.
        name: GroupName,
    },
    /// A group of that name that has other settings, or is being deleted.
    #[error("there is a group {name} {}", reason.as_deref().unwrap_or(GROUP_EXISTS))]
    GroupExists {
        /// The group.
        name: GroupName,
        /// What is in the way, to follow the group's name: the settings that differ, with those that there are and those
        /// that were wanted, or that it is being deleted. `None`: a node of an older build has not said.
        reason: Option<String>,
    },
    /// The vault has as many consumer groups as it may have.
    #[error("the vault has {max} groups; it may not have more")]
    GroupsFull {
        /// How many there may be.
        max: u64,
    },
    /// The group's position is not the one that a delivery was planned for: plan it again.
    #[error("group {name} is at {actual}, not {expected}")]
    GroupMoved {
        /// The group.
        name: GroupName,
        /// Where the command said that it is.
        expected: u64,
        /// Where it is.
        actual: u64,
    },
    /// A position that the vault has not reached.
    #[error("position {position} is not in the vault, which {}", extent(1, *last))]
    PositionAhead {
        /// What was asked for.
        position: u64,
        /// The last event's sequence.
        last: u64,
    },
    /// A token that the vault does not have.
    #[error("there is no token {id}")]
    UnknownToken {
        /// The token.
        id: TokenId,
    },
    /// There is a token of that name already.
    #[error("there is a token {id} already")]
    TokenExists {
        /// The token.
        id: TokenId,
    },
    /// The token counts for nothing any more: it cannot be rotated.
    #[error("token {id} was revoked or has expired")]
    TokenEnded {
        /// The token.
        id: TokenId,
    },
    /// The token would have expired when it was made.
    #[error("expires_unix_ms is {expires_unix_ms}, and the vault's time is {unix_ms} already")]
    TokenExpiry {
        /// When it was to expire, milliseconds since the Unix epoch.
        expires_unix_ms: u64,
        /// The vault's time.
        unix_ms: u64,
    },
    /// The vault has as many tokens as it may have, all of which count.
    #[error("the vault has {max} tokens that are valid; it may not have more")]
    TokensFull {
        /// How many there may be.
        max: usize,
    },
    /// A token by which the vault can be administered was to be made only if there is none.
    #[error("there is a token with which the vault can be administered")]
    AdminExists,
    /// A role that the vault does not have.
    #[error("there is no role {name}")]
    UnknownRole {
        /// The role.
        name: RoleName,
    },
    /// A role that tokens have which still count.
    #[error("role {name} is that of {tokens} valid tokens: revoke them first")]
    RoleInUse {
        /// The role.
        name: RoleName,
        /// How many tokens have it.
        tokens: u64,
    },
    /// The vault has as many roles as it may have.
    #[error("the vault has {max} roles; it may not have more")]
    RolesFull {
        /// How many there may be.
        max: usize,
    },
    /// All 2^42 sequences are used.
    #[error("the vault is full: sequence 2^42 is reached")]
    Full,
    /// The vault's first command has not been applied yet.
    #[error("the vault has not been created yet")]
    NotCreated,
    /// A second creation.
    #[error("the vault has been created already")]
    AlreadyCreated,
    /// A command of a newer version than this vault's feature level.
    #[error("the command needs feature level {needed}; the vault is at {level}")]
    FeatureLevel {
        /// Needed by the command.
        needed: u32,
        /// The vault's.
        level: u32,
    },
}

fn join(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
