//! Lineage on a cluster: the same from every node, and on the command line.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use toka_client::{
    Client, Code, Consistency, Difference, Error, EventDraft, EventHeader, Lineage, Relation,
    Selector, Walk,
};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster};
use toka_tests::command::{Ran, Toka};

/// Agents whose work is merged.
const AGENTS: usize = 4;
/// Events of each before the merge.
const WORK: u64 = 40;

/// One root, a chain of each agent from there, a merge of all, and an event without relatives.
struct Story {
    root: EventHeader,
    /// The last event of each agent.
    ends: Vec<EventHeader>,
    merge: EventHeader,
    alone: EventHeader,
}

impl Story {
    async fn tell(client: &Client) -> Result<Self> {
        let root = client
            .commit(EventDraft::new("task.created").source("a \"b\" [c]"))
            .await?;
        let mut ends = vec![root.clone(); AGENTS];
        for step in 0..WORK {
            for (agent, end) in ends.iter_mut().enumerate() {
                let draft = EventDraft::new("work.step").payload(&json!([agent, step]));
                *end = client.commit(draft.parent(end)).await?;
            }
        }
        let merge = EventDraft::new("task.done").parents(&ends);
        let merge = client.commit(merge).await?;
        let alone = client.commit(EventDraft::new("note")).await?;
        Ok(Self {
            root,
            ends,
            merge,
            alone,
        })
    }

    /// Events of the root, the agents and the merge.
    const fn events() -> u64 {
        2 + AGENTS as u64 * WORK
    }
}

async fn all<T: Send + 'static>(mut walk: Walk<T>) -> Result<(Vec<T>, bool)> {
    let mut found = Vec::new();
    while let Some(next) = walk.next().await? {
        found.push(next);
    }
    let end = walk.end().context("it has no end")?;
    Ok((found, end.is_complete))
}

