//! Cursors that the vault keeps, on any node.

use anyhow::{Result, ensure};
use serde_json::json;
use toka_client::{Consistency, CursorName, Error, EventDraft};
use toka_ledger::{Rejection, Violation};
use toka_proto::convert::status::{Detail, parse};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::consumers::has_groups;
use toka_tests::request;
use tonic::Code;

const EVENTS: u64 = 5;

async fn some_events(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    for number in 0..EVENTS {
        let event = EventDraft::new("any").payload(&json!({ "number": number }));
        client.commit(event).await?;
    }
    has_groups(&client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_are_saved_and_deleted_on_any_node_and_survive_the_leader() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        some_events(cluster).await?;
        for id in cluster.ids() {
            // By this node, whether it leads or not.
            let save = v1::SaveCursorRequest {
                name: format!("worker-{id}"),
                to_sequence: id,
                ..v1::SaveCursorRequest::default()
            };
            let save = request::within(PATIENCE, save);
            let saved = cluster.node(id).cursors().save_cursor(save).await?;
            ensure!(saved.into_inner().revision > EVENTS, "node {id}");
        }
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        let survivors = cluster.running();
        let name = |id: u64| CursorName::new(&format!("worker-{id}"));
        for id in &survivors {
            let client = cluster.client_of(*id).await?;
            let cursors = client.cursors(Consistency::Linearizable).await?;
            let expected = [(name(1)?, 1), (name(2)?, 2), (name(3)?, 3)];
            ensure!(cursors == expected, "node {id}: {cursors:?}");
        }
        let client = cluster.client_of(survivors[0]).await?;
        client.delete_cursor(&name(2)?, None).await?;
        cluster.restart(leader).await?;
        for id in cluster.ids() {
            let client = cluster.client_of(id).await?;
            let gone = client.cursor(&name(2)?, Consistency::Linearizable).await?;
            ensure!(gone.is_none(), "node {id}: {gone:?}");
            let kept = client.cursor(&name(3)?, Consistency::Linearizable).await?;
            ensure!(kept == Some(3), "node {id}: {kept:?}");
        }
        let again = client.delete_cursor(&name(2)?, None).await;
        ensure!(
            matches!(
                &again,
                Err(Error::Rejected(Rejection::UnknownCursor { .. }))
            ),
            "{again:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_moves_only_from_where_it_is_said_to_be() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        some_events(cluster).await?;
        let name = CursorName::new("worker")?;
        let follower = cluster.followers().await?[0];
        let client = cluster.client_of(follower).await?;
        client.save_cursor(&name, Some(0), 2).await?;
        let refused = client.save_cursor(&name, Some(0), 3).await;
        let Err(Error::Rejected(Rejection::Preconditions { violations })) = refused else {
            anyhow::bail!("{refused:?}");
        };
        let expected = Violation::Cursor {
            name: name.clone(),
            expected: 0,
            actual: 2,
        };
        ensure!(violations == [expected], "{violations:?}");
        client.save_cursor(&name, Some(2), 1).await?;
        let refused = client.delete_cursor(&name, Some(2)).await;
        ensure!(
            matches!(
                &refused,
                Err(Error::Rejected(Rejection::Preconditions { .. }))
            ),
            "{refused:?}"
        );
        let beyond = client.save_cursor(&name, None, EVENTS + 1).await;
        let is_right = matches!(
            &beyond,
            Err(Error::OutOfRange {
                sequence: 6,
                first: 1,
                last: EVENTS
            })
        );
        ensure!(is_right, "{beyond:?}");
        client.delete_cursor(&name, Some(1)).await?;

        // Positions of another history mean nothing here.
        let save = v1::SaveCursorRequest {
            name: name.to_string(),
            to_sequence: 1,
            history_id: vec![7; 16].into(),
            ..v1::SaveCursorRequest::default()
        };
        let mut cursors = cluster.node(follower).cursors();
        let answer = cursors.save_cursor(request::within(PATIENCE, save)).await;
        let status = request::refusal(answer)?;
        ensure!(status.code() == Code::FailedPrecondition, "{status:?}");
        let detail = parse(&status).detail;
        ensure!(
            matches!(&detail, Some(Detail::HistoryChanged { .. })),
            "{detail:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_are_listed_page_by_page() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        some_events(cluster).await?;
        let client = cluster.client().await?;
        for number in 0..7 {
            let name = CursorName::new(&format!("cursor-{number}"))?;
            client.save_cursor(&name, None, 1).await?;
        }
        let mut cursors = cluster.node(1).cursors();
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let list = v1::ListCursorsRequest {
                page_size: 3,
                page_token,
                ..v1::ListCursorsRequest::default()
            };
            let page = cursors
                .list_cursors(request::within(PATIENCE, list))
                .await?;
            let page = page.into_inner();
            ensure!(page.cursors.len() <= 3, "{page:?}");
            names.extend(page.cursors.into_iter().map(|cursor| cursor.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected: Vec<_> = (0..7).map(|number| format!("cursor-{number}")).collect();
        ensure!(names == expected, "{names:?}");
        let foreign = v1::ListCursorsRequest {
            page_token: "00".to_owned(),
            ..v1::ListCursorsRequest::default()
        };
        let answer = cursors
            .list_cursors(request::within(PATIENCE, foreign))
            .await;
        let status = request::refusal(answer)?;
        ensure!(status.code() == Code::InvalidArgument, "{status:?}");
        Ok(())
    })
    .await
}
