//! The pages of a Parquet file, held against what real files have before the library reads them: pages are decompressed here, up to what
//! the column says it has and no further, and what all columns have in memory at once is counted. Refuses to hold: what is in a page (the
//! library, and `levels.rs`), and what a file says of itself (`mod.rs`).
//!
//! The library believes a page: gzip is unpacked to whatever comes out of it, and room is made for as many values as a dictionary claims.
//! It reads [`BATCH_ROWS`] rows of a column at a time, with all elements of their lists, and keeps the pages that they came from. A file of
//! some kilobytes could so ask for all memory there is.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::{Compression, Encoding, Type as PhysicalType};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::levels::Rows;

/// Rows of a column that are read at once. The fewer, the less is in memory; fewer than this are slower.
pub(super) const BATCH_ROWS: usize = 64;
/// Of a page, decompressed. Writers aim at one MiB.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// The same where each value is written as what differs from the one before: a batch of values may be so many times as large.
const DELTA_PAGE_BYTES_MAX: u64 = 8 << 20;
/// Of all that a row group has in memory at once.
const MEMORY_MAX: u64 = 1 << 30;
/// Of the elements that lists and maps of one column may have in a row group: so many a row,
const ELEMENTS_A_ROW_MAX: u64 = 64;
/// so many more, for rows that have many. Rows that are read at once may not have more together.
const ELEMENTS_MORE: u64 = 1 << 20;
/// What an element of a list takes in memory: its value twice, its levels.
const ELEMENT_BYTES: u64 = 96;
/// What a value of a dictionary takes beside its bytes.
const DICTIONARY_VALUE_BYTES: u64 = 32;

/// A file whose pages are bounded.
pub(super) struct BoundedFile<R> {
    file: Arc<R>,
    metadata: ParquetMetaData,
}

impl<R> BoundedFile<R> {
    pub(super) fn new(file: R, metadata: ParquetMetaData) -> BoundedFile<R> {
        BoundedFile { file: Arc::new(file), metadata }
    }
}

impl<R: ChunkReader + 'static> FileReader for BoundedFile<R> {
    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    fn num_row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    fn get_row_group(&self, number: usize) -> ParquetResult<Box<dyn RowGroupReader + '_>> {
        let (metadata, memory) = (self.metadata.row_group(number), Arc::default());
        Ok(Box::new(BoundedGroup { file: &self.file, metadata, memory }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_file(projection, self)
    }
}

struct BoundedGroup<'a, R> {
    file: &'a Arc<R>,
    metadata: &'a RowGroupMetaData,
    /// What its columns have in memory.
    memory: Arc<AtomicU64>,
}

impl<R: ChunkReader + 'static> RowGroupReader for BoundedGroup<'_, R> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, number: usize) -> ParquetResult<Box<dyn PageReader>> {
        let column = self.metadata.column(number);
        let rows = u64::try_from(self.metadata.num_rows())?;
        // Called uncompressed, the pages come as they lie in the file.
        let packed = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let pages = SerializedPageReader::new(Arc::clone(self.file), &packed, usize::try_from(rows)?, None)?;
        Ok(Box::new(BoundedPages {
            pages,
            compression: column.compression(),
            bytes_max: u64::try_from(column.uncompressed_size())?,
            values_left: values_max(column, rows),
            value_bytes_min: value_bytes_min(column),
            depth: column.column_descr().max_rep_level(),
            rows: Rows::default(),
            held: Held { memory: Arc::clone(&self.memory), dictionary: 0, pages: VecDeque::new() },
            name: column.column_path().string(),
        }))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// How many values a column can have: one a row, where it is in no list.
fn values_max(column: &ColumnChunkMetaData, rows: u64) -> u64 {
    if column.column_descr().max_rep_level() == 0 {
        return rows;
    }
    let elements = rows.saturating_mul(ELEMENTS_A_ROW_MAX).saturating_add(ELEMENTS_MORE);
    rows.saturating_add(elements)
}

/// The fewest bytes of a value in a dictionary. A text has its length in front.
fn value_bytes_min(column: &ColumnChunkMetaData) -> u64 {
    match column.column_type() {
        PhysicalType::BOOLEAN => 1,
        PhysicalType::INT32 | PhysicalType::FLOAT | PhysicalType::BYTE_ARRAY => 4,
        PhysicalType::INT64 | PhysicalType::DOUBLE => 8,
        PhysicalType::INT96 => 12,
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            u64::try_from(column.column_descr().type_length()).unwrap_or_default().max(1)
        }
    }
}

struct BoundedPages<R: ChunkReader> {
    pages: SerializedPageReader<R>,
    compression: Compression,
    /// What the column says it has, decompressed: no page can have more.
    bytes_max: u64,
    values_left: u64,
    value_bytes_min: u64,
    /// How many lists the column is in.
    depth: i16,
    rows: Rows,
    held: Held,
    name: String,
}

impl<R: ChunkReader> BoundedPages<R> {
    fn bounded(&mut self, page: Page) -> ParquetResult<Page> {
        let checked = self.unpacked(page).and_then(|page| {
            self.count(&page)?;
            self.hold(&page)?;
            Ok(page)
        });
        checked.map_err(|why| ParquetError::General(format!("the column {} {why}", self.name)))
    }

