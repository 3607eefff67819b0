//! A block: one large key of one day. Its identities are a set of their own, its seconds lie behind, each part under
//! its own checksum, so that a day that lies whole inside a window costs only the set. Refuses to hold: small keys
//! (see `page`) and positions in a file.

use super::page::{self, Columns};
use crate::bits::{self, EliasFano, PADDING, Packer};
use crate::codec::{CodecError, Reader};
use crate::ids::IdSet;
use crate::row::{Key, Row};

/// Bytes of a block's head, checksum included.
pub(super) const HEAD_BYTES: usize = 64;
/// A set is a bitmap when it needs at most this many bits for each identity: somewhat larger than the alternative,
/// but joined to another set 64 identities at a time.
const BITMAP_BITS_PER_IDENTITY: u64 = 8;

/// The parts of a block as written: head, set, times.
pub(super) struct Packed {
    pub(super) head: [u8; HEAD_BYTES],
    pub(super) set: Vec<u8>,
    pub(super) times: Vec<u8>,
}

/// Packs the rows of one key.
pub(super) fn pack(rows: &[Row]) -> Packed {
    let columns = Columns::of(rows);
    let key = columns.keys.first().copied().unwrap_or_default();
    let set = pack_set(&columns.identities);
    let times = pack_times(&columns);
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&key.as_u128().to_le_bytes());
    for number in [
        columns.identities.len() as u32,
        columns.seconds.len() as u32,
        columns.seconds.iter().min().copied().unwrap_or_default(),
        columns.seconds.iter().max().copied().unwrap_or_default(),
        set.len() as u32,
        crc32fast::hash(&set),
        times.len() as u32,
        crc32fast::hash(&times),
    ] {
        head.extend_from_slice(&number.to_le_bytes());
    }
    head.resize(HEAD_BYTES - 4, 0);
    let checksum = crc32fast::hash(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    let mut fixed = [0; HEAD_BYTES];
    fixed.copy_from_slice(&head);
    Packed { head: fixed, set, times }
}

fn pack_set(identities: &[u32]) -> Vec<u8> {
    let first = identities.first().copied().unwrap_or_default();
    let last = identities.last().copied().unwrap_or_default();
    // Whole words of a bitmap start at a multiple of 64, so that they join the words of other bitmaps.
    let base = first & !63;
    let span_bits = u64::from(last - base) + 1;
    let mut set = Vec::new();
    let as_bitmap = span_bits <= identities.len() as u64 * BITMAP_BITS_PER_IDENTITY;
    set.push(u8::from(as_bitmap));
    set.extend_from_slice(&base.to_le_bytes());
    set.extend_from_slice(&last.to_le_bytes());
    if as_bitmap {
        let mut words = vec![0u64; span_bits.div_ceil(64) as usize];
        for identity in identities {
            let bit = identity - base;
            words[bit as usize / 64] |= 1 << (bit % 64);
        }
        set.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    } else {
        let mut packer = Packer::default();
        let shape = EliasFano::shape(identities.len(), u128::from(last - base));
        shape.pack(&mut packer, identities.iter().map(|identity| u128::from(identity - base)));
        set.extend_from_slice(&packer.into_bytes());
        set.extend_from_slice(&[0; PADDING]);
    }
    set
}

fn pack_times(columns: &Columns) -> Vec<u8> {
    let mut times = Vec::new();
    let second_width = page::put_base(&mut times, &columns.seconds);
    let source_width = page::put_sources(&mut times, &columns.source_list);
    let mut packer = Packer::default();
    page::put_bits(&mut packer, &columns.entry_starts);
    page::put_column(&mut packer, &columns.seconds, second_width);
    for source in &columns.sources {
        packer.put_word(u64::from(*source), source_width);
    }
    times.extend_from_slice(&packer.into_bytes());
    times.extend_from_slice(&[0; PADDING]);
    times
}

/// The head of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) key: Key,
    entries: usize,
    facts: usize,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) set_bytes: usize,
    pub(super) set_checksum: u32,
    pub(super) times_bytes: usize,
    pub(super) times_checksum: u32,
}

