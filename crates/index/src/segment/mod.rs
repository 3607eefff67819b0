//! Segments: immutable files of sorted rows, each of one organisation, table and UTC day. Refuses to hold: which
//! segments exist (the manifest), and anything that changes.
//!
//! A file is a header, pages in key order, a filter, an index of pages and a trailer; `docs/format.md` gives every
//! byte. Small keys share **pages** of at most [`PAGE_FACTS`] facts; a key with more facts or identities has a
//! **block** of its own, whose set of identities lies apart from its seconds, so that a whole day of a hot address is
//! read without them.

mod block;
mod handles;
mod page;
mod reader;
mod writer;

use sighting::{Day, OrganisationId};

use crate::row::Table;

pub(crate) use handles::Handles;
pub(crate) use reader::Segment;
pub(crate) use writer::SegmentWriter;

/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"seenbyS\n";
/// The format's version: readers refuse newer ones.
const VERSION: u16 = 1;
/// Bytes of the header and of the trailer.
const HEADER_BYTES: usize = 48;
const TRAILER_BYTES: usize = 56;
/// Facts that share a page; about 7 KB, which one read and one checksum handle in about 2 us.
const PAGE_FACTS: usize = 1024;

/// Which cell a segment belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Cell {
    pub(crate) organisation: OrganisationId,
    pub(crate) table: Table,
    pub(crate) day: Day,
}

/// What a page index entry points at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Many small keys.
    Page,
    /// One large key.
    Block,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Probe;
    use crate::row::{Key, Row};
    use crate::storage::{Disk, Storage};
    use crate::store::Options;
    use sighting::Uuid;
    use std::sync::Arc;

    /// Writes a segment of so many small keys and one large one in their midst, and holds its filter against the keys.
    #[track_caller]
    fn check_filter(keys: u32) {
        let folder = tempfile::tempdir().expect("a folder");
        let disk: Arc<dyn Storage> = Arc::new(Disk::new(folder.path()).expect("a folder"));
        let cell = Cell {
            organisation: OrganisationId(Uuid::nil()),
            table: Table::Sightings,
            day: Day::new(200).expect("in range"),
        };
        let file = disk.create("one").expect("a file");
        let mut writer = SegmentWriter::new(Arc::clone(&file), "one".to_owned(), cell);
        for number in 0..keys {
            let facts = if number == keys / 2 { 700 } else { 1 };
            for second in 0..facts {
                writer.push(Row::new(Key::of_number(number), 1, second, 0)).expect("written");
            }
        }
        assert_eq!(writer.finish().expect("written"), u64::from(keys) + 699);
        let handles = Handles::new(disk, &Options::default());
        let segment = Segment::open(&handles, file, "one".to_owned(), 1, Vec::new()).expect("opens");
        assert!(!segment.is_filtered());
        segment.take_filter().expect("read");
        assert!(segment.is_filtered());
        let holds = |number| segment.may_hold(&Probe::of(Key::of_number(number)));
        assert!((0..keys).all(holds), "{keys}");
        let strangers = (keys..keys + 100_000).filter(|number| holds(*number)).count();
        assert!(strangers < 1_500, "{strangers} of 100,000 strangers pass with {keys} keys");
    }

    #[test]
    fn a_filter_holds_every_key_and_little_else() {
        // Below and above what the writer remembers of keys.
        for keys in [1, 100, 1_024, 1_025, 20_000] {
            check_filter(keys);
        }
    }
}
