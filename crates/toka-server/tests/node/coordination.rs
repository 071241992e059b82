//! Cursors and consumer groups, through whichever node.

use std::time::Duration;

use toka_ledger::Rejection;
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::create_group_request::Start;
use toka_proto::v1::cursor_service_client::CursorServiceClient;
use toka_proto::v1::group_service_client::GroupServiceClient;
use toka_proto::v1::settlement::Verdict;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::*;

const GROUP: &str = "work";
/// Between two looks at whether the vault is at the level.
const LOOK: Duration = Duration::from_millis(20);

fn groups(cluster: &Cluster, index: usize) -> GroupServiceClient<Channel> {
    GroupServiceClient::new(cluster.channel(index))
}

fn cursors(cluster: &Cluster, index: usize) -> CursorServiceClient<Channel> {
    CursorServiceClient::new(cluster.channel(index))
}

fn creation() -> v1::CreateGroupRequest {
    v1::CreateGroupRequest {
        name: GROUP.to_owned(),
        ..Default::default()
    }
}

fn wish(max_events: u32, wait_ms: u32) -> v1::PullRequest {
    v1::PullRequest {
        group: GROUP.to_owned(),
        consumer: "robot".to_owned(),
        max_events,
        wait_ms,
        ..Default::default()
    }
}

