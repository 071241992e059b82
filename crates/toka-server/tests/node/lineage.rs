use std::time::Duration;

use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::lineage_service_client::LineageServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Response};

use crate::support::*;

fn lineage(cluster: &Cluster, index: usize) -> LineageServiceClient<Channel> {
    LineageServiceClient::new(cluster.channel(index))
}

/// Commits one event with parents; returns its digest.
async fn child(vault: &mut Vault, kind: &str, payload: &str, parents: &[&[u8]]) -> Vec<u8> {
    let parents = parents.iter().map(|digest| v1::ParentName {
        name: Some(v1::parent_name::Name::Digest(digest.to_vec().into())),
    });
    let event = v1::NewEvent {
        parents: parents.collect(),
        ..event(kind, payload)
    };
    let reply = within(vault.commit(one(event))).await.expect("committed");
    reply.into_inner().events[0].digest.to_vec()
}

/// 1 <- 2, 1 <- 3, both <- 4, and 5 alone.
async fn diamond(vault: &mut Vault) {
    let root = child(vault, "root", "", &[]).await;
    let left = child(vault, "side.left", "", &[&root]).await;
    let right = child(vault, "side.right", "", &[&root]).await;
    child(vault, "end", "", &[&left, &right]).await;
    child(vault, "alone", "", &[]).await;
}

fn walk(event: u64, relation: v1::Relation) -> v1::WalkRequest {
    v1::WalkRequest {
        event: sequence(event),
        relation: relation.into(),
        read: linearizable(),
        ..Default::default()
    }
}

/// Sequences and depths of a whole walk, and how it ended.
async fn walked(
    service: &mut LineageServiceClient<Channel>,
    request: v1::WalkRequest,
) -> (Vec<(u64, u32)>, v1::WalkEnd) {
    let stream = within(service.walk(request)).await.expect("it begins");
    let (messages, failed) = drain(stream).await;
    assert!(failed.is_none(), "{failed:?}");
    assert!(messages.iter().all(|message| message.header.is_some()));
    let end = messages.last().and_then(|message| message.end);
    let relatives = messages.into_iter().flat_map(|message| message.relatives);
    let relatives = relatives.map(|relative| {
        let event = relative.event.expect("an event");
        (event.sequence, relative.depth)
    });
    (relatives.collect(), end.expect("the last message says it"))
}

