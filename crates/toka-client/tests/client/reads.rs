use futures::TryStreamExt as _;
use toka_client::{Consistency, Error, EventDraft, List, Read, Selector};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::read_options::Consistency as Sent;

use crate::node::{Node, Script, client, committed, event, header};

#[tokio::test]
async fn read_your_writes_asks_for_the_highest_revision_seen() {
    let node = Node::start(Script {
        commit: Some(Box::new(|_, _| Some(Ok(committed(7))))),
        get: Some(Box::new(|_, _| {
            Some(Ok(v1::GetResponse {
                header: header(3),
                event: Some(event(7)),
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    client
        .commit(EventDraft::new("k"))
        .await
        .expect("committed");
    let read = Read {
        consistency: Consistency::ReadYourWrites,
        ..Read::default()
    };
    let read = client
        .get(&Selector::Sequence(7), &read)
        .await
        .expect("it is there");
    assert_eq!(read.header.sequence, 7);
    let sent = node
        .seen(|s| s.gets[0].read.clone())
        .and_then(|read| read.consistency);
    assert_eq!(sent, Some(Sent::AtLeastRevision(7)));
}

#[tokio::test]
async fn missing_event_is_not_found_and_not_retried() {
    let node = Node::start(Script {
        get: Some(Box::new(|_, _| Some(Err(status::event_not_found("9"))))),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let result = client.get(&Selector::Sequence(9), &Read::default()).await;
    assert!(matches!(result, Err(Error::NotFound { name }) if name == "9"));
    assert_eq!(node.seen(|s| s.gets.len()), 1);
}

#[tokio::test]
async fn batch_get_asks_again_for_what_a_reply_left_out() {
    let node = Node::start(Script {
        batch_get: Some(Box::new(|_, request| {
            // Two at a time; the third event does not exist.
            let item = |selector: &v1::EventSelector| match selector.selector {
                Some(v1::event_selector::Selector::Sequence(3)) | None => {
                    v1::BatchGetItem::default()
                }
                Some(v1::event_selector::Selector::Sequence(n)) => v1::BatchGetItem {
                    event: Some(event(n)),
                },
                _ => unreachable!("only sequences are sent"),
            };
            let items = request.selectors.iter().take(2).map(item).collect();
            Some(Ok(v1::BatchGetResponse {
                header: header(9),
                items,
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let selectors: Vec<_> = (1..=5).map(Selector::Sequence).collect();
    let events = client
        .batch_get(&selectors, &Read::default())
        .await
        .expect("answered");
    let sequences: Vec<_> = events
        .iter()
        .map(|e| e.as_ref().map(|e| e.header.sequence))
        .collect();
    assert_eq!(sequences, [Some(1), Some(2), None, Some(4), Some(5)]);
    assert_eq!(node.seen(|s| s.batch_gets.len()), 3);
}

#[tokio::test]
async fn empty_reply_to_a_batch_get_is_an_error_and_no_endless_loop() {
    let node = Node::start(Script {
        batch_get: Some(Box::new(|_, _| {
            Some(Ok(v1::BatchGetResponse {
                header: header(9),
                items: vec![],
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let result = client
        .batch_get(&[Selector::Sequence(1)], &Read::default())
        .await;
    assert!(matches!(result, Err(Error::Reply { .. })));
}

#[tokio::test]
async fn list_all_follows_the_pages_to_the_last() {
    let node = Node::start(Script {
        list: Some(Box::new(|_, request| {
            let (events, next_page_token) = match request.page_token.as_str() {
                "" => (vec![event(1), event(2)], "a"),
                // An empty page is not the last one.
                "a" => (vec![], "b"),
                _ => (vec![event(9)], ""),
            };
            let next_page_token = next_page_token.to_owned();
            Some(Ok(v1::ListResponse {
                header: header(9),
                events,
                next_page_token,
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let events: Vec<_> = client
        .list_all(List::default())
        .try_collect()
        .await
        .expect("listed");
    let sequences: Vec<_> = events.iter().map(|event| event.header.sequence).collect();
    assert_eq!(sequences, [1, 2, 9]);
}
