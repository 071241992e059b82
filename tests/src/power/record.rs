//! What strace wrote down of a process, read back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Behind the text of a call that was interrupted by another line.
const UNFINISHED: &str = " <unfinished ...>";
/// Of the line that has the rest of it.
const RESUMED: &str = " resumed>";

/// Calls that are nothing without their result: how many bytes there are, or that they are durable.
const COUNTED: [&str; 5] = ["write", "sendfile", "copy_file_range", "fsync", "fdatasync"];

/// Writes to one file since its last sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writes {
    /// Bytes that were appended.
    pub(super) appended: u64,
    /// Where was written, bytes from the beginning; may overlap.
    pub(super) ranges: Vec<Range<u64>>,
}

/// What a power cut takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsynced {
    pub(super) files: BTreeMap<PathBuf, Writes>,
    /// Names that were made, the newest first.
    pub(super) names: Vec<PathBuf>,
}

/// One write, and the line on which it was known to be done.
#[derive(Clone, Debug)]
struct Write {
    line: usize,
    what: Written,
}

#[derive(Clone, Debug)]
enum Written {
    Appended(u64),
    At(Range<u64>),
}

/// A change of a name in a directory.
#[derive(Clone, Debug)]
struct NameChange {
    line: usize,
    /// What was made; absent: something was renamed or removed, which stays so.
    made: Option<PathBuf>,
}

/// What a process has changed and not synced, at a line of its record.
#[derive(Debug, Default)]
pub(super) struct Record {
    files: BTreeMap<PathBuf, Vec<Write>>,
    /// By directory, in their order.
    names: BTreeMap<PathBuf, Vec<NameChange>>,
}

/// A call, and its result if it has one.
struct Call<'a> {
    /// The line on which it began.
    begun: usize,
    /// The line on which it ended.
    ended: usize,
    name: &'a str,
    /// With the parentheses off.
    arguments: &'a str,
    result: &'a str,
}

