//! Raft, commits and snapshots.

use toka_proto::v1;
use toka_raft::{Replica, Role, Status, Survey};

use super::count;
use super::page::Page;
use super::table;

/// Puts them on the page.
pub(super) fn write(page: &mut Page, replica: &Replica, status: &Status) {
    commits(page, replica);
    log(page, status);
    members(page, replica, status);
    alarms(page, &replica.own_report());
    let tally = replica.tally();
    let made = tally.snapshots_made.distribution();
    page.times(&table::SNAPSHOT_SECONDS, &[], &made);
    page.set(&table::SNAPSHOTS_INSTALLED, tally.snapshots_installed.get());
    scrub(page, replica);
}

fn commits(page: &mut Page, replica: &Replica) {
    let tally = replica.tally();
    page.set(&table::COMMITS, tally.committed.get());
    page.set(&table::COMMITTED_EVENTS, tally.committed_events.get());
    page.set(&table::COMMANDS_REJECTED, tally.rejected.get());
    for (reason, count) in tally.failed() {
        page.set_of(&table::COMMANDS_FAILED, &[reason], count);
    }
    page.times(&table::COMMIT_SECONDS, &[], &tally.commit.distribution());
    for (stage, times) in [
        ("queue", tally.queue.distribution()),
        ("log", replica.log_syncs()),
        ("replicate", tally.replicate.distribution()),
        ("apply", tally.apply.distribution()),
    ] {
        page.times(&table::STAGE_SECONDS, &[stage], &times);
    }
    page.set(&table::RAFT_APPLIED, tally.applied_entries.get());
    page.set(&table::RAFT_LEADER_CHANGES, tally.leader_changes.get());
}

fn log(page: &mut Page, status: &Status) {
    let committed = status.committed_index.unwrap_or(0);
    let applied = status.applied_index.unwrap_or(0);
    for (metric, value) in [
        (&table::RAFT_TERM, status.term),
        (
            &table::RAFT_LAST_LOG_INDEX,
            status.last_log_index.unwrap_or(0),
        ),
        (&table::RAFT_COMMITTED_LOG_INDEX, committed),
        (&table::RAFT_APPLIED_LOG_INDEX, applied),
        (
            &table::RAFT_SNAPSHOT_LOG_INDEX,
            status.snapshot_index.unwrap_or(0),
        ),
        (&table::RAFT_APPLY_LAG, committed.saturating_sub(applied)),
    ] {
        page.set(metric, value);
    }
}

fn members(page: &mut Page, replica: &Replica, status: &Status) {
    let leader_id = status.leader.as_ref().map_or(0, |leader| leader.node_id);
    let leads = status.role == Role::Leader;
    page.set(&table::RAFT_IS_LEADER, u64::from(leads));
    page.set(&table::RAFT_LEADER_ID, leader_id);
    page.set(&table::RAFT_MEMBERS, count(status.members.len()));
    if !leads {
        return;
    }
    let last = status.last_log_index.unwrap_or(0);
    for member in &status.members {
        // The leader's own log is what the others' are compared with.
        let has = match member.node_id == status.node_id {
            true => last,
            false => member.matched.unwrap_or(0),
        };
        let node_id = member.node_id.to_string();
        page.set_of(&table::MEMBER_LAG, &[&node_id], last.saturating_sub(has));
    }
    for vital in replica.member_vitals() {
        let node_id = vital.node_id.to_string();
        let seconds = vital.round_trip.as_secs_f64();
        page.set_of(&table::MEMBER_ROUND_TRIP, &[&node_id], seconds);
        let seconds = vital.clock_offset_ms as f64 / 1_000.0;
        page.set_of(&table::MEMBER_CLOCK, &[&node_id], seconds);
    }
}

/// Of the leader; other nodes know of no silence.
fn alarms(page: &mut Page, survey: &Survey) {
    let v1::Membership {
        members,
        voter_sets,
        ..
    } = &survey.membership;
    let voters = members.iter().filter(|member| member.voter).count();
    let unreachable = members
        .iter()
        .filter(|member| member.unreachable_since_unix_ms.is_some());
    let voters_unreachable = unreachable.clone().filter(|member| member.voter).count();
    page.set(&table::RAFT_VOTERS, count(voters));
    page.set(&table::RAFT_LEARNERS, count(members.len() - voters));
    page.set(&table::RAFT_UNREACHABLE, count(unreachable.count()));
    page.set(&table::RAFT_VOTERS_UNREACHABLE, count(voters_unreachable));
    page.set(&table::RAFT_JOINT, u64::from(voter_sets.len() > 1));
    page.set(&table::ALARMS, count(survey.alarms.len()));
    for kind in kinds() {
        let raised = survey.alarms.iter().filter(|alarm| alarm.kind() == kind);
        let raised = count(raised.count());
        page.set_of(&table::ALARM, &[&alarm_name(kind)], raised);
    }
}

/// Every kind of alarm.
fn kinds() -> impl Iterator<Item = v1::AlarmKind> {
    (1..).map_while(|number| v1::AlarmKind::try_from(number).ok())
}

/// As `toka cluster status` has it, such as `slow_disk`.
fn alarm_name(kind: v1::AlarmKind) -> String {
    let name = kind.as_str_name();
    let name = name.strip_prefix("ALARM_KIND_").unwrap_or(name);
    name.to_lowercase()
}

fn scrub(page: &mut Page, replica: &Replica) {
    let report = replica.scrub();
    let (end, duration) = report.last.map_or((0, 0), |pass| {
        (pass.end_unix_ms / 1_000, pass.duration_ms / 1_000)
    });
    for (metric, value) in [
        (&table::SCRUB_RUNNING, u64::from(report.is_running)),
        (&table::SCRUB_PASSES, report.passes),
        (&table::SCRUB_BYTES, report.bytes),
        (&table::SCRUB_LAST_END, end),
        (&table::SCRUB_LAST_DURATION, duration),
        (&table::SCRUB_REBUILT, report.snapshots_rebuilt),
    ] {
        page.set(metric, value);
    }
}

/// What a node does in its cluster, in a word.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::LeaderWithoutQuorum => "leader_without_quorum",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_alarm_has_a_name_of_its_own() {
        let names: Vec<String> = kinds().map(alarm_name).collect();
        let unique: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        for name in ["node_unreachable", "disk_nearly_full", "state_differs"] {
            assert!(names.iter().any(|found| found == name), "{names:?}");
        }
    }
}
