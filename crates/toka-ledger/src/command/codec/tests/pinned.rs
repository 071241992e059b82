//! Bytes that never change.

use super::*;

#[test]
fn bytes_of_format_1_stay_as_they_are() {
    let unix_ms = 0x0102;
    let time = [0x02, 0x01, 0, 0, 0, 0, 0, 0];
    let level = Command::SetFeatureLevel(SetFeatureLevel {
        unix_ms,
        level: 300,
    });
    assert_eq!(
        encode(&level)[..],
        [&[1, 4], &time[..], &[0xac, 0x02]].concat()
    );
    let label = Command::Label(Label {
        unix_ms,
        intent: IntentId(5),
        label: Some(IntentLabel::new("a").expect("valid")),
    });
    assert_eq!(
        encode(&label)[..],
        [&[1, 3], &time[..], &[5, 1, b'a']].concat()
    );
    let event = PreparedEvent {
        kind: Kind::new("a").expect("valid"),
        payload: Bytes::from_static(b"p"),
        payload_digest: Digest([7; 32]),
        salt: Salt::default(),
        parents: vec![ParentName::Digest(Digest([8; 32]))],
        embedding: None,
        model: None,
        attributes: Attributes::default(),
    };
    let commit = Command::Commit(Commit {
        unix_ms,
        events: vec![event],
        preconditions: vec![Precondition::TimePassed { unix_ms: 9 }],
    });
    let expected = [
        &[1, 2][..],
        &time,
        &[1, 3, 9, 1, 0, 1, b'a'],
        &[7; 32],
        &[1, b'p', 0, 1, 2],
        &[8; 32],
    ];
    assert_eq!(encode(&commit)[..], expected.concat());
}

#[test]
fn bytes_of_level_2_stay_as_they_are() {
    let unix_ms = 0x0102;
    let time = [0x02, 0x01, 0, 0, 0, 0, 0, 0];
    let name = CursorName::new("c").expect("valid");
    let group = GroupName::new("g").expect("valid");
    let pinned = |command: &Command, front: &[u8], back: &[u8]| {
        assert_eq!(encode(command)[..], [front, &time[..], back].concat());
        assert_eq!(command.level_needed(), COORDINATION_LEVEL);
    };
    let save = Command::SaveCursor(SaveCursor {
        unix_ms,
        name: name.clone(),
        from: Some(3),
        to: 300,
    });
    pinned(&save, &[1, 5], &[1, b'c', 1, 3, 0xac, 0x02]);
    let delete = Command::DeleteCursor(DeleteCursor {
        unix_ms,
        name,
        from: None,
    });
    pinned(&delete, &[1, 6], &[1, b'c', 0]);
    let create = Command::CreateGroup(CreateGroup {
        unix_ms,
        name: group.clone(),
        settings: groups::Settings {
            ack_timeout_ms: 100,
            unacknowledged_max: 2,
            deliveries_max: 3,
            ..groups::Settings::default()
        },
        position: 4,
    });
    pinned(&create, &[1, 7], &[1, b'g', 0, 0, 0, 100, 2, 3, 4]);
    let delete = Command::DeleteGroup(DeleteGroup {
        unix_ms,
        name: group.clone(),
        incarnation: 5,
    });
    pinned(&delete, &[1, 8], &[1, b'g', 5]);
    let update = Command::UpdateGroup(UpdateGroup {
        unix_ms,
        name: group.clone(),
        incarnation: 5,
        changes: groups::Changes {
            ack_timeout_ms: Some(100),
            unacknowledged_max: None,
            deliveries_max: Some(3),
        },
    });
    pinned(&update, &[1, 12], &[1, b'g', 5, 1, 100, 0, 1, 3]);
    let deliver = Command::Deliver(Deliver {
        unix_ms,
        group: group.clone(),
        incarnation: 5,
        consumer: ConsumerName::new("r").expect("valid"),
        from: 6,
        to: 8,
        sequences: vec![7, 8],
    });
    pinned(&deliver, &[1, 9], &[1, b'g', 5, 1, b'r', 6, 8, 2, 7, 8]);
    let settlement = |sequence, verdict| Settlement {
        sequence,
        delivery: 1,
        verdict,
    };
    let reason = || "x".to_owned();
    let settle = Command::Settle(Settle {
        unix_ms,
        group: group.clone(),
        incarnation: 5,
        settlements: vec![
            settlement(7, Verdict::Acknowledge),
            settlement(
                8,
                Verdict::Reject {
                    delay_ms: 9,
                    reason: reason(),
                },
            ),
            settlement(9, Verdict::Extend),
            settlement(10, Verdict::Park { reason: reason() }),
            settlement(11, Verdict::Release),
        ],
    });
    let verdicts = [
        &[1, b'g', 5, 5, 7, 1, 1][..],
        &[8, 1, 2, 9, 1, b'x'],
        &[9, 1, 3],
        &[10, 1, 4, 1, b'x'],
        &[11, 1, 5],
    ];
    pinned(&settle, &[1, 10], &verdicts.concat());
    let moves = Command::MoveParked(MoveParked {
        unix_ms,
        group,
        incarnation: 5,
        sequences: vec![7],
        action: ParkedAction::Discard,
    });
    pinned(&moves, &[1, 11], &[1, b'g', 5, 1, 7, 2]);
}
