//! Metrics, in Prometheus' text format.

use std::fmt::Write as _;

use toka_ledger::group::Group;
use toka_proto::v1;
use toka_raft::{Role, ScrubReport, Status, Survey};

use crate::api::{Gate, Gates, Shared};
use crate::status::Readiness;

/// The node in Prometheus' text format. Blocks for as long as `apply` changes the intents. Names and
/// meanings are part of the API (docs/operations.md).
pub(crate) fn text(shared: &Shared, readiness: &Readiness) -> String {
    let status = shared.replica.status();
    let mut text = String::new();
    let values = node_values(shared, &status, readiness)
        .into_iter()
        .chain(group_values(shared))
        .chain(raft_values(&status))
        .chain(membership_values(&shared.replica.own_survey()))
        .chain(scrub_values(&shared.replica.scrub()))
        .chain([trace_value(shared)]);
    for (name, kind, help, value) in values {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    }
    let _ = writeln!(
        text,
        "# HELP toka_node_info The node's identities; always 1.\n# TYPE toka_node_info gauge\n\
         toka_node_info{{node_id=\"{}\",cluster_id=\"{:032x}\",role=\"{}\",version=\"{}\"}} 1",
        status.node_id,
        status.cluster_id.unwrap_or(0),
        role(status.role),
        env!("CARGO_PKG_VERSION"),
    );
    text
}

