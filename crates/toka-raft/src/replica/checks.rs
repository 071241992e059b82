//! What must hold of a node's parts before it starts, and why it does not.

use std::path::Path;

use futures::TryStreamExt as _;
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::dir::DataDir;
use toka_ledger::read::Position;

use crate::blocking::Blocking;
use crate::config::Config;
use crate::error::{Damage, FatalError, StartError};
use crate::fatal::Fatal;
use crate::ledger_host::LedgerHost;
use crate::log_store::{LogError, LogHandle, RaftLog};
use crate::snapshot::SnapshotStore;
use crate::type_config::{EntryPayload, LogId, Member, StoredMembership};

/// A node must know what its vault is made of, and say so.
pub(super) fn check_level(host: &LedgerHost, known: u32) -> Result<(), StartError> {
    let settings = host.reader().settings()?;
    let level = settings.map_or(0, |settings| settings.feature_level);
    if level > known {
        let build = FEATURE_LEVEL;
        return Err(StartError::FeatureLevel {
            level,
            build,
            known,
        });
    }
    Ok(())
}

/// A node must be where the others, and clients that are sent to it, look for it. The only voter changes where it is
/// known as soon as it leads.
pub(super) async fn check_addresses(
    config: &Config,
    host: &LedgerHost,
    snapshots: &SnapshotStore,
    log: &mut RaftLog,
) -> Result<(), StartError> {
    let membership = newest_membership(host, snapshots, log).await?;
    check_member(config.node_id, &config.advertised, &membership)
}

/// The membership that Raft begins with: the last one in the log, whether it is applied or not. After a crash the ledger
/// may lack the end of the log.
async fn newest_membership(
    host: &LedgerHost,
    snapshots: &SnapshotStore,
    log: &mut RaftLog,
) -> Result<StoredMembership, StartError> {
    let (applied, mut newest) = host.applied_state().map_err(raft_error)?;
    if let Some(snapshot) = snapshots.current() {
        let stored = &snapshot.contents().meta.last_membership;
        if stored.log_id() > newest.log_id() {
            newest = stored.clone();
        }
    }
    let after = applied.map_or(0, |log_id| log_id.index + 1);
    let mut reader = log.get_log_reader().await;
    let mut entries = Box::pin(reader.entries_stream(after..).await);
    while let Some(entry) = entries.try_next().await.map_err(raft_error)? {
        let log_id = Some(entry.log_id);
        if let EntryPayload::Membership(membership) = entry.payload
            && log_id > *newest.log_id()
        {
            newest = StoredMembership::new(log_id, membership);
        }
    }
    Ok(newest)
}

fn check_member(
    node_id: u64,
    ours: &Member,
    membership: &StoredMembership,
) -> Result<(), StartError> {
    let Some(known) = membership.membership().get_node(&node_id) else {
        return Ok(());
    };
    // A replica without a server around it need not know where it is.
    let is_said = !ours.raft_endpoint.is_empty();
    if !is_said || known.is_at(&ours.raft_endpoint, &ours.client_endpoint) {
        return Ok(());
    }
    let is_only_voter = membership.membership().voter_ids().eq([node_id]);
    if is_only_voter {
        return check_move(node_id, ours, known, membership);
    }
    if known.raft_endpoint == ours.raft_endpoint {
        tracing::warn!(
            node_id,
            advertised = %ours,
            known = %known,
            "this node advertises other addresses than its cluster knows: clients are sent to the old ones"
        );
        return Ok(());
    }
    Err(StartError::AddressDiffers {
        node_id,
        ours: ours.to_string(),
        known: known.to_string(),
    })
}

/// Of the only voter, which is not where it was.
fn check_move(
    node_id: u64,
    ours: &Member,
    known: &Member,
    membership: &StoredMembership,
) -> Result<(), StartError> {
    let others = membership.membership().nodes();
    let mut others = others.filter(|(id, _)| **id != node_id).peekable();
    let learners = others.peek().is_some();
    let taken = others.find(|(_, other)| {
        other.raft_endpoint == ours.raft_endpoint || other.client_endpoint == ours.client_endpoint
    });
    if let Some((other, _)) = taken {
        return Err(StartError::AddressTaken {
            node_id,
            ours: ours.to_string(),
            other: *other,
        });
    }
    if learners {
        tracing::warn!(
            node_id,
            advertised = %ours,
            known = %known,
            "this node has moved, which its membership will say as soon as it leads. If its data directory was copied \
             instead, and the node that it was copied from runs too, stop one of them at once: both lead the same \
             learners, and each acknowledges what the other does not have"
        );
    } else {
        tracing::info!(
            node_id,
            advertised = %ours,
            known = %known,
            "this node has moved, which its membership will say as soon as it leads"
        );
    }
    Ok(())
}