fn lineage(event: &EventHeader, relation: Relation, consistency: Consistency) -> Lineage {
    Lineage {
        consistency,
        ..Lineage::of(Selector::Id(event.id), relation)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lineage_is_the_same_from_every_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let story = Story::tell(&client).await?;
        let seen = Consistency::AtLeast(client.revision());
        let mut told = Vec::new();
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let up = client
                .walk(&lineage(&story.merge, Relation::Ancestors, seen))
                .await?;
            let (up, is_complete) = all(up).await?;
            ensure!(
                is_complete && up.len() as u64 == Story::events(),
                "{}",
                up.len()
            );
            let order: Vec<_> = up.iter().map(|at| (at.depth, at.header.sequence)).collect();
            ensure!(order.is_sorted(), "{order:?}");
            ensure!(
                up[0].header.id == story.merge.id && up[0].depth == 0,
                "{:?}",
                up[0]
            );
            let last = up.last().context("no event")?;
            ensure!(u64::from(last.depth) == WORK + 1, "{last:?}");

            let down = client
                .walk(&lineage(&story.root, Relation::Descendants, seen))
                .await?;
            let (down, _) = all(down).await?;
            ensure!(down.len() == up.len() && down[0].header.id == story.root.id);

            let difference = Difference {
                without: Selector::Id(story.ends[0].id),
                of: Selector::Id(story.merge.id),
                events_max: 0,
                kind_prefixes: Vec::new(),
                consistency: seen,
            };
            let stream = client.difference(&difference).await?.into_stream();
            let newer: Vec<EventHeader> = stream.try_collect().await?;
            ensure!(
                newer.len() as u64 == 1 + (AGENTS as u64 - 1) * WORK,
                "{}",
                newer.len()
            );
            ensure!(newer.is_sorted_by(|a, b| a.sequence > b.sequence));

            let (first, second) = (
                Selector::Id(story.ends[1].id),
                Selector::Id(story.ends[2].id),
            );
            let common = client.common_ancestors(&first, &second, seen).await?;
            ensure!(
                common.end.is_complete && common.headers == [story.root.clone()],
                "{common:?}"
            );
            let alone = Selector::Id(story.alone.id);
            let common = client.common_ancestors(&first, &alone, seen).await?;
            ensure!(common.headers.is_empty(), "{common:?}");

            let heads = client.heads_all(Vec::new(), seen);
            let heads: Vec<EventHeader> = heads.try_collect().await?;
            ensure!(
                heads == [story.alone.clone(), story.merge.clone()],
                "{heads:?}"
            );
            let done = client.heads(&["task.".to_owned()], 0, None, seen).await?;
            ensure!(
                done.headers == [story.merge.clone()] && done.next.is_none(),
                "{done:?}"
            );
            told.push((up, down, newer));
        }
        ensure!(told.windows(2).all(|two| two[0] == two[1]), "nodes differ");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lineage_is_read_on_followers_and_outlives_the_leader() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let story = Story::tell(&client).await?;
        let (leader, followers) = (cluster.leader().await?, cluster.followers().await?);
        // Everything that was acknowledged, read from a follower and from no other node.
        let request = || v1::WalkRequest {
            event: Some((&Selector::Id(story.merge.id)).into()),
            max_events: 1_000,
            read: Some(v1::ReadOptions {
                consistency: Some(v1::read_options::Consistency::Linearizable(
                    v1::Linearizable {},
                )),
                ..Default::default()
            }),
            ..Default::default()
        };
        for follower in followers {
            let stream = cluster.node(follower).lineage().walk(request()).await?;
            let messages: Vec<v1::WalkResponse> = stream.into_inner().try_collect().await?;
            let mut of_follower = messages
                .iter()
                .filter_map(|message| message.header.as_ref());
            ensure!(of_follower.clone().count() == messages.len());
            ensure!(of_follower.all(|header| header.node_id == follower));
            let count: usize = messages.iter().map(|message| message.relatives.len()).sum();
            ensure!(count as u64 == Story::events(), "{count}");
            ensure!(messages.last().is_some_and(|last| last.end.is_some()));
        }
        cluster.kill(leader)?;
        let query = lineage(&story.merge, Relation::Ancestors, Consistency::Linearizable);
        let (up, _) = all(client.walk(&query).await?).await?;
        ensure!(up.len() as u64 == Story::events(), "{}", up.len());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lineage_that_cannot_be_is_refused_with_its_reason() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let root = client.commit(EventDraft::new("root")).await?;
        let absent = Lineage::of(Selector::Sequence(9), Relation::Ancestors);
        let error = client
            .walk(&absent)
            .await
            .err()
            .context("it is not there")?;
        ensure!(
            matches!(&error, Error::NotFound { name } if name.contains('9')),
            "{error}"
        );
        let many = Lineage {
            events_max: 1_000_001,
            ..lineage(&root, Relation::Ancestors, Consistency::Local)
        };
        let error = client.walk(&many).await.err().context("too many")?;
        ensure!(
            matches!(&error, Error::InvalidField { field, .. } if field == "max_events"),
            "{error}"
        );
        let request = v1::WalkRequest {
            relation: 77,
            event: Some((&Selector::Id(root.id)).into()),
            ..Default::default()
        };
        let refused = cluster.node(1).lineage().walk(request).await;
        let refused = refused.err().context("no such relation")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        let page = client.heads(&[], 0, Some("00"), Consistency::Local).await;
        let error = page.err().context("no token")?;
        ensure!(error.to_string().contains("page_token"), "{error}");
        Ok(())
    })
    .await
}

/// Labels of nodes by sequence, and edges between them.
type Graph = (BTreeMap<u64, String>, Vec<(u64, u64)>);

