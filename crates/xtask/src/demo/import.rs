//! `toka import` as a child process: a load whose every acknowledgement is seen and timed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::event::{Event, write_jsonl};
use super::toka::{Toka, parse};
use crate::process::Process;

/// The longest silence: above an election and the client's retries.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// An acknowledged event.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) reference: String,
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) digest: String,
    /// When its line arrived.
    pub(crate) at: Instant,
}

/// What `toka import` prints: a line for each event, a summary at the end.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Ack {
        #[serde(rename = "ref")]
        reference: String,
        id: String,
        sequence: u64,
        digest: String,
    },
    Summary {
        events: u64,
        seconds: f64,
    },
}

/// A finished import.
pub(crate) struct Finished {
    pub(crate) acks: Vec<Ack>,
    /// How long it took, as `toka` measured it.
    pub(crate) seconds: f64,
}

/// An import that runs.
pub(crate) struct Import {
    process: Process,
    lines: Receiver<(Instant, std::io::Result<String>)>,
    log: PathBuf,
    acks: Vec<Ack>,
    summary: Option<(u64, f64)>,
}

impl Import {
    /// Writes `events` to `NAME.jsonl` in `directory` and imports that file with further `flags`.
    pub(crate) fn start(
        toka: &Toka,
        directory: &Path,
        name: &str,
        endpoints: &str,
        events: &[Event],
        flags: &[&str],
    ) -> Result<Self> {
        let file = directory.join(format!("{name}.jsonl"));
        write_jsonl(&file, events)?;
        let log = directory.join(format!("{name}.log"));
        let file = file.display().to_string();
        let mut arguments = vec!["--endpoint", endpoints, "import", &file, "--output", "json"];
        arguments.extend(flags);
        let mut process = toka.spawn(&arguments, &log, Stdio::piped())?;
        let stdout = process
            .take_stdout()
            .context("standard output is not piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || forward_lines(stdout, &sender));
        Ok(Self {
            process,
            lines,
            log,
            acks: Vec::new(),
            summary: None,
        })
    }

    /// Waits until `count` events are acknowledged, or the import has ended.
    pub(crate) fn wait_acks(&mut self, count: usize) -> Result<()> {
        while self.acks.len() < count && self.next_line()? {}
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It failed, fell silent, or its summary does not match the acknowledgements it printed.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        while self.next_line()? {}
        let status = self.process.wait()?;
        if !status.success() {
            bail!(
                "toka import ended with {status} after {} events{}",
                self.acks.len(),
                self.said()
            );
        }
        let Some((events, seconds)) = self.summary else {
            bail!("toka import printed no summary{}", self.said());
        };
        if events != self.acks.len() as u64 {
            bail!(
                "toka import says {events} events, but acknowledged {}",
                self.acks.len()
            );
        }
        Ok(Finished {
            acks: self.acks,
            seconds,
        })
    }

    /// Takes in one line; `false` at the end of the output.
    fn next_line(&mut self) -> Result<bool> {
        let (at, line) = match self.lines.recv_timeout(SILENCE_LIMIT) {
            Ok((at, line)) => (at, line.context("reading the output of toka import")?),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                bail!(
                    "toka import was silent for {SILENCE_LIMIT:?}{}",
                    self.said()
                );
            }
        };
        match parse(&line)? {
            Line::Ack {
                reference,
                id,
                sequence,
                digest,
            } => {
                self.acks.push(Ack {
                    reference,
                    id,
                    sequence,
                    digest,
                    at,
                });
            }
            Line::Summary { events, seconds } => self.summary = Some((events, seconds)),
        }
        Ok(true)
    }

    /// What it wrote to standard error.
    fn said(&self) -> String {
        format!(
            ":\n{}",
            std::fs::read_to_string(&self.log)
                .unwrap_or_default()
                .trim_end()
        )
    }
}

/// Stamps each line when it arrives, however late it is looked at.
pub(crate) fn forward_lines(
    stdout: ChildStdout,
    sender: &Sender<(Instant, std::io::Result<String>)>,
) {
    for line in BufReader::new(stdout).lines() {
        // The receiver is gone when the demo failed elsewhere.
        if sender.send((Instant::now(), line)).is_err() {
            return;
        }
    }
}

/// The longest time between two consecutive acknowledgements of which the second came after
/// `killed_at`.
pub(crate) fn failover_gap(acks: &[Ack], killed_at: Instant) -> Option<Duration> {
    acks.windows(2)
        .filter(|pair| pair[1].at > killed_at)
        .map(|pair| pair[1].at.duration_since(pair[0].at))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks_at(start: Instant, offsets_ms: &[u64]) -> Vec<Ack> {
        offsets_ms
            .iter()
            .map(|offset| Ack {
                reference: String::new(),
                id: String::new(),
                sequence: 0,
                digest: String::new(),
                at: start + Duration::from_millis(*offset),
            })
            .collect()
    }

    #[test]
    fn failover_gap_is_the_longest_silence_around_the_kill() {
        let start = Instant::now();
        // The silence of 500 ms ends before the kill and does not count.
        let acks = acks_at(start, &[0, 500, 510, 520, 820, 830]);
        let killed_at = start + Duration::from_millis(525);
        assert_eq!(
            failover_gap(&acks, killed_at),
            Some(Duration::from_millis(300))
        );
    }

    #[test]
    fn no_acknowledgement_after_the_kill_is_no_gap() {
        let start = Instant::now();
        let acks = acks_at(start, &[0, 10]);
        assert_eq!(failover_gap(&acks, start + Duration::from_millis(20)), None);
    }
}
