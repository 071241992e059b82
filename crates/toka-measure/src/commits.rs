//! Commits to a vault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use toka_client::{Client, EventDraft};

use crate::counted::Counted;
use crate::error::Error;
use crate::event::Events;
use crate::load;
use crate::pace::{Pace, Plan, Turn};

/// Commits in flight of one stream; more than that share further streams.
pub const STREAM_IN_FLIGHT: u32 = 128;
/// Events of one commit where a vault is only to be filled.
const FILL_EVENTS: u64 = 100;
/// Such commits in flight.
const FILL_IN_FLIGHT: u32 = 16;
/// For as long as filling may take.
const FILL_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// How commits are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One call an event.
    Unary,
    /// One call for so many events.
    Batch(u32),
    /// Streams of commits, one event each.
    Stream,
}

/// Commits new events: `clients` of them at once, or with so many in flight.
///
/// # Errors
/// [`Error::Task`]; that commits fail is counted.
pub async fn run(
    client: &Client,
    events: Events,
    pace: &Arc<Pace>,
    clients: u32,
    mode: Mode,
) -> Result<Counted<toka_client::Error>, Error> {
    match mode {
        Mode::Unary => batches(client, events, pace, clients, 1).await,
        Mode::Batch(size) => batches(client, events, pace, clients, size.into()).await,
        Mode::Stream => streams(client, events, pace, clients, STREAM_IN_FLIGHT, 1).await,
    }
}

/// Commits `count` events as fast as it goes, and says how many were new.
///
/// # Errors
/// As [`run`]; [`Error::Client`] if a commit fails.
pub async fn fill(client: &Client, events: Events, count: u64) -> Result<u64, Error> {
    let pace = Pace::start(Plan {
        operations_max: Some(count.div_ceil(FILL_EVENTS)),
        ..Plan::closed(Duration::ZERO, FILL_LIMIT)
    });
    let counted = streams(
        client,
        events,
        &pace,
        FILL_IN_FLIGHT,
        FILL_IN_FLIGHT,
        FILL_EVENTS,
    )
    .await?;
    match counted.first_error {
        None => Ok(counted.items),
        Some(error) => Err(error.into()),
    }
}

async fn batches(
    client: &Client,
    events: Events,
    pace: &Arc<Pace>,
    clients: u32,
    size: u64,
) -> Result<Counted<toka_client::Error>, Error> {
    let client = client.clone();
    let operation = move |_, turn: Turn| {
        let client = client.clone();
        async move {
            match size {
                1 => client
                    .commit(draft(&events, turn.number, turn.due))
                    .await
                    .map(|_| 1),
                _ => {
                    let committed = client.commit_batch(drafts(&events, &turn, size), Vec::new());
                    committed.await.map(|_| size)
                }
            }
        }
    };
    load::closed(pace, clients, operation).await
}

async fn streams(
    client: &Client,
    events: Events,
    pace: &Arc<Pace>,
    in_flight: u32,
    most: u32,
    size: u64,
) -> Result<Counted<toka_client::Error>, Error> {
    let senders = load::shares(in_flight, most).into_iter().map(|share| {
        let stream = Arc::new(client.commit_stream());
        let sender = move |turn: Turn| {
            // Every answer holds the stream: dropping it would give up what is in flight.
            let stream = Arc::clone(&stream);
            async move {
                let drafts = drafts(&events, &turn, size);
                let answer = stream.send(drafts, Vec::new()).await?;
                Ok(async move {
                    let committed = answer.await;
                    drop(stream);
                    committed.map(|_| size)
                })
            }
        };
        (sender, share)
    });
    load::pipelined(pace, senders.collect()).await
}

fn drafts(events: &Events, turn: &Turn, size: u64) -> Vec<EventDraft> {
    let first = turn.number * size;
    (first..first + size)
        .map(|number| draft(events, number, turn.due))
        .collect()
}

/// Event `number` of a load, due at `due`.
pub fn draft(events: &Events, number: u64, due: Instant) -> EventDraft {
    let draft = EventDraft::new("bench.commit").payload_bytes(events.payload(number, due));
    match events.embedding(number) {
        None => draft,
        Some(embedding) => draft.embedding(&embedding),
    }
}