    fn unpacked(&self, mut page: Page) -> Result<Page, String> {
        let levels = match &page {
            Page::DataPageV2 { is_compressed: false, buf, .. } => buf.len(),
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize)
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => 0,
        };
        let most = page_bytes_max(&page);
        let (Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. }) =
            &mut page;
        let mut size = buf.len() as u64;
        if size <= most
            && self.compression != Compression::UNCOMPRESSED
            // Of pages of the second version the levels in front are not compressed.
            && let Some((levels, packed)) = buf.split_at_checked(levels)
            && !packed.is_empty()
        {
            let mut whole = levels.to_vec();
            let max = self.bytes_max.min(most);
            size = decompress(self.compression, packed, max, &mut whole)
                .map_err(|why| format!("cannot be unpacked: {why}"))?;
            *buf = whole.into();
        }
        match size {
            _ if size > most => Err(format!(
                "has a page of more than {most} bytes; at most {most} are read: write the file with smaller pages"
            )),
            _ if size > self.bytes_max && self.compression != Compression::UNCOMPRESSED => Err(format!(
                "has a page of more than the {} bytes that all of its pages are said to have",
                self.bytes_max
            )),
            _ => Ok(page),
        }
    }

    /// Holds the number of values against what there can be.
    fn count(&mut self, page: &Page) -> Result<(), String> {
        let values = u64::from(page.num_values());
        let left = match page {
            Page::DictionaryPage { buf, .. } => buf.len() as u64 / self.value_bytes_min,
            Page::DataPage { .. } | Page::DataPageV2 { .. } => self.values_left,
        };
        if values > left {
            return Err(format!("says that a page has {values} values; there can be no more than {left}"));
        }
        if page.is_data_page() {
            self.values_left -= values;
        }
        Ok(())
    }

    /// Counts what the page adds to what is in memory.
    fn hold(&mut self, page: &Page) -> Result<(), String> {
        let bytes = page.buffer().len() as u64;
        if let Page::DictionaryPage { num_values, .. } = page {
            return self.held.dictionary(bytes + u64::from(*num_values) * DICTIONARY_VALUE_BYTES);
        }
        let before = self.rows.count;
        match self.depth {
            0 => self.rows.pass(u64::from(page.num_values())),
            depth => self.rows.count(page, depth, BATCH_ROWS as u64),
        }
        let elements = self.rows.most;
        if elements > ELEMENTS_MORE {
            return Err(format!(
                "has {elements} elements in {BATCH_ROWS} rows; at most {ELEMENTS_MORE} are read"
            ));
        }
        self.held.page(before, self.rows.count, bytes + elements * ELEMENT_BYTES)
    }
}

/// What a column has in memory, as a part of what its row group has.
struct Held {
    memory: Arc<AtomicU64>,
    dictionary: u64,
    /// The last pages: the row behind each, and how much it takes.
    pages: VecDeque<(u64, u64)>,
}

impl Held {
    fn dictionary(&mut self, bytes: u64) -> Result<(), String> {
        self.let_go(self.dictionary);
        self.dictionary = bytes;
        self.take(bytes)
    }

    /// A page that begins behind so many rows. Pages whose rows were all read before those of its batch are in memory no more.
    fn page(&mut self, before: u64, end: u64, bytes: u64) -> Result<(), String> {
        let batch_start = before / BATCH_ROWS as u64 * BATCH_ROWS as u64;
        while let Some((_, bytes)) = self.pages.pop_front_if(|(end, _)| *end <= batch_start) {
            self.let_go(bytes);
        }
        self.pages.push_back((end, bytes));
        self.take(bytes)
    }

    fn take(&self, bytes: u64) -> Result<(), String> {
        let all = self.memory.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if all > MEMORY_MAX {
            return Err(format!(
                "and those before it have {all} bytes in memory at once; at most {MEMORY_MAX} are read: write the file with smaller \
                 pages"
            ));
        }
        Ok(())
    }

    fn let_go(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How large a page may be, decompressed.
const fn page_bytes_max(page: &Page) -> u64 {
    match page {
        Page::DataPage { encoding: Encoding::DELTA_BYTE_ARRAY, .. }
        | Page::DataPageV2 { encoding: Encoding::DELTA_BYTE_ARRAY, .. } => DELTA_PAGE_BYTES_MAX,
        _ => PAGE_BYTES_MAX,
    }
}

impl<R: ChunkReader> Iterator for BoundedPages<R> {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<ParquetResult<Page>> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for BoundedPages<R> {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        match self.pages.get_next_page()? {
            Some(page) => self.bounded(page).map(Some),
            None => Ok(None),
        }
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}

/// Appends to `whole` what was compressed, and how many bytes that is: as soon as it is more than `max`, no further.
fn decompress(compression: Compression, packed: &[u8], max: u64, whole: &mut Vec<u8>) -> Result<u64, String> {
    let before = whole.len();
    let came = match compression {
        Compression::GZIP(_) => flate2::read::MultiGzDecoder::new(packed).take(max + 1).read_to_end(whole),
        Compression::ZSTD(_) => {
            zstd::stream::read::Decoder::new(packed).and_then(|pages| pages.take(max + 1).read_to_end(whole))
        }
        Compression::SNAPPY => return unsnap(packed, max, whole),
        other => {
            return Err(format!(
                "it is compressed with {}, which is not read; write the file with zstd, gzip or snappy",
                other.to_string().to_lowercase()
            ));
        }
    };
    came.map_err(|error| error.to_string())?;
    Ok((whole.len() - before) as u64)
}

fn unsnap(packed: &[u8], max: u64, whole: &mut Vec<u8>) -> Result<u64, String> {
    let size = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
    if size as u64 > max {
        return Ok(size as u64);
    }
    let start = whole.len();
    whole.resize(start + size, 0);
    let room = whole.get_mut(start..).unwrap_or_default();
    let unpacked = snap::raw::Decoder::new().decompress(packed, room);
    unpacked.map(|size| size as u64).map_err(|error| error.to_string())
}
