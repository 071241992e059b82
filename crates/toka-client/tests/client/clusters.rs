use toka_client::{CursorName, Error, EventDraft, GroupName, GroupSettings, GroupStart};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::commit_stream_response::Outcome;
use tokio::time::Duration;
use tonic::Status;

use crate::node::{
    Node, Script, State, builder, client, committed, dead_endpoint, event, header, header_of,
};

/// A member of a cluster, which takes commits.
fn member(cluster_id: u128) -> Script {
    Script {
        commit: Some(Box::new(move |_, _| {
            let reply = v1::CommitResponse {
                header: header_of(cluster_id, 1),
                ..committed(1)
            };
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
    let client = client.with_timeout(Duration::from_millis(500));
    let refused = client
        .commit(draft())
        .await
        .expect_err("of another cluster");
    // The member that was asked may know the new leader by and by.
    assert!(refused.is_retryable(), "{refused}");
    let found = format!("{} belongs to cluster {:032x}", other.endpoint, 2);
    assert!(refused.to_string().contains(&found), "{refused}");
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
                answered: true,
                ..
            })
        ),
        "{refused:?}"
    );
    let said = refused.expect_err("it was refused").to_string();
    assert!(said.contains("may have been done there"), "{said}");
}

#[tokio::test]
async fn node_of_another_cluster_does_not_end_a_call_while_an_own_one_is_down() {
    let own = Node::start(Script {
        commit: Some(Box::new(|call, _| {
            Some(match call {
                0 | 1 => Err(Status::unavailable("it starts anew")),
                _ => Ok(committed(1)),
            })
        })),
        ..member(1)
    });
    let other = Node::start(member(2));
    let endpoints = [own.endpoint.as_str(), other.endpoint.as_str()];
    let client = builder().cluster_id(1).connect(endpoints).await;
    let client = client.expect("the endpoints are valid");
    client.commit(draft()).await.expect("committed");
    let commits = |node: &Node| node.seen(|seen| seen.commits.len());
    assert_eq!((commits(&other), commits(&own)), (0, 3));
}

#[tokio::test]
async fn outage_beside_a_node_of_another_cluster_may_be_over_later() {
    let other = Node::start(member(2));
    let (first, second) = (dead_endpoint(), dead_endpoint());
    let endpoints = [first.as_str(), &second, &other.endpoint];
    let client = builder().cluster_id(1).timeout(Duration::from_millis(500));
    let client = client.connect(endpoints).await;
    let client = client.expect("the endpoints are valid");
    let failed = client.commit(draft()).await.expect_err("nobody is there");
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    assert!(failed.is_retryable(), "{failed}");
    let found = format!("{} belongs to cluster {:032x}", other.endpoint, 2);
    assert!(failed.to_string().contains(&found), "{failed}");
}

#[tokio::test]
async fn nothing_is_learned_from_a_node_of_another_cluster_that_names_it_in_its_message_only() {
    let leader = Node::start(member(2));
    let other = Node::start(Script {
        cluster_id: None,
        leader: Some(leader.as_leader()),
        ..member(2)
    });
    let own = Node::start(member(1));
    let endpoints = [other.endpoint.as_str(), own.endpoint.as_str()];
    let client = builder().cluster_id(1).connect(endpoints).await;
    let client = client.expect("the endpoints are valid");
    client.commit(draft()).await.expect("committed");
    assert_eq!(client.leader(), None);
    let commits = |node: &Node| node.seen(|seen| seen.commits.len());
    assert_eq!((commits(&leader), commits(&own)), (0, 1));
}

/// Answers every commit of a stream as a node of `cluster_id`.
fn streaming(cluster_id: u128) -> Script {
    Script {
        commit_stream: Some(Box::new(move |_, mut requests, answers| {
            tokio::spawn(async move {
                while let Ok(Some(request)) = requests.message().await {
                    let result = v1::CommitResult {
                        revision: 1,
                        events: vec![event(1)],
                    };
                    let answer = v1::CommitStreamResponse {
                        header: header_of(cluster_id, 1),
                        request_number: request.request_number,
                        outcome: Some(Outcome::Result(result)),
                        ..Default::default()
                    };
                    // The client may be gone.
                    let _ = answers.send(Ok(answer));
                }
            });
        })),
        ..Script::default()
    }
}

#[tokio::test]
async fn commit_stream_leaves_a_node_of_another_cluster() {
    let (other, own) = (Node::start(streaming(2)), Node::start(streaming(1)));
    let endpoints = [other.endpoint.as_str(), own.endpoint.as_str()];
    let client = builder().cluster_id(1).connect(endpoints).await;
    let client = client.expect("the endpoints are valid");
    let stream = client.commit_stream();
    let committed = stream.send(vec![draft()], vec![]).await.expect("sent");
    committed.await.expect("committed");
    stream.finish().await.expect("finished");
    let streams = |node: &Node| node.seen(|seen| seen.commit_streams);
    assert_eq!((streams(&other), streams(&own)), (1, 1));
}

