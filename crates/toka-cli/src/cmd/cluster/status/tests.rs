use serde_json::Value;
use toka_client::ClusterStatus;
use toka_proto::v1::{self, IntentSettings};

use super::document::{decimal, node_json, scrub_json};
use super::table::{intents_line, nodes_table, row, scrub_line};
use super::{has_quorum, is_being_removed};

#[test]
fn nodes_that_were_looked_through_are_named_with_the_result() {
    let node = |node_id, last_scrub| v1::NodeStatus {
        node_id,
        last_scrub,
        ..v1::NodeStatus::default()
    };
    let pass = |snapshot_rebuilt| {
        Some(v1::ScrubPass {
            end_unix_ms: 1_795_713_300_123,
            duration_ms: 7,
            bytes: 9,
            snapshot_rebuilt,
        })
    };
    assert_eq!(scrub_line([node(1, None), node(2, None)].iter()), None);
    let nodes = [node(1, pass(false)), node(2, pass(true)), node(3, None)];
    assert_eq!(
        scrub_line(nodes.iter()).as_deref(),
        Some(
            "looked for damage: node 1 at 2026-11-26T17:15:00Z, no damage; node 2 at \
             2026-11-26T17:15:00Z, snapshot damaged and made anew; node 3 not yet"
        )
    );
    let json = scrub_json(&pass(false).expect("a pass"));
    assert_eq!(json["result"], "no damage");
    assert_eq!(json["end_unix_ms"], 1_795_713_300_123_u64);
}

fn cluster_of(nodes: Vec<v1::NodeStatus>, alarms: Vec<v1::Alarm>) -> ClusterStatus {
    let header = v1::ResponseHeader {
        cluster_id: vec![7; 16].into(),
        history_id: vec![7; 16].into(),
        ..v1::ResponseHeader::default()
    };
    let message = v1::GetStatusResponse {
        header: Some(header),
        nodes,
        alarms,
        ..v1::GetStatusResponse::default()
    };
    message.try_into().expect("valid")
}

#[test]
fn what_is_not_known_of_a_node_is_no_number() {
    let dead = v1::NodeStatus {
        node_id: 2,
        client_endpoint: "b:7311".to_owned(),
        reason: "tcp connect error".to_owned(),
        ..v1::NodeStatus::default()
    };
    let alive = v1::NodeStatus {
        node_id: 1,
        version: "0.1.0".to_owned(),
        role: v1::Role::LeaderWithoutQuorum.into(),
        ..v1::NodeStatus::default()
    };
    let cluster = cluster_of(vec![alive, dead], Vec::new());
    let [alive, dead] = &cluster.nodes[..] else {
        panic!("{cluster:?}");
    };
    let shown = row(&cluster, dead);
    assert_eq!(shown[1], "unknown");
    assert_eq!(shown[3..11], ["-"; 8]);
    let json = node_json(&cluster, dead);
    for name in ["term", "sequence", "applied_log_index", "disk_bytes"] {
        assert_eq!(json[name], Value::Null, "{name}");
        assert_eq!(node_json(&cluster, alive)[name], 0, "{name}");
    }
    assert_eq!(row(&cluster, alive)[1], "leader without quorum");
}

#[test]
fn lost_quorum_is_told_from_an_election() {
    let of = |kind: Option<v1::AlarmKind>| {
        let alarm = |kind: v1::AlarmKind| v1::Alarm {
            kind: kind.into(),
            ..v1::Alarm::default()
        };
        has_quorum(&cluster_of(
            Vec::new(),
            kind.map(alarm).into_iter().collect(),
        ))
    };
    assert!(of(None) && of(Some(v1::AlarmKind::NodeUnreachable)));
    assert!(!of(Some(v1::AlarmKind::NoQuorum)));
    assert!(!of(Some(v1::AlarmKind::JointConfiguration)));
}

#[test]
fn voter_of_the_configuration_that_is_left_alone_is_being_removed() {
    let set = |ids: &[u64]| v1::VoterSet {
        node_ids: ids.to_vec(),
    };
    let mut membership = v1::Membership {
        voter_sets: vec![set(&[1, 2, 3]), set(&[1, 3, 4])],
        ..v1::Membership::default()
    };
    let goes = |membership: &v1::Membership| {
        let ids = (1..=5).filter(|id| is_being_removed(membership, *id));
        ids.collect::<Vec<u64>>()
    };
    assert_eq!(goes(&membership), [2]);
    membership.voter_sets.remove(0);
    assert_eq!(goes(&membership), [0_u64; 0]);
}

#[test]
fn line_has_120_characters_unless_all_columns_are_asked_for() {
    let cells = |id: &str, health: &str| {
        [
            id,
            "unknown, votes",
            "192.168.100.101:65535",
            "1234",
            "1234567890",
            "1234567890",
            "123456",
            "1234.5 GiB",
            "0.1.0",
            "level 1",
            "186f81a26c88",
            health,
        ]
        .map(str::to_owned)
    };
    let reason = "unreachable since 2026-11-26T17:22:15Z: tcp connect error";
    let rows = || vec![cells("1", "ok"), cells("2", reason)];
    let table = nodes_table(rows(), false);
    for line in table.lines() {
        assert!(line.trim_end().chars().count() <= 120, "{line}");
    }
    assert!(table.contains("unreachable since"), "{table}");
    assert!(!table.contains("HISTORY ROOT"), "{table}");
    let wide = nodes_table(rows(), true);
    for text in ["TERM", "APPLIED", "HISTORY ROOT", reason] {
        assert!(wide.contains(text), "{wide}");
    }
}

#[test]
fn settings_of_intents_are_no_json() {
    let settings = IntentSettings {
        tau: 0.5,
        floor: 0.25,
        count_cap: 64,
        ..IntentSettings::default()
    };
    let short = intents_line(settings, false);
    assert_eq!(short, "intents: tau 0.5, rho 0.0, prior 0.0, floor 0.25");
    let all = intents_line(settings, true);
    assert!(all.contains("count_cap 64"), "{all}");
}

#[test]
fn settings_are_shown_as_they_were_given() {
    for (stored, shown) in [
        (0.850006103515625, "0.85"),
        (0.14999999850988388, "0.15"),
        (0.05000000074505806, "0.05"),
        (0.5, "0.5"),
        (1.0, "1.0"),
    ] {
        assert_eq!(format!("{:?}", decimal(stored)), shown);
    }
    let odd = 0.123_456_78;
    assert!((decimal(odd) - odd).abs() < 1e-5);
}
