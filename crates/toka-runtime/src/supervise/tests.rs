//! Units that end in every way.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

type End = fn() -> Result<(), Failure>;

fn fails() -> Result<(), Failure> {
    Err(Failure::transient("again"))
}

fn panics() -> Result<(), Failure> {
    panic!("the second time")
}

fn fails_for_good() -> Result<(), Failure> {
    Err(Failure::permanent("never"))
}

/// Ends as it is told, one end a run; then runs until it is stopped.
#[derive(Debug)]
struct Scripted {
    ends: Vec<End>,
    runs: AtomicU32,
    /// Does not heed that it is to stop.
    is_deaf: bool,
}

impl Scripted {
    fn new(ends: Vec<End>) -> Arc<Self> {
        Arc::new(Self {
            ends,
            runs: AtomicU32::new(0),
            is_deaf: false,
        })
    }
}

impl Unit for Scripted {
    fn run(&self, signals: Signals) -> Run<'_> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, Ordering::SeqCst) as usize;
            if let Some(end) = self.ends.get(run) {
                return end();
            }
            signals.started();
            if self.is_deaf {
                return std::future::pending().await;
            }
            signals.stop().cancelled().await;
            Ok(())
        })
    }

    fn position(&self) -> u64 {
        7
    }
}

fn quick() -> Policy {
    Policy {
        wait_min: Duration::from_millis(1),
        wait_max: Duration::from_millis(2),
        restarts_max: 3,
        ..Policy::default()
    }
}

async fn reaches(supervisor: &Supervisor, name: &str, state: State) -> Health {
    let mut health = supervisor.watch(name).expect("started");
    let reached = health.wait_for(|health| health.state == state).await;
    reached.expect("reached").clone()
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn unit_that_fails_or_panics_is_started_again() {
    let supervisor = Supervisor::new(10);
    let unit = Scripted::new(vec![fails as End, panics]);
    supervisor
        .start("a", unit.clone(), quick())
        .expect("started");
    let health = reaches(&supervisor, "a", State::Running).await;
    assert_eq!(health.restarts, 2);
    let error = health.last_error.expect("it has failed");
    assert!(error.contains("panic"), "{error}");
    assert_eq!(unit.runs.load(Ordering::SeqCst), 3);
    let told = supervisor.health(Some(10));
    assert_eq!((told[0].position, told[0].lag), (7, Some(3)));
    assert_eq!(supervisor.stop(LONG).await, Stopped::default());
    assert_eq!(supervisor.health(None)[0].state, State::Stopped);
}

#[tokio::test]
async fn unit_that_fails_too_often_is_given_up() {
    let supervisor = Supervisor::new(10);
    let unit = Scripted::new(vec![fails as End; 10]);
    supervisor
        .start("a", unit.clone(), quick())
        .expect("started");
    supervisor.wait().await;
    let health = &supervisor.health(None)[0];
    assert_eq!((health.state, health.restarts), (State::Failed, 3));
    assert_eq!(unit.runs.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn failure_that_comes_each_time_is_not_repeated() {
    let supervisor = Supervisor::new(10);
    let unit = Scripted::new(vec![fails_for_good as End]);
    supervisor
        .start("a", unit.clone(), quick())
        .expect("started");
    let health = reaches(&supervisor, "a", State::Failed).await;
    assert_eq!(health.last_error.as_deref(), Some("never"));
    assert_eq!(unit.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn unit_that_does_not_stop_in_time_is_broken_off() {
    let supervisor = Supervisor::new(10);
    let deaf = Scripted {
        ends: Vec::new(),
        runs: AtomicU32::new(0),
        is_deaf: true,
    };
    supervisor
        .start("deaf", Arc::new(deaf), quick())
        .expect("started");
    supervisor
        .start("good", Scripted::new(Vec::new()), quick())
        .expect("started");
    reaches(&supervisor, "deaf", State::Running).await;
    reaches(&supervisor, "good", State::Running).await;
    let stopped = supervisor.stop(Duration::from_millis(50)).await;
    assert_eq!(stopped.broken_off, ["deaf"]);
    let refused = supervisor.start("late", Scripted::new(Vec::new()), quick());
    assert_eq!(refused, Err(StartError::Stopping));
}

#[tokio::test]
async fn there_are_no_more_units_than_there_may_be_and_no_two_of_a_name() {
    let supervisor = Supervisor::new(2);
    let start = |name: &str| supervisor.start(name, Scripted::new(Vec::new()), quick());
    start("a").expect("started");
    let name = "a".to_owned();
    assert_eq!(start("a"), Err(StartError::NameTaken { name }));
    start("b").expect("started");
    assert_eq!(start("c"), Err(StartError::TooMany { max: 2 }));
}

#[tokio::test]
async fn unit_that_has_ended_can_be_forgotten_and_one_that_runs_cannot() {
    let supervisor = Supervisor::new(2);
    let ended = Scripted::new(vec![fails_for_good as End]);
    supervisor.start("a", ended, quick()).expect("started");
    let runs = Scripted::new(Vec::new());
    supervisor.start("b", runs, quick()).expect("started");
    reaches(&supervisor, "a", State::Failed).await;
    reaches(&supervisor, "b", State::Running).await;
    assert!(!supervisor.forget("b"));
    assert!(!supervisor.forget("c"));
    assert!(supervisor.forget("a"));
    let again = Scripted::new(Vec::new());
    supervisor.start("a", again, quick()).expect("started");
}