/// Name, type, help, value.
type Value = (&'static str, &'static str, &'static str, u64);

fn node_values(shared: &Shared, status: &Status, readiness: &Readiness) -> [Value; 17] {
    let Gates {
        subscriptions,
        commits,
        commit_streams,
        backups,
        walks,
        verifications,
        pulls,
    } = &shared.gates;
    let is_ready = u64::from(*readiness == Readiness::Ready);
    let (revision, sequence) = (status.position.revision, status.position.sequence);
    let open = |gate: &Gate| count(gate.open());
    let usage = shared.reader.intent_usage();
    [
        (
            "toka_ready",
            "gauge",
            "1 if the node is ready to serve.",
            is_ready,
        ),
        ("toka_revision", "counter", "Commands applied.", revision),
        (
            "toka_sequence",
            "counter",
            "Sequence of the last event.",
            sequence,
        ),
        (
            "toka_ledger_disk_bytes",
            "gauge",
            "Bytes of the ledger on disk.",
            status.disk_bytes,
        ),
        (
            "toka_connections_open",
            "gauge",
            "Open connections of clients.",
            count(shared.open_connections.len()),
        ),
        (
            "toka_subscriptions_open",
            "gauge",
            "Open subscriptions.",
            open(subscriptions),
        ),
        (
            "toka_subscription_events_encoded",
            "counter",
            "Events encoded for subscriptions: each once for all that want the same of it.",
            shared.encoded.events(),
        ),
        (
            "toka_commit_streams_open",
            "gauge",
            "Open commit streams.",
            open(commit_streams),
        ),
        (
            "toka_commits_in_progress",
            "gauge",
            "Commits under way, without streams.",
            open(commits),
        ),
        (
            "toka_backups_open",
            "gauge",
            "Copies for backups that are being sent.",
            open(backups),
        ),
        (
            "toka_walks_open",
            "gauge",
            "Walks through the graph of events.",
            open(walks),
        ),
        (
            "toka_verifications_open",
            "gauge",
            "Checks of everything that the node has.",
            open(verifications),
        ),
        (
            "toka_pulls_open",
            "gauge",
            "Consumers that wait for events of their groups, those whose calls were forwarded included.",
            open(pulls),
        ),
        (
            "toka_intents",
            "gauge",
            "Intents, tentative ones included.",
            count(usage.intents),
        ),
        (
            "toka_micro_clusters",
            "gauge",
            "Micro-clusters of the intents.",
            count(usage.micro_clusters),
        ),
        (
            "toka_intents_table_bytes",
            "gauge",
            "Memory of the table that every embedded event is compared with.",
            count(usage.table_bytes),
        ),
        (
            "toka_intents_other_bytes",
            "gauge",
            "Memory of all else that the intents need.",
            count(usage.other_bytes),
        ),
    ]
}

fn trace_value(shared: &Shared) -> Value {
    (
        "toka_trace_spans_dropped_total",
        "counter",
        "Spans that were made and not exported: their queue was full, or the collector did not take them.",
        shared.router.tracer().spans_dropped(),
    )
}

/// Sums over all consumer groups, of which there may be a thousand: `toka group list` shows each. Nothing where they
/// cannot be read, which the log says elsewhere.
fn group_values(shared: &Shared) -> Vec<Value> {
    let last = shared.reader.position().sequence;
    let Ok(groups) = shared.reader.groups() else {
        return Vec::new();
    };
    let sum = |of: &dyn Fn(&Group) -> u64| groups.iter().map(of).sum::<u64>();
    let lag = |group: &Group| last.saturating_sub(group.position);
    vec![
        (
            "toka_groups",
            "gauge",
            "Consumer groups.",
            count(groups.len()),
        ),
        (
            "toka_group_outstanding",
            "gauge",
            "Events that consumer groups have outstanding, all together.",
            sum(&|group| group.unacknowledged.into()),
        ),
        (
            "toka_group_parked",
            "gauge",
            "Events that consumer groups have put aside, all together.",
            sum(&|group| group.parked.into()),
        ),
        (
            "toka_group_lag",
            "gauge",
            "Events behind the positions of the consumer groups, all together; they need not want them.",
            sum(&lag),
        ),
        (
            "toka_group_lag_max",
            "gauge",
            "Events behind the position of the consumer group that is furthest behind.",
            groups.iter().map(lag).max().unwrap_or(0),
        ),
    ]
}

fn raft_values(status: &Status) -> [Value; 8] {
    let leader_id = status.leader.as_ref().map_or(0, |leader| leader.node_id);
    let is_leader = u64::from(status.role == Role::Leader);
    let last = status.last_log_index.unwrap_or(0);
    let committed = status.committed_index.unwrap_or(0);
    let applied = status.applied_index.unwrap_or(0);
    let snapshot = status.snapshot_index.unwrap_or(0);
    let members = count(status.members.len());
    [
        ("toka_raft_term", "counter", "Raft term.", status.term),
        (
            "toka_raft_is_leader",
            "gauge",
            "1 if the node leads.",
            is_leader,
        ),
        (
            "toka_raft_leader_id",
            "gauge",
            "Node id of the leader; 0: none known.",
            leader_id,
        ),
        (
            "toka_raft_members",
            "gauge",
            "Members of the cluster.",
            members,
        ),
        (
            "toka_raft_last_log_index",
            "gauge",
            "Last entry of the log.",
            last,
        ),
        (
            "toka_raft_committed_log_index",
            "counter",
            "Last committed entry.",
            committed,
        ),
        (
            "toka_raft_applied_log_index",
            "counter",
            "Last applied entry.",
            applied,
        ),
        (
            "toka_raft_snapshot_log_index",
            "gauge",
            "Last entry in the newest snapshot.",
            snapshot,
        ),
    ]
}

/// Of the leader; other nodes know of no silence.
fn membership_values(survey: &Survey) -> [Value; 5] {
    let v1::Membership {
        members,
        voter_sets,
        ..
    } = &survey.membership;
    let voters = members.iter().filter(|member| member.voter).count();
    let unreachable = members
        .iter()
        .filter(|member| member.unreachable_since_unix_ms.is_some());
    [
        (
            "toka_raft_voters",
            "gauge",
            "Members that vote.",
            count(voters),
        ),
        (
            "toka_raft_learners",
            "gauge",
            "Members that do not vote.",
            count(members.len() - voters),
        ),
        (
            "toka_raft_members_unreachable",
            "gauge",
            "Members that do not answer the leader; known on the leader only.",
            count(unreachable.count()),
        ),
        (
            "toka_raft_joint",
            "gauge",
            "1 while the configuration is joint.",
            u64::from(voter_sets.len() > 1),
        ),
        (
            "toka_alarms",
            "gauge",
            "Alarms that need an operator (`toka cluster status`); complete on the leader only.",
            count(survey.alarms.len()),
        ),
    ]
}

fn scrub_values(report: &ScrubReport) -> [Value; 6] {
    [
        (
            "toka_scrub_running",
            "gauge",
            "1 while everything that is stored is read, to find damage.",
            u64::from(report.is_running),
        ),
        (
            "toka_scrub_passes_total",
            "counter",
            "Passes that came to their end.",
            report.passes,
        ),
        (
            "toka_scrub_bytes_total",
            "counter",
            "Bytes that were read.",
            report.bytes,
        ),
        (
            "toka_scrub_last_end_seconds",
            "gauge",
            "When the last pass came to its end, Unix time, also before a restart; 0: none has.",
            report.last.map_or(0, |pass| pass.end_unix_ms / 1_000),
        ),
        (
            "toka_scrub_last_duration_seconds",
            "gauge",
            "How long the last pass took.",
            report.last.map_or(0, |pass| pass.duration_ms / 1_000),
        ),
        (
            "toka_scrub_snapshots_rebuilt_total",
            "counter",
            "Damaged snapshots that were found, and made anew.",
            report.snapshots_rebuilt,
        ),
    ]
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::LeaderWithoutQuorum => "leader_without_quorum",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}
