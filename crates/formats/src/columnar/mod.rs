//! Parquet: files whose rows are records of a format that is known as text, such as VPC flow logs and OCSF in data lakes. Rows become
//! the lines that the format's own decoder reads: there is no second judgement. Refuses to hold: files themselves (a `ChunkReader` is
//! given, and of it only what is asked for is read), and encrypted files.
//!
//! ```text
//! PAR1 | row group: columns, each in pages | row group | ... | metadata: schema, and where all of it lies | its length | PAR1
//! ```
//!
//! A file can only be read from its end, so it cannot come through a pipe. Memory holds the pages of a few rows of each column at a time;
//! what a file says of its sizes is held against bounds before anything is read, and its pages against what it says (`pages.rs`). The
//! library's own mistakes in reading damaged files are damage.
//!
//! Rows may cost a file nothing: a run says in some bytes that a value, or none, is that of a billion rows. So a file has no more rows than
//! gzip could make lines of its bytes, a thousand each, and a million beside. A row group of a million rows takes over a thousand bytes
//! even where every column has one value in all of them, and the time of a log has more.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::record::reader::RowIter;
use parquet::record::{Field, List, Map, Row};
use sighting::Second;

pub use parquet::file::reader::{ChunkReader, Length};

mod levels;
mod pages;

use crate::aws_vpc;
use crate::chunk::{CHUNK_BYTES, Chunk, Content, CsvLayout, LINE_BYTES_MAX};
use crate::detect::Search;
use crate::format::{Format, Wanted};
use crate::settings::ColumnMap;

use pages::{BATCH_ROWS, BoundedFile};

/// How such a file begins, and ends.
pub const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Of the metadata at the end. A thousand columns and a thousand row groups stay below.
const METADATA_BYTES_MAX: u64 = 64 << 20;
/// Of a column in a row group, decompressed. Writers aim at 128 MiB for all columns of a row group.
const COLUMN_BYTES_MAX: i64 = 1 << 30;
/// Of all columns of a row group, decompressed.
const GROUP_BYTES_MAX: i64 = 4 << 30;
/// Of the rows of a file: so many a byte of it,
const ROWS_A_BYTE_MAX: u64 = 1_024;
/// and so many more.
const ROWS_MORE: u64 = 1 << 20;
/// Rows that are looked at to tell the format,
const ROWS_LOOKED_AT: usize = 256;
/// and their text at which no more are.
const LOOKED_AT_BYTES: usize = 1 << 20;

/// Why a file, or the rest of it, could not be read; printed, a sentence for a person.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct ColumnarDamage {
    what: String,
}

impl ColumnarDamage {
    fn new(what: impl std::fmt::Display) -> ColumnarDamage {
        // Only the first line: the library appends where in its code it was, and puts in front that it is its own.
        let what = what.to_string();
        let line = what.lines().next().unwrap_or_default();
        ColumnarDamage { what: line.strip_prefix("Parquet error: ").unwrap_or(line).to_owned() }
    }
}

/// An opened file, read row by row.
pub struct Columnar {
    rows: RowIter<'static>,
    form: Form,
    /// Rows that were read to tell the format.
    ahead: Vec<String>,
    /// The number of the row that comes next; 1 is the first.
    next: u64,
    /// How many rows it says it has, and how many were read.
    count: u64,
    came: u64,
    /// Why no more can be read, once that is so and what came before has been given out.
    damage: Option<ColumnarDamage>,
    is_over: bool,
}

/// As what rows are written down.
enum Form {
    /// A row of VPC flow logs.
    Fields(Arc<CsvLayout>),
    /// An object.
    Json(Option<Format>),
}

