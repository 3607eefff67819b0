//! Sets of identity numbers, for unions over many days: a short list while small, 64-bit words in chunks of 65,536
//! numbers when large. Refuses to hold: devices (the registry makes them of identities).

/// Numbers that stay in the short list; a rare address never needs a chunk.
const SMALL_MAX: usize = 64;
const CHUNK_WORDS: usize = 1024;
const CHUNK_BITS: u32 = 16;

/// A set of `u32`.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdSet {
    /// Without repeats; empty once there are chunks.
    small: Vec<u32>,
    chunks: Vec<Option<Box<[u64; CHUNK_WORDS]>>>,
}

impl IdSet {
    /// The set of a bitmap given as words, the first of which holds the numbers from 0 on.
    pub(crate) fn from_words(words: impl Iterator<Item = u64>) -> IdSet {
        let mut set = IdSet::default();
        for (index, word) in words.enumerate() {
            if word != 0 {
                set.insert_word(index as u32, word);
            }
        }
        set
    }

    pub(crate) fn insert(&mut self, id: u32) {
        if self.chunks.is_empty() {
            if self.small.contains(&id) {
                return;
            }
            if self.small.len() < SMALL_MAX {
                self.small.push(id);
                return;
            }
            self.grow();
        }
        let bit = id & 0xffff;
        self.chunk(id >> CHUNK_BITS)[bit as usize / 64] |= 1 << (bit % 64);
    }

    /// Adds the numbers of one word: bit `n` of `word` is number `64 * index + n`.
    #[inline]
    pub(crate) fn insert_word(&mut self, index: u32, word: u64) {
        if self.chunks.is_empty() {
            self.grow();
        }
        self.chunk(index / CHUNK_WORDS as u32)[index as usize % CHUNK_WORDS] |= word;
    }

    /// Adds a bitmap given as little-endian words, the first of which starts at `base`, a multiple of 64.
    pub(crate) fn insert_words(&mut self, base: u32, words: &[u8]) {
        if self.chunks.is_empty() {
            self.grow();
        }
        let mut number = base as usize / 64;
        let mut words = words.chunks_exact(8);
        while words.len() > 0 {
            let chunk = self.chunk((number / CHUNK_WORDS) as u32);
            let start = number % CHUNK_WORDS;
            let count = (CHUNK_WORDS - start).min(words.len());
            for (mine, theirs) in chunk[start..start + count].iter_mut().zip(&mut words) {
                *mine |= u64::from_le_bytes(theirs.try_into().unwrap_or_default());
            }
            number += count;
        }
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.small.retain(|known| *known != id);
        if let Some(Some(chunk)) = self.chunks.get_mut((id >> CHUNK_BITS) as usize) {
            let bit = id & 0xffff;
            chunk[bit as usize / 64] &= !(1 << (bit % 64));
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        let bit = id & 0xffff;
        match self.chunks.get((id >> CHUNK_BITS) as usize) {
            Some(Some(chunk)) => chunk[bit as usize / 64] >> (bit % 64) & 1 == 1,
            _ => self.small.contains(&id),
        }
    }

    pub(crate) fn len(&self) -> usize {
        let large: u32 =
            self.chunks.iter().flatten().flat_map(|chunk| chunk.iter()).map(|word| word.count_ones()).sum();
        self.small.len() + large as usize
    }

    /// Every number; rising once there are chunks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let large = self
            .chunks
            .iter()
            .enumerate()
            .filter_map(|(number, chunk)| Some((number as u32, chunk.as_ref()?)));
        let large = large.flat_map(|(number, chunk)| {
            chunk.iter().enumerate().flat_map(move |(index, word)| {
                Bits(*word).map(move |bit| (number << CHUNK_BITS) | (index as u32 * 64 + bit))
            })
        });
        self.small.iter().copied().chain(large)
    }

    /// Whether any number is in both.
    pub(crate) fn meets(&self, other: &IdSet) -> bool {
        if self.chunks.is_empty() || other.chunks.is_empty() {
            return !self.common(other).is_empty();
        }
        let pairs = self.chunks.iter().zip(&other.chunks).filter_map(|(a, b)| a.as_ref().zip(b.as_ref()));
        pairs.into_iter().any(|(a, b)| a.iter().zip(b.iter()).any(|(a, b)| a & b != 0))
    }

    /// The numbers that are in `other` too.
    pub(crate) fn common(&self, other: &IdSet) -> Vec<u32> {
        // The smaller one is gone through: most organisations have no joins at all.
        if other.chunks.is_empty() {
            return other.small.iter().copied().filter(|id| self.contains(*id)).collect();
        }
        if self.chunks.is_empty() {
            return self.small.iter().copied().filter(|id| other.contains(*id)).collect();
        }
        let pairs = self.chunks.iter().zip(&other.chunks).enumerate();
        let pairs = pairs.filter_map(|(number, (a, b))| Some((number as u32, a.as_ref()?, b.as_ref()?)));
        let mut common = Vec::new();
        for (number, a, b) in pairs {
            for (index, (a, b)) in a.iter().zip(b.iter()).enumerate() {
                common.extend(Bits(a & b).map(|bit| (number << CHUNK_BITS) | (index as u32 * 64 + bit)));
            }
        }
        common
    }

    fn grow(&mut self) {
        for id in std::mem::take(&mut self.small) {
            let bit = id & 0xffff;
            self.chunk(id >> CHUNK_BITS)[bit as usize / 64] |= 1 << (bit % 64);
        }
        if self.chunks.is_empty() {
            self.chunks.push(None);
        }
    }

    fn chunk(&mut self, number: u32) -> &mut [u64; CHUNK_WORDS] {
        let number = number as usize;
        if self.chunks.len() <= number {
            self.chunks.resize_with(number + 1, || None);
        }
        self.chunks[number].get_or_insert_with(|| Box::new([0; CHUNK_WORDS]))
    }
}

/// The set bits of a word, rising.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        (self.0 != 0).then(|| {
            let bit = self.0.trailing_zeros();
            self.0 &= self.0 - 1;
            bit
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..100, 65_500u32..65_600, 0u32..1_000_000]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(inserted in vec(number(), 0..200), removed in vec(number(), 0..50), base in 0u32..3_000, words in vec(any::<u64>(), 0..40), single in vec((0u32..3_000, any::<u64>()), 0..5), other in vec(number(), 0..100)) {
            let mut set = IdSet::default();
            let mut model = BTreeSet::new();
            for id in inserted {
                set.insert(id);
                model.insert(id);
            }
            let base = base * 64;
            if !words.is_empty() {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                set.insert_words(base, &bytes);
                for (index, word) in words.iter().enumerate() {
                    model.extend(Bits(*word).map(|bit| base + index as u32 * 64 + bit));
                }
            }
            for (index, word) in single {
                set.insert_word(index, word);
                model.extend(Bits(word).map(|bit| index * 64 + bit));
            }
            for id in removed {
                set.remove(id);
                model.remove(&id);
            }
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model.clone());
            let mut second = IdSet::default();
            for id in &other {
                second.insert(*id);
                prop_assert_eq!(set.contains(*id), model.contains(id));
            }
            let common: BTreeSet<u32> = set.common(&second).into_iter().collect();
            prop_assert_eq!(common, other.into_iter().filter(|id| model.contains(id)).collect::<BTreeSet<_>>());
        }
    }
}
