//! The pages of a Parquet file, held against what real files have before the library reads them: pages are decompressed here, up to what
//! the column says it has and no further. Refuses to hold: what is in a page (the library), and what a file says of itself (`mod.rs`).
//!
//! The library believes a page: gzip is unpacked to whatever comes out of it, and room is made for as many values as a dictionary claims.
//! A file of some kilobytes could so ask for all memory there is.

use std::io::Read as _;
use std::sync::Arc;

use parquet::basic::{Compression, PageType};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

/// Of the elements that lists and maps of one column may have in a row group: so many a row,
const ELEMENTS_A_ROW_MAX: u64 = 64;
/// so many more, for one row that has many,
const ELEMENTS_MORE: u64 = 1 << 20;
/// and no more than this: all of them may be one row's, which is in memory at once.
const ELEMENTS_MAX: u64 = 8 << 20;

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
        Ok(Box::new(BoundedGroup { file: &self.file, metadata: self.metadata.row_group(number) }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_file(projection, self)
    }
}

struct BoundedGroup<'a, R> {
    file: &'a Arc<R>,
    metadata: &'a RowGroupMetaData,
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
    rows.saturating_add(elements.min(ELEMENTS_MAX))
}

struct BoundedPages<R: ChunkReader> {
    pages: SerializedPageReader<R>,
    compression: Compression,
    /// What the column says it has, decompressed: no page can have more.
    bytes_max: u64,
    values_left: u64,
    name: String,
}

impl<R: ChunkReader> BoundedPages<R> {
    fn bounded(&mut self, mut page: Page) -> ParquetResult<Page> {
        let levels = match &page {
            Page::DataPageV2 { is_compressed: false, buf, .. } => buf.len(),
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                (*def_levels_byte_len as usize).saturating_add(*rep_levels_byte_len as usize)
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => 0,
        };
        let (Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. }) =
            &mut page;
        // Of pages of the second version the levels in front are not compressed.
        if self.compression != Compression::UNCOMPRESSED
            && let Some((levels, packed)) = buf.split_at_checked(levels)
            && !packed.is_empty()
        {
            let mut whole = levels.to_vec();
            decompress(self.compression, packed, self.bytes_max, &mut whole)
                .map_err(|why| ParquetError::General(format!("the column {}: {why}", self.name)))?;
            *buf = whole.into();
        }
        self.count(&page)?;
        Ok(page)
    }

    /// Holds the number of values against what there can be.
    fn count(&mut self, page: &Page) -> ParquetResult<()> {
        let values = u64::from(page.num_values());
        let left = match page.page_type() {
            // A value of a dictionary takes a byte at least.
            PageType::DICTIONARY_PAGE => page.buffer().len() as u64,
            _ => self.values_left,
        };
        if values > left {
            return Err(ParquetError::General(format!(
                "the column {} says that a page has {values} values; there can be no more than {left}",
                self.name
            )));
        }
        if page.is_data_page() {
            self.values_left -= values;
        }
        Ok(())
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

/// Appends to `whole` what was compressed; an error, a sentence, as soon as that is more than `max` bytes.
fn decompress(compression: Compression, packed: &[u8], max: u64, whole: &mut Vec<u8>) -> Result<(), String> {
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
    within((whole.len() - before) as u64, max)
}

fn unsnap(packed: &[u8], max: u64, whole: &mut Vec<u8>) -> Result<(), String> {
    let size = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
    within(size as u64, max)?;
    let start = whole.len();
    whole.resize(start + size, 0);
    let room = whole.get_mut(start..).unwrap_or_default();
    let unpacked = snap::raw::Decoder::new().decompress(packed, room);
    unpacked.map(drop).map_err(|error| error.to_string())
}

fn within(size: u64, max: u64) -> Result<(), String> {
    if size > max {
        return Err(format!("a page has more than the {max} bytes that all of its pages are said to have"));
    }
    Ok(())
}