impl Columnar {
    /// Opens a file. A format that is not wanted, or that nothing tells, is refused row by row, as everywhere.
    pub fn open<R: ChunkReader + 'static>(
        file: R,
        wanted: Wanted,
        columns: &ColumnMap,
    ) -> Result<Columnar, ColumnarDamage> {
        check_end(&file)?;
        let metadata = unpanicked(|| ParquetMetaDataReader::new().parse_and_finish(&file))?;
        check_sizes(&metadata)?;
        check_rows(&metadata, file.len())?;
        let whole = metadata.file_metadata();
        let names: Vec<String> =
            whole.schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
        let count = u64::try_from(whole.num_rows()).unwrap_or(0);
        let header = names.join(" ");
        let is_vpc = aws_vpc::is_header(&header)
            && matches!(wanted, Wanted::Detect | Wanted::Exactly(Format::AwsVpc))
            && !columns.is_of_generic();
        let form = if is_vpc || wanted == Wanted::Exactly(Format::AwsVpc) {
            Form::Fields(Arc::new(CsvLayout::of(&header, Some(b' '))))
        } else {
            Form::Json(None)
        };
        let rows = unpanicked(|| Ok(RowIter::from_file_into(Box::new(BoundedFile::new(file, metadata)))))?;
        let rows = rows.with_batch_size(BATCH_ROWS);
        let mut file =
            Columnar { rows, form, ahead: Vec::new(), next: 1, count, came: 0, damage: None, is_over: false };
        file.look(wanted, columns);
        Ok(file)
    }

    /// The format, if the columns or the first rows tell it.
    pub const fn format(&self) -> Option<Format> {
        match self.form {
            Form::Fields(_) => Some(Format::AwsVpc),
            Form::Json(format) => format,
        }
    }

    /// The number of the row that comes next.
    pub const fn next_row(&self) -> u64 {
        self.next
    }

    /// How many rows it says it has.
    pub const fn rows(&self) -> u64 {
        self.count
    }

    /// The next rows, until there are none; damage comes once, behind the rows before it, and ends it.
    pub fn next_chunk(&mut self) -> Option<Result<Chunk, ColumnarDamage>> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES / 4);
        let first_line = self.next;
        for row in std::mem::take(&mut self.ahead) {
            self.add(&mut bytes, &row);
        }
        while bytes.len() < CHUNK_BYTES
            && let Some(row) = self.read()
        {
            self.add(&mut bytes, &row);
        }
        if bytes.is_empty() {
            return self.damage.take().map(Err);
        }
        let content = match &self.form {
            Form::Fields(layout) => Content::CsvRows(Format::AwsVpc, Arc::clone(layout)),
            Form::Json(Some(format)) => Content::JsonLines(*format),
            Form::Json(None) => Content::Unrecognised,
        };
        Some(Ok(Chunk { bytes, first_line, content, is_cut: false }))
    }

    fn add(&mut self, bytes: &mut Vec<u8>, row: &str) {
        bytes.extend_from_slice(row.as_bytes());
        bytes.push(b'\n');
        self.next += 1;
    }

    /// Looks at the first rows for what they are.
    fn look(&mut self, wanted: Wanted, columns: &ColumnMap) {
        let Form::Json(None) = self.form else { return };
        let search = Search::new(wanted, columns);
        let exactly = match wanted {
            Wanted::Exactly(format) => Some(format),
            _ => None,
        };
        let (mut found, mut bytes) = (exactly, 0);
        while found.is_none()
            && self.ahead.len() < ROWS_LOOKED_AT
            && bytes < LOOKED_AT_BYTES
            && let Some(row) = self.read()
        {
            found = search.element(row.as_bytes());
            bytes += row.len();
            self.ahead.push(row);
        }
        self.form = Form::Json(found);
    }

    /// The next row as its format writes it.
    fn read(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let (rows, form) = (&mut self.rows, &self.form);
        let row = unpanicked(|| {
            let Some(row) = rows.next() else { return Ok(None) };
            let mut text = String::new();
            match form {
                Form::Fields(_) => put_fields(&mut text, &row?),
                Form::Json(_) => put_object(&mut text, &row?),
            }
            Ok(Some(text))
        });
        match row {
            Ok(Some(row)) => {
                self.came += 1;
                return Some(row);
            }
            Ok(None) if self.came < self.count => {
                let says = format!(
                    "the Parquet file says that it has {} rows, and {} are there",
                    self.count, self.came
                );
                self.damage = Some(ColumnarDamage::new(says));
            }
            Ok(None) => {}
            Err(damage) => self.damage = Some(damage),
        }
        self.is_over = true;
        None
    }
}

