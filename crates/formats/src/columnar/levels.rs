//! How many elements the rows of a column have, as the levels in front of a page's values tell it: that many are in memory at once.
//! Refuses to hold: whether levels are sound (the library finds out), and values.
//!
//! ```text
//! 0 1 1 0 0 1        a row begins at every 0: three rows, of 3, 1 and 2 elements
//! 06 00, 03 88 c6    runs: a number doubled says how often the level follows; one more than doubled, how many eights of levels
//! ```
//!
//! Source: the specification of Parquet, "Encodings", RLE and bit-packing hybrid.

use parquet::basic::Encoding;
use parquet::column::page::Page;

/// The rows of one column so far.
#[derive(Default)]
pub(super) struct Rows {
    /// How many began.
    pub(super) count: u64,
    /// The elements of those that are read together with the last one.
    in_batch: u64,
    /// The most that rows of one page had, read together.
    pub(super) most: u64,
}

impl Rows {
    /// Goes on with a page of a column in no list: each value is a row.
    pub(super) const fn pass(&mut self, values: u64) {
        self.count += values;
    }

    /// Goes on with the page of a column in lists as deep as `depth`; rows are read `batch` at a time.
    pub(super) fn count(&mut self, page: &Page, depth: i16, batch: u64) {
        let mut left = u64::from(page.num_values());
        self.most = 0;
        each_run(levels(page), u16::BITS - depth.unsigned_abs().leading_zeros(), &mut |times, begins| {
            let times = times.min(left);
            left -= times;
            self.add(times, begins, batch);
        });
        // What no level is there for begins no row; it may be many.
        self.add(left, false, batch);
    }

    /// Elements, each of which begins a row or none does.
    fn add(&mut self, times: u64, begins: bool, batch: u64) {
        let room = if begins { self.count.next_multiple_of(batch) - self.count } else { u64::MAX };
        let in_next = times.saturating_sub(room);
        self.in_batch = self.in_batch.saturating_add(times - in_next);
        self.most = self.most.max(self.in_batch);
        if in_next > 0 {
            self.in_batch = (in_next - 1) % batch + 1;
            self.most = self.most.max(in_next.min(batch));
        }
        self.count += if begins { times } else { 0 };
    }
}

/// The repetition levels of a page; none, where they are packed as nobody does any more.
fn levels(page: &Page) -> &[u8] {
    match page {
        Page::DataPageV2 { buf, rep_levels_byte_len, .. } => {
            buf.get(..*rep_levels_byte_len as usize).unwrap_or_default()
        }
        Page::DataPage { buf, rep_level_encoding: Encoding::RLE, .. } => {
            let Some((length, rest)) = buf.split_first_chunk() else { return &[] };
            rest.get(..u32::from_le_bytes(*length) as usize).unwrap_or_default()
        }
        Page::DataPage { .. } | Page::DictionaryPage { .. } => &[],
    }
}

/// Hands out how often a level follows, and whether it is 0, until what is there is no level.
fn each_run(mut levels: &[u8], width: u32, take: &mut impl FnMut(u64, bool)) {
    while let Some((header, rest)) = varint(levels) {
        let (size, packed) = (header >> 1, header & 1 == 1);
        let bytes = if packed { size.saturating_mul(u64::from(width)) } else { u64::from(width.div_ceil(8)) };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
        let (run, behind) = rest.split_at(bytes);
        levels = behind;
        if packed {
            each_packed(run, width, take);
        } else if !run.is_empty() {
            take(size, run.iter().all(|byte| *byte == 0));
        }
    }
}

/// The levels in some bytes, one behind the other from the lowest bit on.
fn each_packed(run: &[u8], width: u32, take: &mut impl FnMut(u64, bool)) {
    let (mut bits, mut count) = (0u64, 0);
    for byte in run {
        bits |= u64::from(*byte) << count;
        count += 8;
        while count >= width {
            take(1, bits & ((1 << width) - 1) == 0);
            bits >>= width;
            count -= width;
        }
    }
}

/// A number of seven bits a byte, the lowest first, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Levels as runs, packed or not, and what they say.
    fn any_runs(width: u32) -> impl Strategy<Value = (Vec<u8>, Vec<u16>)> {
        let level = 0..1u16 << width;
        let repeated = (1..300usize, level.clone()).prop_map(move |(times, level)| {
            let mut bytes = put_varint(times as u64 * 2);
            bytes
                .extend_from_slice(level.to_le_bytes().get(..width.div_ceil(8) as usize).unwrap_or_default());
            (bytes, vec![level; times])
        });
        let packed = prop::collection::vec(level, 1..5usize).prop_map(move |levels| {
            let levels: Vec<u16> = levels.iter().copied().cycle().take(levels.len() * 8).collect();
            let mut bytes = put_varint(levels.len() as u64 / 8 * 2 + 1);
            let bits = levels.iter().flat_map(|level| (0..width).map(move |bit| level >> bit & 1 == 1));
            let bits: Vec<bool> = bits.collect();
            bytes.extend(
                bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum * 2 + u8::from(*bit))),
            );
            (bytes, levels)
        });
        prop::collection::vec(prop_oneof![repeated, packed], 0..12).prop_map(|runs| {
            runs.into_iter().fold(Default::default(), |(mut bytes, mut levels): (Vec<u8>, Vec<u16>), run| {
                bytes.extend(run.0);
                levels.extend(run.1);
                (bytes, levels)
            })
        })
    }

    fn put_varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(0x80 | value as u8);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn check(bytes: &[u8], levels: &[u16], width: u32) -> Result<(), TestCaseError> {
        let mut told = Vec::new();
        each_run(bytes, width, &mut |times, begins| told.extend(vec![begins; times as usize]));
        let begins: Vec<bool> = levels.iter().map(|level| *level == 0).collect();
        prop_assert_eq!(&told, &begins);
        let (mut rows, mut one_by_one) = (Rows::default(), Rows::default());
        each_run(bytes, width, &mut |times, begins| rows.add(times, begins, 8));
        begins.iter().for_each(|begins| one_by_one.add(1, *begins, 8));
        let all = |rows: &Rows| (rows.count, rows.in_batch, rows.most);
        prop_assert_eq!(all(&rows), all(&one_by_one));
        Ok(())
    }

    proptest! {
        #[test]
        fn runs_say_what_was_written((bytes, levels) in any_runs(1)) {
            check(&bytes, &levels, 1)?;
        }

        #[test]
        fn deeper_lists_have_wider_levels((bytes, levels) in any_runs(3)) {
            check(&bytes, &levels, 3)?;
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), width in 1..16u32) {
            let mut most = 0;
            each_run(&bytes, width, &mut |times, _| most = most.max(times));
            prop_assert!(most <= 1 << 34);
        }
    }

    #[test]
    fn what_is_read_together_is_counted() {
        let mut rows = Rows::default();
        for length in [1, 5, 1, 1] {
            rows.add(1, true, 2);
            rows.add(length - 1, false, 2);
        }
        // The second row is read with the first, the fourth with the third.
        assert_eq!((rows.count, rows.in_batch, rows.most), (4, 2, 6));
    }
}
