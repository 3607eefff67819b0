//! The journal: frames appended to a file and synced before a receipt, several writers sharing one sync. Refuses to
//! hold: the meaning of a frame's bytes (see `record`), and the decision when a journal may go.
//!
//! A frame is `magic, length, checksum, synced, payload`: `synced` is how much of the file was known durable when the
//! frame was written, and the checksum covers the frame's place too, so that a payload cannot pass for a frame. After a
//! power cut the last file may end in torn frames, which no receipt covers; they are cut off. A broken frame that a
//! later frame calls durable is damage, and is reported instead.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::codec::Reader;
use crate::error::IndexError;
use crate::storage::{File, Storage};

const FRAME_MAGIC: [u8; 4] = *b"jrn1";
/// Magic, length, checksum, synced.
const FRAME_HEAD_BYTES: usize = 4 + 4 + 4 + 8;
/// A frame's payload is at most this, whatever is asked for: a batch of four million sightings is far below.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The folder of journals.
pub(crate) const FOLDER: &str = "journal";

/// The file name of a journal.
pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:010}.journal")
}

/// The number of a journal's file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".journal")?.parse().ok()
}

/// One journal file, open for appending.
pub(crate) struct Journal {
    file: Arc<dyn File>,
    number: u64,
    path: String,
    payload_bytes_max: usize,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Default)]
struct State {
    written: u64,
    durable: u64,
    syncing: bool,
    /// The text of the first failure: after it nothing is acknowledged any more.
    failed: Option<String>,
}

/// Where a frame ends: durable once the journal is durable up to here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position(u64);

impl Journal {
    /// A new, empty journal whose name is durable.
    pub(crate) fn create(
        storage: &dyn Storage,
        number: u64,
        payload_bytes_max: usize,
    ) -> Result<Journal, IndexError> {
        let path = path(number);
        let file = storage.create(&path).map_err(IndexError::io(&path))?;
        storage.sync_names(FOLDER).map_err(IndexError::io(FOLDER))?;
        let payload_bytes_max = payload_bytes_max.min(PAYLOAD_BYTES_MAX);
        Ok(Journal { file, number, path, payload_bytes_max, state: Mutex::default(), synced: Condvar::new() })
    }

