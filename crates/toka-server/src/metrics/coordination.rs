//! Consumer groups and cursors.

use toka_ledger::group::Group;

use super::count;
use super::page::Page;
use super::table;
use crate::api::Shared;

/// Groups, and cursors, that have metrics of their own: the first ones by name, so that the same ones have them. A vault may
/// have a thousand of each, and every one would be kept by Prometheus for as long as it keeps anything.
const NAMED_MAX: usize = 100;

/// Puts them on the page; nothing where they cannot be read, which the log says elsewhere.
pub(super) fn write(page: &mut Page, shared: &Shared) {
    let last = shared.reader.position().sequence;
    if let Ok(groups) = shared.reader.groups() {
        self::groups(page, &groups, last);
    }
    if let Ok(cursors) = shared.reader.cursors(None, NAMED_MAX) {
        for (name, sequence) in &cursors {
            let lag = last.saturating_sub(*sequence);
            page.set_of(&table::CURSOR_LAG, &[name.as_str()], lag);
        }
    }
}

fn groups(page: &mut Page, groups: &[Group], last: u64) {
    let sum = |of: &dyn Fn(&Group) -> u64| groups.iter().map(of).sum::<u64>();
    let lag = |group: &Group| last.saturating_sub(group.position);
    let lag_max = groups.iter().map(lag).max().unwrap_or(0);
    let outstanding = sum(&|group| group.unacknowledged.into());
    page.set(&table::GROUPS, count(groups.len()));
    page.set(&table::GROUPS_OUTSTANDING, outstanding);
    page.set(&table::GROUPS_PARKED, sum(&|group| group.parked.into()));
    page.set(&table::GROUPS_LAG, sum(&lag));
    page.set(&table::GROUPS_LAG_MAX, lag_max);
    let mut by_name: Vec<&Group> = groups.iter().collect();
    by_name.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    for group in by_name.into_iter().take(NAMED_MAX) {
        let name = [group.name.as_str()];
        page.set_of(&table::GROUP_OUTSTANDING, &name, group.unacknowledged);
        page.set_of(&table::GROUP_PARKED, &name, group.parked);
        page.set_of(&table::GROUP_LAG, &name, lag(group));
    }
}
