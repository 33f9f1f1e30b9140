//! A folder in memory that knows what was synced. It can end at any operation, like a machine that loses its power, and be rebuilt
//! as a disk might have it then: what was synced, and of the rest some, torn and in any order.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::Random;
use crate::history::{Storage, StorageFile};

/// What every file write is made of on the disk: it may be torn there.
const SECTOR_BYTES: usize = 64;

#[derive(Clone, Debug)]
enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Bytes { at, bytes } => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Write::Cut { length } => content.resize(*length, 0),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Since the last sync.
    writes: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Naming {
    Give { name: String, file: usize },
    Take { name: String },
    Rename { from: String, to: String },
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Give { name, file } => _ = names.insert(name.clone(), *file),
            Naming::Take { name } => _ = names.remove(name),
            Naming::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// What the next operations of a kind come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Writes fail half way, with this.
    Write(io::ErrorKind),
    /// Syncs of files fail.
    Sync,
    /// Files can't be cut, and writes fail half way.
    WriteAndCut,
    /// Nothing can be made.
    Create(io::ErrorKind),
    /// Nothing can be read.
    Read,
}

#[derive(Clone, Debug, Default)]
struct State {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    namings: Vec<Naming>,
    /// Changes so far.
    pub(super) changes: usize,
    /// The change at which the power goes.
    ends_at: Option<usize>,
    fault: Option<Fault>,
    syncs: usize,
}

impl State {
    /// Counts a change. An error: there is no power any more.
    fn change(&mut self) -> io::Result<()> {
        if self.ends_at.is_some_and(|end| self.changes >= end) {
            return Err(io::Error::other("no power"));
        }
        self.changes += 1;
        Ok(())
    }
}

/// See the module. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Folder(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct File {
    folder: Folder,
    file: usize,
}

impl Folder {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Ends after so many further changes.
    pub(super) fn end_after(&self, changes: usize) {
        let mut state = self.state();
        state.ends_at = Some(state.changes + changes);
    }

    pub(super) fn has_ended(&self) -> bool {
        let state = self.state();
        state.ends_at.is_some_and(|end| state.changes >= end)
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(super) fn changes(&self) -> usize {
        self.state().changes
    }

    pub(super) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Bytes of everything there is.
    pub(super) fn bytes(&self) -> usize {
        let state = self.state();
        state.names.values().map(|file| state.contents[*file].now.len()).sum()
    }

    /// Changes a byte of a file.
    pub(super) fn spoil(&self, name: &str, at: usize) {
        let mut state = self.state();
        let file = state.names[name];
        state.contents[file].now[at] ^= 0xFF;
    }

    pub(super) fn length_of(&self, name: &str) -> usize {
        let state = self.state();
        state.contents[state.names[name]].now.len()
    }

    /// The folder as another process finds it after this one was killed: the system has all that was written.
    pub(super) fn after_kill(&self) -> Folder {
        let mut state = self.state().clone();
        (state.ends_at, state.fault) = (None, None);
        Folder(Arc::new(Mutex::new(state)))
    }

    /// The folder as it may be after a loss of power.
    pub(super) fn after_power_loss(&self, random: &mut Random) -> Folder {
        let state = self.state();
        let mut names = state.synced_names.clone();
        for naming in &state.namings {
            // What came later may be there without what came before.
            if random.chance(2) {
                naming.apply(&mut names);
            }
        }
        let contents = state.contents.iter().map(|content| {
            let mut bytes = content.synced.clone();
            let mut writes = content.writes.clone();
            for index in 0..writes.len() {
                let other = random.below(index + 1);
                if random.chance(4) {
                    writes.swap(index, other);
                }
            }
            for write in &writes {
                lose_some(write, &mut bytes, random);
            }
            Content { now: bytes.clone(), synced: bytes, writes: Vec::new() }
        });
        let contents = contents.collect();
        let rebuilt = State { contents, synced_names: names.clone(), names, ..State::default() };
        Folder(Arc::new(Mutex::new(rebuilt)))
    }
}

/// Applies a write that was not synced, or parts of it, or nothing.
fn lose_some(write: &Write, content: &mut Vec<u8>, random: &mut Random) {
    match (random.below(4), write) {
        (0, _) => {}
        (1, _) => write.apply(content),
        (2, Write::Bytes { at, bytes }) => {
            let length = random.below(bytes.len() + 1);
            Write::Bytes { at: *at, bytes: bytes[..length].to_vec() }.apply(content);
        }
        (_, Write::Bytes { at, bytes }) => {
            // The length is there and of the bytes only some: the others are zeros, or what was there before.
            content.resize(content.len().max(at + bytes.len()), 0);
            for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if random.chance(2) {
                    let start = at + index * SECTOR_BYTES;
                    content[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        (_, cut) => cut.apply(content),
    }
}

impl Storage for Folder {
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(File { folder: self.clone(), file })
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut state = self.state();
        if let Some(Fault::Create(kind)) = state.fault {
            return Err(kind.into());
        }
        state.change()?;
        let file = state.contents.len();
        state.contents.push(Content::default());
        let naming = Naming::Give { name: name.to_owned(), file };
        naming.apply(&mut state.names);
        state.namings.push(naming);
        Ok(File { folder: self.clone(), file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change()?;
        let naming = Naming::Take { name: name.to_owned() };
        naming.apply(&mut state.names);
        state.namings.push(naming);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change()?;
        let naming = Naming::Rename { from: from.to_owned(), to: to.to_owned() };
        naming.apply(&mut state.names);
        state.namings.push(naming);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.synced_names = state.names.clone();
        state.namings.clear();
        Ok(())
    }
}

impl StorageFile for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.folder.state();
        if state.fault == Some(Fault::Read) {
            return Err(io::Error::other("the disk is broken"));
        }
        let content = &state.contents[self.file].now;
        let rest = content.get(at as usize..).unwrap_or_default();
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.folder.state();
        let ended = state.change();
        let fails = match state.fault {
            Some(Fault::Write(kind)) => Some(kind.into()),
            Some(Fault::WriteAndCut) => Some(io::Error::other("the disk is broken")),
            _ => ended.err(),
        };
        // Half of it is written all the same.
        let bytes = if fails.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let write = Write::Bytes { at: at as usize, bytes: bytes.to_vec() };
        let content = &mut state.contents[self.file];
        write.apply(&mut content.now);
        content.writes.push(write);
        fails.map_or(Ok(()), Err)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.folder.state().contents[self.file].now.len() as u64)
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.folder.state();
        if state.fault == Some(Fault::WriteAndCut) {
            return Err(io::Error::other("the disk is broken"));
        }
        state.change()?;
        let write = Write::Cut { length: length as usize };
        let content = &mut state.contents[self.file];
        write.apply(&mut content.now);
        content.writes.push(write);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.folder.state();
        if state.fault == Some(Fault::Sync) {
            return Err(io::Error::other("the disk is broken"));
        }
        state.change()?;
        state.syncs += 1;
        let content = &mut state.contents[self.file];
        content.synced = content.now.clone();
        content.writes.clear();
        Ok(())
    }
}
