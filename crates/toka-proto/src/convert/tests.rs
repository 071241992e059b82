mod statuses;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use toka_ledger::command::{Commit, ParentName, Precondition, PreparedEvent, Verdict};
use toka_ledger::core::EmbeddingInfo;
use toka_ledger::group::{Group, Settings};
use toka_ledger::intent::{IntentId, MicroClusterId};
use toka_ledger::prepare::EventDraft;
use toka_ledger::read::lineage::Relative;
use toka_ledger::{
    Attributes, CursorName, Digest, Embedding, EmbeddingModel, EventHeader, EventId, Filter,
    GroupName, Invalid, Kind, Parent, Rejection, Salt, Selector, Stored, Violation,
};
use tonic::{Code, Status};

use super::coordination::{Token, mixed, settlement, settlement_message};
use super::event::StoredEvent;
use super::metadata::Leader;
use super::read::{Consistency, Header, ReadOptions};
use super::status::{self, Detail};
use super::{commit, event};
use crate::v1;

fn kind() -> impl Strategy<Value = Kind> {
    "[a-z]{1,8}(\\.[a-zé]{1,8}){0,3}".prop_map(|kind| Kind::new(&kind).expect("valid"))
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn event_id() -> impl Strategy<Value = EventId> {
    any::<[u8; 16]>().prop_map(EventId::from_bytes)
}

fn salt() -> impl Strategy<Value = Salt> {
    vec(any::<u8>(), 0..=32).prop_map(|salt| Salt::new(&salt).expect("valid"))
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let text = "[a-z0-9 ]{0,20}";
    let pairs = btree_map("[a-z]{1,6}-id", text, 0..5);
    (option::of(text), option::of(text), pairs).prop_map(|(source, content_type, pairs)| {
        Attributes {
            source,
            content_type,
            pairs,
        }
    })
}

fn embedding() -> impl Strategy<Value = Embedding> {
    vec(-1.0_f32..1.0, 1..40).prop_map(|mut components| {
        components[0] = 1.0;
        Embedding::from_f32(&components).expect("valid")
    })
}

fn stored_parent() -> impl Strategy<Value = ParentName> {
    prop_oneof![
        event_id().prop_map(ParentName::Id),
        digest().prop_map(ParentName::Digest)
    ]
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn prepared() -> impl Strategy<Value = PreparedEvent> {
    let parents = vec(stored_parent(), 0..4);
    (
        kind(),
        payload(),
        salt(),
        parents,
        option::of(embedding()),
        attributes(),
    )
        .prop_map(
            |(kind, payload, salt, parents, embedding, attributes)| PreparedEvent {
                model: embedding
                    .is_some()
                    .then(|| EmbeddingModel::new("model").expect("valid")),
                kind,
                payload_digest: toka_ledger::hash::payload_digest(&payload),
                payload,
                salt,
                parents,
                embedding,
                attributes,
            },
        )
}

fn precondition() -> impl Strategy<Value = Precondition> {
    let cursor = || "[a-z]{1,9}".prop_map(|name| CursorName::new(&name).expect("valid"));
    prop_oneof![
        (kind(), any::<u64>())
            .prop_map(|(kind, sequence)| Precondition::KindSequence { kind, sequence }),
        any::<u64>().prop_map(|unix_ms| Precondition::TimePassed { unix_ms }),
        (cursor(), any::<u64>(), any::<u64>())
            .prop_map(|(name, from, to)| Precondition::CursorMove { name, from, to }),
        ("[a-z.]{1,9}", any::<u64>())
            .prop_map(|(prefix, sequence)| Precondition::KindPrefixSequence { prefix, sequence }),
        (group_name(), token()).prop_map(|(group, token)| Precondition::Acknowledge {
            group,
            incarnation: token.incarnation,
            sequence: token.sequence,
            delivery: token.delivery,
        }),
    ]
}

fn header() -> impl Strategy<Value = EventHeader> {
    let place = (
        event_id(),
        any::<u64>(),
        any::<u64>(),
        kind(),
        any::<bool>(),
    );
    let payload = (digest(), digest(), any::<u32>(), any::<u64>(), salt());
    let parents = vec((digest(), event_id()), 0..4);
    let info = option::of((digest(), any::<u16>()));
    let intent = (option::of(any::<u32>()), option::of(any::<u64>()));
    (place, payload, parents, info, attributes(), intent).prop_map(
        |(place, payload, parents, info, attributes, intent)| EventHeader {
            id: place.0,
            sequence: place.1,
            unix_ms: place.2,
            kind: place.3,
            digest: payload.0,
            payload_digest: payload.1,
            payload_bytes: payload.2,
            payload_sequence: payload.3,
            salt: payload.4,
            parents: parents
                .into_iter()
                .map(|(digest, id)| Parent { digest, id })
                .collect(),
            embedding: info.map(|(digest, dimension)| EmbeddingInfo { digest, dimension }),
            attributes,
            micro_cluster: intent.0.map(MicroClusterId),
            intent: intent.1.map(IntentId),
            deduplicated: place.4,
        },
    )
}

fn group_name() -> impl Strategy<Value = GroupName> {
    "[a-z]{1,9}".prop_map(|name| GroupName::new(&name).expect("valid"))
}

fn token() -> impl Strategy<Value = Token> {
    any::<(u64, u64, u32)>().prop_map(|(incarnation, sequence, delivery)| Token {
        incarnation,
        sequence,
        delivery,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Acknowledge),
        Just(Verdict::Extend),
        Just(Verdict::Release),
        (any::<u32>(), "[a-z ]{0,20}")
            .prop_map(|(delay_ms, reason)| Verdict::Reject { delay_ms, reason }),
        "[a-z ]{0,20}".prop_map(|reason| Verdict::Park { reason }),
    ]
}

/// Over the wire and back.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded can be decoded")
}

proptest! {
    #[test]
    fn commit_round_trips(
        events in vec(prepared(), 1..5),
        preconditions in vec(precondition(), 0..4),
        unix_ms: u64,
    ) {
        let committed = Commit { unix_ms, events, preconditions };
        let request = sent(&v1::CommitRequest::from(committed.clone()));
        let again = commit::prepare(request.events, request.preconditions, unix_ms);
        prop_assert_eq!(again, Ok(committed));
    }

    #[test]
    fn claim_round_trips(parent in stored_parent(), kind in kind()) {
        let claim = Precondition::NoChild { parent, kind };
        let again = Precondition::try_from(sent(&v1::Precondition::from(&claim)));
        prop_assert_eq!(again, Ok(claim));
    }

    #[test]
    fn incarnations_of_tokens_mean_nothing_to_others(
        history_id: u128,
        group in group_name(),
        incarnation: u64,
    ) {
        let token = mixed(history_id, &group, incarnation);
        prop_assert_eq!(mixed(history_id, &group, token), incarnation);
        prop_assert_ne!(mixed(!history_id, &group, token), incarnation);
        let other = GroupName::new(&format!("{group}/other")).expect("valid");
        prop_assert_ne!(mixed(history_id, &other, token), incarnation);
    }

    #[test]
    fn header_round_trips(header in header()) {
        let again = EventHeader::try_from(sent(&v1::Event::from(&header)));
        prop_assert_eq!(again, Ok(header));
    }

    #[test]
    fn relative_round_trips(header in header(), depth in any::<u32>()) {
        let relative = Relative { header: Arc::new(header), depth };
        let again = Relative::try_from(sent(&v1::Relative::from(&relative)));
        prop_assert_eq!(again, Ok(relative));
    }

    #[test]
    fn stored_event_round_trips(
        header in header(),
        payload in option::of(option::of(payload())),
        embedding in option::of(option::of(embedding())),
    ) {
        let event = StoredEvent {
            header,
            payload: payload.map(|payload| payload.map_or(Stored::Erased, Stored::Present)),
            embedding: embedding.map(|e| e.map_or(Stored::Erased, Stored::Present)),
        };
        let again = StoredEvent::try_from(sent(&v1::Event::from(&event)));
        prop_assert_eq!(again, Ok(event));
    }

    #[test]
    fn embedding_read_as_floats_is_the_one_that_is_stored(
        header in header(),
        embedding in embedding(),
    ) {
        let stored = Stored::Present(embedding);
        let message = event::embedding_message(&stored, v1::EmbeddingForm::Float);
        let event = v1::Event { embedding: Some(message), ..v1::Event::from(&header) };
        let again = StoredEvent::try_from(sent(&event)).expect("valid");
        prop_assert_eq!(again.embedding, Some(stored));
    }

    #[test]
    fn settlement_round_trips(token in token(), verdict in verdict()) {
        let again = settlement(sent(&settlement_message(&token, &verdict)));
        prop_assert_eq!(again, Ok((token, verdict)));
    }

    #[test]
    fn any_bytes_as_a_token_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..40)) {
        let bytes = Bytes::from(bytes);
        if let Ok(token) = Token::decode("token", &bytes) {
            prop_assert_eq!(token.encode(), bytes);
        }
    }

    #[test]
    fn group_round_trips(
        name in group_name(),
        numbers: (u64, u64, u32, u32, u64, u64),
        is_ending: bool,
        ack_timeout_ms in 100..86_400_000_u32,
        unacknowledged_max in 1..10_000_u32,
        deliveries_max in 1..1_000_u32,
    ) {
        let filter = Filter { kind_prefixes: vec!["task.".to_owned()], ..Filter::default() };
        let group = Group {
            name,
            incarnation: numbers.0,
            settings: Settings { filter, ack_timeout_ms, unacknowledged_max, deliveries_max },
            position: numbers.1,
            unacknowledged: numbers.2,
            parked: numbers.3,
            created_unix_ms: numbers.4,
            version: numbers.5,
            is_ending,
        };
        let again = Group::try_from(sent(&v1::Group::from(&group)));
        prop_assert_eq!(again, Ok(group));
    }

    #[test]
    fn read_options_round_trip(revision: u64, history_id in option::of(any::<u128>())) {
        for consistency in
            [Consistency::Local, Consistency::AtLeast(revision), Consistency::Linearizable]
        {
            let options = ReadOptions { consistency, history_id };
            let again = ReadOptions::try_from(Some(sent(&v1::ReadOptions::from(options))));
            prop_assert_eq!(again, Ok(options));
        }
    }

    #[test]
    fn selector_round_trips(id in event_id(), digest in digest(), sequence: u64) {
        for selector in
            [Selector::Id(id), Selector::Digest(digest), Selector::Sequence(sequence)]
        {
            let again = Selector::try_from(sent(&v1::EventSelector::from(&selector)));
            prop_assert_eq!(again, Ok(selector));
        }
    }

    #[test]
    fn response_header_round_trips(ids: (u128, u128), numbers: (u64, u64, u64, u64)) {
        let header = Header {
            cluster_id: ids.0,
            history_id: ids.1,
            node_id: numbers.0,
            term: numbers.1,
            revision: numbers.2,
            sequence: numbers.3,
        };
        prop_assert_eq!(Header::try_from(Some(sent(&header.into()))), Ok(header));
    }
}

