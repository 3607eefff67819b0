//! Runs: facts of one cell in memory, in rising order. Refuses to hold: the fact itself (see `row`), when runs are merged or
//! written (the store's and `upkeep`), and files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::filter::{Filter, Probe};
use crate::row::{Key, Row};

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
    /// None where searching takes no longer than asking it.
    filter: Option<Filter>,
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
        let filter = filter_of(&rows);
        Run { rows: rows.into_boxed_slice(), filter, number: next_number(), made_of: Vec::new(), generation }
    }

    /// Several runs as one; it belongs to the newest generation among them.
    pub(crate) fn merged(runs: &[Arc<Run>]) -> Run {
        let mut rows = Vec::with_capacity(runs.iter().map(|run| run.rows.len()).sum());
        rows.extend(Merged::of(runs));
        let filter = filter_of(&rows);
        Run {
            filter,
            rows: rows.into_boxed_slice(),
            number: next_number(),
            made_of: runs.iter().map(|run| run.number).collect(),
            generation: runs.iter().map(|run| run.generation).max().unwrap_or_default(),
        }
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether the key of a probe may be here. Never false for one that is, true for one in 100 that are not.
    #[inline]
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(probe))
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
/// A filter of the keys of rows, where there are many.
fn filter_of(rows: &[Row]) -> Option<Filter> {
    let keys = || rows.chunk_by(|a, b| a.key == b.key).filter_map(|rows| rows.first());
    if rows.len() < FILTERED_ROWS_MIN {
        return None;
    }
    let mut filter = Filter::for_keys(keys().count());
    keys().for_each(|row| filter.add(&Probe::of(row.key)));
    Some(filter)
}

/// The rows of several runs in rising order without repeats. A part of all of them is sorted at a time, small enough for the
/// processor's cache: that takes less time than sorting them as a whole, and hardly any memory.
pub(crate) struct Merged<'a> {
    /// What is left of each.
    rest: Vec<&'a [Row]>,
    part: std::vec::IntoIter<Row>,
}

/// From so many rows on a search takes longer: nine steps, and no processor guesses where they go.
const FILTERED_ROWS_MIN: usize = 1 << 9;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of numbers that wander through so many keys, sorted.
    fn rows(count: u32, step: u32, keys: u32) -> Vec<Row> {
        let row = |number: u32| {
            let mixed = number.wrapping_mul(step);
            Row::new(Key::of_number(mixed % keys), mixed % 7, mixed % 86_400, 0)
        };
        let mut rows: Vec<Row> = (0..count).map(row).collect();
        rows.sort();
        rows.dedup();
        rows
    }

    #[track_caller]
    fn check(runs: &[Vec<Row>]) {
        let mut expected = runs.concat();
        expected.sort();
        expected.dedup();
        let runs: Vec<Arc<Run>> =
            runs.iter().map(|rows| Arc::new(Run::from_sorted(rows.clone(), 1))).collect();
        assert!(Merged::of(&runs).eq(expected.iter().copied()), "{} rows", expected.len());
        let merged = Run::merged(&runs);
        assert_eq!(merged.rows(), expected);
        for row in &expected {
            assert!(merged.may_hold(&Probe::of(row.key)));
        }
    }

    #[test]
    fn merged_is_sorted_and_without_repeats() {
        check(&[]);
        check(&[Vec::new(), rows(1, 1, 1)]);
        check(&[rows(100, 1, 100), rows(100, 1, 100)]);
        // More than a part, all of one key, of other lengths, and one whose keys lie before everyone else's.
        check(&[rows(50_000, 0x9e37_79b1, 1 << 20), rows(40_000, 0x85eb_ca6b, 1 << 20), rows(7, 3, 10)]);
        check(&[rows(40_000, 0x9e37_79b1, 1), rows(40_000, 0x85eb_ca6b, 1)]);
        check(&[rows(60_000, 0x9e37_79b1, 1 << 20), rows(60_000, 1, 50)]);
    }

    #[test]
    fn a_filter_lets_few_strangers_through() {
        let run = Run::from_sorted(rows(10_000, 1, 10_000), 1);
        let strangers = (10_000..110_000).filter(|number| run.may_hold(&Probe::of(Key::of_number(*number))));
        assert!(strangers.count() < 1_500);
        let small = Run::from_sorted(rows(10, 1, 10), 1);
        assert!(small.may_hold(&Probe::of(Key::of_number(99))), "a search takes no longer");
    }
}
