//! Subscribers, and how long events take to reach them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use toka_client::{
    Client, ConsumerName, GroupName, Include, Message, Pull, SettleOutcome, Start, Stored,
    StoredEvent, Subscribe, Verdict,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::counted::Counted;
use crate::error::Error;
use crate::event::Events;
use crate::pace::Pace;

/// How often somebody who waits for deliveries looks at their number.
const POLL: Duration = Duration::from_millis(5);
/// How long a consumer waits with one call where nothing is to be delivered.
const PULL_WAIT: Duration = Duration::from_secs(1);

/// What one subscriber is sent: when each event was due.
pub type Deliveries<E> = BoxStream<'static, Result<Instant, E>>;

/// Subscribers that count what they are sent.
#[derive(Debug)]
pub struct Subscribers<E> {
    tasks: JoinSet<Counted<E>>,
    delivered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
}

impl<E: Send + 'static> Subscribers<E> {
    /// One for each stream. What was due before the load counts is delivered, and not counted.
    #[must_use]
    pub fn start(pace: &Arc<Pace>, streams: Vec<Deliveries<E>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let delivered = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for stream in streams {
            tasks.spawn(follow(
                stream,
                Arc::clone(pace),
                Arc::clone(&delivered),
                stopped.clone(),
            ));
        }
        Self {
            tasks,
            delivered,
            stop,
        }
    }

    /// Waits until there were so many `deliveries` to all of them together, for `limit` at most, and says what they
    /// counted.
    ///
    /// # Errors
    /// [`Error::TooLate`] if events are missing, [`Error::Task`].
    pub async fn finish(mut self, deliveries: u64, limit: Duration) -> Result<Counted<E>, Error> {
        let until = Instant::now() + limit;
        while self.delivered.load(Ordering::Relaxed) < deliveries {
            if Instant::now() >= until {
                return Err(Error::TooLate {
                    name: "subscribers".to_owned(),
                    what: "the last event",
                    limit,
                });
            }
            tokio::time::sleep(POLL).await;
        }
        self.stop.send_replace(true);
        let mut total = Counted::default();
        while let Some(counted) = self.tasks.join_next().await {
            total.add(counted?);
        }
        Ok(total)
    }
}

async fn follow<E>(
    mut stream: Deliveries<E>,
    pace: Arc<Pace>,
    delivered: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) -> Counted<E> {
    let mut counted = Counted::default();
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            _ = stopped.changed() => None,
        };
        match next {
            Some(Ok(due)) => {
                delivered.fetch_add(1, Ordering::Relaxed);
                if pace.counts(due) {
                    counted.answer(due, 1);
                }
            }
            Some(Err(error)) => {
                counted.errors += 1;
                counted.first_error.get_or_insert(error);
            }
            None => return counted,
        }
    }
}

/// A subscription of a vault, from `start` on.
///
/// # Errors
/// [`Error::Client`].
pub async fn of_vault(
    client: &Client,
    start: Start,
    include: Include,
) -> Result<Deliveries<toka_client::Error>, Error> {
    let subscribe = Subscribe {
        include,
        ..Subscribe::from(start)
    };
    let messages = client.subscribe(subscribe).await?.into_stream();
    let deliveries = messages.filter_map(async |message| match message {
        Ok(Message::Event(event)) => Some(Ok(due(&event))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    Ok(deliveries.boxed())
}

/// What a consumer of `group` is delivered, `ahead` events with a pull; all of one pull are acknowledged together, before
/// they count. An event that another consumer has got meanwhile does not count.
#[must_use]
pub fn of_group(
    client: &Client,
    group: &GroupName,
    consumer: ConsumerName,
    ahead: u32,
) -> Deliveries<toka_client::Error> {
    let pull = Pull {
        max_events: ahead,
        wait: PULL_WAIT,
        ..Pull::new(group.clone(), consumer)
    };
    stream::unfold((client.clone(), pull), async |(client, pull)| {
        let done = pull_and_acknowledge(&client, &pull).await;
        let done = done.map_or_else(
            |error| vec![Err(error)],
            |due| due.into_iter().map(Ok).collect(),
        );
        Some((stream::iter(done), (client, pull)))
    })
    .flatten()
    .boxed()
}

async fn pull_and_acknowledge(
    client: &Client,
    pull: &Pull,
) -> Result<Vec<Instant>, toka_client::Error> {
    let deliveries = client.pull(pull).await?;
    let settlements: Vec<_> = deliveries
        .iter()
        .map(|delivery| (delivery.token(), Verdict::Acknowledge))
        .collect();
    let outcomes = client.settle(&pull.group, &settlements).await?;
    let done = deliveries.iter().zip(outcomes);
    let done = done.filter(|(_, outcome)| *outcome == SettleOutcome::Done);
    Ok(done.map(|(delivery, _)| due(&delivery.event)).collect())
}

/// When an event was due; now, without a payload to tell it: delivered, with no latency to speak of.
fn due(event: &StoredEvent) -> Instant {
    let due = match &event.payload {
        Some(Stored::Present(payload)) => Events::due(payload),
        Some(Stored::Erased) | None => None,
    };
    due.unwrap_or_else(Instant::now)
}

/// Reads `events` of a stream, and says how long that took.
///
/// # Errors
/// The stream's first; `None` if it ended before.
pub async fn drain<E>(
    stream: impl Stream<Item = Result<Instant, E>>,
    events: u64,
) -> Result<Option<Duration>, E> {
    let begin = Instant::now();
    let mut stream = std::pin::pin!(stream);
    for _ in 0..events {
        match stream.next().await {
            Some(delivery) => delivery?,
            None => return Ok(None),
        };
    }
    Ok(Some(begin.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Plan;

    #[tokio::test]
    async fn subscribers_count_until_all_have_everything() {
        let pace = Pace::start(Plan::closed(Duration::ZERO, Duration::from_secs(60)));
        let streams = (0..3).map(|_| {
            let five = stream::iter((0..5).map(|_| Ok::<_, ()>(Instant::now())));
            five.chain(stream::pending()).boxed()
        });
        let subscribers = Subscribers::start(&pace, streams.collect());
        let counted = subscribers.finish(15, Duration::from_secs(60)).await;
        assert_eq!(counted.expect("all came").items, 15);
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_told() {
        let three = || stream::iter((0..3).map(|_| Ok::<_, ()>(Instant::now())));
        assert!(drain(three(), 3).await.expect("no error").is_some());
        assert_eq!(drain(three(), 4).await, Ok(None));
    }
}
