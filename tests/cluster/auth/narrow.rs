//! Scopes that are narrowed by kinds, in what is derived of events: lineage, intents, consumer groups.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use toka_client::{
    Client, Consistency, ConsumerName, Delivery, Difference, Error, EventDraft, EventHeader,
    Filter, GroupChanges, GroupName, GroupSettings, GroupStart, Pull, Read, Search, Selector,
    Verdict,
};
use toka_ledger::Embedding;
use toka_tests::cluster::{self, Cluster};
use toka_tests::secured::{Secured, client};

const LINEARIZABLE: Consistency = Consistency::Linearizable;

fn linearizable() -> Read {
    Read {
        consistency: LINEARIZABLE,
        ..Read::default()
    }
}

fn by_digest(event: &EventHeader) -> Selector {
    Selector::Digest(event.digest)
}

fn is_denied<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::PermissionDenied { .. }))
}

fn is_not_there<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::NotFound { .. }))
}

/// Two tasks with one hidden ancestor, one of them with a hidden child.
struct Tasks {
    secret: EventHeader,
    left: EventHeader,
    right: EventHeader,
}

impl Tasks {
    async fn commit(root: &Client) -> Result<Self> {
        let secret = root.commit(EventDraft::new("chat.secret")).await?;
        let aside = root.commit(EventDraft::new("chat.aside")).await?;
        let left = EventDraft::new("task.left").parent(&secret).parent(&aside);
        let left = root.commit(left).await?;
        let right = EventDraft::new("task.right").parent(&secret);
        let right = root.commit(right).await?;
        let below = EventDraft::new("chat.below").parent(&right);
        root.commit(below).await?;
        Ok(Self {
            secret,
            left,
            right,
        })
    }

    /// What a reader of `task.` is told of them.
    async fn check(&self, reader: &Client) -> Result<()> {
        let (secret, left) = (by_digest(&self.secret), by_digest(&self.left));
        let right = by_digest(&self.right);
        let common = reader.common_ancestors(&left, &right, LINEARIZABLE).await?;
        ensure!(common.headers.is_empty(), "{common:?}");
        let hidden = reader.common_ancestors(&secret, &right, LINEARIZABLE);
        let hidden = hidden.await;
        ensure!(is_not_there(&hidden), "{hidden:?}");

        let difference = |without: &Selector, of: &Selector| Difference {
            without: *without,
            of: *of,
            events_max: 0,
            kind_prefixes: Vec::new(),
            consistency: LINEARIZABLE,
        };
        let mut walk = reader.difference(&difference(&right, &left)).await?;
        let mut kinds = Vec::new();
        while let Some(header) = walk.next().await? {
            kinds.push(header.kind.to_string());
        }
        ensure!(kinds == ["task.left"], "{kinds:?}");
        for (without, of) in [(&secret, &left), (&left, &secret)] {
            let hidden = reader.difference(&difference(without, of)).await;
            ensure!(
                is_not_there(&hidden.map(drop)),
                "of {of}, without {without}"
            );
        }

        // One that has a hidden child is no head.
        let heads = reader.heads(&[], 100, None, LINEARIZABLE).await?;
        let heads: Vec<_> = heads.headers.iter().map(|head| head.sequence).collect();
        ensure!(heads == [self.left.sequence], "{heads:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lineage_leaves_out_what_its_reader_may_not_read() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let tasks = Tasks::commit(&secured.root(cluster).await?).await?;
        let narrow = secured.token(cluster, "narrow", &["read:task."]).await?;
        for id in cluster.ids() {
            let reader = client(cluster, &[id], &narrow.text).await?;
            let checked = tasks.check(&reader).await;
            checked.with_context(|| format!("node {id}"))?;
        }
        Ok(())
    })
    .await
}

fn embedded(kind: &str, step: u8, vector: [f32; 4]) -> EventDraft {
    let draft = EventDraft::new(kind).payload(&json!({ "step": step }));
    draft.embedding(&vector).model("test")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_and_searches_show_no_events_of_other_kinds() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let root = secured.root(cluster).await?;
        // All of them are alike.
        for step in 0..4_u8 {
            let near = [1.0, 0.5, f32::from(step) / 64.0, 0.0];
            root.commit(embedded("chat.secret", step, near)).await?;
            let near = [1.0, 0.5, 0.0, f32::from(step) / 64.0];
            root.commit(embedded("task.new", step, near)).await?;
        }
        let intents = root.intents(8, false, 10, &linearizable()).await?;
        let intent = intents.first().context("an intent")?;
        let kinds = intent.examples.iter().map(|hit| &hit.event.header.kind);
        ensure!(kinds.clone().any(|kind| kind.as_str() == "chat.secret"));
        let intent = intent.summary.intent;
        root.label_intent(intent, Some("secret plans")).await?;

        let grants = ["read:task.", "write:task."];
        let narrow = secured.token(cluster, "narrow", &grants).await?;
        for id in cluster.ids() {
            let reader = client(cluster, &[id], &narrow.text).await?;
            let mut seen = reader.intents(8, false, 10, &linearizable()).await?;
            seen.push(reader.intent(intent, 8, &linearizable()).await?.0);
            for intent in &seen {
                ensure!(intent.summary.label.is_none(), "node {id}: {intent:?}");
                let mut kinds = intent.examples.iter().map(|hit| &hit.event.header.kind);
                let are_tasks = kinds.all(|kind| kind.as_str() == "task.new");
                ensure!(are_tasks, "node {id}: {intent:?}");
            }
            for exact in [false, true] {
                let search = Search {
                    embedding: Embedding::from_f32(&[1.0, 0.5, 0.0, 0.0])?,
                    limit: 100,
                    filter: Filter::default(),
                    probes: 0,
                    exact,
                    read: linearizable(),
                };
                let found = reader.search(&search).await?;
                let kinds: Vec<_> = found
                    .hits
                    .iter()
                    .map(|hit| hit.event.header.kind.as_str())
                    .collect();
                ensure!(kinds == ["task.new"; 4], "node {id}: {kinds:?}");
            }
            // These say something of all events.
            let vector = Embedding::from_f32(&[1.0, 0.5, 0.0, 0.0])?;
            let classified = reader.classify(&vector, 3, &linearizable()).await;
            ensure!(is_denied(&classified), "node {id}: {classified:?}");
            let labelled = reader.label_intent(intent, Some("mine")).await;
            ensure!(is_denied(&labelled), "node {id}: {labelled:?}");
        }
        Ok(())
    })
    .await
}

