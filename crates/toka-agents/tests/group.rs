//! Agents that share their events.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{NAME, Task, commit, events, results, runner, settings, vault};
use toka_agents::record;
use toka_agents::{Ended, Error, GroupSource, Runner, Settings, Source, Store};
use toka_ledger::{ConsumerName, Filter, GroupName, VaultBus, group};
use tokio_util::sync::CancellationToken;

fn name() -> GroupName {
    GroupName::new("workers").expect("a name")
}

/// Settings of one of several instances.
fn shared(consumer: &str) -> Settings {
    let mut settings = settings();
    let consumer = ConsumerName::new(consumer).expect("a name");
    settings.source = Source::Group(GroupSource::new(name(), consumer));
    settings
}

async fn run(runner: &Runner<support::Worker>, vault: &VaultBus) {
    let head = vault.position().sequence;
    let ended = runner.run_until(head, &CancellationToken::new()).await;
    assert!(matches!(ended, Ok(Ended::Reached(_))), "{ended:?}");
}

fn group_of(vault: &VaultBus) -> group::Group {
    vault.groups().expect("readable").remove(0)
}

#[tokio::test]
async fn instances_share_the_tasks_and_each_has_one_result() {
    let vault = vault();
    commit(&vault, &vec![Task::Work; 40]).await;
    let (first, second) = (runner(&vault, shared("a")), runner(&vault, shared("b")));
    tokio::join!(run(&first, &vault), run(&second, &vault));
    assert_eq!(results(&vault).len(), 40);
    let calls = [&first, &second].map(|one| one.agent().calls.load(Ordering::SeqCst));
    assert_eq!(calls.iter().sum::<u32>(), 40);
    assert_eq!(group_of(&vault).unacknowledged, 0);
}

/// Settings of an instance that takes so many events at a time.
fn ahead(consumer: &str, events: u32) -> Settings {
    let mut settings = shared(consumer);
    let consumer = ConsumerName::new(consumer).expect("a name");
    settings.source = Source::Group(GroupSource {
        ahead: events,
        ..GroupSource::new(name(), consumer)
    });
    settings
}

