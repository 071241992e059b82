//! Errors over the wire: codes, and one typed detail each.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use toka_client::{Error, EventDraft, Selector};
use toka_ledger::{Digest, Invalid, Rejection, Violation};
use toka_proto::convert::metadata;
use toka_proto::convert::read::Consistency;
use toka_proto::convert::status::{self, Detail, Failure};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, Node};
use toka_tests::request;
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(20);

/// Commits at one node, which must refuse.
async fn refused(node: &Node, commit: v1::CommitRequest) -> Result<Status> {
    let commit = request::within(DEADLINE, commit);
    request::refusal(node.vault().commit(commit).await)
}

fn check_field(status: &Status, expected: &str) -> Result<()> {
    let Failure { code, detail, .. } = status::parse(status);
    ensure!(code == Code::InvalidArgument, "{status:?}");
    let Some(Detail::InvalidField { field, .. }) = detail else {
        anyhow::bail!("no field is named: {status:?}");
    };
    ensure!(field == expected, "{field} is named, not {expected}");
    Ok(())
}

/// The same through the leader and through a follower, which forwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_typed_on_every_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let first = request::event("first", &json!(1));
        let embedded = v1::NewEvent {
            embedding: Some(v1::new_event::Embedding::Values(v1::FloatVector {
                components: vec![1.0, 0.0],
            })),
            ..first
        };
        let commit = request::within(DEADLINE, request::commit(vec![embedded]));
        let stored = cluster.node(1).vault().commit(commit).await?.into_inner();
        let stored = stored.events.into_iter().next().context("one event")?;
        cluster.converged(1).await?;
        for id in cluster.ids() {
            let node = cluster.node(id);
            unknown_parent(node)
                .await
                .with_context(|| format!("node {id}: unknown parent"))?;
            preconditions(node, &stored)
                .await
                .with_context(|| format!("node {id}: preconditions"))?;
            bad_input(node)
                .await
                .with_context(|| format!("node {id}: bad input"))?;
            absent_event(node)
                .await
                .with_context(|| format!("node {id}: absent event"))?;
        }
        ensure!(
            cluster.converged(1).await?[0].node.sequence == 1,
            "something was stored"
        );
        Ok(())
    })
    .await
}

async fn unknown_parent(node: &Node) -> Result<()> {
    let absent = Digest([7; 32]);
    let child = v1::NewEvent {
        parents: vec![request::parent(Bytes::copy_from_slice(absent.as_bytes()))],
        ..request::event("child", &json!(1))
    };
    let status = refused(node, request::commit(vec![child])).await?;
    ensure!(status.code() == Code::NotFound, "{status:?}");
    let detail = status::parse(&status).detail;
    let parent = toka_ledger::command::ParentName::Digest(absent);
    let expected = Detail::Rejected(Rejection::UnknownParent { event: 0, parent });
    ensure!(detail == Some(expected), "{detail:?}");
    ensure!(
        metadata::leader(status.metadata()).is_some(),
        "the leader is not named: {status:?}"
    );
    Ok(())
}

async fn preconditions(node: &Node, stored: &v1::Event) -> Result<()> {
    use v1::precondition::Condition;
    let conditions = [
        Condition::KindSequence(v1::KindSequence {
            kind: "first".to_owned(),
            sequence: 99,
        }),
        Condition::TimePassed(v1::TimePassed {
            unix_ms: u64::MAX >> 16,
        }),
        Condition::CursorMove(v1::CursorMove {
            name: "mine".to_owned(),
            from_sequence: 5,
            to_sequence: 1,
            history_id: Bytes::new(),
        }),
        // This one holds.
        Condition::NoChild(v1::NoChild {
            parent: Some(request::parent(stored.digest.clone())),
            kind: "child".to_owned(),
        }),
    ];
    let event = v1::NewEvent {
        salt: Bytes::from_static(b"salt"),
        ..request::event("conditional", &json!(1))
    };
    let preconditions = conditions
        .map(|condition| v1::Precondition {
            condition: Some(condition),
        })
        .to_vec();
    let commit = v1::CommitRequest {
        preconditions,
        ..request::commit(vec![event])
    };
    let status = refused(node, commit).await?;
    ensure!(status.code() == Code::Aborted, "{status:?}");
    let Some(Detail::Rejected(Rejection::Preconditions { violations })) =
        status::parse(&status).detail
    else {
        anyhow::bail!("no violations: {status:?}");
    };
    ensure!(
        violations.len() == 3,
        "all three, and no more: {violations:?}"
    );
    let [kind, time, cursor] = &violations[..] else {
        unreachable!("three were counted")
    };
    ensure!(
        matches!(
            kind,
            Violation::KindSequence {
                expected: 99,
                actual: 1,
                ..
            }
        ),
        "{kind:?}"
    );
    ensure!(
        matches!(time, Violation::TooEarly { actual, .. } if *actual >= stored.unix_ms),
        "{time:?}"
    );
    ensure!(
        matches!(
            cursor,
            Violation::Cursor {
                expected: 5,
                actual: 0,
                ..
            }
        ),
        "{cursor:?}"
    );
    Ok(())
}

