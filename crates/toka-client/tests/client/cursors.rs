use toka_client::{Consistency, CursorName, Error};
use toka_ledger::{Rejection, Violation};
use toka_proto::convert::status;
use toka_proto::v1;

use crate::node::{Node, Script, client, header};

fn name() -> CursorName {
    CursorName::new("reader").expect("valid")
}

fn saved(revision: u64) -> v1::SaveCursorResponse {
    v1::SaveCursorResponse {
        header: header(revision),
        revision,
    }
}

fn saving() -> Script {
    Script {
        save_cursor: Some(Box::new(|_, _| Some(Ok(saved(7))))),
        ..Script::default()
    }
}

#[tokio::test]
async fn cursor_is_saved_by_the_leader() {
    let leader = Node::start(saving());
    let named = leader.as_leader();
    let follower = Node::start(Script {
        save_cursor: Some(Box::new(move |_, _| {
            Some(Err(status::not_leader(Some(&named))))
        })),
        ..Script::default()
    });
    let client = client(&[&follower.endpoint]).await;
    let revision = client.save_cursor(&name(), Some(3), 5).await;
    assert_eq!(revision.expect("saved"), 7);
    let sent = leader.seen(|s| s.cursor_saves.clone());
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&*sent[0].name, sent[0].from_sequence, sent[0].to_sequence),
        ("reader", Some(3), 5)
    );
}

#[tokio::test]
async fn cursor_that_is_elsewhere_is_said_to_be_and_left_there() {
    let violation = Violation::Cursor {
        name: name(),
        expected: 3,
        actual: 4,
    };
    let rejection = Rejection::Preconditions {
        violations: vec![violation],
    };
    let sent = rejection.clone();
    let node = Node::start(Script {
        save_cursor: Some(Box::new(move |_, _| Some(Err(status::rejection(&sent))))),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    match client.save_cursor(&name(), Some(3), 5).await {
        Err(Error::Rejected(actual)) => assert_eq!(actual, rejection),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.seen(|s| s.cursor_saves.len()), 1);
}

#[tokio::test]
async fn position_that_the_vault_does_not_have_is_out_of_range() {
    let node = Node::start(Script {
        save_cursor: Some(Box::new(|_, _| {
            Some(Err(status::position_out_of_range(9, 5)))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let refused = client.save_cursor(&name(), None, 9).await;
    assert!(
        matches!(
            refused,
            Err(Error::OutOfRange {
                sequence: 9,
                last: 5,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn positions_are_sent_with_the_history_that_the_client_began_with() {
    let node = Node::start(saving());
    let client = client(&[&node.endpoint]).await;
    for _ in 0..2 {
        client.save_cursor(&name(), None, 5).await.expect("saved");
    }
    let histories = node.seen(|s| {
        let saves = s.cursor_saves.iter();
        saves
            .map(|save| save.history_id.to_vec())
            .collect::<Vec<_>>()
    });
    assert_eq!(histories, [Vec::new(), 2_u128.to_be_bytes().to_vec()]);
}

#[tokio::test]
async fn cursor_that_is_not_there_is_none() {
    let node = Node::start(Script {
        get_cursor: Some(Box::new(|_, request| {
            Some(if request.name == "reader" {
                Err(status::rejection(&Rejection::UnknownCursor {
                    name: name(),
                }))
            } else {
                Ok(v1::GetCursorResponse {
                    header: header(3),
                    cursor: Some(v1::Cursor {
                        name: request.name,
                        sequence: 2,
                    }),
                })
            })
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let none = client.cursor(&name(), Consistency::Local).await;
    assert_eq!(none.expect("read"), None);
    let other = CursorName::new("other").expect("valid");
    let found = client.cursor(&other, Consistency::Local).await;
    assert_eq!(found.expect("read"), Some(2));
}

#[tokio::test]
async fn cursors_of_all_pages_are_listed() {
    let cursor = |name: &str, sequence| v1::Cursor {
        name: name.to_owned(),
        sequence,
    };
    let node = Node::start(Script {
        list_cursors: Some(Box::new(move |_, request| {
            let (cursors, next) = if request.page_token.is_empty() {
                (vec![cursor("a", 1), cursor("b", 2)], "after b")
            } else {
                (vec![cursor("c", 3)], "")
            };
            Some(Ok(v1::ListCursorsResponse {
                header: header(3),
                cursors,
                next_page_token: next.to_owned(),
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let cursors = client.cursors(Consistency::Local).await.expect("listed");
    let cursors: Vec<_> = cursors
        .iter()
        .map(|(name, sequence)| (name.as_str(), *sequence))
        .collect();
    assert_eq!(cursors, [("a", 1), ("b", 2), ("c", 3)]);
    let tokens = node.seen(|s| {
        let lists = s.cursor_lists.iter();
        lists
            .map(|list| list.page_token.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(tokens, ["", "after b"]);
}
