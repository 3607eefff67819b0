//! Writes one segment from rows in rising order, in one pass and bounded memory. Refuses to hold: sorting, merging
//! and the decision to publish the file.

use std::sync::Arc;

use super::{Cell, HEADER_BYTES, Kind, MAGIC, PAGE_FACTS, TRAILER_BYTES, VERSION, block, page};
use crate::error::IndexError;
use crate::filter::{self, Filter, Probe};
use crate::row::{Key, Row};
use crate::storage::File;

/// A key with more facts than this gets a block of its own.
const PAGE_KEY_FACTS_MAX: usize = 512;
/// A key with more facts than this is cut into several blocks, at the border of an identity: the bound on memory.
const BLOCK_FACTS: usize = 1 << 20;
/// Bytes that are gathered before a write.
const BUFFER_BYTES: usize = 1 << 20;

/// Hashes of so many keys are kept for the filter (16 MB). A segment of more keys is read for them in the end, which takes no
/// memory.
const HASHES_MAX: usize = if cfg!(test) { 1 << 10 } else { 1 << 21 };

/// Where a page lies and which key it begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) first: Key,
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) kind: Kind,
}

/// A segment being written.
pub(crate) struct SegmentWriter {
    file: Arc<dyn File>,
    path: String,
    buffer: Vec<u8>,
    written: u64,
    /// Rows of whole small keys, waiting for their page to fill.
    page: Vec<Row>,
    /// Rows of the key that is being read.
    key_rows: Vec<Row>,
    key: Option<Key>,
    /// Whether a block of the key that is being read was written already.
    key_cut: bool,
    entries: Vec<Entry>,
    /// Distinct keys.
    keys: usize,
    /// Of all keys, or none if they are too many.
    hashes: Vec<u64>,
    rows: u64,
    /// The least and the greatest second of the day over all rows.
    span: (u32, u32),
}

impl SegmentWriter {
    pub(crate) fn new(file: Arc<dyn File>, path: String, cell: Cell) -> SegmentWriter {
        let mut writer = SegmentWriter {
            file,
            path,
            buffer: Vec::with_capacity(BUFFER_BYTES + (1 << 16)),
            written: 0,
            page: Vec::new(),
            key_rows: Vec::new(),
            key: None,
            key_cut: false,
            entries: Vec::new(),
            keys: 0,
            hashes: Vec::new(),
            rows: 0,
            span: (u32::MAX, 0),
        };
        writer.put_header(cell);
        writer
    }

    fn put_header(&mut self, cell: Cell) {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[cell.table as u8, 0]);
        header.extend_from_slice(&cell.day.number().to_le_bytes());
        header.extend_from_slice(&[0, 0]);
        header.extend_from_slice(cell.organisation.0.as_bytes());
        let checksum = crc32fast::hash(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        header.resize(HEADER_BYTES, 0);
        self.buffer.extend_from_slice(&header);
    }

    /// Adds a row; rows rise, repeats are dropped.
    #[inline]
    pub(crate) fn push(&mut self, row: Row) -> Result<(), IndexError> {
        if self.key != Some(row.key) {
            self.end_key()?;
            self.key = Some(row.key);
            self.key_cut = false;
            self.note_key(row.key);
        } else if let Some(last) = self.key_rows.last().copied() {
            if last == row {
                return Ok(());
            }
            debug_assert!(last < row, "rows rise");
            if self.key_rows.len() >= BLOCK_FACTS && last.identity() != row.identity() {
                self.put_block()?;
                self.key_cut = true;
            }
        }
        self.span = (self.span.0.min(row.of_day()), self.span.1.max(row.of_day()));
        self.key_rows.push(row);
        Ok(())
    }

    fn note_key(&mut self, key: Key) {
        self.keys += 1;
        match self.keys {
            ..=HASHES_MAX => self.hashes.push(filter::hash(key)),
            _ => self.hashes = Vec::new(),
        }
    }

    fn end_key(&mut self) -> Result<(), IndexError> {
        if self.key_cut || self.key_rows.len() > PAGE_KEY_FACTS_MAX {
            return self.put_block();
        }
        if self.page.len() + self.key_rows.len() > PAGE_FACTS {
            self.put_page()?;
        }
        self.page.append(&mut self.key_rows);
        Ok(())
    }

