mod pinned;

use proptest::prelude::*;

use super::*;
use crate::command::{
    COORDINATION_LEVEL, CreateGroup, DeleteCursor, DeleteGroup, Deliver, MoveParked, ParkedAction,
    Precondition, SaveCursor, Settle, Settlement, UpdateGroup, Verdict,
};
use crate::core::{ConsumerName, CursorName, GroupName, groups};

fn any_parent(index: usize) -> impl Strategy<Value = ParentName> {
    let batch = (0..=u16::MAX).prop_map(move |i| match index {
        0 => ParentName::Digest(Digest([7; 32])),
        n => ParentName::Batch(i % u16::try_from(n).expect("small")),
    });
    prop_oneof![
        any::<[u8; 16]>().prop_map(|bytes| ParentName::Id(EventId::from_bytes(bytes))),
        any::<[u8; 32]>().prop_map(|bytes| ParentName::Digest(Digest(bytes))),
        batch,
    ]
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    (
        proptest::option::of("[a-z]{0,9}"),
        proptest::option::of("[a-z]{0,9}"),
        proptest::collection::btree_map("[b-d]{1,9}", "[a-z ]{0,9}", 0..3),
    )
        .prop_map(|(source, content_type, pairs)| Attributes {
            source,
            content_type,
            pairs,
        })
}

fn any_event(index: usize) -> impl Strategy<Value = PreparedEvent> {
    (
        "[a-z.]{1,20}",
        any::<Vec<u8>>(),
        proptest::collection::vec(any::<u8>(), 0..=32),
        proptest::collection::vec(any_parent(index), 0..4),
        proptest::option::of(proptest::collection::vec(0.5_f32..1.0, 1..8)),
        any_attributes(),
    )
        .prop_map(
            |(kind, payload, salt, parents, embedding, attributes)| PreparedEvent {
                kind: Kind::new(&kind).expect("valid"),
                payload_digest: crate::hash::payload_digest(&payload),
                payload: payload.into(),
                salt: Salt::new(&salt).expect("valid"),
                parents,
                model: embedding
                    .is_some()
                    .then(|| EmbeddingModel::new("model").expect("valid")),
                embedding: embedding.map(|e| Embedding::from_f32(&e).expect("valid")),
                attributes,
            },
        )
}

fn any_precondition() -> impl Strategy<Value = Precondition> {
    let kind = || "[a-z.]{1,20}".prop_map(|kind| Kind::new(&kind).expect("valid"));
    prop_oneof![
        (any_parent(0), kind()).prop_map(|(parent, kind)| Precondition::NoChild { parent, kind }),
        (kind(), any::<u64>())
            .prop_map(|(kind, sequence)| Precondition::KindSequence { kind, sequence }),
        any::<u64>().prop_map(|unix_ms| Precondition::TimePassed { unix_ms }),
        ("[a-z]{1,9}", any::<u64>(), any::<u64>()).prop_map(|(name, from, to)| {
            Precondition::CursorMove {
                name: CursorName::new(&name).expect("valid"),
                from,
                to,
            }
        }),
        ("[a-z.]{1,20}", any::<u64>())
            .prop_map(|(prefix, sequence)| Precondition::KindPrefixSequence { prefix, sequence }),
        (any_group(), any::<(u64, u64, u32)>()).prop_map(
            |(group, (incarnation, sequence, delivery))| Precondition::Acknowledge {
                group,
                incarnation,
                sequence,
                delivery,
            }
        ),
    ]
}

fn any_group() -> impl Strategy<Value = GroupName> {
    "[a-zß/]{1,9}".prop_map(|name| GroupName::new(&name).expect("valid"))
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Acknowledge),
        Just(Verdict::Extend),
        Just(Verdict::Release),
        (0..=86_400_000_u32, "[a-zß\n]{0,9}")
            .prop_map(|(delay_ms, reason)| Verdict::Reject { delay_ms, reason }),
        "[a-zß\n]{0,9}".prop_map(|reason| Verdict::Park { reason }),
    ]
}

fn any_settings() -> impl Strategy<Value = groups::Settings> {
    (100..=86_400_000_u32, 1..=10_000_u32, 1..=1_000_u32).prop_map(
        |(ack_timeout_ms, unacknowledged_max, deliveries_max)| {
            let mut settings = groups::Settings {
                ack_timeout_ms,
                unacknowledged_max,
                deliveries_max,
                ..groups::Settings::default()
            };
            settings.filter.kind_prefixes.push("task.".to_owned());
            settings
        },
    )
}

