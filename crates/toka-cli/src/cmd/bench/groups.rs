//! `toka bench groups`.

use anyhow::Result;
use toka_client::{ConsumerName, Filter, GroupName, GroupSettings, GroupStart};
use toka_measure::subscribers::{self, Subscribers};
use toka_measure::{Pace, commits};

use super::report::{self, Row};
use super::session::{Session, events, measured, plan};
use super::subscribe::DELIVERY_LIMIT;
use crate::cli::{BenchGroups, Format, Global};
use crate::target::failure;

/// Its consumers share each group.
pub(super) async fn run(global: &Global, flags: BenchGroups, format: Format) -> Result<()> {
    let session = Session::open(global, &flags.nodes).await?;
    let client = session.client();
    let events = events(flags.events);
    let settings = GroupSettings {
        filter: Filter::default(),
        unacknowledged_max: flags.unacknowledged,
        ..GroupSettings::default()
    };
    let mut streams = Vec::new();
    let mut groups = Vec::new();
    for number in 0..flags.groups {
        let group = GroupName::new(&format!("bench-{:016x}-{number}", events.run))?;
        let created = client.create_group(&group, &settings, GroupStart::Now);
        created.await.map_err(failure)?;
        for consumer in 0..flags.consumers {
            let consumer = ConsumerName::new(&format!("bench-{consumer}"))?;
            streams.push(subscribers::of_group(
                client,
                &group,
                consumer,
                flags.pull_events,
            ));
        }
        groups.push(group);
    }
    let pace = Pace::start(plan(&flags.load));
    let meter = session.meter(&pace);
    let consumers = Subscribers::start(&pace, streams);
    let (clients, mode) = (flags.load.clients, commits::Mode::Stream);
    let committed = commits::run(client, events, &pace, clients, mode).await;
    let committed = measured(committed)?;
    let deliveries = committed.all_items * u64::from(flags.groups);
    let delivered = measured(consumers.finish(deliveries, DELIVERY_LIMIT).await)?;
    let mut summary = delivered.summary(&pace);
    summary.cost = measured(meter.read(delivered.items).await)?;
    for group in &groups {
        client.delete_group(group).await.map_err(failure)?;
    }
    let rows = [
        Row::new("commit", committed.summary(&pace)),
        Row::new("acknowledge", summary)
            .with("groups", flags.groups)
            .with("consumers", flags.consumers),
    ];
    report::rows(&rows, format)?;
    session.close().await?;
    report::outcome(
        committed.errors + delivered.errors,
        committed.first_error.or(delivered.first_error),
    )
}