/// The sequences of the nodes of a DOT graph with their labels, and its edges. Strict about what `toka` writes: any
/// line that is none of these is an error.
fn parse_dot(dot: &str) -> Result<Graph> {
    let sequence = |name: &str| -> Result<u64> {
        Ok(name.strip_prefix('e').context("no node")?.parse::<u64>()?)
    };
    let mut lines = dot.lines();
    ensure!(lines.next() == Some("digraph lineage {"), "{dot}");
    ensure!(lines.next() == Some("  node [shape=box];"), "{dot}");
    let (mut nodes, mut edges) = (BTreeMap::new(), Vec::new());
    for line in lines {
        if line == "}" {
            return Ok((nodes, edges));
        }
        let line = line.trim().strip_suffix(';').context("no semicolon")?;
        if let Some((parent, child)) = line.split_once(" -> ") {
            edges.push((sequence(parent)?, sequence(child)?));
            continue;
        }
        let (name, rest) = line.split_once(" [label=\"").context("no label")?;
        let mut label = String::new();
        let mut characters = rest.chars();
        loop {
            match characters.next().context("the label has no end")? {
                '"' => break,
                '\\' => {
                    let escaped = characters.next().context("nothing is escaped")?;
                    label.push(if escaped == 'n' { '\n' } else { escaped });
                }
                other => label.push(other),
            }
        }
        let rest = characters.as_str();
        ensure!(rest == "]" || rest == ", style=bold]", "{rest}");
        nodes.insert(sequence(name)?, label);
    }
    anyhow::bail!("the graph has no end: {dot}")
}

/// A vault on the command line.
struct CommandLine<'a> {
    toka: &'a Toka,
    /// The arguments that name it.
    vault: &'a [&'a str],
}