impl Head {
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Result<Head, CodecError> {
        let (body, checksum) = bytes.split_at(HEAD_BYTES - 4);
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(CodecError("the checksum of a block's head is wrong"));
        }
        let mut reader = Reader::new(body);
        let key = Key::from_u128(u128::from_le_bytes(reader.array()?));
        let entries = reader.u32()? as usize;
        let facts = reader.u32()? as usize;
        Ok(Head {
            key,
            entries,
            facts,
            first: reader.u32()?,
            last: reader.u32()?,
            set_bytes: reader.u32()? as usize,
            set_checksum: reader.u32()?,
            times_bytes: reader.u32()? as usize,
            times_checksum: reader.u32()?,
        })
    }

    /// Adds every identity of the set part to `ids`.
    pub(super) fn join_set(&self, set: &[u8], ids: &mut IdSet) -> Result<(), CodecError> {
        match Set::parse(set, self.entries)? {
            Set::Bitmap { base, words } => ids.insert_words(base, words),
            Set::Sorted { base, shape, bytes } => {
                for delta in shape.iter(bytes) {
                    ids.insert(base + delta as u32);
                }
            }
        }
        Ok(())
    }

    /// Every identity of the set part, rising.
    fn identities(&self, set: &[u8]) -> Result<Vec<u32>, CodecError> {
        let mut identities = Vec::with_capacity(self.entries);
        match Set::parse(set, self.entries)? {
            Set::Bitmap { base, words } => {
                for (index, word) in words.chunks_exact(8).enumerate() {
                    let mut word = u64::from_le_bytes(word.try_into().unwrap_or_default());
                    while word != 0 {
                        identities.push(base + index as u32 * 64 + word.trailing_zeros());
                        word &= word - 1;
                    }
                }
            }
            Set::Sorted { base, shape, bytes } => {
                identities.extend(shape.iter(bytes).map(|delta| base + delta as u32));
            }
        }
        if identities.len() == self.entries {
            Ok(identities)
        } else {
            Err(CodecError("a block's set has the wrong size"))
        }
    }

    /// Calls `each` with every (identity, second of the day, source), in order.
    pub(super) fn facts(
        &self,
        set: &[u8],
        times: &[u8],
        each: &mut impl FnMut(u32, u32, u16),
    ) -> Result<(), CodecError> {
        let identities = self.identities(set)?;
        let times = self.times(times)?;
        let mut rest = identities.iter();
        let mut identity = 0;
        for fact in 0..self.facts {
            if page::starts(times.starts, fact) {
                identity = *rest.next().ok_or(CodecError("a block has more entries than identities"))?;
            }
            each(identity, times.second(fact), times.source(fact));
        }
        Ok(())
    }

    /// Adds every identity with a second inside `part` to `ids`; returns the first and last of those seconds.
    /// The day at a window's end of a hot address comes here, so facts are judged without a branch and identities
    /// are added 64 at a time.
    pub(super) fn join_within(
        &self,
        set: &[u8],
        times: &[u8],
        part: (u32, u32),
        ids: &mut IdSet,
    ) -> Result<Option<(u32, u32)>, CodecError> {
        let times = self.times(times)?;
        let (hits, span) = times.hits(self.entries, self.facts, part);
        match Set::parse(set, self.entries)? {
            Set::Bitmap { base, words } => ids.insert_words(base, &deposit(words, &hits)),
            Set::Sorted { base, shape, bytes } => {
                for (entry, delta) in shape.iter(bytes).enumerate() {
                    if hits[entry / 64] >> (entry % 64) & 1 == 1 {
                        ids.insert(base + delta as u32);
                    }
                }
            }
        }
        Ok((span.0 <= span.1).then_some(span))
    }

    fn times<'a>(&self, times: &'a [u8]) -> Result<Times<'a>, CodecError> {
        let mut reader = Reader::new(times);
        let (base, width) = page::take_base(&mut reader)?;
        let (source_list, source_width) = page::take_sources(&mut reader)?;
        let columns = reader.take(reader.left())?;
        let starts_bytes = bits::column_bytes(self.facts, 1);
        let seconds_bytes = bits::column_bytes(self.facts, width);
        let sources_bytes = bits::column_bytes(self.facts, source_width);
        if starts_bytes + seconds_bytes + sources_bytes + PADDING > columns.len() {
            return Err(CodecError("a block's times are too short"));
        }
        Ok(Times {
            starts: columns,
            base,
            width,
            seconds: &columns[starts_bytes..],
            source_list,
            source_width,
            sources: &columns[starts_bytes + seconds_bytes..],
        })
    }
}