/// Why Raft could not be started: what this node has found out itself says more than openraft.
pub(super) fn not_started(
    fatal: &Fatal,
    log: &LogHandle,
    level_known: u32,
    error: String,
) -> StartError {
    let first = fatal.first();
    if let Some(FatalError::Ledger(ledger)) = &first
        && let toka_ledger::Error::FeatureLevel { found, supported } = **ledger
    {
        return StartError::FeatureLevel {
            level: found,
            build: supported,
            known: level_known,
        };
    }
    if let Some(FatalError::LedgerDamaged(source)) = first {
        return StartError::LedgerDamaged { source };
    }
    if let Some(damaged) = log_damage(log) {
        return damaged;
    }
    match first {
        Some(first) if first.is_beyond_build() => StartError::Newer {
            detail: first.to_string(),
        },
        first => StartError::Raft {
            reason: first.map_or(error, |first| first.to_string()),
        },
    }
}

/// What was found to be damaged in the log while it was read.
pub(super) fn log_damage(log: &LogHandle) -> Option<StartError> {
    let failure = log.failure().get()?;
    let damage = failure.is_damage().then(|| LogError::clone(&failure))?;
    Some(damage.into())
}

/// Notes the damage that keeps the node from starting, so that the next start need not come upon it.
pub(super) async fn noted(
    error: StartError,
    mut data_dir: DataDir,
    blocking: Blocking,
) -> StartError {
    if let Some(damage) = error.damage() {
        let note = blocking.run(move || damage.note(&mut data_dir));
        if let Err(error) = note.await {
            tracing::error!(%error, "that stored data is damaged could not be noted");
        }
    }
    error
}

/// What Raft finds when it starts is not to be had.
fn raft_error(error: impl ToString) -> StartError {
    StartError::Raft {
        reason: error.to_string(),
    }
}

/// The last entry that the ledger has applied.
fn applied(host: &LedgerHost) -> Result<Option<LogId>, StartError> {
    let (applied, _) = host.applied_state().map_err(raft_error)?;
    Ok(applied)
}

/// Where the vault is that was restored here, before Raft has applied anything to it.
pub(super) fn restored(host: &LedgerHost) -> Result<Option<Position>, StartError> {
    let applied = applied(host)?;
    let position = host.reader().position();
    Ok((applied.is_none() && position.revision > 0).then_some(position))
}

/// A node must not begin with parts that cannot have been together: it may have voted, or
/// acknowledged, what it does not remember. Returns the index of the log's last entry.
pub(super) async fn check_agreement(
    path: &Path,
    cluster_id: Option<u128>,
    host: &LedgerHost,
    log: &mut RaftLog,
) -> Result<Option<u64>, StartError> {
    let state = log.get_log_state().await.map_err(raft_error)?;
    let applied = applied(host)?;
    let mut reader = log.get_log_reader().await;
    let vote = reader.read_vote().await.map_err(raft_error)?;
    // A log without entries is right on a node that has just installed its first snapshot, but even
    // that one has voted.
    let has_log = state.last_log_id.is_some() || vote.is_some();
    let (detail, damage) = if has_log && cluster_id.is_none() {
        ("there is a Raft log, but no cluster id", None)
    } else if applied.is_some() && !has_log {
        let lost =
            "there is a ledger, but the Raft log is empty: replace the node under a new node id";
        (lost, Some(Damage::Log))
    } else {
        return Ok(state.last_log_id.map(|log_id| log_id.index));
    };
    Err(StartError::Contradiction {
        path: path.to_owned(),
        detail: detail.to_owned(),
        damage,
    })
}

