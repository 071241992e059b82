//! One run of the loads on one store.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use toka_measure::subscribers::Subscribers;
use toka_measure::{Events, Meter, Pace, Plan, Summary};

use crate::calls::Calls;
use crate::load::Load;
use crate::results::Results;
use crate::store::{Programs, Store, System};
use crate::unary_calls;

const PAYLOAD_BYTES: usize = 256;
const DIMENSION: u16 = 768;
/// Events of one call that gets many.
const BATCH_EVENTS: u32 = 100;
const SUBSCRIBERS: u32 = 10;
/// Events a second where it is latencies of deliveries that count.
const PACED_RATE: f64 = 300.0;
/// For the last event to reach every subscriber.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);

/// What holds for every load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Events that are there to be read.
    pub(crate) stock: u64,
    /// Leaders that are killed.
    pub(crate) kills: u32,
}

impl Settings {
    fn plan(&self) -> Plan {
        Plan::closed(self.warm_up, self.duration)
    }
}

/// Runs `loads` on new nodes of `system`; small events on further ones, so that none pays for another's size.
pub(crate) async fn one(
    programs: &Programs,
    parent: &Path,
    system: System,
    loads: &[Load],
    settings: &Settings,
    results: &mut Results,
) -> Result<()> {
    for small in [false, true] {
        let loads: Vec<_> = loads
            .iter()
            .filter(|load| load.is_small() == small && does(system, **load))
            .collect();
        if loads.is_empty() {
            continue;
        }
        let mut store = Store::start(system, programs, parent).await?;
        for &load in loads {
            let failed = || format!("{system}: {load}");
            if load == Load::Failover {
                for _ in 0..settings.kills {
                    let gap = Box::pin(store.failover(events(load))).await;
                    results.add_gap(system, gap.with_context(failed)?);
                }
                continue;
            }
            let summary = Box::pin(measure(&store, parent, load, settings, results, system)).await;
            let summary = summary.with_context(failed)?;
            eprintln!(
                "  {load:<34} {:>10.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {} errors",
                summary.per_second, summary.p50_ms, summary.p99_ms, summary.errors
            );
            results.add(system, load, summary);
        }
    }
    Ok(())
}

/// Whether there is something to compare.
fn does(system: System, load: Load) -> bool {
    match load {
        Load::Stream512 | Load::SmallStream512 => true,
        Load::Get64 => matches!(system, System::Toka | System::Etcd),
        // Beside Toka Vault's gets, in the same minutes.
        Load::BatchGet64 | Load::FollowerGet64 | Load::EmptyCalls64 => system == System::Toka,
        Load::Unary1
        | Load::Unary64
        | Load::Unary512
        | Load::HalfRate
        | Load::Subscribe10
        | Load::SubscribePaced10
        | Load::SmallUnary512
        | Load::Failover => system != System::JetstreamUnsynced,
    }
}

/// Events that nothing before has stored.
fn events(load: Load) -> Events {
    use std::hash::{BuildHasher as _, RandomState};
    Events {
        // Seeded anew each time.
        run: RandomState::new().hash_one(load as u8),
        payload_bytes: PAYLOAD_BYTES,
        dimension: if load.is_small() { 0 } else { DIMENSION },
    }
}

async fn measure(
    store: &Store,
    parent: &Path,
    load: Load,
    settings: &Settings,
    results: &Results,
    system: System,
) -> Result<Summary> {
    let events = events(load);
    let unary = |clients| commit(store, events, settings.plan(), clients, false);
    match load {
        Load::Unary1 => unary(1).await,
        Load::Unary64 => unary(64).await,
        Load::Unary512 | Load::SmallUnary512 => unary(512).await,
        Load::HalfRate => {
            let most = results.last(system, Load::Unary512);
            let most = most.context("the highest rate is not known: run unary512 too")?;
            let plan = settings.plan().at_rate(most.per_second / 2.0);
            commit(store, events, plan, 512, false).await
        }
        Load::Stream512 | Load::SmallStream512 => {
            commit(store, events, settings.plan(), 512, true).await
        }
        Load::Get64 => get(store, events, settings, 1).await,
        Load::BatchGet64 => get(store, events, settings, BATCH_EVENTS).await,
        Load::FollowerGet64 => {
            let Store::Toka(vault) = store else {
                bail!("only Toka Vault");
            };
            let selectors = vault.stock(events, settings.stock).await?;
            let pace = Pace::start(settings.plan());
            let meter = store.meter(&pace);
            let calls = vault.follower_get(&selectors, &pace, 64).await?;
            summary(calls, &pace, meter).await
        }
        Load::EmptyCalls64 => {
            let service = unary_calls::Service::start(parent).await?;
            let pace = Pace::start(settings.plan());
            let calls = service.call(&pace, 64).await?;
            summary(calls, &pace, Meter::start(Vec::new(), None, &pace)).await
        }
        Load::Subscribe10 => deliver(store, events, settings.plan()).await,
        Load::SubscribePaced10 => deliver(store, events, settings.plan().at_rate(PACED_RATE)).await,
        Load::Failover => bail!("this is no load with a rate"),
    }
}

async fn commit(
    store: &Store,
    events: Events,
    plan: Plan,
    clients: u32,
    stream: bool,
) -> Result<Summary> {
    let pace = Pace::start(plan);
    let meter = store.meter(&pace);
    let calls = match stream {
        true => store.stream(events, &pace, clients).await?,
        false => store.unary(events, &pace, clients).await?,
    };
    summary(calls, &pace, meter).await
}

async fn get(store: &Store, events: Events, settings: &Settings, size: u32) -> Result<Summary> {
    match store {
        Store::Toka(vault) => {
            let selectors = vault.stock(events, settings.stock).await?;
            let pace = Pace::start(settings.plan());
            let meter = store.meter(&pace);
            let calls = vault.get(&selectors, &pace, 64, size).await?;
            summary(calls, &pace, meter).await
        }
        Store::Etcd(etcd) => {
            etcd.stock(events, settings.stock).await?;
            let pace = Pace::start(settings.plan());
            let meter = store.meter(&pace);
            let calls = etcd.get(events, settings.stock, &pace, 64).await?;
            summary(calls, &pace, meter).await
        }
        Store::Jetstream(_) => bail!("JetStream gets no event by an id of its own"),
    }
}

/// Deliveries to all subscribers together.
async fn deliver(store: &Store, events: Events, plan: Plan) -> Result<Summary> {
    let streams = store.subscribe(SUBSCRIBERS).await?;
    let pace = Pace::start(plan);
    let meter = store.meter(&pace);
    let subscribers = Subscribers::start(&pace, streams);
    let committed = match plan.rate {
        Some(_) => store.unary(events, &pace, 64).await?,
        None => store.stream(events, &pace, 512).await?,
    };
    if let Some(error) = committed.first_error {
        bail!("{} commits failed; the first: {error}", committed.errors);
    }
    let calls = subscribers
        .finish(committed.all_items * u64::from(SUBSCRIBERS), DELIVERY_LIMIT)
        .await?;
    summary(calls, &pace, meter).await
}

async fn summary(calls: Calls, pace: &Pace, meter: Meter) -> Result<Summary> {
    let mut summary = calls.summary(pace);
    summary.cost = meter.read(calls.items).await?;
    if let Some(error) = &calls.first_error {
        eprintln!("  {} calls failed; the first: {error}", calls.errors);
    }
    Ok(summary)
}
