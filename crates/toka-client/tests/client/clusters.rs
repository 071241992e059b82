use toka_client::{Error, EventDraft};
use toka_proto::convert::status;

use crate::node::{Node, Script, builder, client, committed, header};

/// A member of a cluster, which takes commits.
fn member(cluster_id: u128) -> Script {
    Script {
        commit: Some(Box::new(move |_, _| {
            let mut reply = committed(1);
            if let Some(header) = &mut reply.header {
                header.cluster_id = cluster_id.to_be_bytes().to_vec().into();
            }
            Some(Ok(reply))
        })),
        cluster_id: Some(cluster_id),
        ..Script::default()
    }
}

fn draft() -> EventDraft {
    EventDraft::new("k")
}

#[tokio::test]
async fn commit_does_nothing_where_a_member_of_another_cluster_is_by_now() {
    let other = Node::start(member(2));
    let named = other.as_leader();
    let old = Node::start(Script {
        commit: Some(Box::new(move |_, _| {
            Some(Err(status::not_leader(Some(&named))))
        })),
        ..member(1)
    });
    let client = client(&[&old.endpoint]).await;
    let refused = client
        .commit(draft())
        .await
        .expect_err("of another cluster");
    let Error::OtherCluster {
        endpoint,
        expected,
        actual,
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_eq!((expected, actual), (&1, &2));
    assert_eq!(endpoint, &other.endpoint);
    assert_eq!(other.seen(|seen| seen.commits.len()), 0);
    assert_eq!(client.cluster_id(), Some(1));
}

#[tokio::test]
async fn node_of_another_cluster_is_passed_over() {
    let (other, own) = (Node::start(member(2)), Node::start(member(1)));
    let endpoints = [other.endpoint.as_str(), own.endpoint.as_str()];
    let client = builder().cluster_id(1).connect(endpoints).await;
    let client = client.expect("the endpoints are valid");
    client.commit(draft()).await.expect("committed");
    let commits = |node: &Node| node.seen(|seen| seen.commits.len());
    assert_eq!((commits(&other), commits(&own)), (0, 1));
}

#[tokio::test]
async fn message_of_another_cluster_is_refused_where_no_head_names_one() {
    let other = Node::start(Script {
        cluster_id: None,
        ..member(2)
    });
    let client = builder().cluster_id(1).connect([other.endpoint.as_str()]);
    let client = client.await.expect("the endpoint is valid");
    let refused = client.commit(draft()).await;
    assert!(
        matches!(
            refused,
            Err(Error::OtherCluster {
                expected: 1,
                actual: 2,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn subscription_takes_nothing_from_another_cluster() {
    let other = Node::start(Script {
        subscribe: Some(Box::new(|_, _, messages| {
            let checkpoint = toka_proto::v1::Checkpoint {
                sequence: 0,
                unix_ms: 1,
            };
            let first = toka_proto::v1::SubscribeResponse {
                header: header(1),
                message: Some(toka_proto::v1::subscribe_response::Message::Checkpoint(
                    checkpoint,
                )),
            };
            // The client may be gone.
            let _ = messages.send(Ok(first));
        })),
        ..Script::default()
    });
    let client = builder().cluster_id(2).connect([other.endpoint.as_str()]);
    let client = client.await.expect("the endpoint is valid");
    let start = toka_client::Subscribe::from(toka_client::Start::Beginning);
    let refused = client.subscribe(start).await;
    assert!(
        matches!(
            refused,
            Err(Error::OtherCluster {
                expected: 2,
                actual: 1,
                ..
            })
        ),
        "{refused:?}"
    );
}