fn any_cursor_command() -> impl Strategy<Value = Command> {
    let name = || "[a-z]{1,9}".prop_map(|name| CursorName::new(&name).expect("valid"));
    let save = (any::<u64>(), name(), any::<Option<u64>>(), any::<u64>()).prop_map(
        |(unix_ms, name, from, to)| {
            Command::SaveCursor(SaveCursor {
                unix_ms,
                name,
                from,
                to,
            })
        },
    );
    let delete = (any::<u64>(), name(), any::<Option<u64>>()).prop_map(|(unix_ms, name, from)| {
        Command::DeleteCursor(DeleteCursor {
            unix_ms,
            name,
            from,
        })
    });
    prop_oneof![save, delete]
}

/// A group that is made, changed or deleted.
fn any_group_change() -> impl Strategy<Value = Command> {
    let create = (any::<u64>(), any_group(), any_settings(), any::<u64>()).prop_map(
        |(unix_ms, name, settings, position)| {
            Command::CreateGroup(CreateGroup {
                unix_ms,
                name,
                settings,
                position,
            })
        },
    );
    let delete = (any::<(u64, u64)>(), any_group()).prop_map(|((unix_ms, incarnation), name)| {
        Command::DeleteGroup(DeleteGroup {
            unix_ms,
            name,
            incarnation,
        })
    });
    let update = (
        any::<(u64, u64)>(),
        any_group(),
        any_settings(),
        any::<[bool; 3]>(),
    )
        .prop_map(|((unix_ms, incarnation), name, settings, has)| {
            Command::UpdateGroup(UpdateGroup {
                unix_ms,
                name,
                incarnation,
                changes: groups::Changes {
                    ack_timeout_ms: has[0].then_some(settings.ack_timeout_ms),
                    unacknowledged_max: has[1].then_some(settings.unacknowledged_max),
                    deliveries_max: has[2].then_some(settings.deliveries_max),
                },
            })
        });
    prop_oneof![create, delete, update]
}

fn any_group_command() -> impl Strategy<Value = Command> {
    let sequences = || {
        proptest::collection::btree_set(1..1_000_u64, 0..9)
            .prop_map(|sequences| sequences.into_iter().collect::<Vec<_>>())
    };
    let deliver = (any_group(), any::<(u64, u64)>(), 0..1_000_u64, sequences()).prop_map(
        |(group, (unix_ms, incarnation), from, sequences)| {
            Command::Deliver(Deliver {
                unix_ms,
                group,
                incarnation,
                consumer: ConsumerName::new("robot").expect("valid"),
                from,
                to: 1_000,
                sequences,
            })
        },
    );
    let settlement =
        (any::<(u64, u32)>(), any_verdict()).prop_map(|((sequence, delivery), verdict)| {
            Settlement {
                sequence,
                delivery,
                verdict,
            }
        });
    let settlements = proptest::collection::vec(settlement, 0..5);
    let settle = (any_group(), any::<(u64, u64)>(), settlements).prop_map(
        |(group, (unix_ms, incarnation), settlements)| {
            Command::Settle(Settle {
                unix_ms,
                group,
                incarnation,
                settlements,
            })
        },
    );
    let action = prop_oneof![Just(ParkedAction::Replay), Just(ParkedAction::Discard)];
    let moves = (any_group(), any::<(u64, u64)>(), sequences(), action).prop_map(
        |(group, (unix_ms, incarnation), sequences, action)| {
            Command::MoveParked(MoveParked {
                unix_ms,
                group,
                incarnation,
                sequences,
                action,
            })
        },
    );
    prop_oneof![3 => any_group_change(), 1 => deliver, 1 => settle, 1 => moves]
}