/// Three nodes, once the vault is at the feature level that groups need, and a group of all events.
async fn started() -> Cluster {
    let cluster = Cluster::start(3).await;
    let mut groups = groups(&cluster, cluster.follower());
    let made = async {
        loop {
            match groups.create_group(creation()).await {
                Ok(reply) => return reply.into_inner(),
                Err(status) => {
                    let detail = parse(&status).detail;
                    assert_eq!(detail, Some(Detail::FeatureLevel), "{status:?}");
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let made = within(made).await.group.expect("a group");
    assert_eq!((&*made.name, made.position), (GROUP, 0));
    cluster
}

/// Two nodes that follow.
fn followers(cluster: &Cluster) -> [usize; 2] {
    let leader = cluster.leader();
    [(leader + 1) % 3, (leader + 2) % 3]
}

fn acknowledge(deliveries: &[v1::Delivery]) -> v1::SettleRequest {
    let deliveries = deliveries.iter();
    v1::SettleRequest {
        group: GROUP.to_owned(),
        settlements: deliveries
            .map(|delivery| v1::Settlement {
                token: delivery.token.clone(),
                verdict: Some(Verdict::Acknowledge(v1::Acknowledge {})),
            })
            .collect(),
        ..Default::default()
    }
}

/// The field that a call was refused for.
fn field(status: &Status) -> Option<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    match parse(status).detail {
        Some(Detail::InvalidField { field, .. }) => Some(field),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_through_followers_are_made_and_settled_by_the_leader() {
    let cluster = started().await;
    let leader = cluster.nodes[cluster.leader()].replica().node_id();
    let [one, other] = followers(&cluster);
    for payload in ["1", "2"] {
        commit(&mut cluster.vault(one), "a", payload).await;
    }
    let pulled = within(groups(&cluster, one).pull(wish(10, 0))).await;
    let pulled = pulled.expect("pulled");
    assert_eq!(named_leader(&pulled), leader);
    let pulled = pulled.into_inner();
    assert_eq!(pulled.header.expect("a header").node_id, leader);
    let events = pulled.deliveries.iter().map(|delivery| {
        let event = delivery.event.as_ref().expect("an event");
        (event.sequence, delivery.delivery)
    });
    assert_eq!(events.collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    let settle = acknowledge(&pulled.deliveries);
    for expected in [v1::SettleOutcome::Done, v1::SettleOutcome::Stale] {
        let settled = within(groups(&cluster, other).settle(settle.clone())).await;
        let settled = settled.expect("settled").into_inner();
        assert_eq!(settled.outcomes, [i32::from(expected); 2]);
    }
    let none = within(groups(&cluster, one).pull(wish(10, 0))).await;
    let none = none.expect("pulled").into_inner();
    assert!(none.deliveries.is_empty(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_refuses_a_pull_that_requires_the_leader() {
    let cluster = started().await;
    let leader = &cluster.nodes[cluster.leader()];
    let refused = within(groups(&cluster, cluster.follower()).pull(to_leader(wish(1, 0)))).await;
    let failure = parse(&refused.expect_err("refused"));
    assert_eq!(failure.code, Code::FailedPrecondition);
    let Some(Detail::NotLeader {
        leader: Some(named),
    }) = failure.detail
    else {
        panic!("{:?}", failure.detail);
    };
    assert_eq!(named.node_id, leader.replica().node_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_is_wrong_through_every_node() {
    let cluster = started().await;
    for index in 0..3 {
        let mut groups = groups(&cluster, index);
        let unknown = v1::PullRequest {
            group: "nobody's".to_owned(),
            ..wish(1, 0)
        };
        let refused = within(groups.pull(unknown)).await.expect_err("refused");
        assert_eq!(refused.code(), Code::NotFound);
        let detail = parse(&refused).detail;
        let is_named = matches!(
            &detail,
            Some(Detail::Rejected(Rejection::UnknownGroup { name })) if name.as_str() == "nobody's"
        );
        assert!(is_named, "{detail:?}");

        let beyond = v1::CreateGroupRequest {
            name: "beyond".to_owned(),
            start: Some(Start::AfterSequence(9)),
            ..Default::default()
        };
        let refused = within(groups.create_group(beyond)).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");

        let other = v1::CreateGroupRequest {
            settings: Some(v1::GroupSettings {
                deliveries_max: 9,
                ..Default::default()
            }),
            ..creation()
        };
        let refused = within(groups.create_group(other)).await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
        let said = refused.message();
        assert!(said.contains("deliveries_max is 5, not 9"), "{said}");

        let bad = v1::CreateGroupRequest {
            settings: Some(v1::GroupSettings {
                ack_timeout_ms: 99,
                ..Default::default()
            }),
            ..creation()
        };
        let refused = within(groups.create_group(bad)).await;
        let refused = field(&refused.expect_err("refused"));
        assert!(refused.is_some_and(|field| field.ends_with("ack_timeout_ms")));

        let forged = v1::Delivery {
            token: b"nobody has made this".to_vec().into(),
            ..Default::default()
        };
        let refused = within(groups.settle(acknowledge(&[forged]))).await;
        let refused = field(&refused.expect_err("refused"));
        assert!(refused.is_some_and(|field| field.contains("token")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_waits_for_an_event_and_no_longer_than_its_call_may() {
    let cluster = started().await;
    let [one, other] = followers(&cluster);
    // It has no deadline that would end it before.
    let mut waiting = groups(&cluster, one);
    let mut long = Request::new(wish(1, 30_000));
    long.set_timeout(Duration::from_secs(40));
    let waiting = tokio::spawn(async move { waiting.pull(long).await });
    let (sequence, _) = commit(&mut cluster.vault(other), "a", "1").await;
    let pulled = within(waiting).await.expect("it does not panic");
    let pulled = pulled.expect("pulled").into_inner();
    assert_eq!(pulled.deliveries.len(), 1);
    let event = pulled.deliveries[0].event.as_ref().expect("an event");
    assert_eq!(event.sequence, sequence);

    // There is no further one: the answer comes before the call is given up.
    let mut short = Request::new(wish(1, 30_000));
    short.set_timeout(Duration::from_secs(2));
    let none = within(groups(&cluster, one).pull(short)).await;
    let none = none.expect("answered in time").into_inner();
    assert!(none.deliveries.is_empty(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_ends_with_its_group() {
    let cluster = started().await;
    let [one, other] = followers(&cluster);
    let mut waiting = groups(&cluster, one);
    let mut long = Request::new(wish(1, 30_000));
    long.set_timeout(Duration::from_secs(40));
    let waiting = tokio::spawn(async move { waiting.pull(long).await });
    let deletion = v1::DeleteGroupRequest {
        name: GROUP.to_owned(),
        ..Default::default()
    };
    let deleted = within(groups(&cluster, other).delete_group(deletion)).await;
    deleted.expect("deleted");
    let ended = within(waiting).await.expect("it does not panic");
    let ended = ended.expect_err("the group is gone");
    assert_eq!(ended.code(), Code::NotFound, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_are_saved_through_any_node_and_listed_in_pages() {
    let cluster = started().await;
    commit(&mut cluster.vault(0), "a", "1").await;
    for index in 0..3 {
        let save = v1::SaveCursorRequest {
            name: format!("cursor-{index}"),
            from_sequence: Some(0),
            to_sequence: 1,
            ..Default::default()
        };
        let saved = within(cursors(&cluster, index).save_cursor(save)).await;
        saved.expect("saved");
    }
    for index in 0..3 {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let list = v1::ListCursorsRequest {
                page_size: 2,
                page_token,
                read: linearizable(),
                ..Default::default()
            };
            let page = within(cursors(&cluster, index).list_cursors(list)).await;
            let page = page.expect("listed").into_inner();
            assert!(page.cursors.len() <= 2, "{page:?}");
            assert!(page.cursors.iter().all(|cursor| cursor.sequence == 1));
            names.extend(page.cursors.into_iter().map(|cursor| cursor.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["cursor-0", "cursor-1", "cursor-2"]);
    }
    // What is no token of such a page is refused.
    let forged = v1::ListCursorsRequest {
        page_token: "cursor-1".to_owned(),
        ..Default::default()
    };
    let refused = within(cursors(&cluster, 0).list_cursors(forged)).await;
    assert!(field(&refused.expect_err("refused")).is_some());
}
