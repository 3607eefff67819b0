//! A disk in memory that keeps its promises and nothing more: what was not synced may be lost, torn or half renamed
//! when the power goes, and a sync that failed takes what it should have written for clean, as real systems do. Refuses to
//! hold: kindness.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use seenby_index::storage::{File, Storage};

/// A disk whose power can be cut before any of its operations.
#[derive(Clone, Default)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since their folder was synced.
    pending_names: Vec<NameChange>,
    operations: u64,
    cut_before: Option<u64>,
    /// This one operation fails, and the disk goes on.
    fails: Option<u64>,
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            NameChange::Create(path, _) | NameChange::Remove(path) | NameChange::Rename(_, path) => {
                folder_of(path)
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(path, file) => drop(names.insert(path.clone(), *file)),
            NameChange::Remove(path) => drop(names.remove(path)),
            NameChange::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Write::Bytes(offset, written) => {
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(written);
            }
            Write::Length(len) => bytes.resize(*len as usize, 0),
        }
    }
}

/// A small deterministic generator: the tests need nothing better.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

impl Sim {
    /// Operations done so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().expect("not poisoned").operations
    }

    /// Cuts the power before operation number `operation`.
    pub fn cut_before(&self, operation: u64) {
        self.state.lock().expect("not poisoned").cut_before = Some(operation);
    }

    /// The process that worked here is dead and another begins: what was written is there, what was not synced is still
    /// not durable.
    pub fn next_process(&self) {
        self.state.lock().expect("not poisoned").cut_before = None;
    }

    /// Lets operation number `operation` fail, once.
    pub fn fail_once(&self, operation: u64) {
        self.state.lock().expect("not poisoned").fails = Some(operation);
    }

    /// The length of a file.
    pub fn len_of(&self, path: &str) -> usize {
        let state = self.state.lock().expect("not poisoned");
        state.files[state.names[path]].bytes.len()
    }

    /// What the disk holds after the power came back: everything synced, and of the rest what the dice leave.
    pub fn after_power_cut(&self, dice: &mut Dice) -> Sim {
        let state = self.state.lock().expect("not poisoned");
        let mut names = state.durable_names.clone();
        for change in &state.pending_names {
            if dice.roll(2) == 0 {
                change.apply(&mut names);
            }
        }
        let files: Vec<Content> = state
            .files
            .iter()
            .map(|file| {
                let mut bytes = file.durable.clone();
                for write in &file.pending {
                    match (write, dice.roll(4)) {
                        (_, 0) => {}
                        (Write::Bytes(offset, written), 1) => {
                            let part = dice.roll(written.len() as u64 + 1) as usize;
                            Write::Bytes(*offset, written[..part].to_vec()).apply(&mut bytes);
                        }
                        (Write::Bytes(offset, written), 2) if *offset >= file.durable.len() as u64 => {
                            // The file grew but the bytes did not arrive: a hole of zeros. Bytes that were there
                            // before do not turn into zeros.
                            Write::Bytes(*offset, vec![0; written.len()]).apply(&mut bytes);
                        }
                        _ => write.apply(&mut bytes),
                    }
                }
                Content { durable: bytes.clone(), bytes, pending: Vec::new() }
            })
            .collect();
        let state = State { files, durable_names: names.clone(), names, ..State::default() };
        Sim { state: Arc::new(Mutex::new(state)) }
    }

    /// Flips one bit of a file.
    pub fn flip(&self, path: &str, byte: usize, bit: u8) {
        let mut state = self.state.lock().expect("not poisoned");
        let file = state.names[path];
        let content = &mut state.files[file];
        let at = byte % content.bytes.len();
        content.bytes[at] ^= 1 << (bit % 8);
        content.durable = content.bytes.clone();
    }

    /// Every file name.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().expect("not poisoned").names.keys().cloned().collect()
    }

    /// A sync failed: its pages count as clean from now on and never reach the disk. Those of a power cut are left to it.
    fn forget_pending(&self, file: usize) {
        let mut state = self.state.lock().expect("not poisoned");
        if state.cut_before.is_none() {
            state.files[file].pending.clear();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().expect("not poisoned");
        if state.cut_before.is_some_and(|cut| state.operations >= cut) {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        if state.fails == Some(state.operations - 1) {
            return Err(io::Error::other("this operation fails"));
        }
        change(&mut state)
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Storage for Sim {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.change(|state| {
            state.files.push(Content::default());
            let file = state.files.len() - 1;
            state.names.insert(path.to_owned(), file);
            state.pending_names.push(NameChange::Create(path.to_owned(), file));
            Ok(Arc::new(SimFile { disk: self.clone(), file }) as Arc<dyn File>)
        })
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = *self.state.lock().expect("not poisoned").names.get(path).ok_or_else(missing)?;
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.state.lock().expect("not poisoned").names.contains_key(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let change = NameChange::Rename(from.to_owned(), to.to_owned());
            change.apply(&mut state.names);
            state.pending_names.push(change);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.change(|state| {
            state.names.remove(path).ok_or_else(missing)?;
            state.pending_names.push(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock().expect("not poisoned");
        let inside = state.names.keys().filter(|path| folder_of(path) == folder);
        Ok(inside.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect())
    }

    fn make_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self, folder: &str) -> io::Result<()> {
        self.change(|state| {
            let (synced, left) = std::mem::take(&mut state.pending_names)
                .into_iter()
                .partition(|change| change.folder() == folder);
            state.pending_names = left;
            let synced: Vec<NameChange> = synced;
            for change in synced {
                change.apply(&mut state.durable_names);
            }
            Ok(())
        })
    }
}

struct SimFile {
    disk: Sim,
    file: usize,
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().expect("not poisoned").files[self.file].bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock().expect("not poisoned");
        let bytes = &state.files[self.file].bytes;
        let start = usize::try_from(offset).expect("small");
        let part = bytes
            .get(start..start + buffer.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(|state| {
            let write = Write::Bytes(offset, bytes.to_vec());
            let file = &mut state.files[self.file];
            write.apply(&mut file.bytes);
            file.pending.push(write);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            let file = &mut state.files[self.file];
            Write::Length(len).apply(&mut file.bytes);
            file.pending.push(Write::Length(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.disk.change(|state| {
            let file = &mut state.files[self.file];
            // What an earlier sync failed to write is not written by this one.
            for write in std::mem::take(&mut file.pending) {
                write.apply(&mut file.durable);
            }
            Ok(())
        });
        if synced.is_err() {
            self.disk.forget_pending(self.file);
        }
        synced
    }
}
