//! `DIR/SCRUB`: when everything that is stored was last read to its end.
//!
//! ```text
//! toka-scrub 1
//! since-unix-ms 1795730000000       from when on the first pass is waited for
//! end-unix-ms 1795730614000         this and the next three of the last pass; absent: there was none
//! duration-ms 41
//! bytes 706496
//! snapshot-rebuilt no               or yes
//! checksum 0a1b2c3d                 CRC-32C of everything before this line
//! ```
//!
//! The file may be missing, or be anything: then there was no pass. So nobody need take care of it when a
//! directory is restored, recovered or repaired, and a build that does not know it is right to ignore it.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use toka_ledger::disk::is_unreadable;

use crate::layout::Layout;
use crate::scrub_report::ScrubPass;

/// The first pass begins after this part of the interval: a node that is started again daily is looked
/// through all the same.
const FIRST_PART: u32 = 10;

const HEADER: &str = "toka-scrub 1";
const CHECKSUM: &str = "checksum ";

/// What is known of earlier passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// When a pass was waited for first, milliseconds since the Unix epoch.
    pub(super) since_unix_ms: u64,
    /// The last pass.
    pub(super) last: Option<ScrubPass>,
}

impl Note {
    /// Of a directory in which there was no pass yet.
    pub(super) fn new(now_unix_ms: u64) -> Self {
        Self {
            since_unix_ms: now_unix_ms,
            last: None,
        }
    }

