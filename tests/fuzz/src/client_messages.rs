//! Messages between clients and nodes (`proto/toka/vault/v1`), and the details of errors: what prost decodes is
//! converted, or refused, and what is taken is sent on as the same.

mod auth;

use bytes::Bytes;
use prost::Message;
use toka_ledger::command::{Command, ParentName, Precondition};
use toka_ledger::intent::{Parameters, Summary};
use toka_ledger::prepare::EventDraft;
use toka_ledger::read::Selector;
use toka_ledger::{
    CursorName, Digest, Embedding, Filter, GroupName, Invalid, Kind, Rejection, Violation,
};
use toka_proto::convert::backup::{Part, known_files};
use toka_proto::convert::cluster::ClusterStatus;
use toka_proto::convert::commit::{cursor_histories, prepare};
use toka_proto::convert::event::StoredEvent;
use toka_proto::convert::intent::vector;
use toka_proto::convert::lineage;
use toka_proto::convert::read::{Header, ReadOptions, check_vault};
use toka_proto::convert::status;
use toka_proto::convert::wire::EventParts;
use toka_proto::v1;
use tonic::{Code, Status};

use crate::limits::STREAM_MESSAGE_COMMITS;
use crate::rows::vault;
use crate::{Seed, numbers, of_kind};

/// See above. The first byte says which.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 19 {
        0 => with(bytes, |request: v1::CommitRequest| {
            let _ = check_vault(&request.vault);
            commit(request.events, request.preconditions);
        }),
        1 => with(bytes, stream_message),
        2 => with(bytes, event),
        3 => with(bytes, |request: v1::ListRequest| {
            let _ = ReadOptions::try_from(request.read);
            request.filter.map(filter);
        }),
        4 => with(bytes, |request: v1::BatchGetRequest| {
            for selector in request.selectors {
                if let Ok(selector) = Selector::try_from(selector) {
                    let message = v1::EventSelector::from(&selector);
                    assert_eq!(Selector::try_from(message), Ok(selector));
                }
            }
        }),
        5 => with(bytes, |status: v1::GetStatusResponse| {
            let intents = status.settings.as_ref().and_then(|s| s.intents.as_ref());
            if let Some(Ok(parameters)) = intents.map(Parameters::try_from) {
                let again = Parameters::try_from(&v1::IntentSettings::from(&parameters));
                assert_eq!(again, Ok(parameters));
            }
            let _ = ClusterStatus::try_from(status);
        }),
        6 => with(bytes, |response: v1::CreateBackupResponse| {
            if let Ok(part) = Part::try_from(response) {
                let message = v1::CreateBackupResponse::from(part.clone());
                assert_eq!(Part::try_from(message), Ok(part));
            }
        }),
        7 => with(bytes, |error: v1::CommitError| {
            let status = status::from_commit_error(error);
            parse(&status);
            parse(&status::from_commit_error(status::to_commit_error(&status)));
        }),
        8 => with(bytes, |request: v1::SearchRequest| {
            let _ = vector(request.vector);
            request.filter.map(filter);
        }),
        9 => with(bytes, |response: v1::CommitResponse| {
            if let Ok(header) = Header::try_from(response.header) {
                let again = Header::try_from(Some(v1::ResponseHeader::from(header)));
                assert_eq!(again, Ok(header));
            }
            response.events.into_iter().for_each(event);
        }),
        10 => with(bytes, |request: v1::CreateBackupRequest| {
            let _ = known_files(&request.known_files, 100);
        }),
        12 => auth::token_requests(bytes),
        13 => auth::token_replies(bytes),
        14 => auth::roles(bytes),
        15 => with(bytes, |request: v1::WalkRequest| {
            let _ = lineage::relation(request.relation);
            let _ = lineage::selector("event", request.event);
            let _ = lineage::kind_prefixes(request.kind_prefixes);
            let _ = ReadOptions::try_from(request.read);
        }),
        16 => with(bytes, |request: v1::ListParkedRequest| {
            let _ = GroupName::new(&request.group).map_err(|invalid| refused(&invalid));
            let _ = ReadOptions::try_from(request.read);
        }),
        17 => with(bytes, |response: v1::SubscribeResponse| {
            let _ = Header::try_from(response.header);
            match response.message {
                Some(v1::subscribe_response::Message::Event(sent)) => event(sent),
                Some(v1::subscribe_response::Message::Events(sent)) => {
                    sent.events.into_iter().for_each(event);
                }
                _ => {}
            }
        }),
        18 => with(bytes, |response: v1::ListIntentsResponse| {
            response.intents.iter().for_each(intent);
        }),
        _ => {
            // As a broken peer may send it: details that are no message at all.
            let details = Bytes::copy_from_slice(bytes);
            parse(&Status::with_details(Code::Aborted, "message", details));
            with(bytes, drop::<v1::SubscribeRequest>);
            with(bytes, drop::<v1::CommitStreamResponse>);
        }
    }
}

