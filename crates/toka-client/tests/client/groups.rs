use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use toka_client::{
    Consume, ConsumerName, Error, GroupName, GroupSettings, Leader, Pull, Read, SettleOutcome,
    Token, Verdict,
};
use toka_ledger::Rejection;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::settlement::Verdict as Sent;

use crate::node::{Node, Script, client, event, header};

/// What the tests' group gives a consumer, milliseconds: longer than any of them takes.
const ACK_TIMEOUT_MS: u32 = 60_000;

fn group() -> GroupName {
    GroupName::new("work").expect("valid")
}

fn consumer() -> ConsumerName {
    ConsumerName::new("robot").expect("valid")
}

fn pull(max_events: u32) -> Pull {
    Pull {
        max_events,
        ..Pull::new(group(), consumer())
    }
}

/// The token of an event's delivery, as a node makes it.
fn token(sequence: u64, delivery: u32) -> Token {
    Token {
        incarnation: 4,
        sequence,
        delivery,
    }
}

fn delivery(sequence: u64, delivery: u32) -> v1::Delivery {
    v1::Delivery {
        event: Some(event(sequence)),
        delivery,
        deadline_unix_ms: ACK_TIMEOUT_MS.into(),
        token: token(sequence, delivery).encode(),
    }
}

fn pulled(deliveries: Vec<v1::Delivery>) -> v1::PullResponse {
    let mut response = v1::PullResponse {
        header: header(9),
        ..v1::PullResponse::default()
    };
    response.deliveries = deliveries;
    response.ack_timeout_ms = ACK_TIMEOUT_MS;
    response.lease_ms_left = ACK_TIMEOUT_MS;
    response
}

fn settled(outcomes: &[v1::SettleOutcome]) -> v1::SettleResponse {
    let outcomes = outcomes.iter();
    v1::SettleResponse {
        header: header(9),
        revision: 9,
        outcomes: outcomes.map(|outcome| (*outcome).into()).collect(),
    }
}

fn all_done(request: &v1::SettleRequest) -> v1::SettleResponse {
    settled(&vec![v1::SettleOutcome::Done; request.settlements.len()])
}

/// A group with as many events as anybody asks for, one after the other.
fn stock() -> Script {
    let next = AtomicU64::new(1);
    Script {
        pull: Some(Box::new(move |_, request| {
            let count = u64::from(request.max_events);
            let first = next.fetch_add(count, Ordering::Relaxed);
            let deliveries = (first..first + count).map(|sequence| delivery(sequence, 1));
            Some(Ok(pulled(deliveries.collect())))
        })),
        settle: Some(Box::new(|_, request| Some(Ok(all_done(&request))))),
        ..Script::default()
    }
}

/// The tokens of all settlements that a node has got, and what was said of them.
fn settlements(node: &Node) -> Vec<(Bytes, Sent)> {
    node.seen(|seen| {
        let all = seen.settles.iter().flat_map(|settle| &settle.settlements);
        all.map(|settlement| {
            let verdict = settlement.verdict.clone();
            (settlement.token.clone(), verdict.expect("there is one"))
        })
        .collect()
    })
}