    /// Appends a frame: what `fill` writes while no other frame can get in between, then `rest`, which is megabytes and not
    /// copied. What does not fit is not written; `fill` has to ask before it takes anything that must reach a frame. Not durable
    /// yet.
    pub(crate) fn append(
        &self,
        fill: impl FnOnce(&mut Frame) -> Result<(), IndexError>,
        rest: &[u8],
    ) -> Result<Position, IndexError> {
        let mut state = self.state();
        self.check(&state)?;
        let mut frame = Frame {
            bytes: vec![0; FRAME_HEAD_BYTES],
            rest_bytes: rest.len(),
            payload_bytes_max: self.payload_bytes_max,
        };
        fill(&mut frame)?;
        frame.check()?;
        let payload_bytes = frame.payload_bytes();
        let mut frame = frame.bytes;
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        frame[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
        frame[12..20].copy_from_slice(&state.durable.to_le_bytes());
        let checksum = checksum((self.number, state.written), [&frame[12..], rest]);
        frame[8..12].copy_from_slice(&checksum.to_le_bytes());
        for bytes in [&frame, rest].into_iter().filter(|bytes| !bytes.is_empty()) {
            if let Err(error) = self.file.write_at(state.written, bytes) {
                return Err(self.fail(&mut state, error));
            }
            state.written += bytes.len() as u64;
        }
        Ok(Position(state.written))
    }

    /// Returns when everything up to a position is durable. One caller syncs, the others wait for it.
    pub(crate) fn sync_to(&self, position: Position) -> Result<(), IndexError> {
        let mut state = self.state();
        loop {
            if state.durable >= position.0 {
                return Ok(());
            }
            self.check(&state)?;
            if state.syncing {
                state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            let written = state.written;
            drop(state);
            let outcome = self.file.sync();
            state = self.state();
            state.syncing = false;
            match outcome {
                Ok(()) => state.durable = written,
                Err(error) => {
                    let error = self.fail(&mut state, error);
                    self.synced.notify_all();
                    return Err(error);
                }
            }
            self.synced.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, state: &State) -> Result<(), IndexError> {
        match &state.failed {
            Some(failure) => Err(IndexError::Stopped(failure.clone())),
            None => Ok(()),
        }
    }

    fn fail(&self, state: &mut State, error: std::io::Error) -> IndexError {
        state.failed = Some(error.to_string());
        IndexError::Io { path: self.path.clone(), cause: error }
    }
}

/// The beginning of a frame, while it is filled.
pub(crate) struct Frame {
    bytes: Vec<u8>,
    /// Bytes that will follow.
    rest_bytes: usize,
    payload_bytes_max: usize,
}

impl Frame {
    /// Where to write.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether all of it fits.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        check_payload(self.payload_bytes(), self.payload_bytes_max)
    }

    fn payload_bytes(&self) -> usize {
        self.bytes.len() - FRAME_HEAD_BYTES + self.rest_bytes
    }
}

/// Whether so many bytes fit into a frame.
pub(crate) fn check_payload(bytes: usize, bytes_max: usize) -> Result<(), IndexError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(IndexError::Refused(format!(
        "a batch of {bytes} bytes is more than a journal record of {bytes_max} bytes holds; append less at a time"
    )))
}

/// Reads every payload of a journal in order, and makes all that it read durable: whoever wrote it may have been killed
/// before it was. `last` says that the file may end in torn frames, which are cut off; returns the bytes cut.
pub(crate) fn replay(
    storage: &dyn Storage,
    number: u64,
    last: bool,
    mut each: impl FnMut(&[u8], u64) -> Result<(), IndexError>,
) -> Result<u64, IndexError> {
    let path = path(number);
    let file = storage.open(&path).map_err(IndexError::io(&path))?;
    let len = file.len().map_err(IndexError::io(&path))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_at(0, &mut bytes).map_err(IndexError::io(&path))?;
    let (mut at, mut durable) = (0, 0);
    while let Some(frame) = parse_frame(&bytes[at..], (number, at as u64)) {
        each(frame.payload, at as u64)?;
        durable = frame.synced;
        at += FRAME_HEAD_BYTES + frame.payload.len();
    }
    let cut = (bytes.len() - at) as u64;
    if cut > 0 {
        if !last || durable_beyond(&bytes, at, number) {
            return Err(IndexError::corrupt(&path, at as u64, "an acknowledged frame is broken"));
        }
        file.set_len(at as u64).map_err(IndexError::io(&path))?;
    }
    make_durable(&*file, &path, &bytes[..at], durable)?;
    Ok(cut)
}

/// Syncs a file after what is not known to be durable was written once more: after a sync that failed, the system may
/// take pages for clean that never reached the disk.
fn make_durable(file: &dyn File, path: &str, bytes: &[u8], durable: u64) -> Result<(), IndexError> {
    let tail = usize::try_from(durable).ok().and_then(|durable| bytes.get(durable..)).unwrap_or(bytes);
    if !tail.is_empty() {
        let offset = (bytes.len() - tail.len()) as u64;
        file.write_at(offset, tail).map_err(IndexError::io(path))?;
    }
    file.sync().map_err(IndexError::io(path))
}

struct FrameRead<'a> {
    synced: u64,
    payload: &'a [u8],
}

/// The checksum of a frame, from `synced` on, at its place: the number of the journal and the offset in it.
fn checksum<const N: usize>((number, offset): (u64, u64), synced_and_payload: [&[u8]; N]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    synced_and_payload.iter().for_each(|bytes| hasher.update(bytes));
    hasher.finalize()
}

/// The frame at the front of `bytes`, which lie at `place`, if there is a whole and undamaged one.
fn parse_frame(bytes: &[u8], place: (u64, u64)) -> Option<FrameRead<'_>> {
    let mut reader = Reader::new(bytes);
    let magic: [u8; 4] = reader.array().ok()?;
    let payload_bytes = reader.u32().ok()? as usize;
    let expected = reader.u32().ok()?;
    let synced = reader.u64().ok()?;
    let payload = reader.take(payload_bytes).ok()?;
    let covered = bytes.get(12..FRAME_HEAD_BYTES + payload_bytes)?;
    (magic == FRAME_MAGIC && checksum(place, [covered]) == expected).then_some(FrameRead { synced, payload })
}

/// Whether a whole frame behind `at` says that what lies at `at` had been durable before it was written.
fn durable_beyond(bytes: &[u8], at: usize, number: u64) -> bool {
    let candidates = bytes.windows(4).enumerate().skip(at + 1).filter(|(_, window)| *window == FRAME_MAGIC);
    candidates
        .filter_map(|(place, _)| parse_frame(&bytes[place..], (number, place as u64)))
        .any(|frame| frame.synced > at as u64)
}
