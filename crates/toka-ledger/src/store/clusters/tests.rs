use proptest::prelude::*;

use super::*;

fn micros() -> impl Strategy<Value = MicroClusterId> {
    any::<u32>().prop_map(MicroClusterId)
}

fn intents() -> impl Strategy<Value = IntentId> {
    any::<u64>().prop_map(IntentId)
}

proptest! {
    #[test]
    fn states_round_trip(
        numbers: [u64; 4],
        sequence in 0..SEQUENCE_END,
        next_micro in micros(),
        small: [u32; 2],
        rows in prop::collection::vec(any::<(i64, i32)>(), 0..20),
    ) {
        let [embedded, next_intent, doubling, records] = numbers;
        let (sums, mean) = rows.into_iter().unzip();
        let state = SavedState {
            embedded,
            sequence,
            next_micro,
            next_intent: IntentId(next_intent),
            born: small[0],
            grouped: small[1],
            doubling,
            records,
            sums,
            mean,
        };
        prop_assert_eq!(decode_state(encode_state(&state).into()), Ok(state));
    }

    #[test]
    fn micro_clusters_round_trip(
        id in micros(),
        intent in intents(),
        weight: u32,
        events: u64,
        sequences in (0..SEQUENCE_END, 0..SEQUENCE_END),
        sums in prop::collection::vec(any::<i32>(), 0..20),
    ) {
        let (first, last) = sequences;
        let saved = SavedMicro { intent, weight, events, first, last, sums };
        prop_assert_eq!(decode_micro(id, encode_micro(id, &saved).into()), Ok(saved));
        prop_assert_eq!(decode_micro_key(MICRO, &micro_key(id)), Ok(id));
    }

    #[test]
    fn records_round_trip(
        number: u64,
        sequence in 0..SEQUENCE_END,
        embedded: u64,
        next_intent in intents(),
        moved in prop::collection::vec((micros(), intents(), intents()), 0..5),
        retired in prop::collection::vec((intents(), intents()), 0..5),
        folded in prop::collection::vec((micros(), micros()), 0..5),
    ) {
        let record = Record { sequence, embedded, next_intent, moved, retired, folded };
        prop_assert_eq!(decode_record(number, encode_record(number, &record).into()), Ok(record));
        prop_assert_eq!(
            decode_intent_key(RECORD, &record_key(number)).map(|number| number.0),
            Ok(number)
        );
    }

    #[test]
    fn names_round_trip(
        micro in micros(),
        into in micros(),
        intent in intents(),
        successor in intents(),
        label in "[a-zß ]{0,20}",
    ) {
        prop_assert_eq!(decode_alias(micro, encode_alias(micro, into).into()), Ok(into));
        prop_assert_eq!(
            decode_successor(intent, encode_successor(intent, successor).into()),
            Ok(successor)
        );
        prop_assert_eq!(decode_label(intent, encode_label(intent, &label).into()), Ok(label));
    }

    #[test]
    fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>, id: u32) {
        let (micro, intent) = (MicroClusterId(id), IntentId(id.into()));
        let sealed = |key: &[u8]| {
            let mut bytes = bytes.clone();
            seal(key, &mut bytes);
            Bytes::from(bytes)
        };
        let _ = decode_state(sealed(STATE));
        let _ = decode_micro(micro, sealed(&micro_key(micro)));
        let _ = decode_record(intent.0, sealed(&record_key(intent.0)));
        let _ = decode_alias(micro, sealed(&alias_key(micro)));
        let _ = decode_successor(intent, sealed(&successor_key(intent)));
        let _ = decode_label(intent, sealed(&label_key(intent)));
        let _ = decode_micro_key(MICRO, &bytes);
        let _ = decode_intent_key(LABEL, &bytes);
    }
}