/// A member that says who leads.
fn led(cluster_id: u128) -> Script {
    Script {
        status: Some(State {
            cluster_id,
            leader_id: Some(1),
        }),
        ..member(cluster_id)
    }
}

#[tokio::test]
async fn first_commits_at_the_same_time_are_all_of_one_cluster() {
    // What is in its way says nothing of clusters.
    let first = Node::start(Script {
        cluster_id: None,
        commit: Some(Box::new(|call, _| {
            Some(match call {
                0 => Err(Status::unavailable("too many connections")),
                _ => Ok(committed(1)),
            })
        })),
        ..led(1)
    });
    let second = Node::start(led(2));
    let client = client(&[&first.endpoint, &second.endpoint]).await;
    let done = tokio::join!(client.commit(draft()), client.commit(draft()));
    done.0.expect("committed");
    done.1.expect("committed");
    assert_eq!(second.seen(|seen| seen.commits.len()), 0);
    assert_eq!(first.seen(|seen| seen.statuses), 1, "one asks for all");
    client.commit(draft()).await.expect("committed");
    assert_eq!(first.seen(|seen| seen.statuses), 1, "it is known");
}

/// A member that says who leads, and takes cursors and groups, but for the first call if `is_busy`: what is in its way
/// says nothing of clusters.
fn coordinating(cluster_id: u128, is_busy: bool) -> Script {
    let refuses = move |call: usize| is_busy && call == 0;
    Script {
        cluster_id: (!is_busy).then_some(cluster_id),
        save_cursor: Some(Box::new(move |call, _| {
            Some(if refuses(call) {
                Err(Status::unavailable("too many connections"))
            } else {
                Ok(v1::SaveCursorResponse {
                    header: header_of(cluster_id, 1),
                    revision: 1,
                })
            })
        })),
        create_group: Some(Box::new(move |call, request| {
            Some(if refuses(call) {
                Err(Status::unavailable("too many connections"))
            } else {
                Ok(v1::CreateGroupResponse {
                    header: header_of(cluster_id, 1),
                    revision: 1,
                    group: Some(v1::Group {
                        name: request.name,
                        settings: request.settings,
                        ..v1::Group::default()
                    }),
                })
            })
        })),
        ..led(cluster_id)
    }
}

#[tokio::test]
async fn first_cursor_is_saved_in_the_cluster_that_was_asked_first() {
    let own = Node::start(coordinating(1, true));
    let other = Node::start(coordinating(2, false));
    let client = client(&[&own.endpoint, &other.endpoint]).await;
    let name = CursorName::new("reader").expect("valid");
    let saved = client.save_cursor(&name, Some(0), 1).await;
    assert_eq!(saved.expect("saved"), 1);
    let saves = |node: &Node| node.seen(|seen| seen.cursor_saves.len());
    assert_eq!((saves(&own), saves(&other)), (2, 0));
    assert_eq!(client.cluster_id(), Some(1));
}

#[tokio::test]
async fn first_group_is_made_in_the_cluster_that_was_asked_first() {
    let own = Node::start(coordinating(1, true));
    let other = Node::start(coordinating(2, false));
    let client = client(&[&own.endpoint, &other.endpoint]).await;
    let name = GroupName::new("work").expect("valid");
    let settings = GroupSettings::default();
    let made = client.create_group(&name, &settings, GroupStart::Beginning);
    assert_eq!(made.await.expect("made").name, name);
    let creations = |node: &Node| node.seen(|seen| seen.group_creations.len());
    assert_eq!((creations(&own), creations(&other)), (2, 0));
    assert_eq!(client.cluster_id(), Some(1));
}

#[tokio::test]
async fn node_without_a_leader_does_not_say_of_which_cluster_a_client_is() {
    let state = State {
        cluster_id: 2,
        leader_id: None,
    };
    let stray = Node::start(Script {
        commit: Some(Box::new(|_, _| Some(Err(status::no_leader("alone"))))),
        status: Some(state),
        ..member(2)
    });
    let own = Node::start(led(1));
    let client = client(&[&stray.endpoint, &own.endpoint]).await;
    client.commit(draft()).await.expect("committed");
    assert_eq!(client.cluster_id(), Some(1));
}

#[tokio::test]
async fn client_of_one_node_without_a_leader_is_of_its_cluster() {
    let alone = Node::start(Script {
        commit: Some(Box::new(|_, _| Some(Err(status::no_leader("alone"))))),
        ..member(2)
    });
    let client = client(&[&alone.endpoint]).await;
    let client = client.with_timeout(Duration::from_millis(300));
    client.commit(draft()).await.expect_err("nobody leads");
    assert_eq!(client.cluster_id(), Some(2));
}

#[tokio::test]
async fn subscription_takes_nothing_from_another_cluster() {
    let other = Node::start(Script {
        subscribe: Some(Box::new(|_, _, messages| {
            let checkpoint = v1::Checkpoint {
                sequence: 0,
                unix_ms: 1,
                leaderless_ms: 0,
            };
            let first = v1::SubscribeResponse {
                header: header(1),
                message: Some(v1::subscribe_response::Message::Checkpoint(checkpoint)),
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