    /// The note of a directory, if there is one that can be read, and that is not of the future: by a clock
    /// that was wrong no pass would be due for as long as it was.
    pub(super) fn read(layout: &Layout, now_unix_ms: u64) -> Option<Self> {
        let path = layout.scrub_note();
        let bytes = match layout.disk().read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "when the last scrub was cannot be read");
                return None;
            }
        };
        let note = Self::decode(&bytes);
        if note.is_none() {
            let path = path.display();
            tracing::warn!(%path, "the note of the last scrub is not valid; it is taken for none");
        }
        note.filter(|note| {
            let end = note.last.map_or(0, |last| last.end_unix_ms);
            note.since_unix_ms.max(end) <= now_unix_ms
        })
    }

    /// Whether there is a note that nobody has written so.
    pub(super) fn is_damaged(layout: &Layout) -> io::Result<bool> {
        match layout.disk().read(&layout.scrub_note()) {
            Ok(bytes) => Ok(Self::decode(&bytes).is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if is_unreadable(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Puts it in the place of the one before, durably and as a whole.
    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        let (path, temporary) = (layout.scrub_note(), layout.scrub_note_in_progress());
        layout
            .disk()
            .replace(&path, &temporary, self.encode().as_bytes())
    }

    /// How long after `now_unix_ms` the next pass is due.
    pub(super) fn wait(&self, interval: Duration, now_unix_ms: u64) -> Duration {
        let (from, pause) = match self.last {
            Some(last) => (last.end_unix_ms, interval),
            None => (self.since_unix_ms, interval / FIRST_PART),
        };
        pause.saturating_sub(Duration::from_millis(now_unix_ms.saturating_sub(from)))
    }

    fn encode(&self) -> String {
        let mut text = format!("{HEADER}\nsince-unix-ms {}\n", self.since_unix_ms);
        if let Some(last) = &self.last {
            let rebuilt = match last.snapshot_rebuilt {
                true => "yes",
                false => "no",
            };
            write!(
                text,
                "end-unix-ms {}\nduration-ms {}\nbytes {}\nsnapshot-rebuilt {rebuilt}\n",
                last.end_unix_ms, last.duration_ms, last.bytes
            )
            .expect("strings take everything");
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CHECKSUM}{checksum:08x}").expect("strings take everything");
        text
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (body, checksum) = text.split_at(text.rfind(CHECKSUM)?);
        if checksum != format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != HEADER {
            return None;
        }
        let since_unix_ms = number(lines.next(), "since-unix-ms ")?;
        let last = match lines.next() {
            None => None,
            end => Some(ScrubPass {
                end_unix_ms: number(end, "end-unix-ms ")?,
                duration_ms: number(lines.next(), "duration-ms ")?,
                bytes: number(lines.next(), "bytes ")?,
                snapshot_rebuilt: match lines.next()? {
                    "snapshot-rebuilt yes" => true,
                    "snapshot-rebuilt no" => false,
                    _ => return None,
                },
            }),
        };
        lines.next().is_none().then_some(Self {
            since_unix_ms,
            last,
        })
    }
}

/// The note that `bytes` are, written again.
#[cfg(fuzzing)]
pub(crate) fn rewritten(bytes: &[u8]) -> Option<String> {
    Note::decode(bytes).map(|note| note.encode())
}

fn number(line: Option<&str>, name: &str) -> Option<u64> {
    line?.strip_prefix(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use toka_ledger::disk::{Disk as _, MemoryDisk};

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const INTERVAL: Duration = Duration::from_millis(10 * HOUR_MS);

    fn note(end_unix_ms: u64) -> Note {
        Note {
            since_unix_ms: 3,
            last: Some(ScrubPass {
                end_unix_ms,
                duration_ms: 41,
                bytes: 706_496,
                snapshot_rebuilt: end_unix_ms.is_multiple_of(2),
            }),
        }
    }

    fn layout(disk: &MemoryDisk) -> Layout {
        Layout::new(Arc::new(disk.clone()), PathBuf::from("/node"))
    }

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::new();
        let root = PathBuf::from("/node");
        disk.create_dir_all(&root).expect("created");
        disk
    }

    #[test]
    fn notes_round_trip() {
        for note in [Note::new(0), Note::new(u64::MAX), note(7), note(8)] {
            assert_eq!(Note::decode(note.encode().as_bytes()), Some(note));
        }
    }

    #[test]
    fn note_is_a_text() {
        let text = note(1_795_730_614_000).encode();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "toka-scrub 1",
                "since-unix-ms 3",
                "end-unix-ms 1795730614000",
                "duration-ms 41",
                "bytes 706496",
                "snapshot-rebuilt yes",
            ]
        );
        assert_eq!((lines.len(), lines[6].len()), (7, CHECKSUM.len() + 8));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_taken_for_no_note() {
        for note in [Note::new(7), note(7)] {
            let bytes = note.encode().into_bytes();
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    assert_eq!(Note::decode(&flipped), None, "byte {at}");
                }
                assert_eq!(Note::decode(&bytes[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn note_that_is_missing_or_of_the_future_is_none() {
        let (disk, note) = (disk(), note(20));
        let layout = layout(&disk);
        assert_eq!(Note::read(&layout, 20), None);
        note.write(&layout).expect("written");
        assert_eq!(Note::read(&layout, 20), Some(note));
        assert_eq!(Note::read(&layout, 19), None, "the clock was ahead");
        disk.overwrite(&layout.scrub_note(), b"something else")
            .expect("written");
        assert_eq!(Note::read(&layout, 20), None);
    }

    #[test]
    fn power_cut_leaves_the_old_note_or_the_new() {
        let before = disk();
        note(1).write(&layout(&before)).expect("written");
        for at in 0..6 {
            let disk = before.crash(|| true);
            disk.fail_after(at);
            let is_written = note(2).write(&layout(&disk)).is_ok();
            for keeps in [false, true] {
                let found = Note::read(&layout(&disk.crash(|| keeps)), 9);
                let is_right = found == Some(note(2)) || (!is_written && found == Some(note(1)));
                assert!(is_right, "{at}, {keeps}: {found:?}");
            }
        }
    }

    #[test]
    fn first_pass_is_due_a_tenth_after_the_first_start_whatever_starts_follow() {
        let note = Note::new(HOUR_MS);
        let wait = |now| note.wait(INTERVAL, now);
        assert_eq!(wait(HOUR_MS), INTERVAL / FIRST_PART);
        assert_eq!(wait(HOUR_MS + HOUR_MS / 2), INTERVAL / FIRST_PART / 2);
        assert_eq!(wait(2 * HOUR_MS), Duration::ZERO);
        assert_eq!(wait(u64::MAX), Duration::ZERO);
    }

    #[test]
    fn next_pass_is_due_an_interval_after_the_last_one_whatever_starts_follow() {
        let note = note(100 * HOUR_MS);
        let wait = |now| note.wait(INTERVAL, now);
        assert_eq!(wait(100 * HOUR_MS), INTERVAL);
        assert_eq!(wait(109 * HOUR_MS), INTERVAL / 10);
        assert_eq!(wait(110 * HOUR_MS), Duration::ZERO);
        assert_eq!(wait(200 * HOUR_MS), Duration::ZERO);
    }
}
