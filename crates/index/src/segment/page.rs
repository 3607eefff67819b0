//! A page: the facts of many small keys in packed columns, found and read in place without decoding the rest.
//! Refuses to hold: checksums and positions in a file (the reader's), large keys (see `block`).
//!
//! Columns, in order: keys (differences to the first, Elias-Fano), one bit for each entry that says whether it is its
//! key's first, identities (fixed width above the least), one bit for each fact that says whether it is its entry's
//! first, seconds of the day (fixed width above the least), sources (index into the page's list). An entry is a
//! (key, identity) pair.

use crate::bits::{self, EliasFano, PADDING, Packer};
use crate::codec::{CodecError, Reader};
use crate::row::{Key, Row};

/// Packs rows, sorted and of small keys, into a page without its checksum.
pub(super) fn pack(rows: &[Row]) -> Vec<u8> {
    let columns = Columns::of(rows);
    let first = columns.keys.first().copied().unwrap_or_default().as_u128();
    let last = columns.keys.last().copied().unwrap_or_default().as_u128();
    let shape = EliasFano::shape(columns.keys.len(), last - first);
    let mut head = Vec::with_capacity(64);
    for count in [columns.keys.len(), columns.identities.len(), columns.seconds.len()] {
        head.extend_from_slice(&(count as u16).to_le_bytes());
    }
    head.extend_from_slice(&first.to_le_bytes());
    head.extend_from_slice(&(last - first).to_le_bytes());
    let identity_width = put_base(&mut head, &columns.identities);
    let second_width = put_base(&mut head, &columns.seconds);
    let source_width = put_sources(&mut head, &columns.source_list);

    let mut packer = Packer::default();
    shape.pack(&mut packer, columns.keys.iter().map(|key| key.as_u128() - first));
    put_bits(&mut packer, &columns.key_starts);
    put_column(&mut packer, &columns.identities, identity_width);
    put_bits(&mut packer, &columns.entry_starts);
    put_column(&mut packer, &columns.seconds, second_width);
    for source in &columns.sources {
        packer.put_word(u64::from(*source), source_width);
    }
    packer.align();
    head.extend_from_slice(&packer.into_bytes());
    head.extend_from_slice(&[0; PADDING]);
    head
}

/// Rows taken apart into columns.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) keys: Vec<Key>,
    pub(super) key_starts: Vec<bool>,
    pub(super) identities: Vec<u32>,
    pub(super) entry_starts: Vec<bool>,
    pub(super) seconds: Vec<u32>,
    /// Indices into `source_list`.
    pub(super) sources: Vec<u16>,
    pub(super) source_list: Vec<u16>,
}

impl Columns {
    pub(super) fn of(rows: &[Row]) -> Columns {
        let mut columns = Columns::default();
        let mut last: Option<Row> = None;
        for row in rows {
            let new_key = last.is_none_or(|last| last.key != row.key);
            let new_entry = new_key || last.is_none_or(|last| last.identity() != row.identity());
            if new_key {
                columns.keys.push(row.key);
            }
            if new_entry {
                columns.key_starts.push(new_key);
                columns.identities.push(row.identity());
            }
            columns.entry_starts.push(new_entry);
            columns.seconds.push(row.of_day());
            let source = columns.source_index(row.source());
            columns.sources.push(source);
            last = Some(*row);
        }
        columns
    }

    fn source_index(&mut self, source: u16) -> u16 {
        // Few sources feed one organisation; the usual page has one.
        match self.source_list.iter().position(|known| *known == source) {
            Some(index) => index as u16,
            None => {
                self.source_list.push(source);
                (self.source_list.len() - 1) as u16
            }
        }
    }
}

/// Writes the least value and the width of the others above it; returns the width.
pub(super) fn put_base(head: &mut Vec<u8>, values: &[u32]) -> u32 {
    let base = values.iter().min().copied().unwrap_or_default();
    let max = values.iter().max().copied().unwrap_or_default();
    let width = bits::width_of(u128::from(max - base));
    head.extend_from_slice(&base.to_le_bytes());
    head.push(width as u8);
    width
}

/// Writes the list of sources; returns the width of an index into it.
pub(super) fn put_sources(head: &mut Vec<u8>, sources: &[u16]) -> u32 {
    head.extend_from_slice(&(sources.len() as u16).to_le_bytes());
    for source in sources {
        head.extend_from_slice(&source.to_le_bytes());
    }
    bits::width_of(sources.len().saturating_sub(1) as u128)
}

pub(super) fn put_bits(packer: &mut Packer, values: &[bool]) {
    for value in values {
        packer.put_word(u64::from(*value), 1);
    }
    packer.align();
}

pub(super) fn put_column(packer: &mut Packer, values: &[u32], width: u32) {
    let base = values.iter().min().copied().unwrap_or_default();
    for value in values {
        packer.put_word(u64::from(value - base), width);
    }
    packer.align();
}

/// A base and a width, as written by [`put_base`].
pub(super) fn take_base(reader: &mut Reader<'_>) -> Result<(u32, u32), CodecError> {
    let base = reader.u32()?;
    let width = u32::from(reader.byte()?);
    if width > 32 { Err(CodecError("a column is too wide")) } else { Ok((base, width)) }
}