#[tokio::test]
async fn pull_goes_to_the_leader_that_a_follower_names() {
    let leader = Node::start(stock());
    let named = leader.as_leader();
    let follower = Node::start(Script {
        pull: Some(Box::new(move |_, _| {
            Some(Err(status::not_leader(Some(&named))))
        })),
        ..Script::default()
    });
    let client = client(&[&follower.endpoint]).await;
    let got = client.pull(&pull(2)).await.expect("pulled");
    let sequences: Vec<u64> = got.iter().map(|each| each.event.header.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    let sent = leader.seen(|s| s.pulls.clone());
    assert_eq!(sent.len(), 1);
    assert_eq!((&*sent[0].group, &*sent[0].consumer), ("work", "robot"));
}

#[tokio::test]
async fn what_one_leader_has_leased_is_settled_with_the_next_one() {
    let mut old = Node::start_with(|endpoint| Script {
        leader: Some(Leader {
            node_id: 1,
            endpoint: endpoint.to_owned(),
        }),
        ..stock()
    });
    let new = Node::start(Script {
        settle: Some(Box::new(|call, request| {
            Some(if call == 0 {
                Err(status::no_leader("election"))
            } else {
                Ok(all_done(&request))
            })
        })),
        ..stock()
    });
    let client = client(&[&old.endpoint, &new.endpoint]).await;
    let got = client.pull(&pull(1)).await.expect("pulled");
    assert_eq!(old.seen(|s| s.pulls.len()), 1);
    old.kill();
    let settlement = [(got[0].token(), Verdict::Acknowledge)];
    let outcomes = client.settle(&group(), &settlement).await;
    assert_eq!(outcomes.expect("settled"), [SettleOutcome::Done]);
    let sent = settlements(&new);
    let expected = (token(1, 1).encode(), Sent::Acknowledge(v1::Acknowledge {}));
    assert_eq!(sent, [expected.clone(), expected]);
}

#[tokio::test]
async fn silent_node_is_left_for_another() {
    let silent = Node::start(Script {
        pull: Some(Box::new(|_, _| None)),
        ..Script::default()
    });
    let node = Node::start(stock());
    let client = client(&[&silent.endpoint, &node.endpoint]).await;
    let got = client.pull(&pull(1)).await.expect("pulled");
    assert_eq!(got.len(), 1);
    assert_eq!(
        (silent.seen(|s| s.pulls.len()), node.seen(|s| s.pulls.len())),
        (1, 1)
    );
}

#[tokio::test]
async fn tokens_go_back_as_they_came_with_what_is_said_of_each() {
    let node = Node::start(Script {
        settle: Some(Box::new(|_, _| {
            use v1::SettleOutcome::{Done, Stale};
            Some(Ok(settled(&[Done, Stale, Done, Done])))
        })),
        ..stock()
    });
    let client = client(&[&node.endpoint]).await;
    let got = client.pull(&pull(4)).await.expect("pulled");
    let verdicts = [
        Verdict::Acknowledge,
        Verdict::Reject {
            delay_ms: 5,
            reason: "no water".to_owned(),
        },
        Verdict::Extend,
        Verdict::Park {
            reason: "broken".to_owned(),
        },
    ];
    let said: Vec<_> = got.iter().map(|each| each.token()).zip(verdicts).collect();
    let outcomes = client.settle(&group(), &said).await.expect("settled");
    let (done, stale) = (SettleOutcome::Done, SettleOutcome::Stale);
    assert_eq!(outcomes, [done, stale, done, done]);
    let given = (1..=4).map(|sequence| delivery(sequence, 1).token);
    let verdicts = [
        Sent::Acknowledge(v1::Acknowledge {}),
        Sent::Reject(v1::Reject {
            delay_ms: 5,
            reason: "no water".to_owned(),
        }),
        Sent::Extend(v1::Extend {}),
        Sent::Park(v1::Park {
            reason: "broken".to_owned(),
        }),
    ];
    let expected: Vec<_> = given.zip(verdicts).collect();
    assert_eq!(settlements(&node), expected);
}

#[tokio::test]
async fn many_settlements_are_sent_in_bounded_calls() {
    let node = Node::start(stock());
    let client = client(&[&node.endpoint]).await;
    let tokens = (1..=1_500).map(|sequence| token(sequence, 1));
    let said: Vec<_> = tokens.map(|token| (token, Verdict::Acknowledge)).collect();
    let outcomes = client.settle(&group(), &said).await.expect("settled");
    assert_eq!(outcomes, vec![SettleOutcome::Done; 1_500]);
    let sizes = node.seen(|s| {
        let calls = s.settles.iter();
        calls.map(|call| call.settlements.len()).collect::<Vec<_>>()
    });
    assert_eq!(sizes, [1_000, 500]);
    let sent = settlements(&node).into_iter().map(|(token, _)| token);
    assert!(sent.eq(said.iter().map(|(token, _)| token.encode())));
}

#[tokio::test]
async fn answer_with_other_outcomes_than_settlements_makes_no_sense() {
    let node = Node::start(Script {
        settle: Some(Box::new(|_, _| Some(Ok(settled(&[]))))),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let settlement = [(token(1, 1), Verdict::Acknowledge)];
    let outcomes = client.settle(&group(), &settlement).await;
    assert!(matches!(outcomes, Err(Error::Reply { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn group_that_is_not_there_is_rejected_and_not_asked_for_again() {
    let rejection = Rejection::UnknownGroup { name: group() };
    let sent = rejection.clone();
    let node = Node::start(Script {
        pull: Some(Box::new(move |_, _| Some(Err(status::rejection(&sent))))),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume::new(group(), consumer()));
    match consumer.next().await {
        Err(Error::Rejected(actual)) => assert_eq!(actual, rejection),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.seen(|s| s.pulls.len()), 1);
}

#[tokio::test]
async fn consumer_that_waits_asks_again_before_its_node_counts_as_silent() {
    let node = Node::start(Script {
        pull: Some(Box::new(|call, _| {
            let deliveries = if call < 2 {
                Vec::new()
            } else {
                vec![delivery(1, 1)]
            };
            Some(Ok(pulled(deliveries)))
        })),
        ..stock()
    });
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume::new(group(), consumer()));
    let got = consumer.next().await.expect("an event");
    assert_eq!(got.event.header.sequence, 1);
    let waits = node.seen(|s| s.pulls.iter().map(|pull| pull.wait_ms).collect::<Vec<_>>());
    assert_eq!(waits.len(), 3);
    // Of the 300 ms that one try has.
    assert!(
        waits.iter().all(|wait| (1..300).contains(wait)),
        "{waits:?}"
    );
}

#[tokio::test]
async fn consumer_holds_no_more_than_it_is_told_to() {
    const AHEAD: u32 = 4;
    let node = Node::start(stock());
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume {
        ahead: AHEAD,
        ..Consume::new(group(), consumer())
    });
    for handed_out in 1..=10_u32 {
        let got = consumer.next().await.expect("an event");
        assert_eq!(got.event.header.sequence, u64::from(handed_out));
        let given: u32 = node.seen(|s| s.pulls.iter().map(|pull| pull.max_events).sum());
        assert!(given <= handed_out + AHEAD, "{given} for {handed_out}");
        consumer.ack(&got).await.expect("settled");
    }
}

#[tokio::test]
async fn consumer_that_is_closed_gives_back_what_it_holds_and_nothing_else() {
    let node = Node::start(stock());
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume {
        ahead: 4,
        ..Consume::new(group(), consumer())
    });
    let got = consumer.next().await.expect("an event");
    assert_eq!(got.event.header.sequence, 1);
    consumer.close().await.expect("closed");
    let ended = settlements(&node).into_iter();
    let ended = ended.filter(|(_, verdict)| !matches!(verdict, Sent::Extend(_)));
    let ended: Vec<_> = ended.collect();
    let is_kept = |verdict: &Sent| matches!(verdict, Sent::Acknowledge(_) | Sent::Park(_));
    assert!(
        !ended.iter().any(|(_, verdict)| is_kept(verdict)),
        "{ended:?}"
    );
    let tokens: BTreeSet<Bytes> = ended.iter().map(|(token, _)| token.clone()).collect();
    let held: BTreeSet<Bytes> = (2..=4)
        .map(|sequence| delivery(sequence, 1).token)
        .collect();
    assert_eq!(tokens, held);
    assert_eq!(ended.len(), held.len(), "some were given back twice");
}

#[tokio::test]
async fn consumer_that_held_nothing_settles_nothing_when_it_is_closed() {
    let node = Node::start(stock());
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume {
        ahead: 1,
        ..Consume::new(group(), consumer())
    });
    consumer.next().await.expect("an event");
    consumer.close().await.expect("closed");
    assert_eq!(node.seen(|s| s.settles.len()), 0);
}

#[tokio::test]
async fn consumer_goes_on_after_an_error() {
    let node = Node::start(Script {
        pull: Some(Box::new(|call, _| {
            Some(if call == 0 {
                Err(status::limit_reached("pulls", "too many wait"))
            } else {
                Ok(pulled(vec![delivery(1, 1)]))
            })
        })),
        ..stock()
    });
    let client = client(&[&node.endpoint]).await;
    let mut consumer = client.consume(Consume::new(group(), consumer()));
    let refused = consumer.next().await;
    assert!(
        matches!(refused, Err(Error::LimitReached { .. })),
        "{refused:?}"
    );
    let got = consumer.next().await.expect("an event");
    assert_eq!(got.event.header.sequence, 1);
}

#[tokio::test]
async fn parked_events_of_all_pages_are_listed_up_to_the_limit() {
    let parked = |sequence| v1::ParkedEvent {
        event: Some(event(sequence)),
        deliveries: 5,
        parked_unix_ms: 3,
        reason: "broken".to_owned(),
    };
    let node = Node::start(Script {
        list_parked: Some(Box::new(move |call, _| {
            let first = 2 * call as u64 + 1;
            Some(Ok(v1::ListParkedResponse {
                header: header(9),
                parked: vec![parked(first), parked(first + 1)],
                next_page_token: format!("after {}", first + 1),
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let listed = client.parked(&group(), 3, &Read::default()).await;
    let listed = listed.expect("listed");
    let sequences: Vec<u64> = listed
        .iter()
        .map(|each| each.event.header.sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
    let tokens = node.seen(|s| {
        let lists = s.parked_lists.iter();
        lists
            .map(|list| list.page_token.clone())
            .collect::<Vec<_>>()
    });
    assert_eq!(tokens, ["", "after 2"]);
}

#[tokio::test]
async fn first_parked_events_are_named_by_their_sequences_alone() {
    let only = |sequence| v1::ParkedEvent {
        event: Some(v1::Event {
            sequence,
            ..v1::Event::default()
        }),
        ..v1::ParkedEvent::default()
    };
    let node = Node::start(Script {
        get_group: Some(Box::new(|_, request| {
            Some(Ok(v1::GetGroupResponse {
                header: header(9),
                group: Some(v1::Group {
                    name: request.name,
                    incarnation: 4,
                    settings: Some((&GroupSettings::default()).into()),
                    ..v1::Group::default()
                }),
            }))
        })),
        list_parked: Some(Box::new(move |_, _| {
            Some(Ok(v1::ListParkedResponse {
                header: header(9),
                parked: vec![only(3), only(5)],
                next_page_token: String::new(),
            }))
        })),
        replay_parked: Some(Box::new(|_, request| {
            Some(Ok(v1::ReplayParkedResponse {
                header: header(10),
                revision: 10,
                moved: request.sequences.len() as u32,
            }))
        })),
        ..Script::default()
    });
    let client = client(&[&node.endpoint]).await;
    let moved = client.replay_parked(&group(), &[]).await;
    assert_eq!(moved.expect("moved"), 2);
    let lists = node.seen(|seen| seen.parked_lists.clone());
    assert!(lists.iter().all(|list| list.sequences_only), "{lists:?}");
    let replays = node.seen(|seen| seen.parked_replays.clone());
    assert_eq!(replays.len(), 1);
    assert_eq!(replays[0].sequences, [3, 5]);
    assert_eq!(replays[0].incarnation, 4);
}
