//! `toka watch` as a child process: a subscription that follows one node from the first event on.

use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::import::forward_lines;
use super::toka::{Entry, Toka, parse};
use crate::process::Process;

/// The longest silence while events are still to come.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// A subscription that runs.
pub(crate) struct Watch {
    process: Process,
    lines: Receiver<(Instant, std::io::Result<String>)>,
}

impl Watch {
    /// Subscribes on the node at `endpoint`.
    pub(crate) fn start(toka: &Toka, directory: &Path, endpoint: &str) -> Result<Self> {
        let arguments = [
            "--endpoint",
            endpoint,
            "watch",
            "--from",
            "beginning",
            "--output",
            "json",
        ];
        let log = directory.join("watch.log");
        let mut process = toka.spawn(&arguments, &log, Stdio::piped())?;
        let stdout = process
            .take_stdout()
            .context("standard output is not piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || forward_lines(stdout, &sender));
        Ok(Self { process, lines })
    }

    /// Everything delivered up to `last_sequence`, in the order of delivery; ends the subscription.
    pub(crate) fn finish(mut self, last_sequence: u64) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        while entries
            .last()
            .is_none_or(|entry| entry.sequence < last_sequence)
        {
            let line = match self.lines.recv_timeout(SILENCE_LIMIT) {
                Ok((_, line)) => line.context("reading the output of toka watch")?,
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait()?;
                    bail!(
                        "toka watch ended with {status} after {} events",
                        entries.len()
                    );
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "toka watch was silent for {SILENCE_LIMIT:?} after {} of {last_sequence} events",
                    entries.len()
                ),
            };
            entries.extend(parse_entry(&line)?);
        }
        self.process.kill()?;
        Ok(entries)
    }
}

/// `None` for what is no event: a checkpoint, the notice that the stream has caught up.
fn parse_entry(line: &str) -> Result<Option<Entry>> {
    let value: Value = parse(line)?;
    if value.get("id").is_none() {
        return Ok(None);
    }
    Ok(Some(parse(line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_and_notices_are_not() {
        let event = r#"{"id":"i","sequence":3,"digest":"d","kind":"k","payload":{"id":1}}"#;
        let entry = parse_entry(event).expect("an event").expect("it is kept");
        assert_eq!(entry.sequence, 3);
        assert_eq!(parse_entry(r#"{"caught_up":3}"#).expect("a notice"), None);
        assert!(parse_entry(r#"{"id":"i"}"#).is_err());
    }
}
