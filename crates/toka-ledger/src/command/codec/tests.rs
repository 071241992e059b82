use proptest::prelude::*;

use super::*;

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
    ]
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
    prop_oneof![1 => create, 4 => commit, 1 => label, 1 => level]
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
