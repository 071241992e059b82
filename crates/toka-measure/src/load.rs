//! Running an operation again and again.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::task::JoinSet;

use crate::counted::Counted;
use crate::error::Error;
use crate::pace::{Pace, Turn};

/// After a failure, so that a store that refuses everything is not asked as fast as it can say so.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// `clients` of them run `operation`, each waiting for its answer (how many items it was about) before it takes the
/// next turn. The operation is told which client it is run by, from 0.
///
/// # Errors
/// [`Error::Task`]; that operations fail is counted.
pub async fn closed<Operation, Answer, E>(
    pace: &Arc<Pace>,
    clients: u32,
    operation: Operation,
) -> Result<Counted<E>, Error>
where
    Operation: Fn(u32, Turn) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<u64, E>> + Send + 'static,
    E: Send + 'static,
{
    let operation = Arc::new(operation);
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (pace, operation) = (Arc::clone(pace), Arc::clone(&operation));
        tasks.spawn(async move {
            let mut counted = Counted::default();
            while let Some(turn) = pace.next().await {
                let answer = operation(client, turn).await;
                let failed = answer.is_err();
                counted.take(&pace, &turn, answer);
                if failed {
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
            counted
        });
    }
    total(tasks).await
}

/// Each of `senders` sends without waiting for answers, as long as no more than `in_flight` of its own are missing.
/// Sending ends in the answer that is yet to come. Answers come in order.
///
/// # Errors
/// As [`closed`].
pub async fn pipelined<Sender, Sent, Answer, E>(
    pace: &Arc<Pace>,
    senders: Vec<(Sender, usize)>,
) -> Result<Counted<E>, Error>
where
    Sender: Fn(Turn) -> Sent + Send + 'static,
    Sent: Future<Output = Result<Answer, E>> + Send + 'static,
    Answer: Future<Output = Result<u64, E>> + Send + 'static,
    E: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (sender, in_flight) in senders {
        tasks.spawn(lane(Arc::clone(pace), sender, in_flight));
    }
    total(tasks).await
}

async fn lane<Sender, Sent, Answer, E>(
    pace: Arc<Pace>,
    sender: Sender,
    in_flight: usize,
) -> Counted<E>
where
    Sender: Fn(Turn) -> Sent + Send,
    Sent: Future<Output = Result<Answer, E>> + Send,
    Answer: Future<Output = Result<u64, E>> + Send,
{
    let mut counted = Counted::default();
    let turns = stream::unfold((Arc::clone(&pace), sender), |(pace, sender)| async move {
        let turn = pace.next().await?;
        let sent = sender(turn).await;
        if sent.is_err() {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
        Some(((turn, sent), (pace, sender)))
    });
    let answers = turns.map(|(turn, sent)| async move {
        let answer = match sent {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        (turn, answer)
    });
    let mut answers = pin!(answers.buffered(in_flight));
    while let Some((turn, answer)) = answers.next().await {
        counted.take(&pace, &turn, answer);
    }
    counted
}

/// Divides `in_flight` among as many senders as are needed if none takes more than `most`.
#[must_use]
pub fn shares(in_flight: u32, most: u32) -> Vec<usize> {
    let senders = in_flight.div_ceil(most.max(1));
    (0..senders)
        .map(|sender| in_flight / senders + u32::from(sender < in_flight % senders))
        .map(|share| share as usize)
        .collect()
}

async fn total<E: Send + 'static>(mut tasks: JoinSet<Counted<E>>) -> Result<Counted<E>, Error> {
    let mut total = Counted::default();
    while let Some(counted) = tasks.join_next().await {
        total.add(counted?);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Plan;

    const PLAN: Plan = Plan {
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(60),
        rate: None,
        operations_max: Some(100),
    };

    #[test]
    fn shares_differ_by_one_at_most() {
        assert_eq!(shares(512, 128), [128; 4]);
        assert_eq!(shares(130, 128), [65, 65]);
        assert_eq!(shares(1, 128), [1]);
    }

    #[tokio::test]
    async fn every_operation_is_run_once() {
        let pace = Pace::start(PLAN);
        let operation =
            |_, turn: Turn| async move { if turn.number == 7 { Err(7) } else { Ok(2) } };
        let counted = closed(&pace, 8, operation).await.expect("no panic");
        assert_eq!((counted.calls, counted.items), (99, 198));
        assert_eq!((counted.errors, counted.first_error), (1, Some(7)));
    }

    #[tokio::test]
    async fn answers_of_a_pipeline_are_all_waited_for() {
        let pace = Pace::start(PLAN);
        let sender = |_: Turn| async { Ok::<_, ()>(async { Ok(1) }) };
        let counted = pipelined(&pace, vec![(sender, 16), (sender, 16)]).await;
        assert_eq!(counted.expect("no panic").items, 100);
    }
}
