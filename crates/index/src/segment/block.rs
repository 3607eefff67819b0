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
        let mut reader = Reader::new(times);
        let (second_base, second_width) = page::take_base(&mut reader)?;
        let (source_list, source_width) = page::take_sources(&mut reader)?;
        let columns = reader.take(reader.left())?;
        let starts_bytes = bits::column_bytes(self.facts, 1);
        let seconds_bytes = bits::column_bytes(self.facts, second_width);
        let sources_bytes = bits::column_bytes(self.facts, source_width);
        if starts_bytes + seconds_bytes + sources_bytes + PADDING > columns.len() {
            return Err(CodecError("a block's times are too short"));
        }
        let seconds = &columns[starts_bytes..];
        let sources = &columns[starts_bytes + seconds_bytes..];
        let mut rest = identities.iter();
        let mut identity = 0;
        for fact in 0..self.facts {
            if page::starts(columns, fact) {
                identity = *rest.next().ok_or(CodecError("a block has more entries than identities"))?;
            }
            let second = second_base + bits::get(seconds, fact, second_width) as u32;
            each(identity, second, page::source_at(source_list, bits::get(sources, fact, source_width)));
        }
        Ok(())
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