/// Hands the message on, if it is one.
fn with<M: Message + Default>(bytes: &[u8], check: impl FnOnce(M)) {
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    let again = M::decode(message.encode_to_vec().as_slice());
    assert!(again.is_ok(), "what was read can be read again");
    check(message);
}

fn commit(events: Vec<v1::NewEvent>, preconditions: Vec<v1::Precondition>) {
    let _ = cursor_histories(&preconditions);
    match prepare(events, preconditions, 5) {
        Ok(commit) => {
            Command::Commit(commit.clone())
                .check()
                .expect("what was prepared passes validation");
            let request = v1::CommitRequest::from(commit.clone());
            let again = prepare(request.events, request.preconditions, 5);
            assert_eq!(again, Ok(commit));
        }
        Err(invalid) => refused(&invalid),
    }
}

/// One commit or several, whose numbers go up.
fn stream_message(message: v1::CommitStreamRequest) {
    let last = message.more.last();
    let last = last.map_or(message.request_number, |further| further.request_number);
    match numbers::check(&message, None) {
        Ok(number) => {
            assert_eq!(number, last);
            assert!(message.more.len() < STREAM_MESSAGE_COMMITS);
            let again = numbers::check(&message, Some(last));
            assert!(again.is_err(), "no number comes twice");
        }
        Err(invalid) => refused(&invalid),
    }
    commit(message.events, message.preconditions);
    for further in message.more {
        commit(further.events, further.preconditions);
    }
}

fn intent(intent: &v1::Intent) {
    let summary = Summary::from(intent);
    let again = Summary::from(&v1::Intent::from(&summary));
    // By their texts: a coherence that is no number is not equal to itself.
    assert_eq!(format!("{again:?}"), format!("{summary:?}"));
    if let Ok(centre) = Embedding::from_quantized_bytes(intent.centre.clone()) {
        assert_eq!(centre.as_bytes(), &intent.centre);
    }
}

fn refused(invalid: &Invalid) {
    assert!(!invalid.to_string().is_empty());
    parse(&status::invalid(invalid));
}

fn event(event: v1::Event) {
    if let Ok(stored) = StoredEvent::try_from(event) {
        let message = v1::Event::from(&stored);
        let parts = EventParts {
            header: &stored.header,
            payload: stored.payload.as_ref(),
            embedding: stored.embedding.as_ref(),
            form: v1::EmbeddingForm::Quantized,
        };
        let mut written = Vec::new();
        parts.encode(&mut written);
        assert_eq!(written, message.encode_to_vec());
        assert_eq!(StoredEvent::try_from(message), Ok(stored));
    }
}

fn filter(message: v1::EventFilter) {
    if let Ok(filter) = Filter::try_from(message) {
        let again = Filter::try_from(v1::EventFilter::from(&filter));
        assert_eq!(again, Ok(filter));
    }
}

fn parse(status: &Status) {
    let failure = status::parse(status);
    assert_eq!(failure.code, status.code());
    if let Some(status::Detail::Rejected(rejection)) = failure.detail {
        let again = status::parse(&status::rejection(&rejection));
        let expected = Some(status::Detail::Rejected(rejection));
        assert_eq!(again.detail, expected);
    }
}

/// Commits, events and errors as they are sent.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let draft = EventDraft::new("auth.login")
        .payload_bytes(&b"alice"[..])
        .salt(b"salt")
        .embedding(&[0.6, -0.8])
        .model("hashed-v1/2")
        .source("web")
        .attribute("user", "alice")
        .parents_by_digest([Digest([8; 32])]);
    let preconditions = [
        Precondition::CursorMove {
            name: CursorName::new("reader").expect("valid"),
            from: 0,
            to: 1,
        },
        Precondition::NoChild {
            parent: ParentName::Digest(Digest([7; 32])),
            kind: Kind::new("auth.login").expect("valid"),
        },
    ];
    let request = v1::CommitRequest {
        vault: String::new(),
        events: vec![draft.prepare().expect("valid").into()],
        preconditions: preconditions.iter().map(Into::into).collect(),
    };
    let header = v1::ResponseHeader::from(Header {
        cluster_id: 1,
        history_id: 2,
        node_id: 3,
        term: 4,
        revision: 5,
        sequence: 6,
    });
    let list = v1::ListRequest {
        filter: Some(v1::EventFilter {
            kind_prefixes: vec!["auth.".to_owned()],
            attributes: vec![v1::AttributeMatch {
                name: "user".to_owned(),
                value: "alice".to_owned(),
            }],
            intents: vec![1, 2],
            descendants_of: None,
        }),
        ..v1::ListRequest::default()
    };
    let chunk = Part::Chunk(toka_proto::convert::backup::CopyChunk {
        offset: 0,
        data: Bytes::from_static(b"abc"),
    });
    let search = v1::SearchRequest {
        vector: Some(v1::QueryVector {
            vector: Some(v1::query_vector::Vector::Values(v1::FloatVector {
                components: vec![0.6, -0.8],
            })),
        }),
        ..v1::SearchRequest::default()
    };
    let response = v1::CommitResponse {
        header: Some(header.clone()),
        revision: 5,
        events: events(),
    };
    let mut messages = vec![
        ("commit".to_owned(), 0, request.encode_to_vec()),
        ("commit-stream".to_owned(), 1, several(&request)),
        ("list".to_owned(), 3, list.encode_to_vec()),
        (
            "chunk".to_owned(),
            6,
            v1::CreateBackupResponse::from(chunk).encode_to_vec(),
        ),
        ("search".to_owned(), 8, search.encode_to_vec()),
        ("committed".to_owned(), 9, response.encode_to_vec()),
    ];
    let newer = streams(header).into_iter().chain(auth::seeds());
    messages.extend(newer.map(|(name, kind, bytes)| (name.to_owned(), kind, bytes)));
    for (at, event) in events().into_iter().enumerate() {
        messages.push((format!("event-{at}"), 2, event.encode_to_vec()));
    }
    for (at, status) in statuses().into_iter().enumerate() {
        let error = status::to_commit_error(&status);
        messages.push((format!("error-{at}"), 7, error.encode_to_vec()));
        messages.push((format!("details-{at}"), 11, status.details().to_vec()));
    }
    let seed = |(name, kind, bytes): (String, u8, Vec<u8>)| (name, of_kind(kind, bytes));
    messages.into_iter().map(seed).collect()
}