    fn put_page(&mut self) -> Result<(), IndexError> {
        let Some(first) = self.page.first().map(|row| row.key) else { return Ok(()) };
        let bytes = page::pack(&self.page);
        let checksum = crc32fast::hash(&bytes);
        self.note(first, bytes.len() + 4, Kind::Page);
        self.buffer.extend_from_slice(&checksum.to_le_bytes());
        self.buffer.extend_from_slice(&bytes);
        self.rows += self.page.len() as u64;
        self.page.clear();
        self.flush_if_full()
    }

    /// Writes the rows of the current key so far as one block. A waiting page holds lesser keys, so it goes first.
    fn put_block(&mut self) -> Result<(), IndexError> {
        self.put_page()?;
        let Some(first) = self.key_rows.first().map(|row| row.key) else { return Ok(()) };
        let packed = block::pack(&self.key_rows);
        self.note(first, block::HEAD_BYTES + packed.set.len() + packed.times.len(), Kind::Block);
        self.buffer.extend_from_slice(&packed.head);
        self.buffer.extend_from_slice(&packed.set);
        self.buffer.extend_from_slice(&packed.times);
        self.rows += self.key_rows.len() as u64;
        self.key_rows.clear();
        self.flush_if_full()
    }

    fn note(&mut self, first: Key, bytes: usize, kind: Kind) {
        let bytes =
            u32::try_from(bytes).expect("a page or block of at most 2^20 facts is smaller than 4 GiB");
        self.entries.push(Entry { first, offset: self.written + self.buffer.len() as u64, bytes, kind });
    }

    fn flush_if_full(&mut self) -> Result<(), IndexError> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        self.file.write_at(self.written, &self.buffer).map_err(IndexError::io(&self.path))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left, the filter, the index and the trailer, and makes the file durable. Returns its rows.
    pub(crate) fn finish(mut self) -> Result<u64, IndexError> {
        self.end_key()?;
        self.put_page()?;
        let filter = self.filter()?;
        let filter_offset = self.written + self.buffer.len() as u64;
        let mut filter_checksum = crc32fast::Hasher::new();
        for bytes in filter.bytes() {
            filter_checksum.update(&bytes);
            self.buffer.extend_from_slice(&bytes);
            self.flush_if_full()?;
        }
        let index = index_bytes(&self.entries);
        let index_offset = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(&index);

        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(&index_offset.to_le_bytes());
        trailer.extend_from_slice(&(index.len() as u32).to_le_bytes());
        trailer.extend_from_slice(&crc32fast::hash(&index).to_le_bytes());
        trailer.extend_from_slice(&filter_offset.to_le_bytes());
        trailer.extend_from_slice(&(filter.memory() as u32).to_le_bytes());
        trailer.extend_from_slice(&filter_checksum.finalize().to_le_bytes());
        trailer.extend_from_slice(&self.rows.to_le_bytes());
        trailer.extend_from_slice(&self.span.0.to_le_bytes());
        trailer.extend_from_slice(&self.span.1.to_le_bytes());
        let checksum = crc32fast::hash(&trailer);
        trailer.extend_from_slice(&checksum.to_le_bytes());
        trailer.extend_from_slice(b"endS");
        self.buffer.extend_from_slice(&trailer);
        self.flush()?;
        self.file.sync().map_err(IndexError::io(&self.path))?;
        Ok(self.rows)
    }

    /// The filter of all keys, which are on their way to the disk.
    fn filter(&mut self) -> Result<Filter, IndexError> {
        if self.keys <= HASHES_MAX {
            return Ok(Filter::build(&std::mem::take(&mut self.hashes)));
        }
        self.flush()?;
        let mut filter = Filter::for_keys(self.keys);
        let mut bytes = Vec::new();
        for entry in &self.entries {
            if entry.kind == Kind::Block {
                filter.add(&Probe::of(entry.first));
                continue;
            }
            bytes.resize(entry.bytes as usize, 0);
            self.file.read_at(entry.offset, &mut bytes).map_err(IndexError::io(&self.path))?;
            let page = page::Page::parse(bytes.get(4..).unwrap_or_default())
                .map_err(|error| IndexError::corrupt(&self.path, entry.offset, error.0))?;
            page.keys().for_each(|key| filter.add(&Probe::of(key)));
        }
        Ok(filter)
    }
}

fn index_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&entry.first.as_u128().to_le_bytes());
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(&entry.bytes.to_le_bytes());
        bytes.extend_from_slice(&(entry.kind as u32).to_le_bytes());
    }
    bytes
}

/// Bytes of an index entry on disk.
pub(super) const ENTRY_BYTES: usize = 32;
