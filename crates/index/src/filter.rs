//! A split-block Bloom filter over the keys of a segment or a run: one cache line says "certainly not here" for 99 of 100
//! absent addresses, so a rare look-up reads only the days that know it. Refuses to hold: keys themselves.
//!
//! What is asked of a filter is a [`Probe`], made once for a key: what is left for each of a hundred filters is so little that
//! the processor waits for several of their cache lines at a time.

use crate::row::Key;

/// Bits spent on each key. Twelve give about 0.6 % false positives with eight bits set in a block of 256.
const BITS_PER_KEY: usize = 12;
const BLOCK_WORDS: usize = 4;
/// Odd multipliers of the eight lanes, as in the Parquet format's split-block filter.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// A key's place in a filter of any size, and the bits that it sets there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// Where among the blocks, of 2^32.
    place: u64,
    mask: [u64; BLOCK_WORDS],
}

impl Probe {
    /// Of a key.
    #[inline]
    pub(crate) fn of(key: Key) -> Probe {
        Probe::of_hash(hash(key))
    }

    fn of_hash(hash: u64) -> Probe {
        let mut mask = [0; BLOCK_WORDS];
        for (lane, salt) in SALT.iter().enumerate() {
            let bit = (hash as u32).wrapping_mul(*salt) >> 27;
            mask[lane / 2] |= 1 << (bit + 32 * (lane as u32 % 2));
        }
        Probe { place: hash >> 32, mask }
    }
}

/// The filter as 256-bit blocks of four words.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// A filter of the given key hashes.
    pub(crate) fn build(hashes: &[u64]) -> Filter {
        let mut filter = Filter::for_keys(hashes.len());
        for hash in hashes {
            filter.add(&Probe::of_hash(*hash));
        }
        filter
    }

    /// An empty filter, for so many keys.
    pub(crate) fn for_keys(keys: usize) -> Filter {
        let blocks = (keys * BITS_PER_KEY).div_ceil(256).max(1);
        Filter { words: vec![0; blocks * BLOCK_WORDS] }
    }

    /// Adds a key.
    pub(crate) fn add(&mut self, probe: &Probe) {
        let start = self.start(probe);
        for (word, bits) in self.words[start..].iter_mut().zip(probe.mask) {
            *word |= bits;
        }
    }

    /// Whether a key may be here. Never false for one that is.
    #[inline]
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        let start = self.start(probe);
        match self.words.get(start..start + BLOCK_WORDS) {
            // Without a branch for each word: whoever asks many filters waits for none of them.
            Some(words) => {
                words.iter().zip(probe.mask).fold(0, |missing, (word, bits)| missing | bits & !word) == 0
            }
            None => true,
        }
    }

    /// The first word of a probe's block.
    #[inline]
    fn start(&self, probe: &Probe) -> usize {
        let blocks = (self.words.len() / BLOCK_WORDS) as u64;
        ((probe.place * blocks) >> 32) as usize * BLOCK_WORDS
    }

    /// Its bytes in order, some at a time: a filter may be large.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = Vec<u8>> {
        let bytes_of = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.words.chunks(1 << 13).map(bytes_of)
    }

    /// `None` if the length is not one of whole blocks.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(8 * BLOCK_WORDS) {
            return None;
        }
        let words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
            .collect();
        Some(Filter { words })
    }

    /// Bytes held in memory.
    pub(crate) fn memory(&self) -> usize {
        self.words.len() * 8
    }
}

/// A key's hash: fixed for ever, because it is part of the file format (the 64-bit finaliser of MurmurHash3 over the
/// two halves).
#[inline]
pub(crate) fn hash(key: Key) -> u64 {
    let value = key.as_u128();
    mix(value as u64 ^ mix((value >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15))
}

#[inline]
fn mix(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given_and_little_else() {
        let hashes: Vec<u64> = (0..10_000u32).map(|number| hash(Key::of_number(number))).collect();
        let bytes: Vec<u8> = Filter::build(&hashes).bytes().flatten().collect();
        let filter = Filter::from_bytes(&bytes).expect("whole blocks");
        let holds = |number| filter.may_hold(&Probe::of(Key::of_number(number)));
        assert!((0..10_000).all(holds));
        let wrong = (10_000..110_000).filter(|number| holds(*number)).count();
        assert!(wrong < 1_500, "{wrong} of 100,000 absent keys pass, more than 1.5 %");
    }

    #[test]
    fn an_empty_filter_holds_nothing() {
        assert!(!Filter::build(&[]).may_hold(&Probe::of_hash(1)));
        assert!(Filter::from_bytes(&[0; 31]).is_none());
    }
}
