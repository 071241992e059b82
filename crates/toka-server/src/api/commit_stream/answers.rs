//! Answers of a commit stream, encoded.

use bytes::Bytes;
use prost::Message;
use toka_proto::convert::status;
use toka_proto::convert::wire::{bytes_len, number_len, put_head, put_message, put_number};
use toka_proto::v1;
use tonic::Status;

use crate::api::commit::Committed;
use crate::limits::{STREAM_ANSWERS_BYTES, STREAM_MESSAGE_COMMITS};

// Of `CommitStreamResponse` and of `StreamedAnswer`, which have the same numbers.
const REQUEST_NUMBER: u32 = 2;
const RESULT: u32 = 3;
const ERROR: u32 = 4;
/// Of `CommitStreamResponse` alone.
const MORE: u32 = 5;
// Of `CommitResult`.
const REVISION: u32 = 1;
const EVENTS: u32 = 2;

/// What became of one commit.
pub(super) struct Answer {
    request_number: u64,
    outcome: Result<Committed, v1::CommitError>,
}

impl Answer {
    pub(super) fn new(request_number: u64, result: Result<Committed, Status>) -> Self {
        Self {
            request_number,
            outcome: result.map_err(|status| status::to_commit_error(&status)),
        }
    }

    fn revision(&self) -> u64 {
        self.outcome.as_ref().map_or(0, |done| done.revision)
    }

    fn outcome_len(&self) -> usize {
        match &self.outcome {
            Ok(done) => number_len(REVISION, done.revision) + done.events_len(EVENTS),
            Err(error) => error.encoded_len(),
        }
    }

    /// Bytes of the number and the outcome.
    fn len(&self) -> usize {
        number_len(REQUEST_NUMBER, self.request_number) + bytes_len(RESULT, self.outcome_len())
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_number(out, REQUEST_NUMBER, self.request_number);
        let bytes = self.outcome_len();
        match &self.outcome {
            Ok(done) => {
                put_head(out, RESULT, bytes);
                put_number(out, REVISION, done.revision);
                done.write_events(EVENTS, out);
            }
            Err(error) => {
                put_head(out, ERROR, bytes);
                put_message(error, out);
            }
        }
    }
}

/// Encoded [`v1::CommitStreamResponse`]s with these answers, in order: one in each, or, where they may be `together`,
/// as many as fit. `header` is the state of the leader after all of them.
pub(super) fn encode(
    mut header: v1::ResponseHeader,
    answers: &[Answer],
    together: bool,
) -> Vec<Bytes> {
    // An outcome may be known a moment before the position is published.
    let revision = answers.iter().map(Answer::revision).max();
    header.revision = header.revision.max(revision.unwrap_or(0));
    let head = v1::CommitStreamResponse {
        header: Some(header),
        ..Default::default()
    };
    let head = head.encode_to_vec();
    let mut messages = Vec::new();
    let mut message = Vec::new();
    let mut count = 0;
    for answer in answers {
        let bytes = answer.len();
        let has_room =
            count < STREAM_MESSAGE_COMMITS && message.len() + bytes <= STREAM_ANSWERS_BYTES;
        if count > 0 && !(together && has_room) {
            messages.push(Bytes::from(std::mem::take(&mut message)));
            count = 0;
        }
        if count == 0 {
            message.reserve(head.len() + bytes);
            message.extend_from_slice(&head);
        } else {
            put_head(&mut message, MORE, bytes);
        }
        answer.write(&mut message);
        count += 1;
    }
    if count > 0 {
        messages.push(message.into());
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use toka_ledger::EventHeader;
    use toka_proto::v1::commit_stream_response::Outcome;
    use toka_proto::v1::streamed_answer;

    use super::*;
    use crate::fixture;

    fn event(sequence: u64) -> Arc<EventHeader> {
        Arc::new(EventHeader {
            payload_bytes: 3,
            ..fixture::header(sequence)
        })
    }

    fn committed(revision: u64) -> Committed {
        Committed {
            revision,
            headers: vec![event(revision), event(revision + 1)],
        }
    }

    fn result(revision: u64) -> v1::CommitResult {
        let events = [event(revision), event(revision + 1)];
        v1::CommitResult {
            revision,
            events: events.iter().map(|event| (&**event).into()).collect(),
        }
    }

    fn refusal() -> Status {
        status::event_not_found("7")
    }

    fn header(revision: u64) -> v1::ResponseHeader {
        v1::ResponseHeader {
            node_id: 3,
            revision,
            ..Default::default()
        }
    }

    #[test]
    fn answers_are_encoded_as_the_generated_messages() {
        let answers = [
            Answer::new(4, Ok(committed(9))),
            Answer::new(5, Err(refusal())),
            Answer::new(6, Ok(committed(10))),
        ];
        let error = status::to_commit_error(&refusal());
        let single = |request_number, outcome| v1::CommitStreamResponse {
            header: Some(header(10)),
            request_number,
            outcome: Some(outcome),
            more: Vec::new(),
        };
        let alone = [
            single(4, Outcome::Result(result(9))),
            single(5, Outcome::Error(error.clone())),
            single(6, Outcome::Result(result(10))),
        ];
        let expected: Vec<_> = alone.iter().map(Message::encode_to_vec).collect();
        assert_eq!(encode(header(8), &answers, false), expected);

        let further = |request_number, outcome| v1::StreamedAnswer {
            request_number,
            outcome: Some(outcome),
        };
        let [mut first, ..] = alone;
        first.more = vec![
            further(5, streamed_answer::Outcome::Error(error)),
            further(6, streamed_answer::Outcome::Result(result(10))),
        ];
        let together = encode(header(8), &answers, true);
        assert_eq!(together, [first.encode_to_vec()]);
    }

    #[test]
    fn messages_have_a_bounded_number_of_answers() {
        let count = 2 * STREAM_MESSAGE_COMMITS as u64 + 1;
        let answers = (1..=count).map(|number| Answer::new(number, Err(refusal())));
        let answers: Vec<_> = answers.collect();
        let messages = encode(header(1), &answers, true);
        let mut next = 1;
        for message in messages {
            assert!(message.len() <= STREAM_ANSWERS_BYTES + 1_024);
            let message = v1::CommitStreamResponse::decode(message).expect("a message");
            assert!(message.more.len() < STREAM_MESSAGE_COMMITS);
            let further = message.more.iter().map(|further| further.request_number);
            for number in std::iter::once(message.request_number).chain(further) {
                assert_eq!(number, next);
                next += 1;
            }
        }
        assert_eq!(next, count + 1);
        assert_eq!(encode(header(1), &[], true), Vec::<Bytes>::new());
    }
}
