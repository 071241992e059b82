use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_proto::v1::payload::State;
use tonic::Code;

use crate::support::*;

fn stored(event: Option<v1::Event>) -> String {
    match event
        .and_then(|event| event.payload)
        .and_then(|payload| payload.state)
    {
        Some(State::Stored(bytes)) => String::from_utf8(bytes.to_vec()).expect("text"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_through_one_node_can_be_read_on_another_at_its_revision() {
    let cluster = Cluster::start(3).await;
    let (leader, count) = (cluster.leader(), cluster.nodes.len());
    let mut writer = cluster.vault((leader + 1) % count);
    let mut reader = cluster.vault((leader + 2) % count);
    for i in 0..20 {
        let text = i.to_string();
        let (at, revision) = commit(&mut writer, "a", &text).await;
        let include = Some(v1::Include {
            payload: true,
            ..Default::default()
        });
        let request = v1::GetRequest {
            selector: sequence(at),
            include,
            read: at_least(revision),
            ..Default::default()
        };
        let reply = within(reader.get(request))
            .await
            .expect("found")
            .into_inner();
        assert!(reply.header.expect("a header").revision >= revision);
        assert_eq!(stored(reply.event), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linearizable_read_on_any_node_sees_what_was_acknowledged() {
    let cluster = Cluster::start(3).await;
    let mut writer = cluster.vault(cluster.leader());
    for i in 0..10 {
        let (at, _) = commit(&mut writer, "a", &i.to_string()).await;
        for index in 0..3 {
            let request = v1::GetRequest {
                selector: sequence(at),
                read: linearizable(),
                ..Default::default()
            };
            let reply = within(cluster.vault(index).get(request))
                .await
                .expect("found");
            let reply = reply.into_inner();
            assert_eq!(reply.event.expect("an event").sequence, at);
            let header = reply.header.expect("a header");
            assert_eq!(header.node_id, cluster.nodes[index].replica().node_id());
            assert_eq!((header.cluster_id.len(), header.history_id.len()), (16, 16));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_read_does_not_wait_and_misses_with_a_name() {
    let cluster = Cluster::start(1).await;
    let request = v1::GetRequest {
        selector: sequence(7),
        ..Default::default()
    };
    let refusal = within(cluster.vault(0).get(request))
        .await
        .expect_err("not there");
    assert_eq!(refusal.code(), Code::NotFound);
    let detail = parse(&refusal).detail;
    assert_eq!(
        detail,
        Some(Detail::EventNotFound {
            name: "at sequence 7".to_owned()
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_nobody_has_is_out_of_range() {
    let cluster = Cluster::start(3).await;
    let request = v1::ListRequest {
        read: at_least(1_000_000),
        ..Default::default()
    };
    let refusal = within(cluster.vault(cluster.follower()).list(request)).await;
    assert_eq!(refusal.expect_err("nobody has it").code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_another_history_is_refused() {
    let cluster = Cluster::start(1).await;
    let read = Some(v1::ReadOptions {
        history_id: vec![1; 16].into(),
        ..Default::default()
    });
    let request = v1::ListRequest {
        read,
        ..Default::default()
    };
    let refusal = within(cluster.vault(0).list(request))
        .await
        .expect_err("another history");
    assert!(matches!(
        parse(&refusal).detail,
        Some(Detail::HistoryChanged { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_events_are_read_in_the_order_of_their_selectors() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    for i in 0..3 {
        commit(&mut vault, "a", &i.to_string()).await;
    }
    let selectors = [3, 9, 1].into_iter().filter_map(sequence).collect();
    let request = v1::BatchGetRequest {
        selectors,
        ..Default::default()
    };
    let items = within(vault.batch_get(request))
        .await
        .expect("read")
        .into_inner()
        .items;
    let found: Vec<Option<u64>> = items
        .into_iter()
        .map(|item| item.event.map(|event| event.sequence))
        .collect();
    assert_eq!(found, [Some(3), None, Some(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_several_selectors_ends_before_it_grows_too_large() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0).max_decoding_message_size(16 << 20);
    for i in 0..6 {
        commit(&mut vault, "a", &i.to_string().repeat(1 << 20)).await;
    }
    let request = v1::BatchGetRequest {
        selectors: (1..=6).filter_map(sequence).collect(),
        include: Some(v1::Include {
            payload: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let items = within(vault.batch_get(request))
        .await
        .expect("read")
        .into_inner()
        .items;
    assert_eq!(items.len(), 3);
}

/// All pages of a list, each from the next node.
async fn pages(cluster: &Cluster, mut request: v1::ListRequest) -> Vec<u64> {
    let mut sequences = Vec::new();
    for turn in 0.. {
        let mut vault = cluster.vault(turn % cluster.nodes.len());
        let reply = within(vault.list(request.clone()))
            .await
            .expect("a page")
            .into_inner();
        sequences.extend(reply.events.iter().map(|event| event.sequence));
        request.page_token = reply.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    sequences
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_can_come_from_different_nodes() {
    let cluster = Cluster::start(3).await;
    let mut vault = cluster.vault(0);
    let mut last = 0;
    for i in 0..25 {
        let kind = if i % 5 == 0 { "five" } else { "other" };
        last = commit(&mut vault, kind, &i.to_string()).await.1;
    }
    let request = v1::ListRequest {
        page_size: 4,
        read: at_least(last),
        ..Default::default()
    };
    assert_eq!(
        pages(&cluster, request.clone()).await,
        (1..=25).collect::<Vec<_>>()
    );
    let backward = v1::ListRequest {
        order: v1::Order::Descending.into(),
        after_sequence: 3,
        until_sequence: 20,
        ..request.clone()
    };
    assert_eq!(
        pages(&cluster, backward).await,
        (4..=20).rev().collect::<Vec<_>>()
    );
    let filter = Some(v1::EventFilter {
        kind_prefixes: vec!["fiv".to_owned()],
        ..Default::default()
    });
    let filtered = v1::ListRequest {
        filter,
        page_size: 2,
        ..request
    };
    assert_eq!(pages(&cluster, filtered).await, [1, 6, 11, 16, 21]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_before_it_has_more_bytes_than_are_wanted() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    for i in 0..6 {
        commit(&mut vault, "a", &format!("{i:01000}")).await;
    }
    let request = |max_bytes| v1::ListRequest {
        include: Some(v1::Include {
            payload: true,
            ..Default::default()
        }),
        max_bytes,
        ..Default::default()
    };
    // Two fit, with their headers, and three do not; one comes whatever its size.
    for (max_bytes, on_a_page) in [(2_900, 2), (1, 1), (0, 6)] {
        let page = within(vault.list(request(max_bytes))).await;
        let page = page.expect("a page").into_inner();
        assert_eq!(page.events.len(), on_a_page, "{max_bytes} bytes");
        let all = pages(&cluster, request(max_bytes)).await;
        assert_eq!(all, (1..=6).collect::<Vec<_>>(), "{max_bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_another_list_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    for i in 0..3 {
        commit(&mut vault, "a", &i.to_string()).await;
    }
    let request = v1::ListRequest {
        page_size: 1,
        ..Default::default()
    };
    let page_token = within(vault.list(request))
        .await
        .expect("a page")
        .into_inner();
    let other = v1::ListRequest {
        after_sequence: 1,
        page_token: page_token.next_page_token,
        ..Default::default()
    };
    let refusal = within(vault.list(other)).await.expect_err("another list");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(
        matches!(parse(&refusal).detail, Some(Detail::InvalidField { field, .. }) if field == "page_token")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_beyond_the_end_is_refused_and_not_waited_for() {
    let cluster = Cluster::start(1).await;
    let mut vault = cluster.vault(0);
    for i in 0..3 {
        commit(&mut vault, "a", &i.to_string()).await;
    }
    let request = v1::ListRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = within(vault.list(request.clone())).await.expect("a page");
    let mut token = page.into_inner().next_page_token;
    // Behind the version and the place, the end of the list.
    token.replace_range(18..34, "00ffffffffffffff");
    let forged = v1::ListRequest {
        page_token: token,
        ..request
    };
    let refusal = within(vault.list(forged)).await.expect_err("far beyond");
    assert_eq!(refusal.code(), Code::OutOfRange, "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_default_vault_exists() {
    let cluster = Cluster::start(1).await;
    let request = v1::ListRequest {
        vault: "other".to_owned(),
        ..Default::default()
    };
    let refusal = within(cluster.vault(0).list(request))
        .await
        .expect_err("no such vault");
    assert_eq!(refusal.code(), Code::InvalidArgument);
}
