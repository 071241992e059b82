//! How long a store acknowledges nothing when something happens to it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::error::Error;

/// Acknowledgements that have not been looked at.
const ANSWERS_MAX: usize = 4_096;
/// After a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(2);
/// Acknowledged without a pause before anything happens.
const BEFORE: Duration = Duration::from_secs(1);
/// Watched at least for so long after it happened: what is announced may come later,
const AFTER: Duration = Duration::from_secs(3);
/// and so long after the longest pause.
const STEADY: Duration = Duration::from_secs(1);

/// The longest time between two acknowledgements around an incident: `clients` of them run `operation`, again and
/// again, also after a failure, while `incident` happens.
///
/// # Errors
/// That of `incident`; [`Error::TooLate`] if nothing is acknowledged within `limit` before it or after it.
pub async fn longest<Operation, Answer, T, E>(
    clients: u32,
    limit: Duration,
    operation: Operation,
    incident: impl Future<Output = Result<(), Error>>,
) -> Result<Duration, Error>
where
    Operation: Fn(u32, u64) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Result<T, E>> + Send + 'static,
    T: Send,
    E: Send,
{
    let operation = Arc::new(operation);
    let (answered, mut answers) = mpsc::channel(ANSWERS_MAX);
    // Aborted when this ends.
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (operation, answered) = (Arc::clone(&operation), answered.clone());
        tasks.spawn(async move {
            for round in 0_u64.. {
                // No two operations have a number in common.
                let number = round * u64::from(clients) + u64::from(client);
                match operation(client, number).await {
                    // Full: those before it say enough.
                    Ok(_) => drop(answered.try_send(Instant::now())),
                    Err(_) => tokio::time::sleep(FAILURE_PAUSE).await,
                }
            }
        });
    }
    let begin = next(&mut answers, limit).await?;
    let mut last = begin;
    while last.duration_since(begin) < BEFORE {
        last = next(&mut answers, limit).await?;
    }
    let happens = Instant::now();
    incident.await?;
    let (mut longest, mut ended) = (Duration::ZERO, happens);
    while last.saturating_duration_since(happens) < AFTER
        || last.saturating_duration_since(ended) < STEADY
    {
        let answer = next(&mut answers, limit).await?;
        let pause = answer.saturating_duration_since(last);
        // Acknowledged before it happened, and not looked at until now.
        if answer > happens && pause > longest {
            (longest, ended) = (pause, answer);
        }
        last = answer.max(last);
    }
    Ok(longest)
}

async fn next(answers: &mut mpsc::Receiver<Instant>, limit: Duration) -> Result<Instant, Error> {
    let until = Instant::now() + limit;
    let answer = timeout_at(until.into(), answers.recv()).await;
    answer.ok().flatten().ok_or_else(|| Error::TooLate {
        name: "the load".to_owned(),
        what: "an acknowledgement",
        limit,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_store_that_is_gone_for_too_long_is_told() {
        let down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&down);
        let operation = move |_, _| {
            let is_down = Arc::clone(&is_down);
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                match is_down.load(Ordering::Relaxed) {
                    true => Err(()),
                    false => Ok(()),
                }
            }
        };
        let incident = async move {
            down.store(true, Ordering::Relaxed);
            Ok(())
        };
        let limit = Duration::from_millis(500);
        let error = longest(2, limit, operation, incident).await;
        assert!(matches!(error, Err(Error::TooLate { .. })), "{error:?}");
    }
}
