//! Views that follow a vault.

mod support;

use std::sync::Arc;

use support::{Task, commit, vault};
use toka_agents::{Projection, ProjectionError, Store};
use toka_ledger::{Filter, VaultBus};

fn tasks(vault: &VaultBus, after: u64) -> Projection<Vec<u64>> {
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let filter = Filter {
        kind_prefixes: vec!["task".to_owned()],
        ..Filter::default()
    };
    Projection::follow(store, filter, after, Vec::new(), |view, event| {
        view.push(event.sequence());
    })
}

#[tokio::test]
async fn a_view_has_what_was_and_what_comes_once_it_was_waited_for() {
    let vault = vault();
    commit(&vault, &[Task::Nothing]).await;
    let view = tasks(&vault, 0);
    view.wait_for(1).await.expect("followed");
    assert_eq!(view.read(Vec::clone), [1]);
    let task = commit(&vault, &[Task::Work]).await.remove(0);
    view.wait_for(task.sequence).await.expect("followed");
    assert_eq!(view.read(Vec::clone), [1, 2]);
}

#[tokio::test]
async fn what_nobody_wants_is_passed_too() {
    let vault = vault();
    let view = tasks(&vault, 0);
    let other = vault.event("other").commit().await.expect("committed");
    view.wait_for(other.sequence).await.expect("followed");
    assert_eq!(view.read(Vec::len), 0);
    assert_eq!(view.position(), 1);
}

#[tokio::test]
async fn a_view_goes_on_after_a_position() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Work]).await;
    let view = tasks(&vault, 1);
    view.wait_for(2).await.expect("followed");
    assert_eq!(view.read(Vec::clone), [2]);
}

#[tokio::test]
async fn who_waits_for_what_will_not_come_is_told() {
    let vault = vault();
    commit(&vault, &[Task::Nothing]).await;
    let view = tasks(&vault, 0);
    vault.close().await;
    let ProjectionError::Stopped { position, .. } = view.wait_for(2).await.expect_err("closed")
    else {
        panic!("another error");
    };
    assert_eq!(position, 1);
    assert_eq!(view.read(Vec::clone), [1]);
}

#[tokio::test]
async fn a_fold_that_panics_is_told_and_the_view_can_be_read() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Nothing]).await;
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let view = Projection::follow(store, Filter::default(), 0, 0_u64, |seen, event| {
        assert!(event.sequence() < 2, "at event 2");
        *seen += 1;
    });
    let error = view.wait_for(2).await.expect_err("panicked");
    assert!(
        matches!(error, ProjectionError::Panicked { position: 1 }),
        "{error:?}"
    );
    assert_eq!(view.read(|seen| *seen), 1);
}
