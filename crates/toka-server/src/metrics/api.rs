//! What clients have open, and what they call.

use super::count;
use super::page::Page;
use super::table;
use crate::api::{Gate, Shared};
use crate::calls::Calls;

/// Puts it on the page.
pub(super) fn write(page: &mut Page, shared: &Shared) {
    page.set(&table::CONNECTIONS, count(shared.open_connections.len()));
    page.set(&table::EVENTS_ENCODED, shared.encoded.events());
    let dropped = shared.router.tracer().spans_dropped();
    page.set(&table::TRACE_SPANS_DROPPED, dropped);
    page.set(&table::EVENTS_SENT, shared.events_sent.get());
    page.set(&table::BACKUP_END, shared.backup_ended_unix_s.get());
    subscriptions(page, shared);
    limits(page, shared);
    calls(page, &shared.calls);
    for (credential, count) in shared.denied.by_credential() {
        page.set_of(&table::DENIED_CALLS, &[credential], count);
    }
    for (limit, count) in shared.throttled.by_limit() {
        page.set_of(&table::THROTTLED_CALLS, &[limit], count);
    }
}

fn subscriptions(page: &mut Page, shared: &Shared) {
    let sent = shared.positions.all();
    // Read after them: the other way round one that is at the end might seem to be beyond it.
    let last = shared.reader.position().sequence;
    let lags = sent.iter().map(|sequence| last.saturating_sub(*sequence));
    page.set(&table::SUBSCRIPTION_LAG, lags.clone().sum::<u64>());
    page.set(&table::SUBSCRIPTION_LAG_MAX, lags.max().unwrap_or(0));
}

fn limits(page: &mut Page, shared: &Shared) {
    let gates = &shared.gates;
    let open = |gate: &Gate| count(gate.open());
    for (metric, gate) in [
        (&table::SUBSCRIPTIONS, &gates.subscriptions),
        (&table::COMMIT_STREAMS, &gates.commit_streams),
        (&table::COMMITS_IN_PROGRESS, &gates.commits),
        (&table::BACKUPS, &gates.backups),
        (&table::WALKS, &gates.walks),
        (&table::VERIFICATIONS, &gates.verifications),
        (&table::PULLS, &gates.pulls),
    ] {
        page.set(metric, open(gate));
    }
    for (limit, gate) in gates.all() {
        page.set_of(&table::LIMIT_USED, &[limit], open(gate));
        page.set_of(&table::LIMIT_MAX, &[limit], count(gate.max()));
        page.set_of(&table::LIMIT_REFUSALS, &[limit], gate.refused());
    }
    let limit = ["connections"];
    let open = count(shared.open_connections.len());
    page.set_of(&table::LIMIT_USED, &limit, open);
    page.set_of(&table::LIMIT_MAX, &limit, count(shared.connections.max));
    page.set_of(
        &table::LIMIT_REFUSALS,
        &limit,
        shared.connections_refused.get(),
    );
}

/// Methods that were called, and the codes that they have ended with.
fn calls(page: &mut Page, calls: &Calls) {
    for method in calls.methods() {
        let times = method.times();
        let in_flight = method.in_flight();
        if times.count == 0 && in_flight == 0 {
            continue;
        }
        for (code, count) in method.by_code().filter(|(_, count)| *count > 0) {
            page.set_of(&table::GRPC_CALLS, &[method.name(), code], count);
        }
        page.times(&table::GRPC_SECONDS, &[method.name()], &times);
        page.set_of(&table::GRPC_IN_FLIGHT, &[method.name()], in_flight);
    }
}
