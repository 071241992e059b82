//! Scopes that are narrowed by kinds, on every node.

use anyhow::{Result, ensure};
use serde_json::json;
use toka_client::{
    Consistency, Error, EventDraft, Lineage, List, Message, Read, Relation, Selector, Start,
    Subscribe,
};
use toka_ledger::hash::{event_digest, payload_digest};
use toka_ledger::{Digest, Kind, Salt};
use toka_tests::cluster::{self, Cluster};
use toka_tests::secured::{Secured, client};

fn draft(kind: &str, number: u64) -> EventDraft {
    EventDraft::new(kind).payload(&json!({ "number": number }))
}

fn linearizable() -> Read {
    Read {
        consistency: Consistency::Linearizable,
        ..Read::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_of_some_kinds_is_shown_no_others_by_any_node() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let secret = root.commit(draft("chat.secret", 1)).await?;
        let task = draft("task.new", 2).parent(&secret);
        let task = root.commit(task).await?;
        let last = root.commit(draft("chat.secret", 3)).await?;
        let narrow = secured.token(cluster, "narrow", &["read:task."]).await?;
        for id in cluster.ids() {
            let reader = client(cluster, &[id], &narrow.text).await?;
            let read = linearizable();
            for hidden in [
                Selector::Sequence(secret.sequence),
                Selector::Digest(secret.digest),
                Selector::Id(secret.id),
            ] {
                let got = reader.get(&hidden, &read).await;
                ensure!(
                    matches!(got, Err(Error::NotFound { .. })),
                    "node {id}: {got:?}"
                );
            }
            let both = [
                Selector::Sequence(secret.sequence),
                Selector::Sequence(task.sequence),
            ];
            let got = reader.batch_get(&both, &read).await?;
            ensure!(got[0].is_none() && got[1].is_some(), "node {id}: {got:?}");
            let all = List {
                read,
                ..List::default()
            };
            let page = reader.list(&all, None).await?;
            let kinds: Vec<_> = page
                .events
                .iter()
                .map(|event| event.header.kind.as_str())
                .collect();
            ensure!(kinds == ["task.new"], "node {id}: {kinds:?}");
            // What is asked for and what is seen have nothing in common.
            let mut others = all.clone();
            others.filter.kind_prefixes = vec!["chat.".to_owned()];
            let page = reader.list(&others, None).await?;
            ensure!(page.events.is_empty(), "node {id}: {page:?}");

            let mut events = reader.subscribe(Subscribe::from(Start::Beginning)).await?;
            let mut seen = Vec::new();
            loop {
                match events.next().await? {
                    Message::Event(event) => seen.push(event.header.sequence),
                    Message::CaughtUp { .. } => break,
                    _ => {}
                }
            }
            ensure!(seen == [task.sequence], "node {id}: {seen:?}");

            let hidden = Lineage::of(Selector::Digest(last.digest), Relation::Ancestors);
            let walk = reader.walk(&hidden).await.map(drop);
            ensure!(
                matches!(walk, Err(Error::NotFound { .. })),
                "node {id}: {walk:?}"
            );
            let seen = Lineage::of(Selector::Digest(task.digest), Relation::Ancestors);
            let mut walk = reader.walk(&seen).await?;
            let mut kinds = Vec::new();
            while let Some(relative) = walk.next().await? {
                kinds.push(relative.header.kind.to_string());
            }
            ensure!(kinds == ["task.new"], "node {id}: {kinds:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_intents_are_is_told_to_who_reads_every_kind_alone() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        let secret = draft("chat.secret", 1).embedding(&[1.0, 0.0]);
        root.commit(secret.model("test")).await?;
        let read = linearizable();
        let told = root.intents_with_centres(1, false, 10, &read).await?;
        ensure!(told.len() == 1 && told[0].centre.is_some(), "{told:?}");
        let narrow = secured.token(cluster, "narrow", &["read:task."]).await?;
        let reader = client(cluster, &[1], &narrow.text).await?;
        let told = reader.intents_with_centres(1, false, 10, &read).await?;
        ensure!(told.len() == 1 && told[0].centre.is_none(), "{told:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_of_some_kinds_commits_no_others_through_any_node() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let narrow = secured.token(cluster, "narrow", &["write:task."]).await?;
        for id in cluster.ids() {
            let writer = client(cluster, &[id], &narrow.text).await?;
            writer.commit(draft("task.new", id)).await?;
            let batch = vec![draft("task.new", 10 + id), draft("chat.secret", id)];
            let refused = writer.commit_batch(batch, Vec::new()).await;
            let Err(Error::PermissionDenied { message }) = refused else {
                anyhow::bail!("node {id}: {refused:?}");
            };
            ensure!(message.contains("chat.secret"), "{message}");
            ensure!(message.contains("write:chat.secret"), "{message}");
            let stream = writer.commit_stream();
            let answer = stream
                .send(vec![draft("chat.secret", id)], Vec::new())
                .await?;
            let refused = answer.await;
            ensure!(
                matches!(refused, Err(Error::PermissionDenied { .. })),
                "node {id}: {refused:?}"
            );
            // Nothing is read by who may only write.
            let got = writer.get(&Selector::Sequence(1), &linearizable()).await;
            ensure!(
                matches!(got, Err(Error::PermissionDenied { .. })),
                "node {id}: {got:?}"
            );
        }
        let root = secured.root(cluster).await?;
        let mut chat = List::default();
        chat.filter.kind_prefixes = vec!["chat.".to_owned()];
        let page = root.list(&chat, None).await?;
        ensure!(
            page.events.is_empty(),
            "a part of a batch was committed: {page:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_of_some_kinds_names_parents_that_its_stream_has_just_sent() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        let narrow = secured.token(cluster, "narrow", &["write:task."]).await?;
        let writer = client(cluster, &[1], &narrow.text).await?;
        let stream = writer.commit_stream();
        let kind = Kind::new("task.step")?;
        let mut parents: Vec<Digest> = Vec::new();
        let mut answers = Vec::new();
        for number in 0..20_u8 {
            let payload = payload_digest(&[number]);
            let digest = event_digest(&kind, &payload, &Salt::default(), &parents);
            let draft = EventDraft::new("task.step").payload_bytes(vec![number]);
            let draft = draft.parents_by_digest(std::mem::replace(&mut parents, vec![digest]));
            answers.push((digest, stream.send(vec![draft], Vec::new()).await?));
        }
        for (digest, answer) in answers {
            let committed = answer.await?;
            ensure!(committed.headers[0].digest == digest, "{committed:?}");
        }
        // One that nobody has sent is unknown, as it is to everybody.
        let draft = draft("task.new", 1).parents_by_digest([Digest([1; 32])]);
        let refused = stream.send(vec![draft], Vec::new()).await?.await;
        ensure!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_admins_see_the_audit_and_nobody_writes_it() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(1, &arguments, async |cluster: &mut Cluster| {
        // Making it leaves an event behind.
        let reader = secured.token(cluster, "reader", &["read", "write"]).await?;
        let mut audit = List {
            read: linearizable(),
            ..List::default()
        };
        audit.filter.kind_prefixes = vec!["toka.audit.".to_owned()];
        let root = secured.root(cluster).await?;
        let seen = root.list(&audit, None).await?;
        ensure!(!seen.events.is_empty(), "nothing was audited");
        let reader = client(cluster, &[1], &reader.text).await?;
        let hidden = reader.list(&audit, None).await?;
        ensure!(hidden.events.is_empty(), "{hidden:?}");
        let all = List {
            read: linearizable(),
            ..List::default()
        };
        let hidden = reader.list(&all, None).await?;
        ensure!(hidden.events.is_empty(), "{hidden:?}");
        let sequence = seen.events[0].header.sequence;
        let got = reader
            .get(&Selector::Sequence(sequence), &linearizable())
            .await;
        ensure!(matches!(got, Err(Error::NotFound { .. })), "{got:?}");
        for writer in [&reader, &root] {
            let forged = writer.commit(draft("toka.audit.forged", 1)).await;
            // Not even sent.
            ensure!(matches!(forged, Err(Error::Invalid(_))), "{forged:?}");
        }
        Ok(())
    })
    .await
}
