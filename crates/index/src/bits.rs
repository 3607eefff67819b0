//! Packed integers: fixed-width columns, bit vectors with select, and sorted sequences in the Elias-Fano form, all
//! readable in place from a page's bytes. Refuses to hold: what the numbers mean, checksums and files.
//!
//! Bit `n` of a column is bit `n % 8` of byte `n / 8`. Every column is followed by [`PADDING`] zero bytes somewhere
//! in its page, so that a value can be read as one or two unaligned words.

/// Bytes that must follow the last column of a page.
pub(crate) const PADDING: usize = 16;

/// The bits needed to write every value up to `max`.
pub(crate) fn width_of(max: u128) -> u32 {
    128 - max.leading_zeros()
}

/// The bytes that a column of `count` values takes.
pub(crate) fn column_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends columns to a page.
#[derive(Default)]
pub(crate) struct Packer {
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl Packer {
    /// Appends one value of `width` bits (at most 128).
    pub(crate) fn put(&mut self, value: u128, width: u32) {
        if width > 56 {
            self.put_word(value as u64 & 0xffff_ffff, 32);
            self.put(value >> 32, width - 32);
        } else {
            self.put_word(value as u64, width);
        }
    }

    /// Appends one value of at most 56 bits.
    #[inline]
    pub(crate) fn put_word(&mut self, value: u64, width: u32) {
        self.pending |= value << self.pending_bits;
        self.pending_bits += width;
        while self.pending_bits >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    /// Ends the column at a byte boundary.
    pub(crate) fn align(&mut self) {
        if self.pending_bits > 0 {
            self.bytes.push(self.pending as u8);
            self.pending = 0;
            self.pending_bits = 0;
        }
    }

    /// The page's bytes so far; the last column must have been aligned.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

/// Reads value `index` of a column of `width` bits (at most 57).
#[inline]
pub(crate) fn get(column: &[u8], index: usize, width: u32) -> u64 {
    if width == 0 {
        return 0;
    }
    let bit = index * width as usize;
    let word = word_at(column, bit / 8);
    (word >> (bit % 8)) & (u64::MAX >> (64 - width))
}

/// Reads value `index` of a column of any width up to 128.
pub(crate) fn get_wide(column: &[u8], index: usize, width: u32) -> u128 {
    let mut bit = index * width as usize;
    let (mut value, mut filled) = (0u128, 0u32);
    while filled < width {
        let take = (width - filled).min(56);
        let part = (word_at(column, bit / 8) >> (bit % 8)) & ((1u64 << take) - 1);
        value |= u128::from(part) << filled;
        filled += take;
        bit += take as usize;
    }
    value
}

#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8) {
        Some(word) => u64::from_le_bytes(word.try_into().unwrap_or_default()),
        // Only a damaged page that passed its checksum could get here; zero is as good as any.
        None => 0,
    }
}

/// The position of the set bit number `rank` (from 0) among the first `len` bits; `len` if there are fewer.
pub(crate) fn select(bits: &[u8], len: usize, rank: usize) -> usize {
    let mut left = rank;
    let mut start = 0;
    while start < len {
        let mut word = word_at(bits, start / 8);
        if len - start < 64 {
            word &= (1u64 << (len - start)) - 1;
        }
        let ones = word.count_ones() as usize;
        if left < ones {
            for _ in 0..left {
                word &= word - 1;
            }
            return start + word.trailing_zeros() as usize;
        }
        left -= ones;
        start += 64;
    }
    len
}

/// A strictly rising sequence of values below `limit`, as low bits and a unary coded upper part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EliasFano {
    count: usize,
    low_width: u32,
    upper_bits: usize,
}

impl EliasFano {
    /// The shape for `count` values of which the largest is `max`.
    pub(crate) fn shape(count: usize, max: u128) -> EliasFano {
        let spread = max / (count.max(1) as u128);
        let low_width = width_of(spread).saturating_sub(1);
        EliasFano::with_low_width(count, max, low_width)
    }

    fn with_low_width(count: usize, max: u128, low_width: u32) -> EliasFano {
        let buckets = (max >> low_width.min(127)) as usize + 1;
        EliasFano { count, low_width, upper_bits: count + buckets }
    }

    /// The bytes it takes.
    pub(crate) fn bytes(self) -> usize {
        column_bytes(self.count, self.low_width) + self.upper_bits.div_ceil(8)
    }

    /// Appends the values, which rise and fit the shape.
    pub(crate) fn pack(self, packer: &mut Packer, values: impl Iterator<Item = u128> + Clone) {
        let mask = (1u128 << self.low_width) - 1;
        for value in values.clone() {
            packer.put(value & mask, self.low_width);
        }
        packer.align();
        let (mut at, mut rank) = (0usize, 0usize);
        for value in values {
            let one = (value >> self.low_width) as usize + rank;
            for _ in at..one {
                packer.put_word(0, 1);
            }
            packer.put_word(1, 1);
            at = one + 1;
            rank += 1;
        }
        for _ in at..self.upper_bits {
            packer.put_word(0, 1);
        }
        packer.align();
    }

