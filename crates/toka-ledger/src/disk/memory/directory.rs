//! Names, and what a crash would leave of them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, Mutex};

use super::file::Inode;
use super::lock;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Node {
    File(Arc<Mutex<Inode>>),
    Directory(Arc<Mutex<Directory>>),
}

impl Node {
    pub(super) fn file(&self) -> io::Result<&Arc<Mutex<Inode>>> {
        match self {
            Self::File(inode) => Ok(inode),
            Self::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn directory(&self) -> io::Result<&Arc<Mutex<Directory>>> {
        match self {
            Self::Directory(directory) => Ok(directory),
            Self::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }
}

/// A change of the names in one directory.
#[derive(Clone)]
pub(super) enum Change {
    Add(OsString, Node),
    Remove(OsString),
    /// Replaces what had the second name.
    Rename(OsString, OsString),
}

/// A directory without its own name.
#[derive(Default)]
pub(super) struct Directory {
    names: BTreeMap<OsString, Node>,
    /// As of the last sync, and what was done since, in order.
    durable: BTreeMap<OsString, Node>,
    unsynced: Vec<Change>,
}

/// Files that have been decided on, by the address of their old selves: one with two names stays one.
type Survivors = BTreeMap<usize, Arc<Mutex<Inode>>>;

impl Directory {
    pub(super) fn get(&self, name: &OsStr) -> io::Result<&Node> {
        self.names
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &OsString> {
        self.names.keys()
    }

    pub(super) fn require_absent(&self, name: &OsStr) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    /// Whether `from` may take the name `to`.
    pub(super) fn check_rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let from = self.get(from)?;
        match (from, self.names.get(to)) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => Ok(()),
            (Node::File(_), Some(Node::Directory(_))) => Err(io::ErrorKind::IsADirectory.into()),
            (Node::Directory(_), Some(Node::File(_))) => Err(io::ErrorKind::NotADirectory.into()),
            (Node::Directory(_), Some(Node::Directory(target))) => {
                if lock(target).names.is_empty() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::DirectoryNotEmpty.into())
                }
            }
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    /// Adds or replaces a name, and makes it and the others durable.
    pub(super) fn put_durably(&mut self, name: OsString, node: &Node) {
        self.change(Change::Add(name, node.clone()));
        self.sync();
    }

    /// What a crash leaves: of the unsynced changes a prefix, as `keep` says, and so on down the tree.
    pub(super) fn survivor(&self, keep: &mut dyn FnMut() -> bool) -> Self {
        self.survivor_among(keep, &mut Survivors::new())
    }

    fn survivor_among(&self, keep: &mut dyn FnMut() -> bool, files: &mut Survivors) -> Self {
        let mut names = self.durable.clone();
        for change in &self.unsynced {
            if !keep() {
                break;
            }
            apply(&mut names, change);
        }
        for node in names.values_mut() {
            *node = match node {
                Node::Directory(directory) => {
                    let survivor = lock(directory).survivor_among(keep, files);
                    Node::Directory(Arc::new(Mutex::new(survivor)))
                }
                Node::File(inode) => {
                    let old = Arc::as_ptr(inode) as usize;
                    let survivor = || Arc::new(Mutex::new(lock(inode).survivor(keep)));
                    Node::File(Arc::clone(files.entry(old).or_insert_with(survivor)))
                }
            };
        }
        Self {
            durable: names.clone(),
            names,
            unsynced: Vec::new(),
        }
    }
}

fn apply(names: &mut BTreeMap<OsString, Node>, change: &Change) {
    match change {
        Change::Add(name, node) => {
            names.insert(name.clone(), node.clone());
        }
        Change::Remove(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}
