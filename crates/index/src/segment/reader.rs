//! Opens a segment and reads one key, or all of it in order. Filter and page index stay in memory, pages are read
//! when asked for and checked before they are believed. Refuses to hold: caches, other segments and any merging.

use std::sync::{Arc, OnceLock, Weak};

use super::handles::{Handle, Handles};
use super::writer::{ENTRY_BYTES, Entry};
use super::{Cell, HEADER_BYTES, Kind, MAGIC, TRAILER_BYTES, VERSION, block, page};
use crate::codec::{CodecError, Reader};
use crate::error::IndexError;
use crate::filter::{Filter, Probe};
use crate::ids::IdSet;
use crate::row::{Key, Row, Table};
use crate::storage::File;

/// One open segment.
pub(crate) struct Segment {
    handle: Arc<Handle>,
    path: String,
    /// Its number: part of its file name, unique in the folder for ever.
    pub(crate) number: u64,
    /// The runs or segments that it was made of in this process: it says no more than they did.
    pub(crate) made_of: Vec<u64>,
    pub(crate) cell: Cell,
    pub(crate) rows: u64,
    /// The least and the greatest second of the day over all rows.
    pub(crate) span: (u32, u32),
    /// Empty while there is no room for it.
    filter: OnceLock<Filter>,
    filter_part: Part,
    entries: Vec<Entry>,
    handles: Weak<Handles>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let (Some(filter), Some(handles)) = (self.filter.get(), self.handles.upgrade()) {
            handles.give_filter_room(filter.memory() as u64);
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Segment {
    /// Reads header, trailer and page index; its filter is still to be [taken](Segment::take_filter).
    pub(crate) fn open(
        handles: &Arc<Handles>,
        file: Arc<dyn File>,
        path: String,
        number: u64,
        made_of: Vec<u64>,
    ) -> Result<Segment, IndexError> {
        let len = file.len().map_err(IndexError::io(&path))?;
        if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(IndexError::corrupt(&path, 0, "the file is shorter than its header and trailer"));
        }
        let header = read(&*file, &path, 0, HEADER_BYTES)?;
        let cell = parse_header(&header, &path)?;
        let trailer_at = len - TRAILER_BYTES as u64;
        let trailer = read(&*file, &path, trailer_at, TRAILER_BYTES)?;
        let trailer =
            parse_trailer(&trailer).map_err(|error| IndexError::corrupt(&path, trailer_at, error.0))?;
        check_within(&path, trailer.filter, len)?;
        check_within(&path, trailer.index, len)?;
        let index = read_checked(&*file, &path, trailer.index)?;
        let entries =
            parse_index(&index).map_err(|error| IndexError::corrupt(&path, trailer.index.offset, error.0))?;
        let handle = handles.handle(number, path.clone(), file);
        Ok(Segment {
            handle,
            path,
            number,
            made_of,
            cell,
            rows: trailer.rows,
            span: trailer.span,
            filter: OnceLock::new(),
            filter_part: trailer.filter,
            entries,
            handles: Arc::downgrade(handles),
        })
    }

    /// Whether its filter is in memory.
    pub(crate) fn is_filtered(&self) -> bool {
        self.filter.get().is_some()
    }

    /// Takes its filter into memory, if there is room for it and it is not there already. One thread at a time.
    pub(crate) fn take_filter(&self) -> Result<(), IndexError> {
        let (part, path) = (self.filter_part, &self.path);
        let Some(handles) = self.handles.upgrade().filter(|_| !self.is_filtered()) else { return Ok(()) };
        if !handles.take_filter_room(u64::from(part.bytes)) {
            return Ok(());
        }
        let file = self.handle.file().map_err(IndexError::io(path));
        let read = file.and_then(|file| read_checked(&*file, path, part)).and_then(|bytes| {
            Filter::from_bytes(&bytes)
                .ok_or_else(|| IndexError::corrupt(path, part.offset, "a filter of broken blocks"))
        });
        let kept = read.map(|filter| self.filter.set(filter).is_ok());
        if !matches!(kept, Ok(true)) {
            handles.give_filter_room(u64::from(part.bytes));
        }
        kept.map(drop)
    }

    /// Bytes held in memory for it.
    pub(crate) fn memory(&self) -> usize {
        self.filter.get().map_or(0, Filter::memory) + self.entries.len() * size_of::<Entry>()
    }

    /// Whether the key of a probe may be here. Never false for one that is, true for one in 100 that are not.
    #[inline]
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        self.filter.get().is_none_or(|filter| filter.may_hold(probe))
    }

