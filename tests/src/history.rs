//! What writers were told, and whether every node's log bears it out.

mod acks;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use toka_auth::AUDIT_KIND_PREFIX;
use toka_client::{Client, Consistency, EventHeader, List, Read};
use toka_ledger::history::Frontier;
use toka_ledger::{Digest, hash};

pub use self::acks::{Ack, Acks};
use crate::cluster::Cluster;

/// Events per page when a log is read.
const PAGE: u32 = 1_000;

/// The whole log of the one node that `client` knows, as that node has it.
pub async fn local_log(client: &Client) -> Result<Vec<EventHeader>> {
    let list = List {
        page_size: PAGE,
        read: Read {
            consistency: Consistency::Local,
            ..Read::default()
        },
        ..List::default()
    };
    let events: Vec<_> = client.list_all(list).try_collect().await?;
    Ok(events.into_iter().map(|event| event.header).collect())
}

/// Checks every node that runs, once all writers have ended: its own log holds every acknowledged event
/// at its place and nothing twice, and all nodes have come to the same digests. Returns the log.
pub async fn check(cluster: &Cluster, acks: &Acks) -> Result<Vec<EventHeader>> {
    let acks = acks.all();
    let last = acks.iter().map(|ack| ack.sequence).max().unwrap_or(0);
    let log = same_log(cluster, last).await?;
    check_acks(&log, &acks)?;
    Ok(log)
}

/// Checks that every node that runs has the same log, at least up to `last`, and the same digests. Returns the log.
pub async fn same_log(cluster: &Cluster, last: u64) -> Result<Vec<EventHeader>> {
    let states = cluster.converged(last).await?;
    let mut first: Option<(u64, Vec<EventHeader>)> = None;
    for state in states {
        let id = state.node.node_id;
        let log = local_log(&cluster.client_of(id).await?).await?;
        check_log(&log).with_context(|| format!("log of node {id}"))?;
        ensure!(
            log.len() as u64 == state.node.sequence,
            "node {id}: its log is not whole"
        );
        ensure!(
            roots(&log).last() == Some(&state.history_root),
            "node {id}: its root is not that of its log"
        );
        match &first {
            None => first = Some((id, log)),
            Some((other, theirs)) => {
                ensure!(log == *theirs, "the logs of nodes {other} and {id} differ");
            }
        }
    }
    Ok(first.context("no node runs")?.1)
}

/// Checks a log by itself: no gap, no event twice, parents before their children, time in order.
pub fn check_log(log: &[EventHeader]) -> Result<()> {
    let mut by_digest: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut unix_ms = 0;
    for (header, expected) in log.iter().zip(1..) {
        let sequence = header.sequence;
        ensure!(
            sequence == expected,
            "sequence {sequence} where {expected} should be"
        );
        ensure!(
            header.id.sequence() == sequence,
            "id {} at sequence {sequence}",
            header.id
        );
        ensure!(
            header.unix_ms >= unix_ms,
            "time runs backwards at sequence {sequence}"
        );
        unix_ms = header.unix_ms;
        for parent in &header.parents {
            let at = by_digest.get(&parent.digest);
            ensure!(
                at == Some(&parent.id.sequence()),
                "event {sequence} names parent {}, which is at {at:?}",
                parent.id
            );
        }
        if let Some(other) = by_digest.insert(header.digest, sequence) {
            anyhow::bail!("event {} is at {other} and at {sequence}", header.digest);
        }
    }
    Ok(())
}

/// Checks that every acknowledged event is where it was acknowledged, that each writer's are in the
/// order in which it waited for them, and that there is nothing in the log that no writer was told of but the audit,
/// which the vault writes by itself.
pub fn check_acks(log: &[EventHeader], acks: &[Ack]) -> Result<()> {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for ack in acks {
        let Ack {
            writer, sequence, ..
        } = *ack;
        let index = usize::try_from(sequence)?
            .checked_sub(1)
            .context("sequence 0")?;
        let stored = log.get(index);
        let stored = stored.with_context(|| format!("{ack:?} is acknowledged and missing"))?;
        ensure!(
            stored.digest == ack.digest && stored.id == ack.id,
            "{ack:?} is acknowledged, and at its place is {} {}",
            stored.id,
            stored.digest
        );
        let before = last.insert(writer, sequence).unwrap_or(0);
        ensure!(
            before < sequence,
            "writer {writer}: {sequence} was acknowledged after {before}"
        );
        ensure!(
            told.insert(sequence),
            "sequence {sequence} was acknowledged twice"
        );
    }
    let is_audit = |header: &&EventHeader| header.kind.as_str().starts_with(AUDIT_KIND_PREFIX);
    let mut others = log.iter().filter(|header| !is_audit(header));
    let unknown = others.find(|header| !told.contains(&header.sequence));
    let unknown = unknown.map(|header| (header.sequence, header.kind.as_str()));
    ensure!(unknown.is_none(), "nobody was told of {unknown:?}");
    Ok(())
}

/// The roots of all prefixes of the history, the empty one first, computed anew.
pub fn roots(log: &[EventHeader]) -> Vec<Digest> {
    let mut frontier = Frontier::default();
    let mut roots = vec![frontier.root()];
    for header in log {
        let embedding = header
            .embedding
            .as_ref()
            .map_or(Digest::ZERO, |info| info.digest);
        let leaf = hash::leaf(header.sequence, header.unix_ms, &header.digest, &embedding);
        frontier.push(leaf, |_| {});
        roots.push(frontier.root());
    }
    roots
}

#[cfg(test)]
mod tests;
