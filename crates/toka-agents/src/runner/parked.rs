//! What the agent records of events that are parked. A group has a parking place of its own, which a replay does not know.

use toka_ledger::group::Parked;
use toka_ledger::{GroupName, Selector};

use super::calls::{Answer, Calls, Origin};
use crate::batch::Batch;
use crate::context::Input;
use crate::error::{Error, shortened};
use crate::event::Event;
use crate::record::{PARKED, newest, reaction_to};

/// Longest reason of a parked event, bytes.
const REASON_BYTES_MAX: usize = 4096;
/// Of the events that a group has parked so many are looked at, the first ones.
const LOOKED_AT_MAX: usize = 1_000;

/// What is recorded of an event that is given up.
pub(super) fn batch(
    calls: &Calls,
    event: &Event,
    reason: &str,
    attempts: u32,
    inputs: Vec<Input>,
) -> Batch {
    let reason = shortened(reason, REASON_BYTES_MAX);
    Batch::parked(
        calls.settings.name(),
        &event.header,
        reason,
        attempts,
        inputs,
    )
}

/// Records that a group has parked an event. Not in one step with the parking: where the process dies in between, that is made up
/// for at the next start ([`record_left`]).
pub(super) async fn record(calls: &Calls, batch: &Batch) -> Result<(), Error> {
    let commit = calls.commit(Origin::Agent, &batch.events, &[], None);
    if let Answer::Bad(error) = commit.await? {
        let agent = calls.settings.name();
        tracing::warn!(agent, %error, "parked event was not recorded");
    }
    Ok(())
}

/// Whether a group has parked an event, as far as is looked.
pub(super) async fn is_parked(
    calls: &Calls,
    group: &GroupName,
    sequence: u64,
) -> Result<bool, Error> {
    let parked = first(calls, group).await?;
    Ok(parked.iter().any(|parked| parked.sequence == sequence))
}

/// Records what a group has parked and nobody has recorded: their last delivery ran out, or who has parked them died. Of
/// several instances that do this together each records the same, which is stored once.
pub(super) async fn record_left(calls: &Calls, group: &GroupName) -> Result<(), Error> {
    let (store, agent) = (&*calls.store, calls.settings.name());
    for parked in first(calls, group).await? {
        let selector = Selector::Sequence(parked.sequence);
        let Some(event) = calls.retried(|| store.get(selector)).await? else {
            continue;
        };
        let cause = event.header.id;
        let recorded = calls.retried(|| reaction_to(store, agent, cause)).await?;
        if newest(&recorded).iter().any(|event| event.kind() == PARKED) {
            continue;
        }
        let sequence = parked.sequence;
        tracing::info!(agent, sequence, "parked event is recorded late");
        let batch = batch(calls, &event, &parked.reason, parked.deliveries, Vec::new());
        record(calls, &batch).await?;
    }
    Ok(())
}

async fn first(calls: &Calls, group: &GroupName) -> Result<Vec<Parked>, Error> {
    let store = &calls.store;
    calls.retried(|| store.parked(group, LOOKED_AT_MAX)).await
}