#[tokio::test]
async fn events_that_were_taken_ahead_are_dealt_with_once_each_in_its_state() {
    let vault = vault();
    commit(&vault, &vec![Task::Work; 40]).await;
    let first = runner(&vault, ahead("a", 7));
    let second = runner(&vault, ahead("b", 7));
    tokio::join!(run(&first, &vault), run(&second, &vault));
    let seen = results(&vault).into_iter();
    let seen: Vec<_> = seen.map(|(task, done)| (task, done.seen)).collect();
    let wanted: Vec<_> = (1..=40_u64).map(|task| (task, task)).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn what_was_taken_ahead_and_not_begun_with_is_given_back_by_who_stops() {
    let vault = vault();
    commit(&vault, &vec![Task::Work; 20]).await;
    let first = runner(&vault, ahead("a", 20));
    let (stop, metrics) = (CancellationToken::new(), first.metrics());
    let stopping = async {
        while metrics.counters().position < 1 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(first.run(&stop), stopping);
    assert_eq!(ended.expect("stopped"), Ended::Stopped);
    run(&runner(&vault, shared("b")), &vault).await;
    assert_eq!(results(&vault).len(), 20);
}

#[tokio::test]
async fn an_instance_that_takes_none_at_a_time_is_refused() {
    let store: Arc<dyn Store> = Arc::new(vault());
    let refused = Runner::new(support::Worker::default(), store, ahead("a", 0)).map(|_| ());
    assert!(matches!(
        refused,
        Err(Error::Setting { field: "ahead", .. })
    ));
}

#[tokio::test]
async fn what_needs_no_reaction_is_acknowledged() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Nothing]).await;
    run(&runner(&vault, shared("a")), &vault).await;
    let group = group_of(&vault);
    assert_eq!((group.unacknowledged, group.parked), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_digested_is_in_the_parking_place_of_the_group() {
    let vault = vault();
    commit(&vault, &[Task::Panic, Task::Work]).await;
    run(&runner(&vault, shared("a")), &vault).await;
    let parked = vault.parked(&name(), 0, 10).expect("readable");
    assert_eq!(parked.len(), 1);
    assert!(parked[0].reason.contains("at task 1"), "{parked:?}");
    // For a replay, which does not know the group.
    let recorded = events(&vault, record::PARKED);
    assert_eq!(recorded[0].parents[0].id.sequence(), 1);
    assert_eq!(results(&vault).len(), 1);
}

/// What an agent has recorded of parked events: which ones, and what it says of each.
fn recorded(vault: &VaultBus) -> Vec<(u64, record::Parked)> {
    let recorded = events(vault, record::PARKED).into_iter();
    let recorded = recorded.map(|event| {
        let parked: record::Parked = vault.payload(&event).expect("readable");
        (event.parents[0].id.sequence(), parked)
    });
    recorded.collect()
}

#[tokio::test]
async fn what_the_group_parks_after_its_last_delivery_is_recorded_with_the_reason() {
    let vault = vault();
    commit(&vault, &[Task::Fail, Task::Work]).await;
    let mut settings = shared("a");
    let consumer = ConsumerName::new("a").expect("a name");
    settings.source = Source::Group(GroupSource {
        deliveries_max: 1,
        ..GroupSource::new(name(), consumer)
    });
    run(&runner(&vault, settings), &vault).await;
    assert_eq!(vault.parked(&name(), 0, 10).expect("readable").len(), 1);
    let recorded = recorded(&vault);
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    let (sequence, parked) = &recorded[0];
    assert_eq!((*sequence, parked.attempts), (1, 3));
    assert_eq!(parked.reason, "not now");
}

/// Who had the event died with it, as often as it was delivered.
#[tokio::test]
async fn what_nobody_has_recorded_is_recorded_once_when_an_instance_starts() {
    let vault = vault();
    commit(&vault, &[Task::Work]).await;
    let settings = group::Settings {
        filter: Filter {
            kind_prefixes: vec!["task".to_owned()],
            ..Filter::default()
        },
        ack_timeout_ms: 100,
        deliveries_max: 1,
        ..group::Settings::default()
    };
    let made = vault.create_group(&name(), settings, 0).await;
    made.expect("made");
    let dead = ConsumerName::new("dead").expect("a name");
    let taken = vault.pull(&name(), &dead, 1).await.expect("delivered");
    assert_eq!(taken.len(), 1);
    while recorded(&vault).is_empty() {
        run(&runner(&vault, shared("a")), &vault).await;
    }
    run(&runner(&vault, shared("b")), &vault).await;
    let recorded = recorded(&vault);
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!((recorded[0].0, recorded[0].1.attempts), (1, 1));
    assert!(results(&vault).is_empty());
}

#[tokio::test]
async fn what_fails_for_a_while_is_given_back() {
    let vault = vault();
    commit(&vault, &[Task::Fail]).await;
    let runner = runner(&vault, shared("a"));
    let stop = CancellationToken::new();
    let metrics = runner.metrics();
    let giving_back = async {
        // Three tries each time that it is delivered.
        while metrics.counters().handled < 6 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(runner.run(&stop), giving_back);
    assert_eq!(ended.expect("stopped"), Ended::Stopped);
}

#[tokio::test]
async fn the_state_holds_every_event_that_the_group_gets() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Nothing]).await;
    run(&runner(&vault, shared("a")), &vault).await;
    let task = commit(&vault, &[Task::Work]).await.remove(0);
    run(&runner(&vault, shared("b")), &vault).await;
    assert_eq!(results(&vault)[&task.sequence].seen, 3);
}

#[tokio::test]
async fn a_group_with_another_filter_is_refused() {
    let vault = vault();
    let settings = group::Settings {
        filter: Filter {
            kind_prefixes: vec!["other".to_owned()],
            ..Filter::default()
        },
        ..group::Settings::default()
    };
    let made = vault.create_group(&name(), settings, 0).await;
    made.expect("made");
    let runner = runner(&vault, shared("a"));
    let refused = runner.run_until(0, &CancellationToken::new()).await;
    assert!(
        matches!(&refused, Err(Error::OtherGroup { group }) if *group == name()),
        "{refused:?}"
    );
}

#[tokio::test]
async fn snapshots_are_taken_in_a_group_too() {
    let vault = vault();
    commit(&vault, &vec![Task::Nothing; 5]).await;
    let mut settings = shared("a");
    settings.snapshot_every = 4;
    run(&runner(&vault, settings), &vault).await;
    let snapshots = events(&vault, record::SNAPSHOT);
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].parents[0].id.sequence(), 4);
    assert_eq!(snapshots[0].attributes.get(record::BY), Some(NAME));
}
