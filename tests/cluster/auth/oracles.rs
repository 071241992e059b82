//! What is hidden is not told by the way in which a commit fails.

use anyhow::{Result, ensure};
use serde_json::json;
use toka_client::{Error, EventDraft, Precondition};
use toka_ledger::command::ParentName;
use toka_ledger::{Digest, Kind};
use toka_tests::cluster::{self, Cluster};
use toka_tests::secured::{Secured, client};

fn draft(kind: &str, number: u64) -> EventDraft {
    EventDraft::new(kind).payload(&json!({ "number": number }))
}

/// What is said, without the name of the event, which differs.
fn said(error: &Error, parent: Digest) -> String {
    error.to_string().replace(&parent.to_string(), "PARENT")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_parent_is_as_unknown_as_one_that_is_not_there() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let secret = root.commit(draft("chat.secret", 1)).await?;
        let grants = ["write:task.", "read:task."];
        let narrow = secured.token(cluster, "narrow", &grants).await?;
        let absent = Digest([7; 32]);
        for id in cluster.ids() {
            let writer = client(cluster, &[id], &narrow.text).await?;
            let mut answers = Vec::new();
            for parent in [secret.digest, absent] {
                let child = draft("task.new", id).parents_by_digest([parent]);
                let refused = writer.commit(child).await;
                let Err(error @ Error::Rejected(_)) = refused else {
                    anyhow::bail!("node {id}: {refused:?}");
                };
                answers.push(said(&error, parent));
            }
            ensure!(answers[0] == answers[1], "node {id}: {answers:?}");

            let mut answers = Vec::new();
            for parent in [secret.digest, absent] {
                let claim = Precondition::NoChild {
                    parent: ParentName::Digest(parent),
                    kind: Kind::new("task.claim")?,
                };
                // One that fails in any case: it must be told, or not, in both.
                let never = Precondition::KindSequence {
                    kind: Kind::new("task.claim")?,
                    sequence: 99,
                };
                let claimed = draft("task.claim", id).salt(&[1]);
                let refused = writer.commit_batch(vec![claimed], vec![claim, never]).await;
                let Err(error @ Error::Rejected(_)) = refused else {
                    anyhow::bail!("node {id}: {refused:?}");
                };
                answers.push(said(&error, parent));
            }
            ensure!(answers[0] == answers[1], "node {id}: {answers:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_on_hidden_kinds_are_refused_whether_they_hold_or_not() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let secret = root.commit(draft("chat.secret", 1)).await?;
        let grants = ["write:task.", "read:task."];
        let narrow = secured.token(cluster, "narrow", &grants).await?;
        let writer = client(cluster, &[1], &narrow.text).await?;
        for sequence in [0, secret.sequence] {
            let condition = Precondition::KindSequence {
                kind: Kind::new("chat.secret")?,
                sequence,
            };
            let refused = writer
                .commit_batch(vec![draft("task.new", sequence)], vec![condition])
                .await;
            let Err(Error::PermissionDenied { message }) = refused else {
                anyhow::bail!("{refused:?}");
            };
            ensure!(message.contains("read:chat.secret"), "{message}");
        }
        Ok(())
    })
    .await
}