/// The list of sources, as written by [`put_sources`].
pub(super) fn take_sources<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], u32), CodecError> {
    let count = usize::from(reader.u16()?);
    let list = reader.take(count * 2)?;
    Ok((list, bits::width_of(count.saturating_sub(1) as u128)))
}

pub(super) fn source_at(list: &[u8], index: u64) -> u16 {
    let at = index as usize * 2;
    list.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// A page's columns, borrowed from its bytes.
pub(super) struct Page<'a> {
    keys: usize,
    entries: usize,
    facts: usize,
    first: u128,
    span: u128,
    shape: EliasFano,
    key_column: &'a [u8],
    key_starts: &'a [u8],
    identity: (u32, u32, &'a [u8]),
    entry_starts: &'a [u8],
    second: (u32, u32, &'a [u8]),
    source_list: &'a [u8],
    source: (u32, &'a [u8]),
}

impl<'a> Page<'a> {
    /// Finds the columns; the bytes have passed their checksum.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Page<'a>, CodecError> {
        let mut reader = Reader::new(bytes);
        let (keys, entries, facts) =
            (usize::from(reader.u16()?), usize::from(reader.u16()?), usize::from(reader.u16()?));
        let first = u128::from_le_bytes(reader.array()?);
        let span = u128::from_le_bytes(reader.array()?);
        let (identity_base, identity_width) = take_base(&mut reader)?;
        let (second_base, second_width) = take_base(&mut reader)?;
        let (source_list, source_width) = take_sources(&mut reader)?;
        if keys == 0 || entries < keys || facts < entries {
            return Err(CodecError("a page's counts contradict each other"));
        }
        let shape = EliasFano::shape(keys, span);
        // Each column is handed on with everything behind it: reads of whole words may look past its end.
        let columns = reader.take(reader.left())?;
        let mut at = 0;
        let mut next = |bytes: usize| {
            let column = columns.get(at..).ok_or(CodecError("a page is too short"));
            at += bytes;
            column
        };
        let page = Page {
            keys,
            entries,
            facts,
            first,
            span,
            shape,
            key_column: next(shape.bytes())?,
            key_starts: next(bits::column_bytes(entries, 1))?,
            identity: (identity_base, identity_width, next(bits::column_bytes(entries, identity_width))?),
            entry_starts: next(bits::column_bytes(facts, 1))?,
            second: (second_base, second_width, next(bits::column_bytes(facts, second_width))?),
            source_list,
            source: (source_width, next(bits::column_bytes(facts, source_width))?),
        };
        if at + PADDING > columns.len() {
            return Err(CodecError("a page is too short"));
        }
        Ok(page)
    }

    /// Calls `each` with every (identity, second of the day) of a key.
    #[inline]
    pub(super) fn facts_of(&self, key: Key, each: &mut impl FnMut(u32, u32)) {
        let Some(delta) = key.as_u128().checked_sub(self.first).filter(|delta| *delta <= self.span) else {
            return;
        };
        let Some(index) = self.shape.find(self.key_column, delta) else { return };
        let start = bits::select(self.key_starts, self.entries, index);
        let end = next_start(self.key_starts, self.entries, start);
        let mut fact = bits::select(self.entry_starts, self.facts, start);
        for entry in start..end {
            let identity = self.identity.0 + bits::get(self.identity.2, entry, self.identity.1) as u32;
            let fact_end = next_start(self.entry_starts, self.facts, fact);
            for at in fact..fact_end {
                each(identity, self.second_at(at));
            }
            fact = fact_end;
        }
    }

    fn second_at(&self, fact: usize) -> u32 {
        self.second.0 + bits::get(self.second.2, fact, self.second.1) as u32
    }

    /// Every key, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.shape.iter(self.key_column).map(|delta| Key::from_u128(self.first.wrapping_add(delta)))
    }

    /// Appends every row, in order.
    pub(super) fn unpack(&self, rows: &mut Vec<Row>) {
        let mut keys = self.keys();
        let (mut key, mut entry, mut identity) = (Key::default(), 0usize, 0u32);
        for fact in 0..self.facts {
            if starts(self.entry_starts, fact) {
                if starts(self.key_starts, entry) {
                    key = keys.next().unwrap_or_default();
                }
                identity = self.identity.0 + bits::get(self.identity.2, entry, self.identity.1) as u32;
                entry += 1;
            }
            let source = source_at(self.source_list, bits::get(self.source.1, fact, self.source.0));
            rows.push(Row::new(key, identity, self.second_at(fact), source));
        }
        debug_assert_eq!(self.keys, self.keys().count());
    }
}

#[inline]
pub(super) fn starts(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// The next set bit after `at`, or `len`.
#[inline]
pub(super) fn next_start(bits: &[u8], len: usize, at: usize) -> usize {
    let mut position = at + 1;
    while position < len {
        let word = bits::word_at(bits, position / 8) >> (position % 8);
        if word != 0 {
            return (position + word.trailing_zeros() as usize).min(len);
        }
        position += 64 - position % 8;
    }
    len
}
