//! What reads see, on any node.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::json;
use toka_client::{Consistency, EventDraft, Include, Read, Selector, Stored};
use toka_proto::convert::read::{self, Header};
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::history;
use toka_tests::load::Load;
use toka_tests::{request, seed};

const DEADLINE: Duration = Duration::from_secs(20);

/// Commits on the leader and reads at once on a follower, again and again, while others write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_read_what_was_just_committed() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 8, seed).await?;
        let (leader, followers) = (cluster.leader().await?, cluster.followers().await?);
        for round in 0..60_u64 {
            let follower = followers[usize::from(!round.is_multiple_of(2))];
            let event = request::event("read.me", &json!({"round": round}));
            let commit = request::within(DEADLINE, request::commit(vec![event]));
            let committed = cluster
                .node(leader)
                .vault()
                .commit(commit)
                .await?
                .into_inner();
            let event = committed.events.first().context("one event")?;
            let selector = Selector::Sequence(event.sequence);
            let consistency = match round % 3 {
                0 => read::Consistency::Linearizable,
                _ => read::Consistency::AtLeast(committed.revision),
            };
            let get = request::within(DEADLINE, request::get(&selector, consistency));
            let seen = cluster.node(follower).vault().get(get).await;
            let seen = seen
                .with_context(|| format!("round {round}, {consistency:?}"))?
                .into_inner();
            let header = Header::try_from(seen.header)?;
            ensure!(
                header.node_id == follower,
                "node {} answered",
                header.node_id
            );
            ensure!(header.revision >= committed.revision, "it is behind");
            ensure!(
                seen.event.context("an event")?.digest == event.digest,
                "another event"
            );
        }
        load.stop().await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_reads_its_own_writes_wherever_it_reads() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let leader = cluster.leader().await?;
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let embedding = [0.6_f32, 0.0, 0.8];
            let draft = EventDraft::new("mine")
                .payload(&json!({"by": id}))
                .embedding(&embedding);
            let header = client.commit(draft).await?;
            let named = client.leader().context("the reply names the leader")?;
            ensure!(
                named.node_id == leader,
                "{named:?} is named, {leader} leads"
            );
            let consistency = Consistency::ReadYourWrites;
            let read = Read {
                consistency,
                include: Include::all(),
            };
            let event = client.get(&Selector::Id(header.id), &read).await?;
            ensure!(event.header == header, "another event");
            let wanted = json!({"by": id});
            let payload: Bytes = toka_ledger::EventPayload::to_bytes(&wanted)?;
            ensure!(
                event.payload == Some(Stored::Present(payload)),
                "another payload"
            );
            let Some(Stored::Present(stored)) = event.embedding else {
                anyhow::bail!("no embedding");
            };
            let stored = stored.to_f32();
            ensure!(
                stored
                    .iter()
                    .zip(embedding)
                    .all(|(s, e)| (s - e).abs() < 1e-3),
                "{stored:?}"
            );
        }
        Ok(())
    })
    .await
}

/// A node that was stopped with `SIGSTOP` still believes that it leads when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposed_leader_never_answers_a_linearizable_read_from_the_past() -> Result<()> {
    use rustix::process::Signal;
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        for round in 0..3_u64 {
            let client = cluster.client().await?;
            let old = cluster.leader().await?;
            cluster.process(old)?.signal(Signal::STOP)?;
            let event = EventDraft::new("while.away").payload(&json!({"round": round}));
            let header = client.commit(event).await?;
            // The call is on its way before the node knows what it has missed.
            let (vault, selector) = (
                cluster.node(old).vault(),
                Selector::Sequence(header.sequence),
            );
            let get = request::get(&selector, read::Consistency::Linearizable);
            let get = request::within(DEADLINE, get);
            let reading = tokio::spawn(async move { vault.clone().get(get).await });
            cluster.process(old)?.signal(Signal::CONT)?;
            let seen = reading
                .await?
                .context("the node should catch up and answer")?;
            let event = seen.into_inner().event.context("an event")?;
            ensure!(
                event.digest == header.digest.as_bytes().as_slice(),
                "another event"
            );
            cluster.converged(header.sequence).await?;
        }
        Ok(())
    })
    .await
}

/// Every event that any writer was told of is seen by a linearizable read that begins after it, on any
/// node, also while leadership moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linearizable_reads_never_go_back_while_leadership_moves() -> Result<()> {
    let seed = seed::draw();
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let load = Load::start(cluster, 8, seed).await?;
        let client = cluster.client().await?;
        for round in 0..12_u64 {
            if round.is_multiple_of(3) {
                client.transfer_leadership(None).await?;
            }
            load.acks().more(10, PATIENCE).await?;
            let acknowledged = load
                .acks()
                .all()
                .iter()
                .map(|ack| ack.sequence)
                .max()
                .context("there are some")?;
            for id in cluster.ids() {
                let selector = Selector::Sequence(acknowledged);
                let get = request::get(&selector, read::Consistency::Linearizable);
                let seen = cluster
                    .node(id)
                    .vault()
                    .get(request::within(DEADLINE, get))
                    .await;
                seen.with_context(|| format!("node {id} does not see event {acknowledged}"))?;
            }
        }
        let acks = load.stop().await?;
        history::check(cluster, &acks).await?;
        Ok(())
    })
    .await
}