/// Does something of the library's. It is not made for every damage and panics at some; that must cost the file and nothing else.
fn unpanicked<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, ColumnarDamage> {
    // What was half changed is not used again.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(ColumnarDamage::new),
        Err(_) => Err(ColumnarDamage::new("the Parquet library gave up on it")),
    }
}

/// Looks at the last eight bytes, so that a length that makes no sense is not even tried.
fn check_end<R: ChunkReader>(file: &R) -> Result<(), ColumnarDamage> {
    const TAIL: u64 = 8;
    let length = file.len();
    let start =
        length.checked_sub(TAIL).ok_or_else(|| ColumnarDamage::new("the file is too short for Parquet"))?;
    let tail = file.get_bytes(start, TAIL as usize).map_err(ColumnarDamage::new)?;
    let (size, magic) =
        tail.split_first_chunk().ok_or_else(|| ColumnarDamage::new("the file is too short for Parquet"))?;
    match magic {
        magic if magic == PARQUET_MAGIC => {}
        b"PARE" => return Err(ColumnarDamage::new("the Parquet file is encrypted; decrypt it first")),
        _ => {
            return Err(ColumnarDamage::new(
                "the Parquet file does not end as one: it was cut, or is still written",
            ));
        }
    }
    let size = u64::from(u32::from_le_bytes(*size));
    if size > METADATA_BYTES_MAX || size + TAIL > length {
        return Err(ColumnarDamage::new(format!(
            "the Parquet file says that its metadata is {size} bytes long"
        )));
    }
    Ok(())
}

/// Refuses what would need more memory than any real file does.
fn check_sizes(metadata: &ParquetMetaData) -> Result<(), ColumnarDamage> {
    if metadata.file_metadata().schema_descr().num_columns() == 0 {
        return Err(ColumnarDamage::new("it has no columns"));
    }
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let sizes = |column: &ColumnChunkMetaData| [column.uncompressed_size(), column.compressed_size()];
        let mut columns = group.columns().iter();
        let too_large =
            columns.find(|column| sizes(column).iter().any(|size| !(0..=COLUMN_BYTES_MAX).contains(size)));
        if let Some(column) = too_large {
            let [decompressed, compressed] = sizes(column);
            return Err(ColumnarDamage::new(format!(
                "the column {} of row group {number} is {compressed} bytes, {decompressed} decompressed; at most {COLUMN_BYTES_MAX} are \
                 read: write the file with smaller row groups",
                column.column_path()
            )));
        }
        let all: i64 = group.columns().iter().map(ColumnChunkMetaData::uncompressed_size).sum();
        if all > GROUP_BYTES_MAX {
            return Err(ColumnarDamage::new(format!(
                "row group {number} has {all} bytes decompressed; at most {GROUP_BYTES_MAX} are read: write the file with smaller row \
                 groups"
            )));
        }
    }
    Ok(())
}

/// Refuses rows out of all proportion to the bytes that say them.
fn check_rows(metadata: &ParquetMetaData, length: u64) -> Result<(), ColumnarDamage> {
    let of_groups = metadata.row_groups().iter().map(RowGroupMetaData::num_rows);
    let said = |rows: i64| u64::try_from(rows).unwrap_or(u64::MAX);
    let in_groups = of_groups.map(said).fold(0, u64::saturating_add);
    let rows = in_groups.max(said(metadata.file_metadata().num_rows()));
    if rows > length.saturating_mul(ROWS_A_BYTE_MAX).saturating_add(ROWS_MORE) {
        return Err(ColumnarDamage::new(format!(
            "the Parquet file says that it has {rows} rows; its {length} bytes cannot hold so many"
        )));
    }
    Ok(())
}

