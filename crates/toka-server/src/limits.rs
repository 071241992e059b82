//! Bounds of the API that are the same on every node; those that can be set are in
//! [`config::Limits`](crate::config::Limits).

use std::time::Duration;

/// Bytes of a message that a client may send or receive: a commit of 4 MiB whose embeddings are
/// written as floats, twice the size, and its headers.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes after which a page, or the reply to a read of several events, ends.
pub const PAGE_BYTES: usize = 4 << 20;
/// Events on a page for which no number is given.
pub const PAGE_EVENTS_DEFAULT: usize = 100;
/// Longest time between two messages of a subscription.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Events that a subscription reads at once; those after them are read while its reader takes these,
pub const SUBSCRIPTION_EVENTS: usize = 256;
/// and about the bytes of their messages (one event may have more).
pub const SUBSCRIPTION_BYTES: usize = 1 << 20;
/// Events in one message of a subscription whose client takes several,
pub const BATCH_EVENTS: usize = 128;
/// and about their bytes (one event may have more). Whoever keeps one event keeps the memory of its message.
pub const BATCH_BYTES: usize = 128 << 10;
/// Encoded events that a node keeps for subscriptions that come to them later,
pub const ENCODED_EVENTS: usize = 16_384;
/// and their bytes.
pub const ENCODED_BYTES: usize = 16 << 20;
/// A commit above this size is prepared off the reactor, bytes.
pub const PREPARE_INLINE_BYTES: usize = 128 << 10;
/// A payload above this size is read off the reactor, also where it is in memory, bytes.
pub const AT_HAND_BYTES_MAX: u32 = 128 << 10;
/// New events of a subscription that are read on the reactor if they are in memory. Other calls wait meanwhile, and for
/// more of them another thread is worth its while.
pub const AT_HAND_EVENTS_MAX: usize = 16;
/// Bytes of commits that one stream proposes at a time (one commit may be larger).
pub const STREAM_GROUP_BYTES: usize = 1 << 20;
/// Commits in one message of a commit stream.
pub const STREAM_MESSAGE_COMMITS: usize = 256;
/// Commits of one message that are checked before other calls have a turn.
pub const STREAM_PREPARED_COMMITS: usize = 32;
/// About the bytes of answers in one message of a commit stream (one answer may be larger).
pub const STREAM_ANSWERS_BYTES: usize = 256 << 10;
/// Bytes of answers of one commit stream that its client has not taken (one answer may be larger); then nothing further is
/// proposed.
pub const STREAM_UNREAD_BYTES: u32 = 1 << 20;
/// Log entries of one commit stream that are in its call's trace: a stream goes on for ever, and a trace should not.
pub const STREAM_TRACED_ENTRIES: u32 = 64;
/// How long the other nodes have to tell their state.
pub const STATUS_TIMEOUT: Duration = Duration::from_millis(1_000);
/// So long, and no longer than a quarter of the call's time, a change of the membership that was not made asks who
/// answers, to say why.
pub const REASON_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Copies for backups that a node makes at the same time. Each pins the files that it has linked.
pub const BACKUPS_MAX: usize = 2;
/// Digests of files that a caller may say it has.
pub const BACKUP_KNOWN_FILES_MAX: usize = 131_072;
/// Parts of a backup, 1 MiB at most, that are read ahead of the caller.
pub const BACKUP_PARTS_AHEAD: usize = 2;
/// A caller that takes no part of a backup for this long is given up: its copy holds disk space.
pub const BACKUP_STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Checks of everything that a node makes at the same time.
pub const VERIFICATIONS_MAX: usize = 1;
/// Messages that say how far a check is, and wait to be taken.
pub const VERIFY_PARTS_AHEAD: usize = 4;
/// A caller that does not take the report of a check for this long is given up.
pub const VERIFY_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a caller that was told of damage has to go away before the node stops.
pub const VERIFY_DAMAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// When to try again what a full limit has refused.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Received bytes under way on one stream and on one connection.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// See [`STREAM_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of a frame that a client may send: large commits are cut into fewer than with HTTP/2's 16 KiB. Not more, since
/// nothing else, not even the answer to a ping, comes over a slow connection before its end.
pub const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Bytes of the headers of a call; one with more is answered with HTTP's 431.
pub const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// A call whose request is not there, or has no answer, so long after the longest time that any call may take is
/// ended.
pub const REQUEST_GRACE: Duration = Duration::from_secs(5);
/// Connections of other nodes: several times what the largest cluster has.
pub const PEER_CONNECTIONS_MAX: usize = 512;
/// How long a connection of another node may take until a message over it has shown that it is one (longer, up to a bound,
/// while it sends something): otherwise whoever opens as many as that, and leaves them open, would keep the nodes out.
pub const PEER_PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections for `/livez`, `/readyz`, `/metrics` and the console.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// Bytes of commits that a stream reads ahead of those that it proposes (one commit may be larger).
pub const STREAM_AHEAD_BYTES: usize = 4 << 20;

