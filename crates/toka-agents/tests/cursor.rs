//! Agents with a cursor on a vault in memory.

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use support::{NAME, Seen, Task, Worker, commit, events, results, run, runner, settings, vault};
use toka_agents::record::{self, Parked};
use toka_agents::{
    Agent, Begin, Context, Ended, Event, Fold, HandlerError, Interests, Probe, Reaction, Runner,
    Source, Step, Store, replay,
};
use toka_ledger::{CursorName, VaultBus};
use tokio_util::sync::CancellationToken;

fn cursor(vault: &VaultBus) -> Option<u64> {
    let name = CursorName::new("agent.worker").expect("a name");
    vault.cursor(&name).expect("readable")
}

#[tokio::test]
async fn each_task_has_one_result_and_the_cursor_is_behind_it() {
    let vault = vault();
    let tasks = commit(&vault, &[Task::Work, Task::Nothing, Task::Work]).await;
    run(&runner(&vault, settings()), &vault).await;
    let done: Vec<_> = results(&vault).into_keys().collect();
    assert_eq!(done, [tasks[0].sequence, tasks[2].sequence]);
    assert_eq!(cursor(&vault), Some(3));
}

#[tokio::test]
async fn a_second_life_goes_on_where_the_first_one_was() {
    let vault = vault();
    commit(&vault, &[Task::Work, Task::Work]).await;
    run(&runner(&vault, settings()), &vault).await;
    let task = commit(&vault, &[Task::Work]).await.remove(0);
    let second = runner(&vault, settings());
    run(&second, &vault).await;
    assert_eq!(second.agent().calls.load(Ordering::SeqCst), 1);
    // What it knows is folded from the beginning all the same.
    assert_eq!(results(&vault)[&task.sequence].seen, 3);
}

#[tokio::test]
async fn two_instances_commit_one_reaction() {
    let vault = vault();
    commit(&vault, &vec![Task::Work; 50]).await;
    let (first, second) = (runner(&vault, settings()), runner(&vault, settings()));
    tokio::join!(run(&first, &vault), run(&second, &vault));
    assert_eq!(results(&vault).len(), 50);
    assert_eq!(events(&vault, "result").len(), 50);
}

/// The same answer of two instances is the same event.
#[tokio::test]
async fn a_repeated_answer_is_stored_once_and_moves_a_cursor_that_was_put_back() {
    let vault = vault();
    commit(&vault, &[Task::Work]).await;
    run(&runner(&vault, settings()), &vault).await;
    let name = CursorName::new("agent.worker").expect("a name");
    vault.delete_cursor(&name, None).await.expect("deleted");
    // A new worker counts its calls anew, and so comes to the same answer.
    let again = runner(&vault, settings());
    again
        .run_until(1, &CancellationToken::new())
        .await
        .expect("it goes on");
    assert_eq!(again.agent().calls.load(Ordering::SeqCst), 1);
    assert_eq!(events(&vault, "result").len(), 1);
    assert_eq!(cursor(&vault), Some(1));
}

#[tokio::test]
async fn what_fails_for_a_while_is_tried_again() {
    let vault = vault();
    commit(&vault, &[Task::FailTimes(2)]).await;
    let runner = runner(&vault, settings());
    run(&runner, &vault).await;
    assert_eq!(results(&vault).len(), 1);
    assert_eq!(runner.metrics().counters().retries, 2);
}

#[tokio::test]
async fn what_cannot_be_digested_is_parked_with_its_reason_and_the_next_event_is_dealt_with() {
    let bad = [Task::Fail, Task::Panic, Task::Bad];
    for (task, why) in bad.into_iter().zip(["not now", "at task 1", "kind"]) {
        let vault = vault();
        commit(&vault, &[task, Task::Work]).await;
        let runner = runner(&vault, settings());
        run(&runner, &vault).await;
        let parked = events(&vault, record::PARKED);
        assert_eq!(parked.len(), 1);
        assert_eq!(parked[0].parents[0].id.sequence(), 1);
        let reason: Parked = vault.payload(&parked[0]).expect("readable");
        assert!(reason.reason.contains(why), "{reason:?}");
        assert_eq!(reason.attempts, if why == "not now" { 3 } else { 1 });
        assert_eq!(results(&vault).into_keys().collect::<Vec<_>>(), [2]);
        assert_eq!(runner.metrics().counters().parked, 1);
    }
}

