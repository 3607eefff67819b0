//! The piece of work between framing and decoding: some whole records with all that is needed to read them. Refuses
//! to hold: records cut in two, and state that a decoder would have to hand to the next chunk.

use std::sync::Arc;

use crate::format::Format;
use crate::netflow::Told;
use crate::record::Refusal;
use crate::zeek_tsv::ZeekLayout;

/// About how many bytes of records a chunk holds: enough to be worth handing to a thread, few enough to bound memory.
pub const CHUNK_BYTES: usize = 1 << 20;

/// The longest record that is read. Real ones stay below 64 KiB; Event Hubs messages below 1 MiB.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Whole records, in their order. Decoding needs nothing else and may happen on any thread.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Every record ends in a line feed, also the last of the input.
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_line: u64,
    pub(crate) content: Content,
    /// Whether the last record ended with the input and not with a line feed of its own.
    pub(crate) is_cut: bool,
}

impl Chunk {
    /// How many bytes of the input it stands for, roughly: for progress and for bounding queues.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no bytes (a chunk may still tell of a record that was too long to keep).
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The format of its records, as far as it is known.
    pub const fn format(&self) -> Option<Format> {
        match &self.content {
            Content::JsonLines(format)
            | Content::JsonElements(format, _)
            | Content::Lines(format)
            | Content::XmlEvents { format, .. }
            | Content::CsvRows(format, _) => Some(*format),
            Content::ZeekRows(_) => Some(Format::ZeekTsv),
            Content::Flows(_) => Some(Format::NetFlow),
            Content::Headers | Content::Unrecognised | Content::Refused(_) => None,
        }
    }

    /// The number of the line on which its first record starts; 1 is the first.
    pub const fn first_line(&self) -> u64 {
        self.first_line
    }
}

/// What the records of a chunk are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// One record a line, a JSON text each.
    JsonLines(Format),
    /// One record a line, cut out of a document; the line of the document on which each starts.
    JsonElements(Format, Vec<u64>),
    /// Rows of a Zeek log under one header; without one, none was seen.
    ZeekRows(Option<Arc<ZeekLayout>>),
    /// One record a line, each of which tells all of itself.
    Lines(Format),
    /// XML elements of events, one after another, with nothing or anything between them; whether the first byte begins a line.
    XmlEvents { format: Format, begins_line: bool },
    /// Rows of CSV under one header.
    CsvRows(Format, Arc<CsvLayout>),
    /// No bytes: records of flow exports, read already, because each needs what came before it.
    Flows(Vec<Told>),
    /// Lines that only tell how the others are to be read.
    Headers,
    /// Lines of nothing known.
    Unrecognised,
    /// No bytes: the one record at `first_line` was refused while it was framed.
    Refused(Refusal),
}

/// The header of a CSV input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CsvLayout {
    pub(crate) separator: u8,
    /// The header row as it stands but for white space at its end, to know it when it comes again.
    pub(crate) header: String,
    pub(crate) columns: Vec<String>,
    /// How many fields a row has at least: columns without a name at the end of the header may be left out.
    pub(crate) fewest: usize,
}

impl CsvLayout {
    /// From a header row without its line end; the separator, if something else than the row tells it.
    pub(crate) fn of(header: &str, separator: Option<u8>) -> CsvLayout {
        let separator = separator.or_else(|| crate::csv::separator(header)).unwrap_or(b',');
        let mut fields = Vec::new();
        crate::csv::split(header, separator, &mut fields);
        let columns: Vec<String> = fields.iter().map(|field| field.resolved().trim().to_owned()).collect();
        let fewest = columns.iter().rposition(|column| !column.is_empty()).map_or(1, |last| last + 1);
        CsvLayout { separator, header: header.trim_end().to_owned(), columns, fewest }
    }

    /// The place of a column by its name; exact first, then without regard to case.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|column| column == name);
        exact.or_else(|| self.columns.iter().position(|column| column.eq_ignore_ascii_case(name)))
    }
}