    /// Has the system read what [`Segment::join`] will ask for of a large key, without waiting for it.
    pub(crate) fn will_join(&self, key: Key, part: (u32, u32)) {
        let is_whole = part.0 <= self.span.0 && self.span.1 <= part.1;
        for entry in self.entries_of(key).iter().filter(|entry| entry.kind == Kind::Block) {
            // The set lies in front and takes at most eight bits an identity, of at least 26 in all.
            let bytes = if is_whole { entry.bytes / 3 } else { entry.bytes };
            if let Ok(file) = self.handle.file() {
                file.will_read(entry.offset, u64::from(bytes) + block::HEAD_BYTES as u64);
            }
        }
    }

    /// Calls `each` with every (identity, second of the day) of a key that may be here. Cost: one read of a page.
    pub(crate) fn facts_of(
        &self,
        key: Key,
        scratch: &mut Vec<u8>,
        each: &mut impl FnMut(u32, u32),
    ) -> Result<(), IndexError> {
        for entry in self.entries_of(key) {
            match entry.kind {
                Kind::Page => {
                    self.read_page(entry, scratch)?;
                    self.parse_page(entry, scratch)?.facts_of(key, each);
                }
                Kind::Block => {
                    let head = self.read_head(entry)?;
                    self.read_set_and_times(entry, &head, scratch)?;
                    let (set, times) = scratch.split_at(head.set_bytes);
                    head.facts(set, times, &mut |identity, second, _| each(identity, second))
                        .map_err(|error| self.corrupt(entry, error))?;
                }
            }
        }
        Ok(())
    }

    /// Adds every identity of a key that may be here with a second inside `part` of the day to `ids`, and returns the first
    /// and last of those seconds. A part that covers all there is reads no seconds of large keys.
    pub(crate) fn join(
        &self,
        key: Key,
        part: (u32, u32),
        scratch: &mut Vec<u8>,
        ids: &mut IdSet,
    ) -> Result<Option<(u32, u32)>, IndexError> {
        let mut span: Option<(u32, u32)> = None;
        for entry in self.entries_of(key) {
            match entry.kind {
                Kind::Page => {
                    self.read_page(entry, scratch)?;
                    self.parse_page(entry, scratch)?.facts_of(key, &mut |identity, second| {
                        if (part.0..=part.1).contains(&second) {
                            ids.insert(identity);
                            widen(&mut span, second, second);
                        }
                    });
                }
                Kind::Block => {
                    if let Some((first, last)) = self.join_block(entry, part, scratch, ids)? {
                        widen(&mut span, first, last);
                    }
                }
            }
        }
        Ok(span)
    }

    fn join_block(
        &self,
        entry: &Entry,
        part: (u32, u32),
        scratch: &mut Vec<u8>,
        ids: &mut IdSet,
    ) -> Result<Option<(u32, u32)>, IndexError> {
        let head = self.read_head(entry)?;
        if head.last < part.0 || part.1 < head.first {
            return Ok(None);
        }
        if part.0 <= head.first && head.last <= part.1 {
            self.read_set(entry, &head, scratch)?;
            head.join_set(scratch, ids).map_err(|error| self.corrupt(entry, error))?;
            return Ok(Some((head.first, head.last)));
        }
        self.read_set_and_times(entry, &head, scratch)?;
        let (set, times) = scratch.split_at(head.set_bytes);
        head.join_within(set, times, part, ids).map_err(|error| self.corrupt(entry, error))
    }

