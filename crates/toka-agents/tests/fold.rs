//! A state that was folded from a snapshot is the state that was folded from the beginning.

mod support;

use proptest::prelude::*;
use support::{NAME, Seen, Task, Worker, commit, run, runner, settings, vault};
use toka_agents::{Agent, Fold};

/// Tasks, and how often a snapshot is taken of them.
fn histories() -> impl Strategy<Value = (Vec<Task>, u64)> {
    let task = prop_oneof![
        Just(Task::Nothing),
        Just(Task::Work),
        Just(Task::Bad),
        Just(Task::Ask)
    ];
    (prop::collection::vec(task, 1..40), 1..10_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fold_from_a_snapshot_equals_fold_from_the_beginning((tasks, every) in histories()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let vault = vault();
            commit(&vault, &tasks).await;
            let mut settings = settings();
            settings.snapshot_every = every;
            run(&runner(&vault, settings), &vault).await;
            let filter = Worker::default().interests().filter();
            let mut whole = Fold::<Worker>::default();
            for until in 1..=vault.position().sequence {
                whole.advance(&vault, &filter, until).await.expect("readable");
                let some = Fold::<Worker>::at(&vault, NAME, &filter, until).await;
                let some = some.expect("readable");
                prop_assert_eq!(some.state(), whole.state());
                prop_assert_eq!(some.position(), until);
            }
            Ok(())
        })?;
    }

    #[test]
    fn state_comes_back_as_it_was_written(tasks: u64, last: u64, kinds: Vec<(u8, u64)>) {
        let by_kind = kinds.into_iter().map(|(kind, times)| (format!("task.{kind}"), times));
        let seen = Seen { tasks, last, by_kind: by_kind.collect() };
        let bytes = rmp_serde::to_vec_named(&seen).expect("written");
        let read: Seen = rmp_serde::from_slice(&bytes).expect("read");
        prop_assert_eq!(read, seen);
    }
}