/// A ledger that is ahead of the log proves that the log has lost what it had acknowledged, unless a
/// snapshot brought it there: then the crash came before the log was purged.
pub(super) async fn check_progress(
    path: &Path,
    host: &LedgerHost,
    snapshots: &SnapshotStore,
    log: &mut RaftLog,
) -> Result<(), StartError> {
    let state = log.get_log_state().await.map_err(raft_error)?;
    let applied = applied(host)?;
    let snapshot = snapshots
        .current()
        .and_then(|snapshot| snapshot.contents().meta.last_log_id);
    if snapshot.is_some() && snapshot < state.last_purged_log_id {
        // It does not reach the log, so no follower could go on from it.
        snapshots.forget();
    }
    let Some(applied) = applied else {
        return Ok(());
    };
    if state
        .last_log_id
        .is_some_and(|last| last.index >= applied.index)
    {
        return Ok(());
    }
    if snapshot != Some(applied) {
        let detail = format!(
            "the ledger has applied entry {}, but the Raft log ends at {}: the log has lost what this \
             node acknowledged; replace the node under a new node id",
            applied.index,
            state
                .last_log_id
                .map_or_else(|| "its beginning".to_owned(), |last| last.index.to_string())
        );
        return Err(StartError::Contradiction {
            path: path.to_owned(),
            detail,
            damage: Some(Damage::Log),
        });
    }
    log.purge(applied).await.map_err(raft_error)?;
    log.handle().barrier().await.map_err(raft_error)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use openraft::vote::RaftLeaderId as _;
    use toka_ledger::disk::Disk as _;
    use toka_ledger::seam::SystemThreads;

    use super::*;
    use crate::layout::Layout;
    use crate::log_store::{Change, LogEngine as _, LogOptions, MemoryLog};
    use crate::storage::{MemoryStorage, Storage as _};
    use crate::type_config::{Entry, LeaderId, Membership};

    fn member(host: &str) -> Member {
        Member::new(format!("{host}:7312"), format!("{host}:7311"))
    }

    fn members(ids: &[u64]) -> StoredMembership {
        let voters: BTreeSet<u64> = ids.iter().copied().collect();
        let nodes = ids.iter().map(|id| (*id, member(&format!("10.0.0.{id}"))));
        let nodes: BTreeMap<u64, Member> = nodes.collect();
        let membership = Membership::new(vec![voters], nodes).expect("valid");
        let log_id = LogId::new(LeaderId::new(1, 1), 0);
        StoredMembership::new(Some(log_id), membership)
    }

    /// Which members a node knows whose ledger has applied the first entry alone, and whose log has the second one too.
    async fn known_after_a_crash(applied: &[u64], logged: &[u64]) -> StoredMembership {
        let path = Path::new("/node");
        let storage = MemoryStorage::new();
        storage.disk.create_dir_all(path).expect("created");
        let layout = Layout::new(storage.disk(), path.to_owned());
        let snapshots = SnapshotStore::open(storage.disk(), layout.snapshots(), Blocking::Inline);
        let snapshots = snapshots.expect("opened");
        let (fatal, threads) = (Fatal::new(), Arc::new(SystemThreads));
        let host = LedgerHost::open(layout, Arc::new(storage), threads, &fatal).expect("opened");
        let entries = [applied, logged].into_iter().zip(0..).map(|(ids, index)| {
            let stored = members(ids);
            Entry {
                log_id: LogId::new(LeaderId::new(1, 1), index),
                payload: EntryPayload::Membership(stored.membership().clone()),
            }
        });
        let entries: Vec<Entry> = entries.collect();
        host.apply(entries[..1].to_vec()).expect("applied");
        let mut engine = MemoryLog::new();
        engine.write(&[Change::Append(entries)]).expect("written");
        engine.sync().expect("synced");
        let log = RaftLog::start(engine, LogOptions::default(), &SystemThreads);
        let mut log = log.expect("started");
        let newest = newest_membership(&host, &snapshots, &mut log).await;
        log.handle().close().await.expect("closed");
        newest.expect("read")
    }

    #[tokio::test]
    async fn log_says_who_the_members_are_where_the_ledger_lags_behind() {
        let elsewhere = member("10.0.0.9");
        let grown = known_after_a_crash(&[1], &[1, 2, 3]).await;
        check_member(1, &elsewhere, &grown).expect_err("it is not alone any more");
        let alone = known_after_a_crash(&[1, 2, 3], &[1]).await;
        check_member(1, &elsewhere, &alone).expect("it is alone by now");
    }

    #[test]
    fn node_that_the_others_would_not_find_does_not_start() {
        let known = members(&[1, 2, 3]);
        check_member(2, &member("10.0.0.2"), &known).expect("where it was");
        let error = check_member(2, &member("10.0.0.9"), &known).expect_err("elsewhere");
        let StartError::AddressDiffers { ours, known, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(ours, "raft 10.0.0.9:7312 client 10.0.0.9:7311");
        assert_eq!(known, "raft 10.0.0.2:7312 client 10.0.0.2:7311");
    }

    #[test]
    fn node_that_only_clients_would_not_find_starts() {
        let mut ours = member("10.0.0.2");
        ours.client_endpoint = "10.0.0.2:1".to_owned();
        let checked = check_member(2, &ours, &members(&[1, 2, 3]));
        checked.expect("the others find it");
        let is_same = member("10.0.0.2").is_at(&ours.raft_endpoint, &ours.client_endpoint);
        assert!(!is_same, "it is warned of");
    }

    #[test]
    fn only_voter_and_who_is_no_member_yet_or_is_told_nothing_starts() {
        let elsewhere = member("10.0.0.9");
        check_member(1, &elsewhere, &members(&[1])).expect("alone");
        let nodes = [1, 2].map(|id| (id, member(&format!("10.0.0.{id}"))));
        let with_learner = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from(nodes));
        let log_id = LogId::new(LeaderId::new(1, 1), 0);
        let with_learner = StoredMembership::new(Some(log_id), with_learner.expect("valid"));
        check_member(1, &elsewhere, &with_learner).expect("it is the only voter");
        let mut half = member("10.0.0.9");
        half.client_endpoint = "10.0.0.2:7311".to_owned();
        for taken in [member("10.0.0.2"), half] {
            let refused = check_member(1, &taken, &with_learner);
            assert!(
                matches!(refused, Err(StartError::AddressTaken { other: 2, .. })),
                "{refused:?}"
            );
        }
        check_member(2, &elsewhere, &with_learner).expect_err("a learner");
        check_member(4, &elsewhere, &members(&[1, 2, 3])).expect("no member yet");
        check_member(1, &Member::default(), &members(&[1, 2, 3])).expect("told nothing");
    }
}