    /// Every row, in order, a page at a time.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Result<Vec<Row>, IndexError>> {
        self.entries.iter().map(|entry| self.rows_of(entry))
    }

    /// The rows of page `index`, in order; `None` behind the last page.
    pub(crate) fn page(&self, index: usize) -> Option<Result<Vec<Row>, IndexError>> {
        self.entries.get(index).map(|entry| self.rows_of(entry))
    }

    fn rows_of(&self, entry: &Entry) -> Result<Vec<Row>, IndexError> {
        let (mut scratch, mut rows) = (Vec::new(), Vec::new());
        match entry.kind {
            Kind::Page => {
                self.read_page(entry, &mut scratch)?;
                self.parse_page(entry, &scratch)?.unpack(&mut rows);
            }
            Kind::Block => {
                let head = self.read_head(entry)?;
                self.read_set_and_times(entry, &head, &mut scratch)?;
                let (set, times) = scratch.split_at(head.set_bytes);
                head.facts(set, times, &mut |identity, second, source| {
                    rows.push(Row::new(head.key, identity, second, source));
                })
                .map_err(|error| self.corrupt(entry, error))?;
            }
        }
        Ok(rows)
    }

    /// The pages that may hold a key; several only for a key cut into blocks.
    fn entries_of(&self, key: Key) -> &[Entry] {
        let end = self.entries.partition_point(|entry| entry.first <= key);
        let Some(last) = self.entries[..end].last() else { return &[] };
        if last.first != key {
            // A page may hold keys behind its first one, a block holds only its own.
            return if last.kind == Kind::Page { &self.entries[end - 1..end] } else { &[] };
        }
        // The key begins here: either with a page, or with the first of its blocks.
        let start = self.entries[..end].partition_point(|entry| entry.first < key);
        &self.entries[start..end]
    }

    fn read_page(&self, entry: &Entry, scratch: &mut Vec<u8>) -> Result<(), IndexError> {
        scratch.resize(entry.bytes as usize, 0);
        self.read_at(entry.offset, scratch)?;
        let checked = scratch
            .split_first_chunk::<4>()
            .is_some_and(|(sum, body)| crc32fast::hash(body).to_le_bytes() == *sum);
        if checked { Ok(()) } else { Err(self.corrupt(entry, CodecError("the checksum of a page is wrong"))) }
    }

    fn parse_page<'a>(&self, entry: &Entry, bytes: &'a [u8]) -> Result<page::Page<'a>, IndexError> {
        page::Page::parse(bytes.get(4..).unwrap_or_default()).map_err(|error| self.corrupt(entry, error))
    }

    fn read_head(&self, entry: &Entry) -> Result<block::Head, IndexError> {
        let mut bytes = [0; block::HEAD_BYTES];
        self.read_at(entry.offset, &mut bytes)?;
        let head = block::Head::parse(&bytes).map_err(|error| self.corrupt(entry, error))?;
        if block::HEAD_BYTES + head.set_bytes + head.times_bytes != entry.bytes as usize {
            return Err(self.corrupt(entry, CodecError("a block's parts do not fill it")));
        }
        Ok(head)
    }

    fn read_set(&self, entry: &Entry, head: &block::Head, scratch: &mut Vec<u8>) -> Result<(), IndexError> {
        scratch.resize(head.set_bytes, 0);
        self.read_at(entry.offset + block::HEAD_BYTES as u64, scratch)?;
        if crc32fast::hash(scratch) != head.set_checksum {
            return Err(self.corrupt(entry, CodecError("the checksum of a block's set is wrong")));
        }
        Ok(())
    }

    fn read_set_and_times(
        &self,
        entry: &Entry,
        head: &block::Head,
        scratch: &mut Vec<u8>,
    ) -> Result<(), IndexError> {
        scratch.resize(head.set_bytes + head.times_bytes, 0);
        self.read_at(entry.offset + block::HEAD_BYTES as u64, scratch)?;
        let (set, times) = scratch.split_at(head.set_bytes);
        if crc32fast::hash(set) != head.set_checksum || crc32fast::hash(times) != head.times_checksum {
            return Err(self.corrupt(entry, CodecError("the checksum of a block is wrong")));
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), IndexError> {
        let read = self.handle.file().and_then(|file| file.read_at(offset, buffer));
        read.map_err(IndexError::io(&self.path))
    }

    fn corrupt(&self, entry: &Entry, error: CodecError) -> IndexError {
        IndexError::corrupt(&self.path, entry.offset, error.0)
    }
}

