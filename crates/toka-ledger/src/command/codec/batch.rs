//! Commands, one behind the other: the bytes of an entry.

use bytes::{BufMut, Bytes, BytesMut};

use super::{VERSION, commit_size_hint, put, put_commit};
use crate::command::{Command, Commit};

/// Bytes of a command's length.
const LENGTH_BYTES: usize = 4;

/// Commands gathered into one entry.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: BytesMut,
    commands: usize,
}

impl Batch {
    /// These commands, encoded.
    #[must_use]
    pub fn of_commands(commands: &[Command]) -> Self {
        let room = commands
            .iter()
            .map(|of| LENGTH_BYTES + of.size_hint())
            .sum();
        let mut batch = Self::with_room(room);
        for command in commands {
            batch.push_with(|out| put(out, command));
        }
        batch
    }

    /// These commits, encoded, with the time `unix_ms` instead of their own.
    #[must_use]
    pub fn of_commits(commits: &[Commit], unix_ms: u64) -> Self {
        let hint = |of| LENGTH_BYTES + commit_size_hint(of);
        let mut batch = Self::with_room(commits.iter().map(hint).sum());
        for commit in commits {
            batch.push_with(|out| {
                out.put_u8(VERSION);
                put_commit(out, commit, unix_ms);
            });
        }
        batch
    }

    fn with_room(bytes: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(bytes),
            commands: 0,
        }
    }

    /// Appends what `put` writes, a command, behind its length.
    fn push_with(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let start = self.bytes.len();
        self.bytes.put_u32_le(0);
        put(&mut self.bytes);
        let length = self.bytes.len() - start - LENGTH_BYTES;
        let length = u32::try_from(length).expect("a command is under 2^32 bytes");
        self.bytes[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        self.commands += 1;
    }

    /// Appends an encoded command (see [`encode`](super::encode)).
    pub fn push(&mut self, command: &[u8]) {
        self.bytes.reserve(LENGTH_BYTES + command.len());
        self.push_with(|out| out.put_slice(command));
    }

    /// Appends the commands of `later`.
    pub fn append(&mut self, later: &Self) {
        self.bytes.extend_from_slice(&later.bytes);
        self.commands += later.commands;
    }

    /// Makes room for so many more bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Bytes of the commands alone, without their lengths.
    #[must_use]
    pub fn command_bytes(&self) -> usize {
        self.bytes.len() - LENGTH_BYTES * self.commands
    }

    /// Number of commands.
    #[must_use]
    pub const fn commands(&self) -> usize {
        self.commands
    }

    /// Size so far, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The entry.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Precondition, decode_batch, decode_batch_to, encode};
    use crate::prepare::{EventDraft, prepare_commit};

    fn commit(payload: &'static str, unix_ms: u64) -> Commit {
        let draft = EventDraft::new("k").payload_bytes(payload);
        let late = vec![Precondition::TimePassed { unix_ms: 7 }];
        prepare_commit([draft], late, unix_ms).expect("valid")
    }

    #[test]
    fn an_entry_is_the_same_however_its_commands_were_gathered() {
        let commands = [commit("a", 5), commit("b", 5)].map(Command::Commit);
        let mut pushed = Batch::default();
        for command in &commands {
            pushed.push(&encode(command));
        }
        let together = Batch::of_commands(&commands);
        let bytes: usize = commands.iter().map(|command| encode(command).len()).sum();
        assert_eq!((together.commands(), together.command_bytes()), (2, bytes));
        let mut appended = Batch::of_commands(&commands[..1]);
        appended.append(&Batch::of_commands(&commands[1..]));
        let stamped = Batch::of_commits(&[commit("a", 0), commit("b", 9)], 5);
        let entry = pushed.finish();
        for other in [together, appended, stamped] {
            assert_eq!(other.finish(), entry);
        }
        assert_eq!(decode_batch(entry).expect("an entry"), commands);
    }
    #[test]
    fn bytes_that_are_no_entry_add_no_command() {
        let commands = [commit("a", 5), commit("b", 5)].map(Command::Commit);
        let entry = Batch::of_commands(&commands).finish();
        let mut decoded = Vec::new();
        decode_batch_to(&mut decoded, entry.clone()).expect("an entry");
        decode_batch_to(&mut decoded, entry.slice(1..)).expect_err("no entry");
        decode_batch_to(&mut decoded, entry.slice(..entry.len() - 1)).expect_err("cut");
        assert_eq!(decoded, commands);
    }

    #[test]
    fn a_kind_that_comes_again_is_shared_and_another_is_not() {
        let kinds = ["k", "k", "l", "k"];
        let drafts = kinds.map(|kind| EventDraft::new(kind).payload_bytes("payload"));
        let commits = drafts.map(|draft| prepare_commit([draft], Vec::new(), 5).expect("valid"));
        let entry = Batch::of_commits(&commits, 5).finish();
        let decoded = decode_batch(entry).expect("an entry");
        let events = decoded.iter().flat_map(Command::events);
        let decoded: Vec<&str> = events.map(|event| event.kind.as_str()).collect();
        assert_eq!(decoded, kinds);
        assert!(std::ptr::eq(decoded[0], decoded[1]), "shared");
        assert!(!std::ptr::eq(decoded[0], decoded[3]), "not the one before");
    }
}