fn complete(visited: u64) -> v1::WalkEnd {
    v1::WalkEnd {
        complete: true,
        visited,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relatives_come_breadth_first_from_any_node() {
    let cluster = Cluster::start(3).await;
    diamond(&mut cluster.vault(0)).await;
    for index in 0..3 {
        let mut service = lineage(&cluster, index);
        let up = walked(&mut service, walk(4, v1::Relation::Ancestors)).await;
        assert_eq!(up, (vec![(4, 0), (2, 1), (3, 1), (1, 2)], complete(4)));
        let down = walked(&mut service, walk(1, v1::Relation::Descendants)).await;
        assert_eq!(down, (vec![(1, 0), (2, 1), (3, 1), (4, 2)], complete(4)));
        let unspecified = walked(&mut service, walk(2, v1::Relation::Unspecified)).await;
        assert_eq!(unspecified.0, [(2, 0), (1, 1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_walk_leave_out_what_the_end_admits() {
    let cluster = Cluster::start(1).await;
    diamond(&mut cluster.vault(0)).await;
    let mut service = lineage(&cluster, 0);
    let shallow = v1::WalkRequest {
        max_depth: 1,
        ..walk(4, v1::Relation::Ancestors)
    };
    let (relatives, end) = walked(&mut service, shallow).await;
    assert_eq!(relatives, [(4, 0), (2, 1), (3, 1)]);
    assert!(!end.complete);
    let few = v1::WalkRequest {
        max_events: 2,
        ..walk(4, v1::Relation::Ancestors)
    };
    let (relatives, end) = walked(&mut service, few).await;
    assert_eq!(relatives, [(4, 0), (2, 1)]);
    assert!(!end.complete);
    // The walk goes through what is not wanted.
    let roots = v1::WalkRequest {
        kind_prefixes: vec!["ro".to_owned()],
        ..walk(4, v1::Relation::Ancestors)
    };
    let (relatives, end) = walked(&mut service, roots).await;
    assert_eq!((relatives, end), (vec![(1, 2)], complete(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn walk_as_of_a_sequence_leaves_out_what_came_later() {
    let cluster = Cluster::start(1).await;
    diamond(&mut cluster.vault(0)).await;
    let mut service = lineage(&cluster, 0);
    let until = |until_sequence| v1::WalkRequest {
        until_sequence,
        ..walk(1, v1::Relation::Descendants)
    };
    let (relatives, end) = walked(&mut service, until(3)).await;
    assert_eq!(
        (relatives, end),
        (vec![(1, 0), (2, 1), (3, 1)], complete(3))
    );
    let refused = within(service.walk(until(99))).await;
    let refused = refused.expect_err("the vault does not go so far");
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn difference_and_common_ancestors_are_those_of_two_histories() {
    let cluster = Cluster::start(1).await;
    diamond(&mut cluster.vault(0)).await;
    let mut service = lineage(&cluster, 0);
    let request = v1::DifferenceRequest {
        without: sequence(2),
        of: sequence(4),
        ..Default::default()
    };
    let stream = within(service.difference(request))
        .await
        .expect("it begins");
    let (messages, failed) = drain(stream).await;
    assert!(failed.is_none(), "{failed:?}");
    let events = messages.iter().flat_map(|message| &message.events);
    let events: Vec<u64> = events.map(|event| event.sequence).collect();
    assert_eq!(events, [4, 3]);
    let end = messages.last().and_then(|message| message.end);
    assert!(end.is_some_and(|end| end.complete), "{end:?}");

    for (first, second, expected) in [(2, 3, vec![1]), (2, 4, vec![2]), (4, 5, vec![])] {
        let request = v1::CommonAncestorsRequest {
            first: sequence(first),
            second: sequence(second),
            ..Default::default()
        };
        let reply = within(service.common_ancestors(request))
            .await
            .expect("found");
        let reply = reply.into_inner();
        let events: Vec<u64> = reply.events.iter().map(|event| event.sequence).collect();
        assert_eq!(events, expected, "{first} and {second}");
        assert!(reply.end.is_some_and(|end| end.complete));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_heads_can_come_from_different_nodes_and_are_as_of_the_first() {
    let cluster = Cluster::start(3).await;
    let mut vault = cluster.vault(0);
    diamond(&mut vault).await;
    let request = |page_token: String| v1::ListHeadsRequest {
        page_size: 1,
        page_token,
        read: linearizable(),
        ..Default::default()
    };
    let page = within(lineage(&cluster, 1).list_heads(request(String::new()))).await;
    let page = page.expect("a page").into_inner();
    assert_eq!(page.events[0].sequence, 5);
    let end = page.events[0].digest.to_vec();
    // It comes after the first page, and makes no head of the second one's.
    child(&mut vault, "late", "", &[&end]).await;
    let page = within(lineage(&cluster, 2).list_heads(request(page.next_page_token))).await;
    let page = page.expect("a page").into_inner();
    assert_eq!(page.events[0].sequence, 4);

    let other = v1::ListHeadsRequest {
        kind_prefixes: vec!["end".to_owned()],
        ..request(page.next_page_token)
    };
    let refused = within(lineage(&cluster, 0).list_heads(other)).await;
    let refused = refused.expect_err("another list");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cannot_be_are_refused_before_anything_is_sent() {
    let cluster = Cluster::start(1).await;
    diamond(&mut cluster.vault(0)).await;
    let mut service = lineage(&cluster, 0);
    let absent = within(service.walk(walk(99, v1::Relation::Ancestors))).await;
    let absent = absent.expect_err("not there");
    assert_eq!(absent.code(), Code::NotFound);
    let name = "at sequence 99".to_owned();
    assert_eq!(parse(&absent).detail, Some(Detail::EventNotFound { name }));

    let unnamed = v1::DifferenceRequest {
        of: sequence(4),
        ..Default::default()
    };
    let unnamed = within(service.difference(unnamed))
        .await
        .expect_err("of what");
    assert_eq!(unnamed.code(), Code::InvalidArgument);
    assert!(unnamed.message().contains("without"), "{unnamed:?}");

    let history = v1::WalkRequest {
        read: Some(v1::ReadOptions {
            history_id: vec![1; 16].into(),
            ..Default::default()
        }),
        ..walk(1, v1::Relation::Ancestors)
    };
    let history = within(service.walk(history))
        .await
        .expect_err("another history");
    assert!(matches!(
        parse(&history).detail,
        Some(Detail::HistoryChanged { .. })
    ));
}

/// Commits a chain of `batches` times 1,000 events.
async fn chain(vault: &mut Vault, batches: u64) {
    let mut last: Option<Vec<u8>> = None;
    for batch in 0..batches {
        let events = (0..1_000).map(|n| {
            let name = match (n, &last) {
                (0, None) => None,
                (0, Some(digest)) => Some(v1::parent_name::Name::Digest(digest.clone().into())),
                (n, _) => Some(v1::parent_name::Name::BatchIndex(n - 1)),
            };
            v1::NewEvent {
                parents: name
                    .map(|name| v1::ParentName { name: Some(name) })
                    .into_iter()
                    .collect(),
                ..event("link", &format!("{batch} {n}"))
            }
        });
        let commit = v1::CommitRequest {
            events: events.collect(),
            ..Default::default()
        };
        let reply = within(vault.commit(commit)).await.expect("committed");
        last = reply
            .into_inner()
            .events
            .last()
            .map(|event| event.digest.to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn walk_waits_for_its_client_and_ends_at_its_deadline() {
    const TIME: Duration = Duration::from_secs(2);
    let cluster = Cluster::start(1).await;
    chain(&mut cluster.vault(0), 30).await;
    let mut service = lineage(&cluster, 0);
    let all = v1::WalkRequest {
        event: sequence(30_000),
        max_events: 1_000_000,
        ..Default::default()
    };
    let (relatives, end) = walked(&mut service, all.clone()).await;
    assert_eq!((relatives.len(), end), (30_000, complete(30_000)));
    assert!(relatives.iter().map(|(_, depth)| *depth).eq(0..30_000));

    // More than the windows of the connection, 2 MiB, and what the node has ready to be sent hold: the node does not read on, and at the deadline it is over.
    let mut request = Request::new(all);
    request.set_timeout(TIME);
    let deadline = tokio::time::Instant::now() + TIME;
    let mut stream = within(service.walk(request))
        .await
        .expect("it begins")
        .into_inner();
    let first = within(stream.message()).await.expect("a message");
    assert!(first.is_some_and(|first| !first.relatives.is_empty()));
    tokio::time::sleep_until(deadline).await;
    let (messages, failed) = drain(Response::new(stream)).await;
    let failed = failed.expect("it is broken off");
    assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed:?}");
    assert!(messages.iter().all(|message| message.end.is_none()));
}