fn any_command() -> impl Strategy<Value = Command> {
    let create = (
        any::<u64>(),
        any::<u128>(),
        any::<u128>(),
        any::<u32>(),
        0..=4096_u16,
    )
        .prop_map(
            |(unix_ms, cluster_id, history_id, feature_level, dimension)| {
                Command::Create(Create {
                    cluster_id,
                    history_id,
                    feature_level,
                    dimension: Some(dimension).filter(|&d| d > 0),
                    model: (dimension % 2 == 0)
                        .then(|| EmbeddingModel::new("model").expect("valid")),
                    intents: Parameters {
                        count_cap: 1 << (1 + dimension % 10),
                        ..Parameters::default()
                    },
                    unix_ms,
                })
            },
        );
    let commit = (
        any::<u64>(),
        proptest::collection::vec(any_precondition(), 0..3),
        (any_event(0), any_event(1), any_event(2)),
        1..=3_usize,
    )
        .prop_map(|(unix_ms, preconditions, (a, b, c), count)| {
            let mut events = vec![a, b, c];
            events.truncate(count);
            Command::Commit(Commit {
                unix_ms,
                events,
                preconditions,
            })
        });
    let label = (
        any::<u64>(),
        any::<u64>(),
        proptest::option::of("[a-zß ]{1,9}"),
    )
        .prop_map(|(unix_ms, intent, label)| {
            Command::Label(Label {
                unix_ms,
                intent: IntentId(intent),
                label: label.map(|label| IntentLabel::new(&label).expect("valid")),
            })
        });
    let level = (any::<u64>(), any::<u32>())
        .prop_map(|(unix_ms, level)| Command::SetFeatureLevel(SetFeatureLevel { unix_ms, level }));
    prop_oneof![
        1 => create,
        4 => commit,
        1 => label,
        1 => level,
        2 => any_cursor_command(),
        4 => any_group_command(),
    ]
}

proptest! {
    #[test]
    fn commands_round_trip(commands in proptest::collection::vec(any_command(), 0..4)) {
        let mut batch = Batch::default();
        for command in &commands {
            batch.push(&encode(command));
        }
        prop_assert_eq!(decode_batch(batch.finish()), Ok(commands));
    }

    #[test]
    fn damaged_entries_decode_or_fail_without_panic(
        command in any_command(),
        at in any::<prop::sample::Index>(),
        xor in 1..=u8::MAX,
    ) {
        let mut batch = Batch::default();
        batch.push(&encode(&command));
        let mut bytes = batch.finish().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        let _ = decode_batch(bytes.into());
    }

    #[test]
    fn arbitrary_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
        let _ = decode_batch(bytes.into());
    }
}

#[test]
fn creation_that_no_node_could_read_is_refused() {
    let create = |dimension, intents| {
        Command::Create(Create {
            cluster_id: 1,
            history_id: 2,
            feature_level: 1,
            dimension,
            model: None,
            intents,
            unix_ms: 3,
        })
    };
    let good = Parameters::default();
    let field = |command: Command| command.check().map_err(|invalid| invalid.field());
    assert_eq!(field(create(Some(4_096), good)), Ok(()));
    for dimension in [0, 4_097] {
        assert_eq!(field(create(Some(dimension), good)), Err("dimension"));
    }
    let bad = Parameters {
        count_cap: 3,
        ..good
    };
    assert_eq!(field(create(None, bad)), Err("intents.count_cap"));
}

#[test]
fn delays_of_more_than_a_day_are_refused() {
    for (delay_ms, is_good) in [(86_400_000, true), (86_400_001, false)] {
        let reason = String::new();
        let settle = Command::Settle(Settle {
            unix_ms: 1,
            group: GroupName::new("g").expect("valid"),
            incarnation: 1,
            settlements: vec![Settlement {
                sequence: 1,
                delivery: 1,
                verdict: Verdict::Reject { delay_ms, reason },
            }],
        });
        let mut batch = Batch::default();
        batch.push(&encode(&settle));
        assert_eq!(decode_batch(batch.finish()).is_ok(), is_good);
        assert_eq!(settle.check().is_ok(), is_good);
    }
}

#[test]
fn deliveries_that_are_out_of_order_or_beyond_their_end_are_refused() {
    let field = |from, to, sequences: &[u64]| {
        let deliver = Command::Deliver(Deliver {
            unix_ms: 1,
            group: GroupName::new("g").expect("valid"),
            incarnation: 1,
            consumer: ConsumerName::new("r").expect("valid"),
            from,
            to,
            sequences: sequences.to_vec(),
        });
        let mut batch = Batch::default();
        batch.push(&encode(&deliver));
        let checked = deliver.check().map_err(|invalid| invalid.field());
        // Decoding checks the same.
        assert_eq!(decode_batch(batch.finish()).is_ok(), checked.is_ok());
        checked
    };
    assert_eq!(field(1, 3, &[1, 2, 3]), Ok(()));
    assert_eq!(field(3, 3, &[]), Ok(()));
    assert_eq!(field(4, 3, &[]), Err("from"));
    for sequences in [&[2, 1][..], &[1, 1], &[0], &[4]] {
        assert_eq!(field(1, 3, sequences), Err("sequences"));
    }
    let many: Vec<u64> = (1..=1_001).collect();
    assert_eq!(field(1, 2_000, &many), Err("sequences"));
}
