//! Every bound of an event and of a commit, named.

/// Payload of one event, bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Kind, bytes of UTF-8.
pub const KIND_BYTES_MAX: usize = 255;
/// Parents of one event.
pub const PARENTS_MAX: usize = 64;
/// Dimensions of an embedding.
pub const DIMENSIONS_MAX: usize = 4096;
/// Salt, bytes.
pub const SALT_BYTES_MAX: usize = 32;
/// Events in one atomic commit.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Encoded size of one atomic commit, bytes.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Preconditions of one commit, in a vault at a feature level that is released.
pub const PRECONDITIONS_RELEASED: usize = 64;
/// Preconditions of one commit. That there may be more stands for a change of the format in tests of upgrades,
/// and is in no release.
pub const PRECONDITIONS_MAX: usize = if cfg!(feature = "next-feature-level") {
    128
} else {
    PRECONDITIONS_RELEASED
};
/// Attribute pairs of one event, `source` and `content_type` not counted.
pub const ATTRIBUTES_MAX: usize = 16;
/// Name of an attribute, bytes of UTF-8.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Value of an attribute (also `source` and `content_type`), bytes of UTF-8.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// Name of a cursor, bytes of UTF-8.
pub const CURSOR_NAME_BYTES_MAX: usize = 255;
/// Name of a consumer group, bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 255;
/// Name of a consumer in a group, bytes of UTF-8.
pub const CONSUMER_NAME_BYTES_MAX: usize = 255;
/// Consumer groups of one vault.
pub const GROUPS_MAX: u64 = 1_000;
/// Events that a group may have outstanding; what its settings say is at most this.
pub const GROUP_UNACKNOWLEDGED_MAX: u32 = 10_000;
/// Deliveries of one event after which it is parked; what a group's settings say is at most this.
pub const GROUP_DELIVERIES_MAX: u32 = 1_000;
/// Shortest time in which a consumer must acknowledge, milliseconds.
pub const GROUP_ACK_TIMEOUT_MS_MIN: u32 = 100;
/// Longest time in which a consumer must acknowledge, milliseconds: a day.
pub const GROUP_ACK_TIMEOUT_MS_MAX: u32 = 86_400_000;
/// Longest time that a consumer may have an event wait which it gives back, milliseconds: a day.
pub const GROUP_DELAY_MS_MAX: u32 = 86_400_000;
/// Events that a group may have parked.
pub const GROUP_PARKED_MAX: u32 = 100_000;
/// Kind prefixes, and intents, in the filter of a group.
pub const GROUP_FILTER_ITEMS_MAX: usize = 64;
/// Events that one command delivers.
pub const DELIVER_EVENTS_MAX: usize = 1_000;
/// Deliveries that one command settles.
pub const SETTLE_ITEMS_MAX: usize = 1_000;
/// Rows of a group that one command deletes; a group that has more is deleted by several.
pub const GROUP_DELETE_ROWS_MAX: usize = 2_000;
/// Cursors of one vault. One that had more before feature level 2 keeps them.
pub const CURSORS_MAX: u64 = 100_000;
/// Parked events that one command moves.
pub const PARKED_MOVES_MAX: usize = 1_000;
/// Why an event was rejected or parked, bytes of UTF-8.
pub const REASON_BYTES_MAX: usize = 256;
/// Kinds that the prefix of a precondition may have.
pub const PREFIX_KINDS_MAX: usize = 1_000;
/// Label of an intent, bytes of UTF-8.
pub const INTENT_LABEL_BYTES_MAX: usize = 256;
/// Name of the model that makes a vault's embeddings, bytes of UTF-8.
pub const EMBEDDING_MODEL_BYTES_MAX: usize = 255;
/// Tokens of one vault, those that have ended among them: of these the first one that has ended goes where there is no room.
pub const TOKENS_MAX: usize = 10_000;
/// Roles of one vault, the built-in ones not counted.
pub const ROLES_MAX: usize = 256;
/// Name of a principal, bytes of UTF-8.
pub const PRINCIPAL_NAME_BYTES_MAX: usize = 128;
/// Name of a role, bytes of UTF-8.
pub const ROLE_NAME_BYTES_MAX: usize = 64;
/// Roles of one token.
pub const TOKEN_ROLES_MAX: usize = 16;
/// Grants of one role.
pub const ROLE_GRANTS_MAX: usize = 16;
/// Kind prefixes of one grant.
pub const GRANT_PREFIXES_MAX: usize = 64;
/// All kind prefixes of one role together, bytes of UTF-8.
pub const ROLE_PREFIX_BYTES_MAX: usize = 16 << 10;
/// All kind prefixes of one token's own grants together, bytes of UTF-8.
pub const TOKEN_GRANT_BYTES_MAX: usize = 2 << 10;
/// Highest limit that a token can have of anything, in a second or at the same time.
pub const TOKEN_RATE_MAX: u64 = 1 << 40;
/// How long a token that was rotated still counts at most, milliseconds: seven days.
pub const TOKEN_GRACE_MS_MAX: u32 = 604_800_000;
/// Records that one command appends to the audit.
pub const AUDIT_RECORDS_MAX: usize = 64;
/// What was done, in an audit record, bytes.
pub const AUDIT_ACTION_BYTES_MAX: usize = 64;
/// Fields of an audit record.
pub const AUDIT_FIELDS_MAX: usize = 16;
/// Name of a field of an audit record, bytes.
pub const AUDIT_FIELD_NAME_BYTES_MAX: usize = 32;
/// Value of a field of an audit record, bytes of UTF-8.
pub const AUDIT_FIELD_VALUE_BYTES_MAX: usize = 256;
/// Sequences are below this, so that they fit into an event id.
pub const SEQUENCE_END: u64 = 1 << 42;
/// Times are below this, so that they fit into an event id; milliseconds since the Unix epoch.
pub const UNIX_MS_END: u64 = 1 << 48;