/// A message of a commit stream with this commit three times.
fn several(commit: &v1::CommitRequest) -> Vec<u8> {
    let further = |request_number| v1::StreamedCommit {
        request_number,
        events: commit.events.clone(),
        preconditions: commit.preconditions.clone(),
    };
    let message = v1::CommitStreamRequest {
        request_number: 3,
        events: commit.events.clone(),
        preconditions: commit.preconditions.clone(),
        more: vec![further(4), further(9)],
        takes_more: true,
        ..v1::CommitStreamRequest::default()
    };
    message.encode_to_vec()
}

/// What asks for streams and lists, and messages of streams.
fn streams(header: v1::ResponseHeader) -> Vec<(&'static str, u8, Vec<u8>)> {
    let walk = v1::WalkRequest {
        event: Some(v1::EventSelector::from(&Selector::Sequence(3))),
        relation: v1::Relation::Descendants.into(),
        max_depth: 2,
        kind_prefixes: vec!["auth.".to_owned()],
        until_sequence: 9,
        ..v1::WalkRequest::default()
    };
    let parked = v1::ListParkedRequest {
        group: "g".to_owned(),
        page_size: 10,
        sequences_only: true,
        ..v1::ListParkedRequest::default()
    };
    let checkpoint = v1::Checkpoint {
        sequence: 7,
        unix_ms: 1_700_000_000_000,
        leaderless_ms: 2_500,
    };
    let checkpoint = v1::SubscribeResponse {
        header: Some(header),
        message: Some(v1::subscribe_response::Message::Checkpoint(checkpoint)),
    };
    let batch = v1::EventBatch { events: events() };
    let batch = v1::SubscribeResponse {
        header: None,
        message: Some(v1::subscribe_response::Message::Events(batch)),
    };
    let centre = Embedding::from_f32(&[0.6, -0.8]).expect("valid");
    let intents = v1::ListIntentsResponse {
        intents: vec![v1::Intent {
            intent: 3,
            label: "logins".to_owned(),
            events: 7,
            centre: centre.as_bytes().clone(),
            ..v1::Intent::default()
        }],
        total: 1,
        ..v1::ListIntentsResponse::default()
    };
    vec![
        ("batch", 17, batch.encode_to_vec()),
        ("intents", 18, intents.encode_to_vec()),
        ("walk", 15, walk.encode_to_vec()),
        ("list-parked", 16, parked.encode_to_vec()),
        ("checkpoint", 17, checkpoint.encode_to_vec()),
    ]
}

fn events() -> Vec<v1::Event> {
    let reader = vault().ledger.reader();
    let header = |sequence| {
        let header = reader.header(&Selector::Sequence(sequence));
        let header = header.expect("memory can be read").expect("it is there");
        v1::Event::from(&*header)
    };
    (1..=reader.position().sequence).map(header).collect()
}

fn statuses() -> Vec<Status> {
    let name = CursorName::new("reader").expect("valid");
    let kind = Kind::new("auth.login").expect("valid");
    let violations = vec![
        Violation::KindSequence {
            kind,
            expected: 0,
            actual: 1,
        },
        Violation::Cursor {
            name,
            expected: 0,
            actual: 1,
        },
        Violation::TooEarly {
            expected: 2,
            actual: 1,
        },
    ];
    let mut statuses = vec![
        status::invalid(&Invalid::Empty { field: "events" }),
        status::rejection(&Rejection::Preconditions { violations }),
        status::rejection(&Rejection::UnknownParent {
            event: 1,
            parent: ParentName::Digest(Digest([7; 32])),
        }),
        status::not_leader(None),
        status::history_changed(1, 2),
        status::other_cluster(1, 2),
        status::position_out_of_range(3, 2),
        status::node_behind(1, 2, 3),
    ];
    statuses.extend(auth::statuses());
    statuses
}
