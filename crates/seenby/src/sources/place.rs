//! How far a file has been read, as it is kept with the sightings before it: a position, and a mark of the bytes in front of it by
//! which a file is known again, or known to be another. Refuses to hold: I/O, and the reading.
//!
//! A store keeps numbers under keys (`Store::offset`). Those of a file are
//!
//! ```text
//! file <device>:<inode>             position: bytes whose records are in the store
//! file <device>:<inode> mark        the first 8 bytes of the SHA-256 of the (up to) 1,024 bytes in front of it
//! file <device>:<inode> line        the line on which the next record begins
//! file <device>:<inode> header      where the header of its rows begins; 2^64 - 1: can only be read from its start
//! content <hash of its first 1,024 bytes> [mark|line]
//! ```
//!
//! The last one finds a copy (of `copytruncate`, or compressed) of what was read under another identity.

use aws_lc_rs::digest;
use formats::Place;
use sighting::Offset;

use super::root::FileId;

/// Bytes that a file is known by.
pub(super) const MARK_BYTES: usize = 1_024;

/// A header that stands nowhere: whoever wants more of this input reads it from its start.
const FROM_START: u64 = u64::MAX;

/// How far a file has been read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Kept {
    /// Bytes whose records are taken.
    pub(super) position: u64,
    /// Of the bytes in front of it.
    pub(super) mark: u64,
    pub(super) line: u64,
    header: u64,
}

impl Kept {
    /// At a place from which the rest can be read.
    pub(super) fn at(place: Place, before: &[u8]) -> Kept {
        Kept { position: place.position, mark: mark(before), line: place.line, header: place.header }
    }

    /// At the end of what can only be read from its start.
    pub(super) fn all(position: u64, before: &[u8]) -> Kept {
        Kept { position, mark: mark(before), line: 1, header: FROM_START }
    }

    /// The place, if the rest can be read from there.
    pub(super) fn place(self) -> Option<Place> {
        let Kept { position, line, header, .. } = self;
        (header != FROM_START).then_some(Place { position, line, header })
    }

    /// How many bytes before the position tell whether it is still the same file.
    pub(super) fn mark_bytes(self) -> usize {
        usize::try_from(self.position).unwrap_or(usize::MAX).min(MARK_BYTES)
    }

    /// Whether these bytes stood before the position.
    pub(super) fn is_marked_by(self, before: &[u8]) -> bool {
        before.len() == self.mark_bytes() && mark(before) == self.mark
    }

    /// What is kept of it under a key.
    pub(super) fn offsets(self, key: &Key) -> Vec<Offset> {
        let mut offsets = vec![
            Offset { key: key.position(), position: self.position },
            Offset { key: key.part("mark"), position: self.mark },
            Offset { key: key.part("line"), position: self.line },
        ];
        if matches!(key, Key::File(_)) {
            offsets.push(Offset { key: key.part("header"), position: self.header });
        }
        offsets
    }

    /// From what was kept; a part that is missing is what it is at the start.
    pub(super) fn of_parts(position: u64, mark: u64, line: Option<u64>, header: Option<u64>) -> Kept {
        Kept { position, mark, line: line.unwrap_or(1), header: header.unwrap_or(0) }
    }

    /// Whether rows may be read under the header at the start of the input.
    pub(super) fn has_first_header(self) -> bool {
        self.header == 0
    }
}

/// The first 8 bytes of a SHA-256: files are told apart by it, and whoever writes logs must not choose which.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// Under which a place is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    File(FileId),
    /// The mark of its first [`MARK_BYTES`].
    Content(u64),
}

impl Key {
    pub(super) fn position(&self) -> String {
        match self {
            Key::File(id) => format!("file {:x}:{:x}", id.device, id.inode),
            Key::Content(mark) => format!("content {mark:016x}"),
        }
    }

    pub(super) fn part(&self, part: &str) -> String {
        format!("{} {part}", self.position())
    }
}

/// The last bytes of an input that were read: enough for the mark of any place in it that may still be kept.
#[derive(Default, Debug)]
pub(super) struct Recent {
    bytes: Vec<u8>,
    /// Where in the input they end.
    end: u64,
}

impl Recent {
    /// Bytes that end at a position.
    pub(super) fn until(end: u64, bytes: Vec<u8>) -> Recent {
        Recent { bytes, end }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
    }

    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// The last of them, up to [`MARK_BYTES`].
    pub(super) fn tail(&self) -> &[u8] {
        self.before(self.end)
    }

    /// Up to [`MARK_BYTES`] before a position that is not before what was forgotten.
    pub(super) fn before(&self, position: u64) -> &[u8] {
        let behind = usize::try_from(self.end - position.min(self.end)).unwrap_or(usize::MAX);
        let end = self.bytes.len().saturating_sub(behind);
        self.bytes.get(end.saturating_sub(MARK_BYTES)..end).unwrap_or_default()
    }

    /// No earlier position than this will be asked about.
    pub(super) fn forget_before(&mut self, position: u64) {
        let behind = usize::try_from(self.end - position.min(self.end)).unwrap_or(usize::MAX);
        let needless = self.bytes.len().saturating_sub(behind.saturating_add(MARK_BYTES));
        // Not for every line: what is moved is at most as much as was read.
        if needless > self.bytes.len() / 2 {
            self.bytes.drain(..needless);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_bytes_before_any_place_are_those_of_the_input(
            pieces in prop::collection::vec((0usize..3_000, any::<prop::sample::Index>()), 1..20),
        ) {
            let (mut input, mut recent, mut forgotten) = (Vec::new(), Recent::default(), 0usize);
            for (length, index) in pieces {
                let piece: Vec<u8> = (0..length).map(|at| ((input.len() + at) % 251) as u8).collect();
                input.extend_from_slice(&piece);
                recent.push(&piece);
                let position = forgotten + index.index(input.len() - forgotten + 1);
                let expected = &input[position.saturating_sub(MARK_BYTES)..position];
                prop_assert_eq!(recent.before(position as u64), expected);
                recent.forget_before(position as u64);
                forgotten = position;
            }
            prop_assert_eq!(recent.tail(), &input[input.len().saturating_sub(MARK_BYTES)..]);
        }
    }

    #[test]
    fn a_place_is_known_again() {
        let before = vec![7; 5_000];
        let kept =
            Kept::at(Place { position: 5_000, line: 3, header: 0 }, &before[before.len() - MARK_BYTES..]);
        assert_eq!(kept.mark_bytes(), MARK_BYTES);
        assert!(kept.is_marked_by(&[7; MARK_BYTES]));
        assert!(!kept.is_marked_by(&[7; 10]) && !kept.is_marked_by(&[8; MARK_BYTES]));
        let key = Key::File(FileId { device: 0x801, inode: 255 });
        let keys: Vec<String> = kept.offsets(&key).into_iter().map(|offset| offset.key).collect();
        assert_eq!(keys, ["file 801:ff", "file 801:ff mark", "file 801:ff line", "file 801:ff header"]);
        assert_eq!(Kept::all(9, &[1; 9]).place(), None);
        assert!(kept.place().is_some() && kept.has_first_header());
    }
}