impl CommandLine<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.toka.run(&[self.vault, arguments].concat()).await
    }

    async fn ok(&self, arguments: &[&str]) -> Result<String> {
        Ok(self
            .toka
            .ok(&[self.vault, arguments].concat())
            .await?
            .stdout)
    }

    /// The sequences in JSON lines.
    async fn sequences(&self, arguments: &[&str]) -> Result<Vec<u64>> {
        // What it is in a pipe.
        let all = [self.vault, arguments].concat();
        let events = self.toka.json(&all).await?;
        let sequences = events.iter().map(|event| event["sequence"].as_u64());
        sequences.collect::<Option<_>>().context("no sequence")
    }

    /// Commits what [`CommandLine::check`] wants to see: 1; 2 and 3 of it; 4 of both; 5 alone.
    async fn commit_diamond(&self) -> Result<()> {
        let events: [(&[&str], &[usize]); 5] = [
            (
                &[
                    "task.created",
                    "--source",
                    "a \"b\" [c]",
                    "-a",
                    "path=c:\\new",
                ],
                &[],
            ),
            (&["work.left"], &[0]),
            (&["work.right"], &[0]),
            (&["task.done"], &[1, 2]),
            (&["note"], &[]),
        ];
        let mut ids: Vec<String> = Vec::new();
        for (arguments, parents) in events {
            let mut line = [self.vault, &["commit"], arguments].concat();
            for parent in parents {
                line.extend(["--parent", ids[*parent].as_str()]);
            }
            line.extend(["--output", "json"]);
            let committed = self.toka.json(&line).await?;
            let id = committed[0]["id"].as_str().context("no id")?;
            ids.push(id.to_owned());
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        let drawing = self.ok(&["lineage", "4", "--format", "graph"]).await?;
        let columns: Vec<&str> = drawing
            .lines()
            .map(|line| line.split("  ").next().unwrap_or(line))
            .collect();
        ensure!(
            columns == ["@", "+-.", "* |", "| *", "+-'", "*"],
            "{drawing}"
        );
        ensure!(drawing.contains("task.done"), "{drawing}");
        self.check_events().await?;
        self.check_markup().await?;
        self.check_picture().await?;

        let short = self.run(&["lineage", "4", "-n", "2"]).await?;
        ensure!(short.stderr.contains("--max"), "{short:?}");
        let wrong: [(&[&str], i32); 4] = [
            (&["lineage", "99"], 4),
            (&["lineage", "4", "--common", "99"], 4),
            (&["lineage", "no event"], 2),
            (&["lineage"], 2),
        ];
        for (arguments, code) in wrong {
            let ran = self.run(arguments).await?;
            ensure!(ran.code == Some(code), "{arguments:?}: {ran:?}");
        }
        Ok(())
    }

    async fn check_events(&self) -> Result<()> {
        let questions: [(&[&str], &[u64]); 12] = [
            (&["lineage", "4"], &[4, 2, 3, 1]),
            (&["lineage", "1", "--descendants"], &[1, 2, 3, 4]),
            (&["lineage", "2", "--both"], &[2, 1, 4]),
            (&["lineage", "4", "--depth", "1"], &[4, 2, 3]),
            (&["lineage", "4", "-n", "2"], &[4, 2]),
            (&["lineage", "4", "--kind", "task."], &[4, 1]),
            (&["lineage", "2", "--common", "3"], &[1]),
            (&["lineage", "2", "--common", "5"], &[]),
            (&["lineage", "--diff", "2", "4"], &[4, 3]),
            (&["lineage", "--heads"], &[5, 4]),
            (&["lineage", "--heads", "--kind", "task."], &[4]),
            (&["lineage", "--heads", "-n", "1"], &[5]),
        ];
        for (arguments, expected) in questions {
            let found = self.sequences(arguments).await?;
            ensure!(found == expected, "{arguments:?}: {found:?}");
        }
        Ok(())
    }

    async fn check_markup(&self) -> Result<()> {
        let (nodes, mut edges) = parse_dot(&self.ok(&["lineage", "4", "--format", "dot"]).await?)?;
        let sequences: Vec<u64> = nodes.keys().copied().collect();
        ensure!(sequences == [1, 2, 3, 4], "{nodes:?}");
        let label = &nodes[&1];
        ensure!(
            label.contains("source=a \"b\" [c]") && label.contains("path=c:\\new"),
            "{label:?}"
        );
        edges.sort_unstable();
        ensure!(edges == [(1, 2), (1, 3), (2, 4), (3, 4)], "{edges:?}");

        let mermaid = self.ok(&["lineage", "4", "--format", "mermaid"]).await?;
        ensure!(mermaid.starts_with("flowchart TD\n"), "{mermaid}");
        ensure!(mermaid.contains("  e1 --> e2\n"), "{mermaid}");
        ensure!(
            mermaid.contains("source=a #34;b#34; #91;c#93;"),
            "{mermaid}"
        );
        Ok(())
    }

    async fn check_picture(&self) -> Result<()> {
        let picture = self.ok(&["lineage", "4", "--svg"]).await?;
        let document = roxmltree::Document::parse(&picture)?;
        let of_class = |class: &str| {
            let nodes = document.descendants();
            let classes = nodes.filter_map(|node| node.attribute("class"));
            classes
                .filter(|classes| classes.split(' ').any(|one| one == class))
                .count()
        };
        ensure!(of_class("event") == 4, "{picture}");
        ensure!(of_class("edge") == 4, "{picture}");
        ensure!(of_class("start") == 1, "{picture}");
        ensure!(picture.contains("source=a &quot;b&quot; [c]"), "{picture}");
        let same = self.ok(&["lineage", "4", "--format", "svg"]).await?;
        ensure!(same == picture, "{same}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_shows_the_lineage_of_a_cluster() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let toka = Toka::with_endpoints(cluster.directory(), &cluster.endpoints());
        let line = CommandLine {
            toka: &toka,
            vault: &[],
        };
        line.commit_diamond().await?;
        line.check().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_shows_the_lineage_of_an_embedded_vault() -> Result<()> {
    let home = TempDir::with_prefix("toka-test-lineage-")?;
    let data = home.path().join("vault").display().to_string();
    let toka = Toka::new(home.path());
    let line = CommandLine {
        toka: &toka,
        vault: &["--data", data.as_str()],
    };
    line.commit_diamond().await?;
    line.check().await
}