#[test]
fn absent_options_and_filter_are_the_defaults() {
    assert_eq!(ReadOptions::try_from(None), Ok(ReadOptions::default()));
    assert_eq!(
        Filter::try_from(v1::EventFilter::default()),
        Ok(Filter::default())
    );
}

#[test]
fn filter_round_trips_and_is_bounded() {
    let filter = Filter {
        kind_prefixes: vec!["auth.".to_owned(), "task".to_owned()],
        attributes: vec![("source".to_owned(), "me".to_owned())],
        intents: vec![IntentId(7)],
        descendants_of: Some(Selector::Sequence(8)),
        ..Filter::default()
    };
    assert_eq!(
        Filter::try_from(sent(&v1::EventFilter::from(&filter))),
        Ok(filter)
    );
    let many = Filter {
        kind_prefixes: vec![String::new(); 65],
        ..Filter::default()
    };
    assert!(matches!(
        Filter::try_from(v1::EventFilter::from(&many)),
        Err(Invalid::TooMany {
            field: "filter.kind_prefixes",
            max: 64,
            actual: 65
        })
    ));
}

#[test]
fn wrong_lengths_are_refused_by_field() {
    let name = |name| v1::ParentName { name: Some(name) };
    let cases = [
        (
            name(v1::parent_name::Name::Id(Bytes::from_static(&[0; 15]))),
            "parents.id",
        ),
        (
            name(v1::parent_name::Name::Digest(Bytes::from_static(&[0; 33]))),
            "parents.digest",
        ),
        (
            name(v1::parent_name::Name::BatchIndex(70_000)),
            "parents.batch_index",
        ),
        (v1::ParentName { name: None }, "parents.name"),
    ];
    for (message, field) in cases {
        assert_eq!(
            ParentName::try_from(message).map_err(|e| e.field()),
            Err(field)
        );
    }
}

