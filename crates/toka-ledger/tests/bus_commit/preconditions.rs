//! Commits that are made if something holds: claims, cursors, the last event of a kind.

use super::*;

#[tokio::test]
async fn exactly_one_claimant_succeeds() {
    let vault = vault();
    let task = plain(&vault, "task").await;
    let claims = join_all((0..64).map(|_| {
        vault
            .event("claimed")
            .parent(&task)
            .unless_child(&task, "claimed")
            .commit()
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for error in lost {
        let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
            panic!("{error:?}")
        };
        assert!(matches!(violations[..], [Violation::HasChild { .. }]));
    }
}

#[tokio::test]
async fn cursor_moves_with_its_event_or_not_at_all() {
    let vault = vault();
    let name = CursorName::new("agent").expect("valid");
    vault
        .event("out")
        .move_cursor("agent", 0, 1)
        .commit()
        .await
        .expect("committed");
    assert_eq!(vault.cursor(&name).expect("read"), Some(1));
    let error = vault
        .event("out")
        .salt(b"2")
        .move_cursor("agent", 0, 2)
        .commit()
        .await;
    let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        violations,
        [Violation::Cursor {
            name: name.clone(),
            expected: 0,
            actual: 1
        }]
    );
    assert_eq!(vault.cursor(&name).expect("read"), Some(1));
    assert_eq!(vault.position().sequence, 1);
}

#[tokio::test]
async fn a_cursor_goes_no_further_than_the_last_event_of_its_commit() {
    let vault = vault();
    let moved = |salt: &[u8], to| {
        let event = vault.event("out").salt(salt);
        event.move_cursor("agent", 0, to).commit()
    };
    let Err(Error::Rejected(refusal)) = moved(b"1", 2).await else {
        panic!("it goes beyond the end")
    };
    let expected = Rejection::PositionAhead {
        position: 2,
        last: 0,
    };
    assert_eq!(refusal, expected);
    assert!(refusal.to_string().contains("is empty"), "{refusal}");
    assert_eq!(vault.position().sequence, 0);
    moved(b"2", 1).await.expect("that is its own event");
}

#[tokio::test]
async fn a_cursor_goes_to_events_that_were_handed_over_before() {
    let vault = vault();
    let name = CursorName::new("agent").expect("valid");
    let to = |to| {
        let name = name.clone();
        vec![Precondition::CursorMove { name, from: 0, to }]
    };
    let event = |number: u8| [EventDraft::new("out").salt(&[number])];
    let first = vault.submit(event(1), Vec::new()).await.expect("accepted");
    let ahead = vault.submit(event(2), to(4)).await.expect("accepted");
    let second = vault.submit(event(3), to(2)).await.expect("accepted");
    first.await.expect("committed");
    let refused = ahead.await;
    assert!(
        matches!(
            refused,
            Err(Error::Rejected(Rejection::PositionAhead { last: 1, .. }))
        ),
        "{refused:?}"
    );
    second.await.expect("the first one is there");
    assert_eq!(vault.cursor(&name).expect("read"), Some(2));
}

#[tokio::test]
async fn kind_sequence_guards_an_append() {
    let vault = vault();
    let kind = Kind::new("order").expect("valid");
    let append = |salt: &'static [u8], sequence| {
        let precondition = Precondition::KindSequence {
            kind: kind.clone(),
            sequence,
        };
        vault
            .event("order")
            .salt(salt)
            .precondition(precondition)
            .commit()
    };
    assert_eq!(append(b"1", 0).await.expect("first").sequence, 1);
    assert_eq!(append(b"2", 1).await.expect("second").sequence, 2);
    let error = append(b"3", 1).await;
    let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        violations,
        [Violation::KindSequence {
            kind,
            expected: 1,
            actual: 2
        }]
    );
}