/// A group that delivers everything, with an event of either kind parked and outstanding.
async fn busy_group(root: &Client, name: &GroupName) -> Result<Delivery> {
    for kind in ["chat.secret", "task.new"] {
        for number in 0..2 {
            let payload = json!({ "number": number });
            root.commit(EventDraft::new(kind).payload(&payload)).await?;
        }
    }
    let settings = GroupSettings {
        ack_timeout_ms: 600_000,
        ..GroupSettings::default()
    };
    root.create_group(name, &settings, GroupStart::Beginning)
        .await?;
    let pull = Pull::new(name.clone(), ConsumerName::new("root")?);
    let deliveries = root.pull(&pull).await?;
    let kinds: Vec<_> = deliveries
        .iter()
        .map(|delivery| delivery.event.header.kind.as_str())
        .collect();
    let expected = ["chat.secret", "chat.secret", "task.new", "task.new"];
    ensure!(kinds == expected, "{kinds:?}");
    let park = |at: usize| {
        let reason = "later".to_owned();
        (deliveries[at].token(), Verdict::Park { reason })
    };
    root.settle(name, &[park(0), park(2)]).await?;
    Ok(deliveries[3].clone())
}

/// Everything that changes a group is refused to somebody who does not see all that it delivers.
async fn check_refused(robot: &Client, name: &GroupName, delivery: &Delivery) -> Result<()> {
    let pull = Pull::new(name.clone(), ConsumerName::new("robot")?);
    let changes = GroupChanges {
        ack_timeout_ms: Some(1_000),
        ..GroupChanges::default()
    };
    let settled = [(delivery.token(), Verdict::Acknowledge)];
    let another = GroupName::new("another")?;
    let settings = GroupSettings::default();
    let created = robot.create_group(&another, &settings, GroupStart::Now);
    let sequences = [delivery.event.header.sequence];
    for (call, is_denied) in [
        ("create", is_denied(&created.await)),
        ("pull", is_denied(&robot.pull(&pull).await)),
        ("settle", is_denied(&robot.settle(name, &settled).await)),
        (
            "update",
            is_denied(&robot.update_group(name, changes).await),
        ),
        (
            "replay",
            is_denied(&robot.replay_parked(name, &sequences).await),
        ),
        (
            "discard",
            is_denied(&robot.discard_parked(name, &sequences).await),
        ),
        ("delete", is_denied(&robot.delete_group(name).await)),
    ] {
        ensure!(is_denied, "{call} is not denied");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_of_other_kinds_is_worked_on_by_nobody_who_may_not_read_them() -> Result<()> {
    let secured = Secured::new()?;
    let arguments = secured.arguments(&[]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cluster::run(3, &arguments, async |cluster: &mut Cluster| {
        let grants = ["read:task.", "write:task."];
        let narrow = secured.token(cluster, "narrow", &grants).await?;
        let root = secured.root(cluster).await?;
        let name = GroupName::new("everything")?;
        let delivery = busy_group(&root, &name).await?;
        for id in cluster.ids() {
            let robot = client(cluster, &[id], &narrow.text).await?;
            let refused = check_refused(&robot, &name, &delivery).await;
            refused.with_context(|| format!("node {id}"))?;
            // What is asked for is shown without them.
            let parked = robot.parked(&name, 10, &linearizable()).await?;
            let outstanding = robot.outstanding(&name, 10, &linearizable()).await?;
            let parked = parked.iter().map(|parked| &parked.event);
            let shown = parked.chain(outstanding.iter().map(|item| &item.event));
            let kinds: Vec<_> = shown.map(|event| event.header.kind.as_str()).collect();
            ensure!(kinds == ["task.new"; 2], "node {id}: {kinds:?}");
        }
        // Nothing of it has changed.
        let outstanding = root.outstanding(&name, 10, &linearizable()).await?;
        ensure!(outstanding.len() == 2, "{outstanding:?}");
        Ok(())
    })
    .await
}
