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
/// Preconditions of one commit, in a vault at feature level 1.
pub const PRECONDITIONS_LEVEL_1: usize = 64;
/// Preconditions of one commit. That there may be more stands for a change of the format in tests of upgrades,
/// and is in no release.
pub const PRECONDITIONS_MAX: usize = if cfg!(feature = "next-feature-level") {
    128
} else {
    PRECONDITIONS_LEVEL_1
};
/// Attribute pairs of one event, `source` and `content_type` not counted.
pub const ATTRIBUTES_MAX: usize = 16;
/// Name of an attribute, bytes of UTF-8.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Value of an attribute (also `source` and `content_type`), bytes of UTF-8.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// Name of a cursor, bytes of UTF-8.
pub const CURSOR_NAME_BYTES_MAX: usize = 255;
/// Label of an intent, bytes of UTF-8.
pub const INTENT_LABEL_BYTES_MAX: usize = 256;
/// Name of the model that makes a vault's embeddings, bytes of UTF-8.
pub const EMBEDDING_MODEL_BYTES_MAX: usize = 255;
/// Sequences are below this, so that they fit into an event id.
pub const SEQUENCE_END: u64 = 1 << 42;
/// Times are below this, so that they fit into an event id; milliseconds since the Unix epoch.
pub const UNIX_MS_END: u64 = 1 << 48;