async fn bad_input(node: &Node) -> Result<()> {
    let status = refused(node, request::commit(vec![request::event("", &json!(1))])).await?;
    check_field(&status, "kind")?;

    let large = v1::NewEvent {
        payload: vec![0; (1 << 20) + 1].into(),
        ..v1::NewEvent::default()
    };
    let large = v1::NewEvent {
        kind: "large".to_owned(),
        ..large
    };
    check_field(
        &refused(node, request::commit(vec![large])).await?,
        "payload",
    )?;

    // The vault's first embedded event had two dimensions.
    let good = request::event("good", &json!(1));
    let vector = v1::FloatVector {
        components: vec![1.0, 0.0, 0.0],
    };
    let other = v1::NewEvent {
        embedding: Some(v1::new_event::Embedding::Values(vector)),
        ..request::event("other", &json!(1))
    };
    let status = refused(node, request::commit(vec![good, other])).await?;
    check_field(&status, "events[1].embedding")?;
    ensure!(
        status.message().contains('2') && status.message().contains('3'),
        "{status:?}"
    );

    let commit = v1::CommitRequest {
        vault: "another".to_owned(),
        ..request::commit(Vec::new())
    };
    check_field(&refused(node, commit).await?, "vault")?;
    Ok(())
}

async fn absent_event(node: &Node) -> Result<()> {
    let selector = Selector::Digest(Digest([7; 32]));
    let get = request::within(DEADLINE, request::get(&selector, Consistency::Linearizable));
    let status = request::refusal(node.vault().get(get).await)?;
    ensure!(status.code() == Code::NotFound, "{status:?}");
    let detail = status::parse(&status).detail;
    ensure!(
        matches!(detail, Some(Detail::EventNotFound { .. })),
        "{detail:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_turns_refusals_into_typed_errors() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let absent = Digest([7; 32]);
        let child = EventDraft::new("child").parents_by_digest([absent]);
        let error = client.commit(child).await.err().context("refused")?;
        let is_right = matches!(
            &error,
            Error::Rejected(Rejection::UnknownParent { event: 0, .. })
        );
        ensure!(is_right, "{error:?}");
        let error = client
            .commit(EventDraft::new(""))
            .await
            .err()
            .context("refused")?;
        ensure!(
            matches!(&error, Error::Invalid(Invalid::Empty { field: "kind" })),
            "{error:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn follower_refuses_what_only_the_leader_may_answer() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let (leader, follower) = (cluster.leader().await?, cluster.followers().await?[0]);
        let commit = || {
            let commit = request::commit(vec![request::event("any", &json!(1))]);
            request::leader_only(request::within(DEADLINE, commit))
        };
        let status = request::refusal(cluster.node(follower).vault().commit(commit()).await)?;
        ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
        let Some(Detail::NotLeader {
            leader: Some(named),
        }) = status::parse(&status).detail
        else {
            anyhow::bail!("the leader is not named: {status:?}");
        };
        ensure!(
            named.node_id == leader,
            "{named:?} is named, {leader} leads"
        );
        ensure!(
            named.endpoint == cluster.node(leader).endpoint(),
            "{named:?}"
        );
        ensure!(
            metadata::leader(status.metadata()) == Some(named),
            "{:?}",
            status.metadata()
        );
        let answer = cluster.node(leader).vault().commit(commit()).await?;
        ensure!(metadata::leader(answer.metadata()).is_some_and(|named| named.node_id == leader));
        Ok(())
    })
    .await
}

/// A follower forwards once: what another node has forwarded already is not sent round in circles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_without_a_leader_fails_by_its_deadline() -> Result<()> {
    const SHORT: Duration = Duration::from_secs(2);
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let survivor = cluster.followers().await?[0];
        for id in cluster.ids().into_iter().filter(|id| *id != survivor) {
            cluster.kill(id)?;
        }
        for _ in 0..3 {
            let start = Instant::now();
            let commit = request::commit(vec![request::event("any", &json!(1))]);
            let commit = request::within(SHORT, commit);
            let status = request::refusal(cluster.node(survivor).vault().commit(commit).await)?;
            let took = start.elapsed();
            let is_right = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
            ensure!(is_right, "{status:?}");
            ensure!(took < 2 * SHORT, "after {took:?}");
        }
        // The node ends a call before its caller would give up, so that the reason arrives.
        let commit = request::commit(vec![request::event("any", &json!(1))]);
        let commit = request::within(SHORT, commit);
        let status = request::refusal(cluster.node(survivor).vault().commit(commit).await)?;
        let detail = status::parse(&status).detail;
        ensure!(matches!(detail, Some(Detail::NoLeader)), "{status:?}");
        Ok(())
    })
    .await
}
