//! `toka bench commit`: throughput and latency of commits.

mod agreement;
pub(crate) mod intents;
mod recall;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use hdrhistogram::Histogram;
use serde_json::json;
use toka_client::{Client, EventDraft};
use toka_ledger::seam::Seams;

use crate::cli::{BenchCommit, Format, Global, Mode};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

/// Commits in flight of one stream; more clients than that share further streams.
const STREAM_IN_FLIGHT: u32 = 128;
/// Longest latency that the histogram tells apart, microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Things that the events of a load mean.
const TOPICS: u64 = 200;

/// What one client or stream counted.
struct Counted {
    latencies_us: Histogram<u64>,
    errors: u64,
    /// Of the last answer that counts.
    last: Option<Instant>,
}

impl Counted {
    fn new() -> Result<Self> {
        Ok(Self {
            latencies_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            errors: 0,
            last: None,
        })
    }

    fn record(&mut self, begin: Instant) {
        let us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.saturating_record(us.max(1));
        self.last = Some(Instant::now());
    }
}

/// What all of them share.
struct Load {
    client: Client,
    flags: BenchCommit,
    /// Makes every payload another one, also from run to run.
    run: u64,
    next: AtomicU64,
    begin: Instant,
}

impl Load {
    /// The next event, at its time if there is a rate; `None` after the end.
    async fn next(&self) -> Option<EventDraft> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(rate) = self.flags.rate {
            let at = Duration::from_secs_f64(number as f64 / f64::from(rate));
            tokio::time::sleep_until((self.begin + at).into()).await;
        }
        if self.begin.elapsed() >= self.flags.warm_up + self.flags.duration {
            return None;
        }
        Some(self.event(number))
    }

    fn event(&self, number: u64) -> EventDraft {
        let mut payload = vec![0x5a; self.flags.payload_bytes as usize];
        payload[..8].copy_from_slice(&self.run.to_be_bytes());
        payload[8..16].copy_from_slice(&number.to_be_bytes());
        let draft = EventDraft::new("bench.commit").payload_bytes(payload);
        if self.flags.dim == 0 {
            return draft;
        }
        draft.embedding(&embedding(number, self.flags.dim))
    }

    fn counts(&self, begin: Instant) -> bool {
        begin.duration_since(self.begin) >= self.flags.warm_up
    }
}

/// One of [`TOPICS`] directions, and about as much again of its own: like texts that mean one of so many
/// things. Nearly every event joins a micro-cluster; vectors without anything in common would each make
/// one.
fn embedding(number: u64, dimension: u16) -> Vec<f32> {
    let own = direction(number, dimension);
    let topic = direction(u64::MAX - number % TOPICS, dimension);
    own.iter()
        .zip(topic)
        .map(|(own, topic)| 0.8 * own + topic)
        .collect()
}

/// A vector that looks random and costs little: a multiplicative generator.
fn direction(number: u64, dimension: u16) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..dimension)
        .map(|_| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            // The upper 16 bits, around zero; never all zero, since 1 is added to odd numbers.
            f32::from((state >> 48) as u16) - 32_767.5
        })
        .collect()
}

pub(crate) async fn run(global: &Global, flags: BenchCommit, format: Format) -> Result<()> {
    ensure!(
        global.data.is_none(),
        "`bench commit` measures a cluster; leave --data out"
    );
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let mut run = [0; 8];
    Seams::system().entropy.fill(&mut run);
    let (mode, clients) = (flags.mode, flags.clients);
    let load = Arc::new(Load {
        client: remote.client().clone(),
        flags,
        run: u64::from_be_bytes(run),
        next: AtomicU64::new(0),
        begin: Instant::now(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    match mode {
        Mode::Unary => {
            for _ in 0..clients {
                tasks.spawn(unary(Arc::clone(&load)));
            }
        }
        Mode::Stream => {
            let streams = clients.div_ceil(STREAM_IN_FLIGHT);
            for stream in 0..streams {
                let in_flight = clients / streams + u32::from(stream < clients % streams);
                tasks.spawn(stream_of(Arc::clone(&load), in_flight));
            }
        }
    }
    let mut total = Counted::new()?;
    while let Some(counted) = tasks.join_next().await {
        let counted = counted.context("a client of the benchmark failed")??;
        total.latencies_us.add(&counted.latencies_us)?;
        total.errors += counted.errors;
        total.last = total.last.max(counted.last);
    }
    report(&load, &total, format)?;
    match total.errors {
        0 => Ok(()),
        errors => bail!(Failure::Unavailable(format!("{errors} commits failed"))),
    }
}

async fn unary(load: Arc<Load>) -> Result<Counted> {
    let mut counted = Counted::new()?;
    while let Some(event) = load.next().await {
        let begin = Instant::now();
        let result = load.client.commit(event).await;
        match result {
            Ok(_) if load.counts(begin) => counted.record(begin),
            Ok(_) => {}
            Err(error) if error.is_retryable() => counted.errors += 1,
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(counted)
}

async fn stream_of(load: Arc<Load>, in_flight: u32) -> Result<Counted> {
    let mut counted = Counted::new()?;
    // Every answer holds the stream: dropping it would give up what is in flight.
    let stream = Arc::new(load.client.commit_stream());
    let sender = Arc::clone(&load);
    let sent = futures::stream::unfold((sender, stream), |(load, stream)| async move {
        let event = load.next().await?;
        let begin = Instant::now();
        let answer = stream.send(vec![event], Vec::new()).await;
        Some(((begin, answer, Arc::clone(&stream)), (load, stream)))
    });
    let answers = sent.map(|(begin, answer, stream)| async move {
        let result = match answer {
            Ok(answer) => answer.await.map(drop),
            Err(error) => Err(error),
        };
        drop(stream);
        (begin, result)
    });
    let mut answers = std::pin::pin!(answers.buffered(in_flight as usize));
    while let Some((begin, result)) = answers.next().await {
        match result {
            Ok(()) if load.counts(begin) => counted.record(begin),
            Ok(()) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(counted)
}

fn report(load: &Load, counted: &Counted, format: Format) -> Result<()> {
    let latencies = &counted.latencies_us;
    // From the end of the warm-up to the last answer: waiting for a cluster that is gone is no rate.
    let end = counted.last.unwrap_or(load.begin);
    let seconds = end
        .duration_since(load.begin)
        .saturating_sub(load.flags.warm_up)
        .as_secs_f64()
        .max(f64::MIN_POSITIVE);
    let acknowledged = latencies.len();
    let per_second = acknowledged as f64 / seconds;
    let ms = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    match format {
        Format::Json => output::json(&json!({
            "acknowledged": acknowledged,
            "errors": counted.errors,
            "seconds": seconds,
            "commits_per_second": per_second,
            "p50_ms": ms(0.5),
            "p95_ms": ms(0.95),
            "p99_ms": ms(0.99),
            "max_ms": latencies.max() as f64 / 1_000.0,
        })),
        Format::Table => output::line(&format!(
            "{acknowledged} commits in {seconds:.1} s: {per_second:.0}/s, \
             p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {} errors",
            ms(0.5),
            ms(0.95),
            ms(0.99),
            latencies.max() as f64 / 1_000.0,
            counted.errors
        )),
    }
}
