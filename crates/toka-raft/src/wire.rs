//! Raft's types as messages, and back. Everything that comes in is checked here.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId;
use toka_ledger::Digest;
use toka_ledger::read::Position;
use toka_proto::raft_v1 as pb;
use toka_proto::raft_v1::append_result::Result as AppendOutcome;

use crate::codec::{DecodeError, decode_membership, entry_body};
use crate::type_config::{Commands, Entry, EntryPayload, LeaderId, LogId, TypeConfig, Vote};

/// A message that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A field is missing or out of range.
    #[error("the message has no valid {field}")]
    Field { field: &'static str },
    /// Bytes of our own format do not fit it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

pub(crate) fn log_id(log_id: &LogId) -> pb::LogId {
    pb::LogId {
        term: log_id.leader_id.term,
        leader_node_id: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

pub(crate) fn log_id_from(message: Option<pb::LogId>) -> Option<LogId> {
    let pb::LogId {
        term,
        leader_node_id,
        index,
    } = message?;
    Some(LogId::new(LeaderId::new(term, leader_node_id), index))
}

pub(crate) fn vote(vote: &Vote) -> pb::Vote {
    pb::Vote {
        term: vote.leader_id.term,
        node_id: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from(message: Option<pb::Vote>) -> Result<Vote, WireError> {
    let pb::Vote {
        term,
        node_id,
        committed,
    } = message.ok_or(WireError::Field { field: "vote" })?;
    Ok(Vote {
        leader_id: LeaderId::new(term, node_id),
        committed,
    })
}

/// Digests that stand for a state: history root and state digest, or zeros and that of the intents.
pub(crate) type State = (Digest, Digest);

/// A digest as it is sent; `None` if it was not known.
pub(crate) fn digest(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}

/// History root and state digest as they are sent; `None` if they were not known.
pub(crate) fn state(history_root: &[u8], state_digest: &[u8]) -> Option<State> {
    Some((digest(history_root)?, digest(state_digest)?))
}

pub(crate) fn position(position: &Position) -> pb::LedgerPosition {
    pb::LedgerPosition {
        revision: position.revision,
        sequence: position.sequence,
        unix_ms: position.unix_ms,
        history_root: bytes::Bytes::copy_from_slice(position.history_root.as_bytes()),
        state_digest: bytes::Bytes::copy_from_slice(position.state_digest.as_bytes()),
    }
}

pub(crate) fn position_from(message: Option<&pb::LedgerPosition>) -> Result<Position, WireError> {
    let message = message.ok_or(WireError::Field { field: "position" })?;
    let digest = |bytes: &[u8], field| digest(bytes).ok_or(WireError::Field { field });
    Ok(Position {
        revision: message.revision,
        sequence: message.sequence,
        unix_ms: message.unix_ms,
        history_root: digest(&message.history_root, "history_root")?,
        state_digest: digest(&message.state_digest, "state_digest")?,
    })
}

fn entry(entry: &Entry) -> pb::Entry {
    let kind = match entry.payload {
        EntryPayload::Blank => pb::EntryKind::Blank,
        EntryPayload::Normal(_) => pb::EntryKind::Commands,
        EntryPayload::Membership(_) => pb::EntryKind::Membership,
    };
    pb::Entry {
        term: entry.log_id.leader_id.term,
        leader_node_id: entry.log_id.leader_id.node_id,
        index: entry.log_id.index,
        kind: kind.into(),
        data: entry_body(entry),
    }
}

fn entry_from(message: pb::Entry) -> Result<Entry, WireError> {
    let payload = match message.kind() {
        pb::EntryKind::Blank if message.data.is_empty() => EntryPayload::Blank,
        // Shares the memory of the message: log, replication and apply pass these bytes on.
        pb::EntryKind::Commands => EntryPayload::Normal(Commands(message.data)),
        pb::EntryKind::Membership => EntryPayload::Membership(decode_membership(&message.data)?),
        pb::EntryKind::Blank | pb::EntryKind::Unspecified => {
            return Err(WireError::Field {
                field: "entry kind",
            });
        }
    };
    let leader_id = LeaderId::new(message.term, message.leader_node_id);
    Ok(Entry {
        log_id: LogId::new(leader_id, message.index),
        payload,
    })
}

pub(crate) fn append(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendEntries {
    pb::AppendEntries {
        vote: Some(vote(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id),
        leader_commit: request.leader_commit.as_ref().map(log_id),
        entries: request.entries.iter().map(entry).collect(),
    }
}

pub(crate) fn append_from(
    message: Option<pb::AppendEntries>,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let message = message.ok_or(WireError::Field { field: "append" })?;
    let prev_log_id = log_id_from(message.prev_log_id);
    let entries: Vec<Entry> = message
        .entries
        .into_iter()
        .map(entry_from)
        .collect::<Result<_, _>>()?;
    // openraft takes consecutive indexes for granted, and that it can count on from the last one.
    let first = prev_log_id.map_or(Some(0), |log_id| log_id.index.checked_add(1));
    let indexes = first.and_then(|first| Some(first..first.checked_add(entries.len() as u64)?));
    let found = entries.iter().map(|entry| entry.log_id.index);
    if !indexes.is_some_and(|indexes| indexes.eq(found)) {
        return Err(WireError::Field {
            field: "sequence of entries",
        });
    }
    Ok(AppendEntriesRequest {
        vote: vote_from(message.vote)?,
        prev_log_id,
        entries,
        leader_commit: log_id_from(message.leader_commit),
    })
}

/// What a stream of appends answers to one request.
pub(crate) fn stream_result(result: StreamAppendResult<TypeConfig>) -> pb::AppendResult {
    let result = match result {
        Ok(matched) => AppendOutcome::Matched(pb::Matched {
            log_id: matched.as_ref().map(log_id),
        }),
        Err(StreamAppendError::Conflict(prev)) => AppendOutcome::Conflict(pb::Conflict {
            prev_log_id: Some(log_id(&prev)),
        }),
        Err(StreamAppendError::HigherVote(higher)) => AppendOutcome::HigherVote(vote(&higher)),
    };
    pb::AppendResult {
        result: Some(result),
    }
}

pub(crate) fn stream_result_from(
    message: Option<pb::AppendResult>,
) -> Result<StreamAppendResult<TypeConfig>, WireError> {
    const FIELD: WireError = WireError::Field {
        field: "append result",
    };
    match message.and_then(|message| message.result).ok_or(FIELD)? {
        AppendOutcome::Matched(matched) | AppendOutcome::PartlyMatched(matched) => {
            Ok(Ok(log_id_from(matched.log_id)))
        }
        AppendOutcome::Conflict(conflict) => {
            // Only a request that named an entry can be in conflict with the log.
            let prev = log_id_from(conflict.prev_log_id).ok_or(FIELD)?;
            Ok(Err(StreamAppendError::Conflict(prev)))
        }
        AppendOutcome::HigherVote(higher) => {
            Ok(Err(StreamAppendError::HigherVote(vote_from(Some(higher))?)))
        }
    }
}

/// What a single append answers.
pub(crate) fn append_result(
    response: AppendEntriesResponse<TypeConfig>,
    request_prev: Option<LogId>,
    request_last: Option<LogId>,
) -> pb::AppendResult {
    let matched = |log_id: Option<LogId>| pb::Matched {
        log_id: log_id.as_ref().map(self::log_id),
    };
    let result = match response {
        AppendEntriesResponse::Success => AppendOutcome::Matched(matched(request_last)),
        AppendEntriesResponse::PartialSuccess(upto) => AppendOutcome::PartlyMatched(matched(upto)),
        AppendEntriesResponse::Conflict => AppendOutcome::Conflict(pb::Conflict {
            prev_log_id: request_prev.as_ref().map(log_id),
        }),
        AppendEntriesResponse::HigherVote(higher) => AppendOutcome::HigherVote(vote(&higher)),
    };
    pb::AppendResult {
        result: Some(result),
    }
}

pub(crate) fn append_result_from(
    message: Option<pb::AppendResult>,
) -> Result<AppendEntriesResponse<TypeConfig>, WireError> {
    const FIELD: WireError = WireError::Field {
        field: "append result",
    };
    Ok(
        match message.and_then(|message| message.result).ok_or(FIELD)? {
            AppendOutcome::Matched(_) => AppendEntriesResponse::Success,
            AppendOutcome::PartlyMatched(matched) => {
                AppendEntriesResponse::PartialSuccess(log_id_from(matched.log_id))
            }
            AppendOutcome::Conflict(_) => AppendEntriesResponse::Conflict,
            AppendOutcome::HigherVote(higher) => {
                AppendEntriesResponse::HigherVote(vote_from(Some(higher))?)
            }
        },
    )
}

pub(crate) fn vote_request_from(
    vote: Option<pb::Vote>,
    last_log_id: Option<pb::LogId>,
    leadership_transfer: bool,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    let mut request = VoteRequest::new(vote_from(vote)?, log_id_from(last_log_id));
    request.leadership_transfer = leadership_transfer;
    Ok(request)
}

pub(crate) fn vote_response_from(
    vote: Option<pb::Vote>,
    last_log_id: Option<pb::LogId>,
    granted: bool,
) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse::new(
        vote_from(vote)?,
        log_id_from(last_log_id),
        granted,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId::new(2, 1), index)
    }

    fn request(prev: Option<u64>, indexes: &[u64]) -> AppendEntriesRequest<TypeConfig> {
        let normal = |index: &u64| Entry {
            log_id: id(*index),
            payload: EntryPayload::Normal(Commands(bytes::Bytes::from_static(b"abc"))),
        };
        AppendEntriesRequest {
            vote: Vote {
                leader_id: LeaderId::new(2, 1),
                committed: true,
            },
            prev_log_id: prev.map(id),
            entries: indexes.iter().map(normal).collect(),
            leader_commit: Some(id(1)),
        }
    }

    #[test]
    fn append_survives_a_round_trip() {
        let sent = request(Some(6), &[7, 8]);
        let received = append_from(Some(append(&sent))).expect("a valid message");
        assert_eq!(format!("{received:?}"), format!("{sent:?}"));
        assert_eq!(received.entries, sent.entries);
    }

    #[test]
    fn append_with_a_gap_is_refused() {
        for bad in [
            request(Some(6), &[8]),
            request(Some(6), &[7, 9]),
            request(None, &[1]),
            request(Some(u64::MAX - 1), &[u64::MAX]),
            request(Some(u64::MAX), &[]),
            request(Some(u64::MAX), &[0]),
        ] {
            assert!(append_from(Some(append(&bad))).is_err());
        }
    }

    #[test]
    fn results_survive_a_round_trip() {
        let higher = Vote {
            leader_id: LeaderId::new(9, 3),
            committed: false,
        };
        let results: [StreamAppendResult<TypeConfig>; 4] = [
            Ok(None),
            Ok(Some(id(5))),
            Err(StreamAppendError::Conflict(id(4))),
            Err(StreamAppendError::HigherVote(higher)),
        ];
        for result in results {
            let message = stream_result(result.clone());
            assert_eq!(stream_result_from(Some(message)), Ok(result));
        }
    }
}
