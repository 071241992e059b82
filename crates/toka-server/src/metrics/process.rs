//! The process, as Linux counts it. Elsewhere there is nothing of it.

use std::fs;

use super::page::Page;
use super::table;

/// Ticks a second in which the kernel tells times: `USER_HZ`, the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;
/// Places among the fields of `/proc/self/stat` that follow the process's name.
const USER_TICKS: usize = 11;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;

/// Puts it on the page.
pub(super) fn write(page: &mut Page) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        write_stat(page, &stat, boot_seconds());
    }
    if let Some(kib) = number("/proc/self/status", "VmRSS:") {
        page.set(&table::RESIDENT, kib * 1_024);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One is the directory's own.
        page.set(&table::OPEN_FILES, files.count().saturating_sub(1));
    }
    if let Some(max) = number("/proc/self/limits", "Max open files") {
        page.set(&table::OPEN_FILES_MAX, max);
    }
}

fn write_stat(page: &mut Page, stat: &str, boot_seconds: Option<u64>) {
    // The name may have blanks in it, and stands in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<u64> = fields
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let seconds = |place: usize| {
        fields
            .get(place)
            .map(|ticks| *ticks as f64 / TICKS_PER_SECOND)
    };
    if let (Some(user), Some(system)) = (seconds(USER_TICKS), seconds(USER_TICKS + 1)) {
        page.set(&table::CPU, user + system);
    }
    if let Some(threads) = fields.get(THREADS) {
        page.set(&table::THREADS, threads);
    }
    if let Some(bytes) = fields.get(VIRTUAL_BYTES) {
        page.set(&table::VIRTUAL, bytes);
    }
    if let (Some(boot), Some(start)) = (boot_seconds, seconds(START_TICKS)) {
        page.set(&table::START, boot as f64 + start);
    }
}

fn boot_seconds() -> Option<u64> {
    number("/proc/stat", "btime")
}

/// The number behind a name at the beginning of a line.
fn number(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_behind_the_name_whatever_it_is() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 2 0 150 50 0 0 20 0 9 0 250 4096 1";
        let mut page = Page::default();
        write_stat(&mut page, stat, Some(1_000));
        let text = page.text();
        for line in [
            "toka_process_cpu_seconds_total 2",
            "toka_process_threads 9",
            "toka_process_start_time_seconds 1002.5",
            "toka_process_virtual_memory_bytes 4096",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_read() {
        let mut page = Page::default();
        write(&mut page);
        let text = page.text();
        for metric in [
            &table::CPU,
            &table::RESIDENT,
            &table::VIRTUAL,
            &table::OPEN_FILES,
            &table::OPEN_FILES_MAX,
            &table::THREADS,
            &table::START,
        ] {
            assert!(text.contains(&format!("\n{} ", metric.name)), "{text}");
        }
    }
}
