//! What new events carry, for those that follow the history.

use super::Outcome;
use crate::command::Command;
use crate::read::Body;

/// Entries are kept in memory where at least one in so many of their bytes is wanted.
const KEPT_PART: usize = 4;

/// What the new events carry. As decoded it shares the memory of the entries that it came in, which may be mostly
/// something else: refused commits, events that were there before. It is copied then, or little would keep much.
pub(super) fn bodies(commands: &[Command], outcomes: &[Outcome]) -> Vec<Body> {
    let mut bodies = Vec::new();
    for (command, outcome) in commands.iter().zip(outcomes) {
        let (Command::Commit(commit), Outcome::Committed { headers, .. }) = (command, outcome)
        else {
            continue;
        };
        for (event, header) in commit.events.iter().zip(headers) {
            if !header.deduplicated {
                bodies.push(Body {
                    sequence: header.sequence,
                    payload: event.payload.clone(),
                    embedding: event.embedding.clone(),
                });
            }
        }
    }
    let kept: usize = bodies.iter().map(Body::bytes).sum();
    let shared: usize = commands.iter().map(Command::size_hint).sum();
    if kept < shared / KEPT_PART {
        bodies.iter_mut().for_each(Body::copy);
    }
    bodies
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::command::Commit;
    use crate::core::{Attributes, Digest, Embedding, EventHeader, EventId, Kind, Salt};
    use crate::error::{ParentName, Rejection};
    use crate::prepare::EventDraft;

    /// A commit of events with payloads of so many bytes, and embeddings.
    fn commit(payloads: &[usize]) -> Command {
        let event = |&bytes: &usize| {
            let draft = EventDraft::new("k").payload_bytes(vec![7; bytes]);
            draft.embedding(&[1.0, 2.0]).prepare().expect("valid")
        };
        Command::Commit(Commit {
            unix_ms: 1,
            events: payloads.iter().map(event).collect(),
            preconditions: Vec::new(),
        })
    }

    fn header(sequence: u64, deduplicated: bool) -> Arc<EventHeader> {
        Arc::new(EventHeader {
            id: EventId::new(1, sequence, &Digest::ZERO),
            sequence,
            unix_ms: 1,
            kind: Kind::new("k").expect("valid"),
            digest: Digest::ZERO,
            payload_digest: Digest::ZERO,
            payload_bytes: 1,
            payload_sequence: sequence,
            salt: Salt::default(),
            parents: Vec::new(),
            embedding: None,
            attributes: Attributes::default(),
            micro_cluster: None,
            intent: None,
            deduplicated,
        })
    }

    fn committed(headers: Vec<Arc<EventHeader>>) -> Outcome {
        Outcome::Committed {
            revision: 1,
            headers,
        }
    }

    /// Whether payload and embedding are in the command's memory.
    fn is_shared(body: &Body, command: &Command, event: usize) -> [bool; 2] {
        let event = &command.events()[event];
        assert_eq!(
            (&body.payload, &body.embedding),
            (&event.payload, &event.embedding)
        );
        let place = |embedding: Option<&Embedding>| embedding.map(|of| of.as_bytes().as_ptr());
        [
            body.payload.as_ptr() == event.payload.as_ptr(),
            place(body.embedding.as_ref()) == place(event.embedding.as_ref()),
        ]
    }

    #[test]
    fn large_payloads_are_not_copied() {
        let command = commit(&[4_000, 4_000]);
        let outcomes = [committed(vec![header(1, false), header(2, false)])];
        let bodies = bodies(std::slice::from_ref(&command), &outcomes);
        assert_eq!(bodies.len(), 2);
        for (event, body) in bodies.iter().enumerate() {
            assert_eq!(is_shared(body, &command, event), [true, true]);
        }
    }

    #[test]
    fn little_among_events_that_were_there_does_not_keep_them() {
        let command = commit(&[10_000, 10]);
        let outcomes = [committed(vec![header(1, true), header(2, false)])];
        let bodies = bodies(std::slice::from_ref(&command), &outcomes);
        let [body] = &bodies[..] else {
            panic!("{} are kept", bodies.len())
        };
        assert_eq!(body.sequence, 2);
        assert_eq!(is_shared(body, &command, 1), [false, false]);
    }

    #[test]
    fn little_among_refused_commits_does_not_keep_them() {
        let commands = [commit(&[10_000]), commit(&[10])];
        let rejection = Rejection::UnknownParent {
            event: 0,
            parent: ParentName::Digest(Digest::ZERO),
        };
        let refused = Outcome::Rejected {
            revision: 1,
            rejection,
        };
        let outcomes = [refused, committed(vec![header(1, false)])];
        let bodies = bodies(&commands, &outcomes);
        assert_eq!(bodies.len(), 1);
        assert_eq!(is_shared(&bodies[0], &commands[1], 0), [false, false]);
    }
}
