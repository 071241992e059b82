use proptest::prelude::*;

use super::*;

fn parents(sequence: u64) -> impl Strategy<Value = Vec<Parent>> {
    let parent = (any::<[u8; 32]>(), 1..sequence.max(2), 0..UNIX_MS_END).prop_map(
        |(digest, sequence, unix_ms)| {
            let digest = Digest(digest);
            Parent {
                digest,
                id: EventId::new(unix_ms, sequence, &digest),
            }
        },
    );
    let max = if sequence > 1 { 5 } else { 0 };
    prop::collection::btree_set(parent, 0..=max).prop_map(|set| set.into_iter().collect())
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let text = || prop::option::of("[a-z/ß]{0,9}");
    (
        text(),
        text(),
        prop::collection::btree_map("[A-Z]{1,5}", "[a-z]{0,9}", 0..4),
    )
        .prop_map(|(source, content_type, pairs)| Attributes {
            source,
            content_type,
            pairs,
        })
}

fn header() -> impl Strategy<Value = EventHeader> {
    (1_u64..1 << 42).prop_flat_map(|sequence| {
        let identity = (
            0..UNIX_MS_END,
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            "[a-z.ä]{1,20}",
            prop::collection::vec(any::<u8>(), 0..=32),
            parents(sequence),
        );
        let rest = (
            0_u32..=1 << 20,
            1..=sequence,
            prop::option::of((any::<[u8; 32]>(), 1_u16..=4096)),
            attributes(),
            prop::option::of(any::<u32>()),
            prop::option::of(any::<u64>()),
        );
        (identity, rest).prop_map(move |(identity, rest)| {
            let (unix_ms, digest, payload_digest, kind, salt, parents) = identity;
            let (payload_bytes, payload_sequence, embedding, attributes, micro, intent) = rest;
            let digest = Digest(digest);
            EventHeader {
                id: EventId::new(unix_ms, sequence, &digest),
                sequence,
                unix_ms,
                kind: Kind::new(&kind).expect("valid"),
                digest,
                payload_digest: Digest(payload_digest),
                payload_bytes,
                payload_sequence,
                salt: Salt::new(&salt).expect("valid"),
                parents,
                embedding: embedding.map(|(digest, dimension)| EmbeddingInfo {
                    digest: Digest(digest),
                    dimension,
                }),
                attributes,
                micro_cluster: micro.map(MicroClusterId),
                intent: intent.map(IntentId),
                deduplicated: false,
            }
        })
    })
}

proptest! {
    #[test]
    fn rows_round_trip(header in header()) {
        prop_assert_eq!(decode(header.sequence, encode(&header).into()), Ok(header));
    }

    #[test]
    fn a_flipped_byte_is_found(
        header in header(), at: prop::sample::Index, flip in 1_u8..,
    ) {
        let mut value = encode(&header);
        let at = at.index(value.len());
        value[at] ^= flip;
        prop_assert!(decode(header.sequence, value.into()).is_err());
    }

    #[test]
    fn any_bytes_end_in_a_value_or_an_error(sequence: u64, mut bytes: Vec<u8>) {
        let _ = decode(sequence, bytes.clone().into());
        seal(&encode_sequence(sequence), &mut bytes);
        let _ = decode(sequence, bytes.into());
    }

    #[test]
    fn any_change_of_a_sealed_row_ends_in_a_value_or_an_error(
        header in header(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut value = encode(&header);
        value.truncate(value.len() - 4);
        let at = at.index(value.len());
        value[at] = byte;
        value.truncate(cut.index(value.len() + 1));
        seal(&encode_sequence(header.sequence), &mut value);
        let _ = decode(header.sequence, value.into());
    }
}
