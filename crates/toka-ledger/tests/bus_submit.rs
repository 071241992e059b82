//! Commits that are handed over without waiting for each answer.

use toka_ledger::prepare::EventDraft;
use toka_ledger::{Digest, Kind, Salt, VaultBus, hash};

/// More than the queue holds, and more than a task may poll at a time.
const EVENTS: u64 = 3_000;

#[tokio::test]
async fn submitted_commits_are_applied_in_their_order() {
    let vault = VaultBus::builder().open_in_memory().expect("opens");
    let kind = Kind::new("test.chain").expect("valid");
    let mut parent: Option<Digest> = None;
    let mut answers = Vec::new();
    for number in 0..EVENTS {
        let payload = number.to_be_bytes().to_vec();
        let payload_digest = hash::payload_digest(&payload);
        // Each names the one before it, which has no answer yet.
        let draft = EventDraft::new(kind.as_str())
            .payload_bytes(payload)
            .parents_by_digest(parent);
        let parents: Vec<Digest> = parent.into_iter().collect();
        parent = Some(hash::event_digest(
            &kind,
            &payload_digest,
            &Salt::default(),
            &parents,
        ));
        answers.push(vault.submit([draft], Vec::new()).await.expect("open"));
    }
    for (answer, sequence) in answers.into_iter().zip(1..) {
        let headers = answer.await.expect("its parent was applied before it");
        assert_eq!(headers[0].sequence, sequence);
    }
    assert_eq!(vault.position().sequence, EVENTS);
}