impl Record {
    /// Reads a whole record.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut record = Self::default();
        let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let Some((thread, rest)) = line.split_once(' ') else {
                continue;
            };
            let rest = rest.trim_start();
            if let Some(tail) = resumed(rest) {
                if let Some((begun, head)) = unfinished.remove(thread) {
                    record.call(begun, number, &format!("{head}{tail}"))?;
                }
            } else if let Some(head) = rest.strip_suffix(UNFINISHED) {
                unfinished.insert(thread, (number, head));
            } else {
                record.call(number, number, rest)?;
            }
        }
        // They may have been made before the process died: then nothing that came before may be missing
        // where they are not.
        for (_, head) in unfinished.into_values() {
            let name = head.split('(').next().unwrap_or_default();
            if !COUNTED.contains(&name) {
                record.call(usize::MAX, usize::MAX, &format!("{head}) = 0"))?;
            }
        }
        Ok(record)
    }

    /// What a power cut takes of what is below `root`.
    pub(super) fn unsynced(&self, root: &Path) -> Unsynced {
        let mut unsynced = Unsynced::default();
        for (path, writes) in &self.files {
            if writes.is_empty() || !path.starts_with(root) {
                continue;
            }
            let file = unsynced.files.entry(path.clone()).or_default();
            for write in writes {
                match &write.what {
                    Written::Appended(bytes) => file.appended += bytes,
                    Written::At(range) => file.ranges.push(range.clone()),
                }
            }
        }
        let mut made = Vec::new();
        for changes in self.names.values() {
            let last = changes.iter().rev().map_while(|change| {
                let path = change.made.as_ref()?;
                Some((change.line, path))
            });
            made.extend(last.filter(|(_, path)| path.starts_with(root)));
        }
        made.sort_unstable_by(|one, other| other.cmp(one));
        unsynced.names = made.into_iter().map(|(_, path)| path.clone()).collect();
        unsynced
    }

    /// Takes in a call that has ended, if it is one and succeeded.
    fn call(&mut self, begun: usize, ended: usize, text: &str) -> Result<()> {
        let Some((call, result)) = text.rsplit_once(" = ") else {
            return Ok(());
        };
        let Some((name, arguments)) = call.trim_end().split_once('(') else {
            return Ok(());
        };
        if result.starts_with(['-', '?']) {
            return Ok(());
        }
        let call = Call {
            begun,
            ended,
            name,
            arguments: arguments.strip_suffix(')').unwrap_or(arguments),
            result,
        };
        self.take(&call)
            .with_context(|| format!("line {}: {text}", ended.saturating_add(1)))
    }

    fn take(&mut self, call: &Call<'_>) -> Result<()> {
        match call.name {
            "write" => self.append(call, call.path(0)),
            "sendfile" => self.append(call, call.path(0)),
            "copy_file_range" => self.append(call, call.path(1)),
            "pwrite64" => self.write_at(call),
            // One that strace has answered itself is none.
            "fsync" | "fdatasync" if call.result == "0" => {
                self.sync(call);
                Ok(())
            }
            "openat" => self.open(call),
            "rename" | "renameat" | "renameat2" => {
                self.rename(call.ended, &call.quoted(0)?, &call.quoted(1)?);
                Ok(())
            }
            "unlink" | "unlinkat" | "rmdir" => {
                let path = call.quoted(0)?;
                self.files.remove(&path);
                self.names.remove(&path);
                self.changed(call.ended, &path, None);
                Ok(())
            }
            "mkdir" | "mkdirat" => self.made(call.ended, call.quoted(0)?),
            "link" | "linkat" => self.made(call.ended, call.quoted(1)?),
            _ => Ok(()),
        }
    }

    fn append(&mut self, call: &Call<'_>, path: Option<&Path>) -> Result<()> {
        let bytes = call.result.parse::<u64>().context("a count of bytes")?;
        self.written(call.ended, path, Written::Appended(bytes));
        Ok(())
    }

    fn write_at(&mut self, call: &Call<'_>) -> Result<()> {
        let mut from_last = call.arguments.rsplit(", ");
        let mut number = || from_last.next()?.parse::<u64>().ok();
        let (offset, count) = (number().context("an offset")?, number().context("a count")?);
        let range = offset..offset + count;
        self.written(call.ended, call.path(0), Written::At(range));
        Ok(())
    }

    fn written(&mut self, line: usize, path: Option<&Path>, what: Written) {
        if let Some(path) = path.filter(|path| path.is_absolute()) {
            let writes = self.files.entry(path.to_owned()).or_default();
            writes.push(Write { line, what });
        }
    }

    /// What was done before the sync began is durable.
    fn sync(&mut self, call: &Call<'_>) {
        let Some(path) = call.path(0) else { return };
        if let Some(writes) = self.files.get_mut(path) {
            writes.retain(|write| write.line > call.begun);
        }
        if let Some(names) = self.names.get_mut(path) {
            names.retain(|change| change.line > call.begun);
        }
    }

    /// A file that was opened anew is made; nothing is known to be made of one that may have been there.
    fn open(&mut self, call: &Call<'_>) -> Result<()> {
        let has = |flag| call.arguments.contains(flag);
        if !has("O_CREAT") || !(has("O_EXCL") || has("O_TRUNC")) {
            return Ok(());
        }
        let opened = between(call.result).map(Path::to_owned);
        self.made(call.ended, opened.map_or_else(|| call.quoted(0), Ok)?)
    }

    fn made(&mut self, line: usize, path: PathBuf) -> Result<()> {
        // Whatever had this name before.
        self.files.remove(&path);
        self.names.remove(&path);
        self.changed(line, &path.clone(), Some(path));
        Ok(())
    }

    fn changed(&mut self, line: usize, path: &Path, made: Option<PathBuf>) {
        if let Some(directory) = path.parent() {
            let changes = self.names.entry(directory.to_owned()).or_default();
            changes.push(NameChange { line, made });
        }
    }

    /// Everything under the old name has the new one.
    fn rename(&mut self, line: usize, from: &Path, to: &Path) {
        self.files.remove(to);
        self.names.remove(to);
        self.files = moved(std::mem::take(&mut self.files), from, to);
        self.names = moved(std::mem::take(&mut self.names), from, to);
        for change in self.names.values_mut().flatten() {
            if let Some(made) = &change.made {
                change.made = Some(new_name(made, from, to));
            }
        }
        self.changed(line, from, None);
        if from.parent() != to.parent() {
            self.changed(line, to, None);
        }
    }
}

impl Call<'_> {
    /// The path of its descriptor number `index`, counted from 0.
    fn path(&self, index: usize) -> Option<&Path> {
        between(self.arguments.split('>').nth(index)?)
    }

    /// The path that it was given in quotes, number `index`, counted from 0.
    fn quoted(&self, index: usize) -> Result<PathBuf> {
        let mut pieces = self.arguments.split('"');
        let (before, path) = (pieces.nth(2 * index), pieces.next());
        let path = Path::new(path.context("a path in quotes")?);
        // The directory that it is relative to stands before it.
        let directory = before.and_then(|before| between(before.rsplit('>').nth(1)?));
        Ok(match directory {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        })
    }
}

/// The path of a descriptor as strace prints it, `12</path>`, with or without its end.
fn between(text: &str) -> Option<&Path> {
    let (_, path) = text.split_once('<')?;
    let path = path.split('>').next()?;
    Some(Path::new(path))
}

/// The rest of a call that goes on on this line.
fn resumed(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("<... ")?.split_once(RESUMED)?;
    Some(rest)
}

fn new_name(path: &Path, from: &Path, to: &Path) -> PathBuf {
    match path.strip_prefix(from) {
        Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
        Ok(rest) => to.join(rest),
        Err(_) => path.to_owned(),
    }
}

fn moved<T>(old: BTreeMap<PathBuf, T>, from: &Path, to: &Path) -> BTreeMap<PathBuf, T> {
    let renamed = old.into_iter();
    renamed
        .map(|(path, value)| (new_name(&path, from, to), value))
        .collect()
}