    /// Splits a page's bytes into the low column and the upper bits.
    fn parts(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        (bytes, bytes.get(column_bytes(self.count, self.low_width)..).unwrap_or_default())
    }

    /// The index of `value`, if it is there.
    pub(crate) fn find(self, bytes: &[u8], value: u128) -> Option<usize> {
        let (low, upper) = self.parts(bytes);
        let bucket = value >> self.low_width;
        if bucket >= (self.upper_bits - self.count) as u128 {
            return None;
        }
        let bucket = bucket as usize;
        // Before bucket b stand b zeros (one closes each earlier bucket), so its ones start after zero number b-1.
        let mut position = if bucket == 0 { 0 } else { select_zero(upper, self.upper_bits, bucket - 1) + 1 };
        let wanted = value & ((1u128 << self.low_width) - 1);
        while position < self.upper_bits && bit(upper, position) {
            let index = position - bucket;
            let found = get_wide(low, index, self.low_width);
            if found == wanted {
                return Some(index);
            }
            if found > wanted {
                return None;
            }
            position += 1;
        }
        None
    }

    /// Every value, rising.
    pub(crate) fn iter(self, bytes: &[u8]) -> impl Iterator<Item = u128> {
        let (low, upper) = self.parts(bytes);
        let mut position = 0;
        (0..self.count).map(move |index| {
            while position < self.upper_bits && !bit(upper, position) {
                position += 1;
            }
            let bucket = (position - index) as u128;
            position += 1;
            bucket << self.low_width | get_wide(low, index, self.low_width)
        })
    }
}

#[inline]
fn bit(bits: &[u8], position: usize) -> bool {
    bits.get(position / 8).is_some_and(|byte| byte >> (position % 8) & 1 == 1)
}

fn select_zero(bits: &[u8], len: usize, rank: usize) -> usize {
    let mut left = rank;
    let mut start = 0;
    while start < len {
        let mut word = !word_at(bits, start / 8);
        if len - start < 64 {
            word &= (1u64 << (len - start)) - 1;
        }
        let ones = word.count_ones() as usize;
        if left < ones {
            for _ in 0..left {
                word &= word - 1;
            }
            return start + word.trailing_zeros() as usize;
        }
        left -= ones;
        start += 64;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    fn padded(packer: Packer) -> Vec<u8> {
        let mut bytes = packer.into_bytes();
        bytes.extend_from_slice(&[0; PADDING]);
        bytes
    }

    proptest! {
        #[test]
        fn columns_are_read_back(width in 0u32..=128, values in vec(any::<u128>(), 0..50)) {
            let mask = if width == 128 { u128::MAX } else { (1u128 << width) - 1 };
            let mut packer = Packer::default();
            for value in &values {
                packer.put(value & mask, width);
            }
            let bytes = padded(packer);
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(get_wide(&bytes, index, width), value & mask);
                if width <= 56 {
                    prop_assert_eq!(u128::from(get(&bytes, index, width)), value & mask);
                }
            }
        }

        #[test]
        fn sorted_sequences_are_read_back(values in btree_set(prop_oneof![0u128..300, any::<u128>()], 1..200), other: u128) {
            let max = *values.last().expect("not empty");
            let shape = EliasFano::shape(values.len(), max);
            let mut packer = Packer::default();
            shape.pack(&mut packer, values.iter().copied());
            let bytes = padded(packer);
            prop_assert_eq!(bytes.len() - PADDING, shape.bytes());
            prop_assert_eq!(shape.iter(&bytes).collect::<Vec<_>>(), values.iter().copied().collect::<Vec<_>>());
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(shape.find(&bytes, *value), Some(index));
            }
            prop_assert_eq!(shape.find(&bytes, other), values.iter().position(|value| *value == other));
        }

        #[test]
        fn select_finds_each_one(bits in vec(any::<bool>(), 0..300)) {
            let mut packer = Packer::default();
            for bit in &bits {
                packer.put_word(u64::from(*bit), 1);
            }
            let bytes = padded(packer);
            let ones: Vec<usize> = bits.iter().enumerate().filter(|(_, bit)| **bit).map(|(at, _)| at).collect();
            for (rank, at) in ones.iter().enumerate() {
                prop_assert_eq!(select(&bytes, bits.len(), rank), *at);
            }
            prop_assert_eq!(select(&bytes, bits.len(), ones.len()), bits.len());
        }
    }
}