fn widen(span: &mut Option<(u32, u32)>, first: u32, last: u32) {
    *span = Some(span.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
}

fn read(file: &dyn File, path: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, IndexError> {
    let mut buffer = vec![0; bytes];
    file.read_at(offset, &mut buffer).map_err(IndexError::io(path))?;
    Ok(buffer)
}

/// A part of the file with its checksum, as the trailer names it.
#[derive(Clone, Copy)]
struct Part {
    offset: u64,
    bytes: u32,
    checksum: u32,
}

fn check_within(path: &str, part: Part, len: u64) -> Result<(), IndexError> {
    if part.offset.saturating_add(u64::from(part.bytes)) > len {
        return Err(IndexError::corrupt(path, part.offset, "a part lies beyond the file's end"));
    }
    Ok(())
}

fn read_checked(file: &dyn File, path: &str, part: Part) -> Result<Vec<u8>, IndexError> {
    let bytes = read(file, path, part.offset, part.bytes as usize)?;
    if crc32fast::hash(&bytes) != part.checksum {
        return Err(IndexError::corrupt(path, part.offset, "the checksum of the filter or index is wrong"));
    }
    Ok(bytes)
}

struct Trailer {
    index: Part,
    filter: Part,
    rows: u64,
    span: (u32, u32),
}

fn parse_trailer(bytes: &[u8]) -> Result<Trailer, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut part = || Ok(Part { offset: reader.u64()?, bytes: reader.u32()?, checksum: reader.u32()? });
    let (index, filter) = (part()?, part()?);
    let rows = reader.u64()?;
    let span = (reader.u32()?, reader.u32()?);
    let checksum = reader.u32()?;
    let body = bytes.get(..TRAILER_BYTES - 8).unwrap_or_default();
    if crc32fast::hash(body) != checksum || reader.array()? != *b"endS" {
        return Err(CodecError("the trailer is not one"));
    }
    Ok(Trailer { index, filter, rows, span })
}

fn parse_header(bytes: &[u8], path: &str) -> Result<Cell, IndexError> {
    let corrupt = |error: CodecError| IndexError::corrupt(path, 0, error.0);
    let mut reader = Reader::new(bytes);
    let parts = |reader: &mut Reader<'_>| {
        let magic: [u8; 8] = reader.array()?;
        let version = reader.u16()?;
        let [table, _, day_low, day_high, _, _] = reader.array()?;
        let organisation = reader.organisation()?;
        Ok((magic, version, table, u16::from_le_bytes([day_low, day_high]), organisation, reader.u32()?))
    };
    let (magic, version, table, day, organisation, checksum) = parts(&mut reader).map_err(corrupt)?;
    if magic != MAGIC {
        return Err(corrupt(CodecError("this is not a segment")));
    }
    if version > VERSION {
        return Err(IndexError::Version { path: path.to_owned(), found: version, supported: VERSION });
    }
    if crc32fast::hash(bytes.get(..32).unwrap_or_default()) != checksum {
        return Err(corrupt(CodecError("the checksum of the header is wrong")));
    }
    let table = Table::from_byte(table).ok_or_else(|| corrupt(CodecError("unknown table")))?;
    let day = sighting::Day::new(u32::from(day)).ok_or_else(|| corrupt(CodecError("a day out of range")))?;
    Ok(Cell { organisation, table, day })
}

fn parse_index(bytes: &[u8]) -> Result<Vec<Entry>, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    while !reader.is_empty() {
        let first = Key::from_u128(u128::from_le_bytes(reader.array()?));
        let (offset, bytes) = (reader.u64()?, reader.u32()?);
        let kind = match reader.u32()? {
            0 => Kind::Page,
            1 => Kind::Block,
            _ => return Err(CodecError("unknown kind of page")),
        };
        entries.push(Entry { first, offset, bytes, kind });
    }
    if entries.is_sorted_by(|a, b| a.first <= b.first) {
        Ok(entries)
    } else {
        Err(CodecError("the index is not sorted"))
    }
}