#[test]
fn floats_and_quantised_embeddings_are_the_same_event() {
    let with = |embedding| v1::NewEvent {
        kind: "k".to_owned(),
        embedding: Some(embedding),
        ..Default::default()
    };
    let components = vec![0.1_f32, 0.5, -0.2];
    let quantized = Embedding::from_f32(&components)
        .expect("valid")
        .as_bytes()
        .clone();
    let floats = with(v1::new_event::Embedding::Values(v1::FloatVector {
        components,
    }));
    let integers = with(v1::new_event::Embedding::Quantized(quantized));
    let prepare = |new| EventDraft::try_from(new).and_then(EventDraft::prepare);
    assert_eq!(prepare(floats), prepare(integers));
}

#[test]
fn invalid_field_of_a_batch_is_named_with_its_index() {
    let events = vec![
        v1::NewEvent {
            kind: "k".to_owned(),
            ..Default::default()
        },
        v1::NewEvent::default(),
    ];
    let invalid = commit::prepare(events, vec![], 0).expect_err("the kind is empty");
    let failure = status::parse(&status::invalid(&invalid));
    assert_eq!(failure.code, Code::InvalidArgument);
    assert!(
        matches!(failure.detail, Some(Detail::InvalidField { field, .. }) if field == "events[1].kind")
    );
}

#[test]
fn descriptor_set_has_the_services_and_what_they_import() {
    let set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("valid");
    let names: Vec<&str> = set
        .file
        .iter()
        .filter_map(|file| file.name.as_deref())
        .collect();
    for name in [
        "google/protobuf/any.proto",
        "toka/vault/v1/vault_service.proto",
        "toka/vault/v1/cluster_service.proto",
        "toka/raft/v1/raft_service.proto",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}
