//! Progress on standard error, shown only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Between two pictures of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// A bar of `length` units; a spinner if the length is not known (0).
pub(crate) fn bar(length: u64, unit: &str) -> ProgressBar {
    let bar = if length == 0 {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::new(length)
    };
    let template = match (length, unit) {
        (0, _) => "{spinner} {human_pos} {msg} {per_sec}".to_owned(),
        (_, "bytes") => {
            "[{bar:40}] {bytes}/{total_bytes} {msg} {bytes_per_sec} eta {eta}".to_owned()
        }
        (_, unit) => {
            format!("[{{bar:40}}] {{human_pos}}/{{human_len}} {unit} {{per_sec}} eta {{eta}}")
        }
    };
    // The templates above are constants but for the unit, which has no braces.
    bar.set_style(ProgressStyle::with_template(&template).expect("the template is valid"));
    bar
}

/// Turns while something is waited for of which nobody says how far it is.
pub(crate) fn spinner(message: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(message);
    let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    spinner.set_style(style.expect("the template is valid"));
    spinner.enable_steady_tick(TICK);
    spinner
}
