//! The fact as the index moves it: (key, identity, second of the day, source), in sorted runs of one organisation,
//! table and UTC day. Refuses to hold: files, days and organisations (the cell says those) and names (numbers only).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sighting::{Address, SECONDS_PER_DAY};

/// What a cell's rows say. The three tables share runs, segments, merges and retention.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    /// Key: remote address. Identity: who opened the connection.
    Sightings = 0,
    /// Key: number of a name. Identity: the agent that carried it.
    Carriers = 1,
    /// Key: zero. Identity: who reported at all that day, at second zero.
    Reporters = 2,
}

impl Table {
    pub(crate) const ALL: [Table; 3] = [Table::Sightings, Table::Carriers, Table::Reporters];

    pub(crate) fn from_byte(byte: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| *table as u8 == byte)
    }
}

/// A key of 16 bytes as two words, so that a row needs no padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Key {
    high: u64,
    low: u64,
}

impl Key {
    pub(crate) fn of_address(address: Address) -> Key {
        Key::from_u128(u128::from_be_bytes(address.octets()))
    }

    pub(crate) fn of_number(number: u32) -> Key {
        Key { high: 0, low: u64::from(number) }
    }

    /// The number that [`Key::of_number`] was made of.
    pub(crate) fn number(self) -> u32 {
        self.low as u32
    }

    pub(crate) fn from_u128(value: u128) -> Key {
        Key { high: (value >> 64) as u64, low: value as u64 }
    }

    pub(crate) fn as_u128(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// One fact. Ordered by key, identity, second and source; 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// The identity in the upper half, then 17 bits of second and 15 bits of source.
    tail: u64,
}

/// Sources of one organisation have numbers below this.
pub(crate) const SOURCES_MAX: u32 = 1 << SOURCE_BITS;
const SOURCE_BITS: u32 = 15;

impl Row {
    pub(crate) fn new(key: Key, identity: u32, of_day: u32, source: u16) -> Row {
        debug_assert!(of_day < SECONDS_PER_DAY && u32::from(source) < SOURCES_MAX);
        Row { key, tail: u64::from(identity) << 32 | u64::from(of_day << SOURCE_BITS | u32::from(source)) }
    }

    pub(crate) fn from_parts(key: Key, tail: u64) -> Row {
        Row { key, tail }
    }

    pub(crate) fn tail(self) -> u64 {
        self.tail
    }

    pub(crate) fn identity(self) -> u32 {
        (self.tail >> 32) as u32
    }

    pub(crate) fn of_day(self) -> u32 {
        self.tail as u32 >> SOURCE_BITS
    }

    pub(crate) fn source(self) -> u16 {
        (self.tail as u32 & (SOURCES_MAX - 1)) as u16
    }
}

/// The numbers of segments count up from 1 and never get so far.
const RUN_NUMBERS: u64 = 1 << 63;

fn next_number() -> u64 {
    // Only that no two are the same matters: no answer depends on which they are.
    static NEXT: AtomicU64 = AtomicU64::new(RUN_NUMBERS);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Rows in rising order without repeats, immutable.
#[derive(Debug)]
pub(crate) struct Run {
    rows: Box<[Row]>,
    /// Unique in the process, and the number of no segment.
    pub(crate) number: u64,
    /// The runs that it was made of, if that is so: it says no more than they did.
    pub(crate) made_of: Vec<u64>,
    /// Which journal holds it: runs up to a generation leave memory when that generation is in segments.
    pub(crate) generation: u64,
}

impl Run {
    /// From rows that are sorted and without repeats already.
    pub(crate) fn from_sorted(rows: Vec<Row>, generation: u64) -> Run {
        debug_assert!(rows.is_sorted_by(|a, b| a < b));
        Run { rows: rows.into_boxed_slice(), number: next_number(), made_of: Vec::new(), generation }
    }

    /// Several runs as one; it belongs to the newest generation among them.
    pub(crate) fn merged(runs: &[Arc<Run>]) -> Run {
        let mut rows = Vec::with_capacity(runs.iter().map(|run| run.rows.len()).sum());
        rows.extend(Merged::of(runs));
        Run {
            rows: rows.into_boxed_slice(),
            number: next_number(),
            made_of: runs.iter().map(|run| run.number).collect(),
            generation: runs.iter().map(|run| run.generation).max().unwrap_or_default(),
        }
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows of one key.
    pub(crate) fn of_key(&self, key: Key) -> &[Row] {
        let start = self.rows.partition_point(|row| row.key < key);
        let rest = &self.rows[start..];
        let end = if rest.first().is_none_or(|row| row.key != key) {
            0
        } else {
            rest.partition_point(|row| row.key == key)
        };
        &rest[..end]
    }
}
/// The rows of several runs in rising order without repeats. A part of all of them is sorted at a time, small enough for the
/// processor's cache: that takes less time than sorting them as a whole, and hardly any memory.
pub(crate) struct Merged<'a> {
    /// What is left of each.
    rest: Vec<&'a [Row]>,
    part: std::vec::IntoIter<Row>,
}

/// Rows of a part: 400 KB.
const PART_ROWS: usize = 1 << 14;

impl<'a> Merged<'a> {
    pub(crate) fn of(runs: &'a [Arc<Run>]) -> Merged<'a> {
        let rest = runs.iter().map(|run| run.rows()).collect();
        Merged { rest, part: Vec::new().into_iter() }
    }

    /// The next part; empty at the end.
    fn next_part(&mut self) -> Vec<Row> {
        self.rest.retain(|rows| !rows.is_empty());
        let left: usize = self.rest.iter().map(|rows| rows.len()).sum();
        // Of each run, the row behind its share; up to the least of them no run has more than its share.
        let share = |rows: &&[Row]| (rows.len() as u128 * PART_ROWS as u128 / left as u128) as usize;
        let behind = self.rest.iter().map(|rows| rows[share(rows).min(rows.len() - 1)]);
        let Some(last) = behind.min() else { return Vec::new() };
        let mut part = Vec::with_capacity(left.min(PART_ROWS + self.rest.len()));
        for rows in &mut self.rest {
            let (now, later) = rows.split_at(rows.partition_point(|row| *row <= last));
            part.extend_from_slice(now);
            *rows = later;
        }
        // The standard stable sort finds the sorted stretches and merges them: the cost is one pass per doubling.
        part.sort();
        part.dedup();
        part
    }
}

impl Iterator for Merged<'_> {
    type Item = Row;

    #[inline]
    fn next(&mut self) -> Option<Row> {
        if let Some(row) = self.part.next() {
            return Some(row);
        }
        self.part = self.next_part().into_iter();
        self.part.next()
    }
}