/// The bits of `words` whose rank among the set bits is a set bit of `hits`.
fn deposit(words: &[u8], hits: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(words.len());
    let mut rank = 0;
    for word in words.chunks_exact(8) {
        let mut word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        let ones = word.count_ones() as usize;
        let mut taken = window(hits, rank);
        rank += ones;
        let mut kept = 0;
        while word != 0 {
            let lowest = word & word.wrapping_neg();
            kept |= lowest & (taken & 1).wrapping_neg();
            taken >>= 1;
            word ^= lowest;
        }
        out.extend_from_slice(&kept.to_le_bytes());
    }
    out
}

/// 64 bits of a bit set from bit `at` on; bits behind its end are zero.
fn window(bits: &[u64], at: usize) -> u64 {
    let word = |index: usize| bits.get(index).copied().unwrap_or(0);
    let shift = at % 64;
    let low = word(at / 64) >> shift;
    if shift == 0 { low } else { low | word(at / 64 + 1) << (64 - shift) }
}

/// The times part, parsed.
struct Times<'a> {
    /// One bit a fact: whether it is its entry's first.
    starts: &'a [u8],
    base: u32,
    width: u32,
    seconds: &'a [u8],
    source_list: &'a [u8],
    source_width: u32,
    sources: &'a [u8],
}

impl Times<'_> {
    #[inline]
    fn second(&self, fact: usize) -> u32 {
        self.base + bits::get(self.seconds, fact, self.width) as u32
    }

    fn source(&self, fact: usize) -> u16 {
        page::source_at(self.source_list, bits::get(self.sources, fact, self.source_width))
    }

    /// One bit an entry: whether any of its seconds lies inside `part`; and the first and last that do.
    fn hits(&self, entries: usize, facts: usize, part: (u32, u32)) -> (Vec<u64>, (u32, u32)) {
        let mut hits = vec![0u64; entries.div_ceil(64)];
        let mut span = (u32::MAX, 0);
        let length = part.1.saturating_sub(part.0);
        // The entry of the fact before; the first fact starts entry 0.
        let mut entry = usize::MAX;
        for group in 0..facts.div_ceil(64) {
            let starts = bits::word_at(self.starts, group * 8);
            let count = (facts - group * 64).min(64);
            let mut inside = 0u64;
            for index in 0..count {
                let second = self.second(group * 64 + index);
                let hit = second.wrapping_sub(part.0) <= length;
                inside |= u64::from(hit) << index;
                span.0 = span.0.min(if hit { second } else { u32::MAX });
                span.1 = span.1.max(if hit { second } else { 0 });
            }
            // Most groups hold one fact an entry, and their bits move over as they are.
            if starts == u64::MAX && count == 64 {
                entry = entry.wrapping_add(64);
                add_bits(&mut hits, entry - 63, inside);
            } else {
                for index in 0..count {
                    entry = entry.wrapping_add((starts >> index & 1) as usize);
                    add_bits(&mut hits, entry, inside >> index & 1);
                }
            }
        }
        (hits, span)
    }
}

/// Sets the bits of `word` from bit `at` on.
#[inline]
fn add_bits(bits: &mut [u64], at: usize, word: u64) {
    let shift = at % 64;
    if let Some(low) = bits.get_mut(at / 64) {
        *low |= word << shift;
    }
    if shift > 0
        && let Some(high) = bits.get_mut(at / 64 + 1)
    {
        *high |= word >> (64 - shift);
    }
}

/// The set part, parsed.
enum Set<'a> {
    Bitmap { base: u32, words: &'a [u8] },
    Sorted { base: u32, shape: EliasFano, bytes: &'a [u8] },
}

impl<'a> Set<'a> {
    fn parse(set: &'a [u8], entries: usize) -> Result<Set<'a>, CodecError> {
        let mut reader = Reader::new(set);
        let as_bitmap = reader.byte()? == 1;
        let (base, last) = (reader.u32()?, reader.u32()?);
        let bytes = reader.take(reader.left())?;
        let span = last.checked_sub(base).ok_or(CodecError("a block's set is upside down"))?;
        if as_bitmap {
            return Ok(Set::Bitmap { base, words: bytes });
        }
        let shape = EliasFano::shape(entries, u128::from(span));
        if shape.bytes() + PADDING > bytes.len() {
            return Err(CodecError("a block's set is too short"));
        }
        Ok(Set::Sorted { base, shape, bytes })
    }
}
