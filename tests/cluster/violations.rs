//! Preconditions that do not hold: all of them are returned, each with the actual state, over gRPC, in the client and on
//! the command line.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{
    ConsumerName, CursorName, Error, EventDraft, EventHeader, Filter, GroupName, GroupSettings,
    GroupStart, Precondition, Pull,
};
use toka_ledger::command::ParentName;
use toka_ledger::{Kind, Rejection, Violation};
use toka_proto::convert::coordination::Token;
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::command::Toka;
use toka_tests::consumers::make_group;
use toka_tests::request;
use tonic::Code;

/// No vault lives so long.
const TOO_LATE: u64 = u64::MAX >> 16;

/// What a vault has that violates all of them.
struct Stored {
    task: EventHeader,
    claim: EventHeader,
    group: GroupName,
    /// As the tokens of its deliveries have it.
    incarnation: u64,
}

async fn store(cluster: &Cluster) -> Result<Stored> {
    let client = cluster.client().await?;
    let task = client.commit(EventDraft::new("task.new")).await?;
    let claim = EventDraft::new("task.claimed").parent(&task).salt(&[1]);
    let claim = client.commit(claim).await?;
    let group = GroupName::new("workers")?;
    let settings = GroupSettings {
        filter: Filter {
            kind_prefixes: vec!["task.new".to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms: 3_600_000,
        ..GroupSettings::default()
    };
    make_group(&client, &group, &settings, GroupStart::Beginning).await?;
    let robot = ConsumerName::new("robot")?;
    let got = client.pull(&Pull::new(group.clone(), robot)).await?;
    ensure!(got.len() == 1, "{got:?}");
    let name = CursorName::new("reader")?;
    client.save_cursor(&name, None, 1).await?;
    Ok(Stored {
        task,
        claim,
        group,
        incarnation: got[0].token().incarnation,
    })
}

impl Stored {
    fn preconditions(&self) -> Result<Vec<Precondition>> {
        Ok(vec![
            Precondition::NoChild {
                parent: ParentName::Id(self.task.id),
                kind: Kind::new("task.claimed")?,
            },
            Precondition::KindSequence {
                kind: Kind::new("task.new")?,
                sequence: 7,
            },
            Precondition::TimePassed { unix_ms: TOO_LATE },
            Precondition::CursorMove {
                name: CursorName::new("reader")?,
                from: 2,
                to: 1,
            },
            Precondition::KindPrefixSequence {
                prefix: "task.".to_owned(),
                sequence: 1,
            },
            Precondition::Acknowledge {
                group: self.group.clone(),
                incarnation: self.incarnation,
                sequence: self.task.sequence,
                delivery: 9,
            },
            // This one holds.
            Precondition::KindSequence {
                kind: Kind::new("nothing")?,
                sequence: 0,
            },
        ])
    }

    fn check(&self, violations: &[Violation]) -> Result<()> {
        let [child, kind, time, cursor, prefix, delivery] = violations else {
            anyhow::bail!("all six, and no more: {violations:?}");
        };
        let expected = Violation::HasChild {
            parent: self.task.id,
            kind: Kind::new("task.claimed")?,
            child: self.claim.id,
        };
        ensure!(*child == expected, "{child:?}");
        let expected = Violation::KindSequence {
            kind: Kind::new("task.new")?,
            expected: 7,
            actual: self.task.sequence,
        };
        ensure!(*kind == expected, "{kind:?}");
        let is_right = matches!(
            time,
            Violation::TooEarly { expected: TOO_LATE, actual } if *actual >= self.claim.unix_ms
        );
        ensure!(is_right, "{time:?}");
        let expected = Violation::Cursor {
            name: CursorName::new("reader")?,
            expected: 2,
            actual: 1,
        };
        ensure!(*cursor == expected, "{cursor:?}");
        let expected = Violation::KindPrefixSequence {
            prefix: "task.".to_owned(),
            expected: 1,
            actual: self.claim.sequence,
        };
        ensure!(*prefix == expected, "{prefix:?}");
        let expected = Violation::Delivery {
            group: self.group.clone(),
            sequence: self.task.sequence,
            delivery: 9,
            actual: Some(1),
        };
        ensure!(*delivery == expected, "{delivery:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_violations_come_with_the_actual_state() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let stored = store(cluster).await?;
        let preconditions = stored.preconditions()?;
        for id in cluster.ids() {
            let event = v1::NewEvent {
                salt: bytes::Bytes::from_static(b"salt"),
                ..request::event("conditional", &json!(1))
            };
            let commit = v1::CommitRequest {
                preconditions: preconditions.iter().map(Into::into).collect(),
                ..request::commit(vec![event])
            };
            let commit = request::within(PATIENCE, commit);
            let status = request::refusal(cluster.node(id).vault().commit(commit).await)?;
            ensure!(status.code() == Code::Aborted, "node {id}: {status:?}");
            let detail = parse(&status).detail;
            let Some(Detail::Rejected(Rejection::Preconditions { violations })) = detail else {
                anyhow::bail!("node {id}: {status:?}");
            };
            let checked = stored.check(&violations);
            checked.with_context(|| format!("node {id}"))?;
        }

        let client = cluster.client().await?;
        let events = vec![EventDraft::new("conditional")];
        let refused = client.commit_batch(events, preconditions).await;
        let Err(Error::Rejected(Rejection::Preconditions { violations })) = refused else {
            anyhow::bail!("{refused:?}");
        };
        stored.check(&violations).context("the client")?;

        on_the_command_line(cluster, &stored).await?;
        let states = cluster.converged(2).await?;
        ensure!(states[0].node.sequence == 2, "something was stored");
        Ok(())
    })
    .await
}

async fn on_the_command_line(cluster: &Cluster, stored: &Stored) -> Result<()> {
    let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
    let token = Token {
        incarnation: stored.incarnation,
        sequence: stored.task.sequence,
        delivery: 9,
    };
    let token: String = token
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let claim = format!("{}=task.claimed", stored.task.id);
    let (time, acknowledge) = (TOO_LATE.to_string(), format!("{}={token}", stored.group));
    let ran = toka
        .run(&[
            "commit",
            "conditional",
            "--no-child",
            &claim,
            "--kind-sequence",
            "task.new=7",
            "--time-passed",
            &time,
            "--cursor",
            "reader=2:1",
            "--prefix-sequence",
            "task.=1",
            "--acknowledge",
            &acknowledge,
        ])
        .await?;
    ensure!(ran.code == Some(5), "{ran:?}");
    let (task, claimed) = (stored.task.sequence, stored.claim.id.to_string());
    for said in [
        claimed,
        format!("sequence {task}, not 7"),
        format!("before {TOO_LATE} ms"),
        "cursor reader is at 1, not 2".to_owned(),
        "starts with \"task.\"".to_owned(),
        format!("delivery 9 of event {task} to group workers"),
    ] {
        ensure!(ran.stderr.contains(&said), "{said:?} is not in {ran:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preconditions_that_hold_are_carried_out_with_the_commit() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let stored = store(cluster).await?;
        let client = cluster.client().await?;
        let acknowledge = Precondition::Acknowledge {
            group: stored.group.clone(),
            incarnation: stored.incarnation,
            sequence: stored.task.sequence,
            delivery: 1,
        };
        let last = Precondition::KindPrefixSequence {
            prefix: "task.".to_owned(),
            sequence: stored.claim.sequence,
        };
        let done = || EventDraft::new("task.done").parent(&stored.task).salt(&[7]);
        let preconditions = vec![acknowledge, last];
        let committed = client
            .commit_batch(vec![done()], preconditions.clone())
            .await?;
        let group = client
            .group(&stored.group, toka_client::Consistency::Linearizable)
            .await?;
        ensure!(group.unacknowledged == 0, "{group:?}");
        // Repeated it is what it was.
        let again = client.commit_batch(vec![done()], preconditions).await?;
        ensure!(
            again.headers[0].id == committed.headers[0].id,
            "{again:?} {committed:?}"
        );
        Ok(())
    })
    .await
}