#[tokio::test]
async fn an_agent_that_begins_now_knows_what_was_and_reacts_to_what_comes() {
    let vault = vault();
    commit(&vault, &[Task::Work, Task::Work]).await;
    let mut settings = settings();
    settings.begin = Begin::Now;
    let runner = runner(&vault, settings);
    run(&runner, &vault).await;
    let task = commit(&vault, &[Task::Work]).await.remove(0);
    run(&runner, &vault).await;
    let results = results(&vault);
    assert_eq!(results.len(), 1);
    assert_eq!(results[&task.sequence].seen, 3);
}

#[tokio::test]
async fn an_agent_that_is_told_to_stop_saves_how_far_it_has_come() {
    let vault = vault();
    commit(&vault, &[Task::Nothing, Task::Nothing]).await;
    let runner = runner(&vault, settings());
    let (stop, metrics) = (CancellationToken::new(), runner.metrics());
    let running = runner.run(&stop);
    let stopping = async {
        while metrics.counters().position < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(running, stopping);
    assert_eq!(ended.expect("stopped"), Ended::Stopped);
    assert_eq!(cursor(&vault), Some(2));
}

#[tokio::test]
async fn a_snapshot_is_taken_with_every_so_many_events_and_a_start_begins_with_it() {
    let vault = vault();
    commit(&vault, &vec![Task::Nothing; 10]).await;
    let mut settings = settings();
    settings.snapshot_every = 4;
    let first = runner(&vault, settings.clone());
    run(&first, &vault).await;
    let snapshots = events(&vault, record::SNAPSHOT);
    let of: Vec<_> = snapshots
        .iter()
        .map(|snapshot| snapshot.parents[0].id.sequence())
        .collect();
    assert_eq!(of, [4, 8]);
    let task = commit(&vault, &[Task::Work]).await.remove(0);
    let second = runner(&vault, settings);
    run(&second, &vault).await;
    // Events 9 and 10, and the new one.
    assert_eq!(second.metrics().counters().applied, 3);
    assert_eq!(results(&vault)[&task.sequence].seen, 11);
}

#[tokio::test]
async fn a_snapshot_of_another_version_or_after_the_cursor_is_not_used() {
    let vault = vault();
    commit(&vault, &vec![Task::Nothing; 8]).await;
    let mut settings = settings();
    settings.snapshot_every = 4;
    run(&runner(&vault, settings), &vault).await;
    let folded = |fold: Fold<Worker>| (fold.position(), fold.state().tasks);
    let open = |until| Fold::open(&vault, NAME, until);
    assert_eq!(folded(open(8).await.expect("read")), (8, 8));
    assert_eq!(folded(open(7).await.expect("read")), (4, 4));
    assert_eq!(folded(open(3).await.expect("read")), (0, 0));
    let other = Fold::<Other>::open(&vault, NAME, 8).await.expect("read");
    assert_eq!(other.position(), 0);
}

/// A worker of a later build.
struct Other;

impl Agent for Other {
    type State = Seen;

    const STATE_VERSION: u32 = 2;

    fn interests(&self) -> Interests {
        Worker::default().interests()
    }

    fn apply(state: &mut Seen, event: &Event) {
        Worker::apply(state, event);
    }

    async fn handle(
        &self,
        _state: &Seen,
        _event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        Ok(Reaction::none())
    }
}

#[tokio::test]
async fn a_replay_with_recorded_inputs_comes_to_the_same_events() {
    let vault = vault();
    let task = commit(&vault, &[Task::Ask]).await.remove(0);
    run(&runner(&vault, settings()), &vault).await;
    let recorded = record::reaction_to(&vault, NAME, task.id).await;
    let recorded = recorded.expect("readable");
    let inputs = record::inputs_of(&recorded);
    assert_eq!(inputs.len(), 3);
    let event = Store::get(&vault, toka_ledger::Selector::Id(task.id)).await;
    let event = event.expect("readable").expect("there");
    let filter = Worker::default().interests().filter();
    let fold = Fold::<Worker>::at(&vault, NAME, &filter, task.sequence).await;
    let fold = fold.expect("readable");
    let again = replay(&Worker::default(), NAME, fold.state(), &event, inputs).await;
    let again = again.expect("the same");
    assert_eq!(again.inputs_left, 0);
    // Committed, it would be what is there already: the digests are the same.
    let repeated = vault.commit_batch(again.batch.events).await.expect("taken");
    assert!(repeated.iter().all(|header| header.deduplicated));
    let of = |header: &toka_ledger::EventHeader| header.digest;
    let recorded: Vec<_> = recorded.iter().map(|event| of(&event.header)).collect();
    assert_eq!(repeated.iter().map(of).collect::<Vec<_>>(), recorded);
}

#[tokio::test]
async fn effects_are_carried_out_once_and_recorded_with_their_reply() {
    let vault = vault();
    commit(&vault, &[Task::Effect("light".to_owned()), Task::Work]).await;
    let first = runner(&vault, settings());
    run(&first, &vault).await;
    let second = runner(&vault, settings());
    run(&second, &vault).await;
    assert_eq!(first.agent().effects.load(Ordering::SeqCst), 1);
    assert_eq!(second.agent().effects.load(Ordering::SeqCst), 0);
    let done = events(&vault, record::EFFECT_DONE);
    let done: record::EffectDone = vault.payload(&done[0]).expect("readable");
    let reply = toka_agents::Blob(b"light".to_vec());
    assert_eq!(done, record::EffectDone::Done { reply });
}

#[tokio::test]
async fn an_effect_that_fails_is_recorded_and_stops_nothing() {
    let vault = vault();
    commit(&vault, &[Task::Effect("light".to_owned()), Task::Work]).await;
    let runner = runner(&vault, settings());
    runner.agent().effects_fail.store(1, Ordering::SeqCst);
    run(&runner, &vault).await;
    let done = events(&vault, record::EFFECT_DONE);
    let done: record::EffectDone = vault.payload(&done[0]).expect("readable");
    assert!(matches!(
        done,
        record::EffectDone::Failed { attempts: 1, .. }
    ));
    assert_eq!(results(&vault).len(), 1);
}

/// Keeps the steps.
#[derive(Debug, Default)]
struct Steps(Mutex<Vec<Step>>);

impl Probe for Steps {
    fn reached(&self, step: Step, _sequence: u64) {
        self.0.lock().expect("sound").push(step);
    }
}

#[tokio::test]
async fn steps_come_in_their_order() {
    let vault = vault();
    commit(&vault, &[Task::Effect("light".to_owned())]).await;
    let steps = Arc::new(Steps::default());
    let mut settings = settings();
    settings.probe = Arc::clone(&steps) as Arc<dyn Probe>;
    run(&runner(&vault, settings), &vault).await;
    let steps = steps.0.lock().expect("sound").clone();
    let without_a_commit = [Step::CursorSaved, Step::Settled];
    let expected = Step::ALL.into_iter();
    let expected: Vec<_> = expected
        .filter(|step| !without_a_commit.contains(step))
        .collect();
    assert_eq!(steps, expected);
}

#[tokio::test]
async fn an_agent_without_room_to_read_ahead_is_refused() {
    let mut settings = settings();
    settings.read_ahead = 0;
    let store: Arc<dyn Store> = Arc::new(vault());
    let refused = Runner::new(Worker::default(), store, settings).map(|_| ());
    assert!(matches!(
        refused,
        Err(toka_agents::Error::Setting {
            field: "read_ahead",
            ..
        })
    ));
}

#[tokio::test]
async fn a_cursor_of_another_name_is_another_place() {
    let vault = vault();
    commit(&vault, &[Task::Nothing]).await;
    let mut settings = settings();
    let name = CursorName::new("elsewhere").expect("a name");
    settings.source = Source::Cursor(name.clone());
    run(&runner(&vault, settings), &vault).await;
    assert_eq!(vault.cursor(&name).expect("readable"), Some(1));
    assert_eq!(cursor(&vault), None);
}
