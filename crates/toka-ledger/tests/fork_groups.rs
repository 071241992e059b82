//! Consumer groups of a vault, in its forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use toka_ledger::command::Verdict;
use toka_ledger::fork::{Fork, Limits, Moment, Timeline};
use toka_ledger::{ConsumerName, EventDraft, GroupName, VaultBus, group};

fn vault() -> VaultBus {
    VaultBus::builder().open_in_memory().expect("opens")
}

fn names() -> (GroupName, ConsumerName) {
    let group = GroupName::new("group").expect("valid");
    (group, ConsumerName::new("consumer").expect("valid"))
}

async fn commit(vault: &VaultBus, number: u32) {
    let draft = EventDraft::new("n").payload(&number);
    vault.commit_batch([draft]).await.expect("committed");
}

async fn create(vault: &VaultBus, group: &GroupName) {
    let settings = group::Settings::default();
    let created = vault.create_group(group, settings, 0).await;
    created.expect("created");
}

#[tokio::test]
async fn groups_are_there_up_to_the_event_and_without_leases() {
    let base = vault();
    let (group, consumer) = names();
    create(&base, &group).await;
    for number in 1..=3 {
        commit(&base, number).await;
    }
    let leased = base.pull(&group, &consumer, 3).await.expect("pulled");
    assert_eq!(leased.len(), 3);

    let fork = Fork::at(base.reader(), 2).expect("forked");
    let found = &fork.vault().groups().expect("read")[0];
    assert_eq!((found.position, found.unacknowledged), (2, 2));
    let again = fork.vault().pull(&group, &consumer, 3).await;
    let again: Vec<u64> = again
        .expect("pulled")
        .iter()
        .map(|delivered| delivered.header.sequence)
        .collect();
    assert_eq!(again, [1, 2]);
    assert_eq!(fork.vault().verify().expect("readable").problems, []);
    assert_eq!(base.groups().expect("read")[0].unacknowledged, 3);
}

/// So that the forks do not take ever longer.
const EVENTS_MAX: u32 = 1_000;

/// Commits, and acknowledges one event and parks the next, until it is told to stop.
async fn go_on(base: VaultBus, is_over: Arc<AtomicBool>) {
    let (group, consumer) = names();
    for number in 0..EVENTS_MAX {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        commit(&base, number).await;
        let pulled = base.pull(&group, &consumer, 1).await.expect("pulled");
        for delivered in pulled {
            let verdict = match number % 2 {
                0 => Verdict::Acknowledge,
                _ => Verdict::Park {
                    reason: String::new(),
                },
            };
            let settlements = vec![delivered.settle(verdict)];
            let settled = base.settle(&group, delivered.incarnation, settlements);
            settled.await.expect("settled");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_base_that_goes_on_are_those_of_one_moment() {
    let base = vault();
    create(&base, &names().0).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let going_on = tokio::spawn(go_on(base.clone(), Arc::clone(&is_over)));
    let timeline = Timeline::new(base.reader().clone());
    for _ in 0..30 {
        let last = base.position().sequence;
        let fork = timeline.fork(Moment::Behind(last), Limits::default());
        let report = fork.expect("forked").vault().verify().expect("readable");
        assert_eq!(report.problems, []);
    }
    is_over.store(true, Ordering::SeqCst);
    going_on.await.expect("it has not failed");
}
