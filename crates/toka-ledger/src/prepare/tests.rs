use super::*;

fn draft() -> EventDraft {
    EventDraft::new("test.event")
}

fn batch(drafts: Vec<EventDraft>) -> Result<Commit, Invalid> {
    prepare_commit(drafts, Vec::new(), 1)
}

fn no_child(parent: ParentName) -> Vec<Precondition> {
    vec![Precondition::NoChild {
        parent,
        kind: Kind::new("claim").expect("valid"),
    }]
}

#[test]
fn draft_becomes_a_prepared_event() {
    let event = draft()
        .payload_bytes(&b"hello"[..])
        .salt(b"s")
        .source("me")
        .content_type("text/plain")
        .attribute("session", "7")
        .embedding(&[3.0, -4.0])
        .parents_by_digest([Digest([1; 32])])
        .prepare()
        .expect("valid");
    assert_eq!(event.payload_digest, hash::payload_digest(b"hello"));
    assert_eq!(event.attributes.get("session"), Some("7"));
    assert_eq!(event.attributes.source.as_deref(), Some("me"));
    assert_eq!(event.parents, [ParentName::Digest(Digest([1; 32]))]);
    assert_eq!(
        event.embedding.map(|e| e.iter().collect::<Vec<_>>()),
        Some(vec![9830, -13107])
    );
}

#[test]
fn every_bound_of_an_event_is_checked() {
    let too_long = |field, max, actual| Invalid::TooLong { field, max, actual };
    let too_many = |field, max, actual| Invalid::TooMany { field, max, actual };
    let many_attributes = (0..17).fold(draft(), |d, i| d.attribute(format!("name-{i}"), "v"));
    let cases = [
        (EventDraft::new(""), Invalid::Empty { field: "kind" }),
        (
            EventDraft::new(&"k".repeat(256)),
            too_long("kind", 255, 256),
        ),
        (
            EventDraft::new("a\u{7f}"),
            Invalid::ControlCharacter {
                field: "kind",
                offset: 1,
                code: 0x7f,
            },
        ),
        (
            draft().payload_bytes(vec![0; (1 << 20) + 1]),
            too_long("payload", 1 << 20, (1 << 20) + 1),
        ),
        (draft().salt(&[1; 33]), too_long("salt", 32, 33)),
        (
            draft().parents_by_digest([Digest::ZERO; 65]),
            too_many("parents", 64, 65),
        ),
        (many_attributes, too_many("attributes", 16, 17)),
        (
            draft().attribute("n".repeat(65), "v"),
            too_long("attributes.name", 64, 65),
        ),
        (
            draft().attribute("n", "v".repeat(257)),
            too_long("attributes.value", 256, 257),
        ),
        (
            draft().source("v".repeat(257)),
            too_long("attributes.value", 256, 257),
        ),
        (
            draft().attribute("", "v"),
            Invalid::Empty {
                field: "attributes.name",
            },
        ),
        (
            draft().attribute("source", "v"),
            Invalid::ReservedName {
                field: "attributes.name",
                name: "source".to_owned(),
            },
        ),
        (
            draft().embedding(&[f32::NAN]),
            Invalid::NotFinite {
                field: "embedding",
                index: 0,
            },
        ),
        (
            draft().embedding(&[1.0, f32::INFINITY]),
            Invalid::NotFinite {
                field: "embedding",
                index: 1,
            },
        ),
        (
            draft().embedding(&[0.0, 0.0]),
            Invalid::ZeroNorm { field: "embedding" },
        ),
        (
            draft().embedding(&[]),
            Invalid::Empty { field: "embedding" },
        ),
        (
            draft().embedding(&[1.0; 4097]),
            too_many("embedding", 4096, 4097),
        ),
        (
            draft().quantized(&[1 << 14, 1 << 14]),
            Invalid::NotUnitNorm {
                field: "embedding",
                norm_squared: 1 << 29,
            },
        ),
    ];
    for (draft, expected) in cases {
        assert_eq!(draft.prepare(), Err(expected));
    }
}

#[test]
fn largest_allowed_inputs_are_accepted() {
    let event = EventDraft::new(&"k".repeat(255))
        .payload_bytes(vec![0; 1 << 20])
        .salt(&[1; 32])
        .parents_by_digest([Digest::ZERO; 64])
        .embedding(&[1.0; 4096]);
    let event = (0..16).fold(event, |e, i| {
        e.attribute(format!("{i:064}"), "v".repeat(256))
    });
    assert!(event.prepare().is_ok());
}

#[test]
fn commit_has_1_to_1000_events() {
    assert_eq!(batch(vec![]), Err(Invalid::Empty { field: "events" }));
    assert!(batch(vec![draft(); 1000]).is_ok());
    assert_eq!(
        batch(vec![draft(); 1001]),
        Err(Invalid::TooMany {
            field: "events",
            max: 1000,
            actual: 1001
        })
    );
}

#[test]
fn commit_is_bounded_in_bytes() {
    let events = |last: usize| {
        let mut events = vec![draft().payload_bytes(vec![0; 1 << 20]); 3];
        events.push(draft().payload_bytes(vec![0; last]));
        batch(events)
    };
    let size = |commit: Commit| encode(&Command::Commit(commit)).len();
    let overhead = size(events(1 << 19).expect("small")) - 3 * (1 << 20) - (1 << 19);
    let largest = (1 << 20) - overhead;
    assert_eq!(events(largest).map(size), Ok(BATCH_BYTES_MAX));
    assert_eq!(
        events(largest + 1),
        Err(Invalid::TooLong {
            field: "commit",
            max: BATCH_BYTES_MAX,
            actual: BATCH_BYTES_MAX + 1
        })
    );
}

#[test]
fn bad_event_of_a_batch_is_named() {
    let error = batch(vec![draft(), EventDraft::new("")]).expect_err("empty kind");
    assert_eq!(
        error,
        Invalid::InBatch {
            event: 1,
            invalid: Box::new(Invalid::Empty { field: "kind" })
        }
    );
    assert_eq!(error.field(), "kind");
}

#[test]
fn parents_in_a_batch_are_earlier_ones() {
    assert!(batch(vec![draft(), draft().parent_in_batch(0)]).is_ok());
    for parent in [1, 2, 900] {
        let error = batch(vec![draft(), draft().parent_in_batch(parent)]);
        assert_eq!(
            error,
            Err(Invalid::BatchParent {
                event: 1,
                parent: parent.into()
            })
        );
    }
    assert_eq!(
        batch(vec![draft().parent_in_batch(0)]),
        Err(Invalid::BatchParent {
            event: 0,
            parent: 0
        })
    );
}

#[test]
fn claim_needs_a_salt_in_every_event() {
    let claim = no_child(ParentName::Digest(Digest::ZERO));
    let events = [draft().salt(b"1"), draft()];
    assert_eq!(
        prepare_commit(events, claim.clone(), 1),
        Err(Invalid::ClaimWithoutSalt { event: 1 })
    );
    assert!(prepare_commit([draft().salt(b"1")], claim, 1).is_ok());
}

#[test]
fn preconditions_are_bounded_and_name_stored_events() {
    let passed = vec![Precondition::TimePassed { unix_ms: 1 }; 65];
    assert_eq!(
        prepare_commit([draft()], passed, 1),
        Err(Invalid::TooMany {
            field: "preconditions",
            max: 64,
            actual: 65
        })
    );
    let error = prepare_commit([draft().salt(b"1")], no_child(ParentName::Batch(0)), 1);
    assert!(matches!(
        error,
        Err(Invalid::Syntax {
            field: "preconditions.parent",
            ..
        })
    ));
}