/// A row as text between spaces, as in the files of this log that are text.
fn put_fields(text: &mut String, row: &Row) {
    for (index, (_, field)) in row.get_column_iter().enumerate() {
        if is_full(text) {
            break;
        }
        if index > 0 {
            text.push(' ');
        }
        let value = match field {
            Field::Str(value) => Cow::Borrowed(value.as_str()),
            Field::Bytes(value) => String::from_utf8_lossy(value.data()),
            Field::Null => Cow::Borrowed(""),
            field => Cow::Owned(number(field).unwrap_or_default()),
        };
        // What is longer makes the row longer than any that is read, however much longer it is.
        match value.get(..value.floor_char_boundary(LINE_BYTES_MAX + 1)).unwrap_or_default() {
            "" => text.push('-'),
            value if value.contains(|c: char| c == '"' || c.is_whitespace()) => {
                // A quoted field may not hold a line end here: rows are told apart by them.
                let value = value.replace(['\n', '\r'], " ").replace('"', "\"\"");
                text.extend(["\"", &value, "\""]);
            }
            value => text.push_str(value),
        }
    }
}

fn put_object(text: &mut String, row: &Row) {
    text.push('{');
    for (index, (name, field)) in row.get_column_iter().enumerate() {
        if is_full(text) {
            break;
        }
        if index > 0 {
            text.push(',');
        }
        put_string(text, name);
        text.push(':');
        put_value(text, field);
    }
    text.push('}');
}

fn put_value(text: &mut String, field: &Field) {
    match field {
        Field::Null => text.push_str("null"),
        Field::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Field::Str(value) => put_string(text, value),
        Field::Bytes(value) => put_string(text, &String::from_utf8_lossy(value.data())),
        Field::Group(row) => put_object(text, row),
        Field::ListInternal(list) => put_list(text, list),
        Field::MapInternal(map) => put_map(text, map),
        field => match number(field) {
            Some(number) => text.push_str(&number),
            None => text.push_str("null"),
        },
    }
}

fn put_list(text: &mut String, list: &List) {
    text.push('[');
    for (index, field) in list.elements().iter().enumerate() {
        if is_full(text) {
            break;
        }
        if index > 0 {
            text.push(',');
        }
        put_value(text, field);
    }
    text.push(']');
}

fn put_map(text: &mut String, map: &Map) {
    text.push('{');
    for (index, (key, value)) in map.entries().iter().enumerate() {
        if is_full(text) {
            break;
        }
        if index > 0 {
            text.push(',');
        }
        match key {
            Field::Str(key) => put_string(text, key),
            key => put_string(text, &number(key).unwrap_or_default()),
        }
        text.push(':');
        put_value(text, value);
    }
    text.push('}');
}

/// A number as JSON has them; times as epoch numbers, days as dates. None for what is none, or not finite.
fn number(field: &Field) -> Option<String> {
    Some(match field {
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::Float16(value) => finite(value.to_f64())?,
        Field::Float(value) => finite(f64::from(*value))?,
        Field::Double(value) => finite(*value)?,
        Field::TimestampMillis(value) | Field::TimestampMicros(value) => value.to_string(),
        Field::TimeMillis(value) => value.to_string(),
        Field::TimeMicros(value) => value.to_string(),
        Field::Date(days) => Second::from_unix(i64::from(*days) * 86_400)?.unix().to_string(),
        // Decimals, which none of the formats has.
        _ => return None,
    })
}

fn finite(value: f64) -> Option<String> {
    value.is_finite().then(|| value.to_string())
}

/// Whether a row is longer than any that is read: it is refused for that, so nothing need follow.
const fn is_full(text: &str) -> bool {
    text.len() > LINE_BYTES_MAX
}

/// A string of JSON; no line end is left in it.
fn put_string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars().take(LINE_BYTES_MAX + 1) {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() && (c as u32) < 0x20 => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}