/// Cursors, groups or parked events on one page, unless the request says otherwise.
pub const COORDINATION_PAGE_DEFAULT: usize = 100;
/// Cursors, groups or parked events on one page.
pub const COORDINATION_PAGE_MAX: usize = 1_000;
/// Different notes for the audit that wait on a node; further ones are counted together.
pub const AUDIT_PENDING_MAX: usize = 512;
/// How long notes for the audit wait for others to go with them.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(1);
/// Consumers that wait for events of their groups at a node: its own, and on the leader those of all nodes.
pub const PULLS_MAX: usize = 10_000;
/// Events that a consumer is given at once, unless the request says otherwise.
pub const PULL_EVENTS_DEFAULT: usize = 100;
/// Longest time that a consumer waits in one call.
pub const PULL_WAIT_MAX: Duration = Duration::from_secs(30);
/// While consumers wait, events that their group does not get are looked at together, so often.
pub const PULL_LOOK_PAUSE: Duration = Duration::from_millis(10);
/// A consumer is told that nothing was found so long before its call's deadline, while there is more to look at.
pub const PULL_RETURN: Duration = Duration::from_millis(200);
/// Rounds of one call in which nothing is delivered and the group does not get ahead.
pub const PULL_ROUNDS_MAX: usize = 16;

/// Examples of one intent.
pub const INTENT_EXAMPLES_MAX: usize = 8;
/// Intents on one page, unless the request says otherwise.
pub const INTENTS_PAGE_DEFAULT: usize = 100;
/// Intents on one page,
pub const INTENTS_PAGE_MAX: usize = 1_000;
/// and on one with examples, for each of which some hundred embeddings are read.
pub const INTENTS_PAGE_EXAMPLES_MAX: usize = 100;
/// Nearest intents of a classified vector, unless the request says otherwise.
pub const CLASSIFY_INTENTS_DEFAULT: usize = 8;
/// Nearest intents of a classified vector.
pub const CLASSIFY_INTENTS_MAX: usize = 100;
/// Events of a vault in which every one may be compared by a search.
pub const SEARCH_EXACT_EVENTS_MAX: u64 = 4_000_000;
/// Hits of a search, unless the request says otherwise.
pub const SEARCH_HITS_DEFAULT: usize = 10;

/// Walks through the graph of events that a node serves at the same time: each remembers events.
pub const WALKS_MAX: usize = 32;
/// Events that a walk returns,
pub const WALK_EVENTS_MAX: usize = 1_000_000;
/// and unless the request says otherwise.
pub const WALK_EVENTS_DEFAULT: usize = 1_000;

/// Principals with limits that a node keeps account of; those that use nothing make room for others.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Addresses from which credentials have come that are not good, of which a node keeps account; further ones share one.
pub const FAILING_ADDRESSES_MAX: usize = 10_000;
/// JWTs that were found good which a node remembers, each with the names of its principal and roles: some hundred bytes, and
/// never much more than a JWT may have.
pub const JWTS_REMEMBERED_MAX: usize = 10_000;
/// Longest time after which a principal that has used too much may go on.
pub const THROTTLE_MAX: Duration = Duration::from_secs(30);
/// Refusals for want of rights that are told to the audit by themselves, in [`DENIALS_WINDOW`]; further ones are counted.
pub const DENIALS_MAX: usize = 64;
/// See [`DENIALS_MAX`].
pub const DENIALS_WINDOW: Duration = Duration::from_secs(10);
/// How often it is looked whether a call that goes on still rests on what its caller has shown.
pub const STANDING_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a file with a token, which is one line.
pub const TOKEN_FILE_BYTES_MAX: u64 = 16 << 10;
/// How often the files are looked at for changes that say who may call: that with the issuer's keys, and the configuration
/// file with the roles of certificates.
pub const AUTH_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
