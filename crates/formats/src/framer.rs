//! Cuts a stream of bytes, pushed in pieces of any size, into chunks of whole records; the one place that keeps state
//! from record to record. Where the pieces were cut never changes what comes out of the decoder. Refuses to hold: I/O,
//! the meaning of records, and more than one record of memory beyond a chunk.
//!
//! An input of which detection could not tell the format is searched on, record by record; what comes before the first
//! record that some format knows is refused.

use std::sync::Arc;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use crate::aws_vpc::VpcFields;
use crate::chunk::{CHUNK_BYTES, Chunk, Content, CsvLayout, LINE_BYTES_MAX};
use crate::csv::{RowEnd, row_end, separator_line};
use crate::detect::{Opening, Search, Shape, is_sound};
use crate::document::{Document, Found};
use crate::format::Format;
use crate::netflow::{self, Lost};
use crate::record::Refusal;
use crate::settings::ColumnMap;
use crate::utf16::Decoder;
use crate::zeek_tsv::ZeekHeader;
use crate::{aws_vpc, isc_dhcpd, sysmon_xml};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// Buffers kept for reuse: as many chunks as are likely to be under way at once.
const SPARES_MAX: usize = 8;

/// Bytes in, chunks of whole records out. Sequential and cheap: a fraction of decoding.
pub struct Framer {
    frames: Frames,
    /// Makes UTF-8 of an input in UTF-16; everything below is of what comes out of it.
    utf16: Option<Decoder>,
    /// Bytes that are not in a chunk yet; they start at the start of a record.
    pending: Vec<u8>,
    /// The number of the line on which `pending` starts.
    line: u64,
    /// How many bytes of records a chunk holds, about.
    chunk_bytes: usize,
    /// Cutting is tried again when `pending` has grown to this.
    next_cut: usize,
    /// Inside a line that is too long: its bytes are dropped.
    is_skipping: bool,
    /// The first bytes have been seen and a byte order mark, if any, is gone.
    is_past_bom: bool,
    /// Bytes of the input up to the end of `pending`.
    pushed: u64,
    /// Bytes of the line that is too long, as far as they were dropped.
    skipped: u64,
    /// The last record was given out before its line end came.
    owes_line_end: bool,
    header: HeaderAt,
    spares: Vec<Vec<u8>>,
}

/// Where in an input a record begins, and all that must be known of what lies before it. From there the rest can be read
/// ([`Framer::resume`]) as if the whole had been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The byte of the (decompressed) input at which the record begins.
    pub position: u64,
    /// The line on which it begins; 1 is the first.
    pub line: u64,
    /// The byte at which the header of the rows begins, where there is one.
    pub header: u64,
}

/// How records lie in the bytes.
enum Frames {
    JsonLines(Format),
    Lines(Format),
    /// Whether what is pending begins a line.
    XmlEvents {
        format: Format,
        at_line_start: bool,
    },
    /// Blocks of lines, each behind another.
    Blocks(Format),
    JsonDocument(Box<Elements>),
    Zeek(ZeekHeader),
    Csv {
        format: Format,
        separator: Option<u8>,
        layout: Option<Arc<CsvLayout>>,
        /// What the operator says of rows without a header.
        own: Option<Box<VpcFields>>,
    },
    /// Datagrams of flow exports; their records are counted instead of lines.
    Datagrams(Box<netflow::File>),
    /// Lines of nothing known so far.
    Unknown(Search),
}

impl Frames {
    fn of(opening: Opening, columns: &ColumnMap) -> Frames {
        match (opening.format, opening.shape) {
            (None, Shape::Lines) => Frames::Unknown(Search::new(opening.wanted, columns)),
            (Some(Format::ZeekTsv), _) => Frames::Zeek(ZeekHeader::default()),
            (Some(format), _) if format.is_csv() => {
                Frames::Csv { format, separator: None, layout: None, own: None }
            }
            (Some(format @ Format::IscDhcpd), _) => Frames::Blocks(format),
            (Some(format @ Format::AwsVpc), _) => {
                let own = columns.aws_vpc.clone().map(Box::new);
                Frames::Csv { format, separator: Some(b' '), layout: None, own }
            }
            (Some(Format::NetFlow), _) => Frames::Datagrams(Box::new(netflow::File::new())),
            (
                Some(format @ (Format::PanOs | Format::FortiGate | Format::Conntrack | Format::WindowsDhcp)),
                _,
            ) => Frames::Lines(format),
            (Some(format @ Format::SysmonXml), _) => Frames::XmlEvents { format, at_line_start: true },
            (Some(format), Shape::Lines) => Frames::JsonLines(format),
            (format, Shape::Document) => Frames::JsonDocument(Box::new(Elements {
                format,
                search: Search::new(opening.wanted, columns),
                document: Document::new(),
                ready: Vec::new(),
                lines: Vec::new(),
            })),
        }
    }
}

/// Where the lines are that tell how the rows of a Zeek log are to be read.
struct HeaderAt {
    /// None, where they do not stand together.
    start: Option<u64>,
    /// Behind the last of them.
    end: u64,
}

impl HeaderAt {
    /// A header line was read. One that only adds to a header before, or ends the log, is none that rows could be read by.
    fn note(&mut self, at: u64, line: &[u8]) {
        let text = line.strip_prefix(BOM).unwrap_or(line);
        if text.starts_with(b"#close") {
            self.start = None;
        } else if text.starts_with(b"#separator") {
            self.start = Some(at);
        } else if at <= BOM.len() as u64 {
            self.start = Some(0);
        } else if at != self.end {
            self.start = None;
        }
        self.end = at + line.len() as u64 + 1;
    }
}

impl Framer {
    /// For an input that was detected so; it starts with the very first byte, which detection has only looked at. The
    /// columns serve to search on where detection found no format.
    pub fn new(opening: Opening, columns: &ColumnMap) -> Framer {
        Framer {
            frames: Frames::of(opening, columns),
            utf16: opening.utf16.map(Decoder::new),
            pending: Vec::new(),
            line: 1,
            chunk_bytes: CHUNK_BYTES,
            next_cut: CHUNK_BYTES,
            is_skipping: false,
            is_past_bom: false,
            pushed: 0,
            skipped: 0,
            owes_line_end: false,
            header: HeaderAt { start: Some(0), end: 0 },
            spares: Vec::new(),
        }
    }

    /// With chunks of fewer bytes, for whoever decodes each before the next comes: what was just written is then still at hand. What is
    /// in a document is given out in chunks as large as ever.
    #[must_use]
    pub fn in_chunks_of(self, bytes: usize) -> Framer {
        let chunk_bytes = bytes.clamp(BOM.len(), CHUNK_BYTES);
        Framer { chunk_bytes, next_cut: chunk_bytes, ..self }
    }

    /// For the rest of an input, from a place that another framer of it told. `header` is what stands at [`Place::header`], as
    /// much of it as is at hand; `before` the byte before the place. None, where it has to be read from its start.
    pub fn resume(
        opening: Opening,
        columns: &ColumnMap,
        place: Place,
        header: &[u8],
        before: Option<u8>,
    ) -> Option<Framer> {
        let mut framer = Framer::new(opening, columns);
        if place.position == 0 {
            return Some(framer);
        }
        if framer.utf16.is_some() {
            return None;
        }
        let mut header_end = place.header;
        match &mut framer.frames {
            Frames::JsonDocument(_) | Frames::Datagrams(_) | Frames::Unknown(_) => return None,
            Frames::XmlEvents { at_line_start, .. } => {
                let is_behind_bom = place.position == BOM.len() as u64 && header.starts_with(BOM);
                *at_line_start = before == Some(b'\n') || is_behind_bom;
            }
            Frames::Zeek(known) => {
                for line in
                    header.split_inclusive(|byte| *byte == b'\n').take_while(|line| is_header_line(line))
                {
                    known.read(line.strip_suffix(b"\n")?);
                    header_end += line.len() as u64;
                }
            }
            Frames::Csv { .. } => {
                framer.pending = header.strip_prefix(BOM).unwrap_or(header).to_vec();
                framer.csv_layout(&mut |_| {})?;
                framer.pending.clear();
            }
            Frames::JsonLines(_) | Frames::Lines(_) | Frames::Blocks(_) => {}
        }
        let Place { position, line, header } = place;
        let header = HeaderAt { start: Some(header), end: header_end };
        Some(Framer { line, is_past_bom: true, pushed: position, header, ..framer })
    }

    /// Where the first record begins that was not given out. None, while only the start of the input will do: in a document, while
    /// no format is known, before a header, under one that is not all in one piece, in UTF-16.
    pub fn place(&self) -> Option<Place> {
        if self.utf16.is_some() {
            return None;
        }
        let is_told = match &self.frames {
            Frames::JsonDocument(_) | Frames::Datagrams(_) | Frames::Unknown(_) => false,
            Frames::Csv { layout, .. } => layout.is_some(),
            _ => true,
        };
        let position = self.pushed - self.pending.len() as u64 - self.skipped;
        let header = self.header.start.filter(|_| is_told)?;
        Some(Place { position, line: self.line, header })
    }

    /// How many bytes of the input were pushed.
    pub const fn pushed(&self) -> u64 {
        match &self.utf16 {
            Some(decoder) => decoder.pushed(),
            None => self.pushed,
        }
    }

    /// Gives out the whole records so far like [`Framer::flush`], and with them a JSON text without a line end, if it is whole:
    /// whoever writes documents of one line may never write that end. One that goes on after all goes on as a line of its own.
    pub fn flush_whole(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Frames::Datagrams(file) = &mut self.frames {
            // A datagram is written at once, so the last one is whole where its last set is.
            return file.read(&mut self.pending, true, out);
        }
        self.flush(out);
        let is_whole = matches!(self.frames, Frames::JsonLines(_)) && is_whole_json(&self.pending);
        if !is_whole || self.is_skipping {
            return;
        }
        let mut line = std::mem::take(&mut self.pending);
        line.push(b'\n');
        self.emit_lines(line, false, out);
        self.owes_line_end = true;
    }

    /// Gives back what it keeps for speed, where little more will come for a while.
    pub fn rest(&mut self) {
        self.spares = Vec::new();
        self.pending.shrink_to_fit();
    }

    /// Takes more bytes; chunks come out as they fill.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Chunk)) {
        // Pieces bound how far `pending` can grow past a cut.
        for piece in bytes.chunks(self.chunk_bytes) {
            match &mut self.utf16 {
                Some(decoder) => {
                    let text = decoder.push(piece);
                    self.push_piece(&text, out);
                }
                None => self.push_piece(piece, out),
            }
        }
    }

    /// The line at which the input stands: one more than the line ends that were pushed. Of datagrams it is the number of the next
    /// record. Cost: what is not given out is read.
    pub fn line(&self) -> u64 {
        if let Frames::Datagrams(file) = &self.frames {
            return file.next_record();
        }
        let line = match &self.frames {
            Frames::JsonDocument(elements) => elements.document.line(),
            _ => self.line,
        };
        line + memchr_iter(b'\n', &self.pending).count() as u64
    }

    /// What sequence numbers in the input say is not in it, so far; only flow exports have such.
    pub fn lost(&self) -> Lost {
        match &self.frames {
            Frames::Datagrams(file) => file.lost(),
            _ => Lost::default(),
        }
    }

    /// Gives out the whole records so far, for inputs that pause. What comes out in the end is the same.
    pub fn flush(&mut self, out: &mut impl FnMut(Chunk)) {
        match &mut self.frames {
            Frames::JsonDocument(elements) => elements.flush(out),
            Frames::Datagrams(file) => file.read(&mut self.pending, false, out),
            _ if self.is_past_bom => self.cut(out),
            _ => {}
        }
    }

    /// The input has ended: the last record may lack its line end.
    pub fn finish(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Frames::Datagrams(file) = &mut self.frames {
            return file.finish(&mut self.pending, out);
        }
        self.push_left_over(out);
        self.is_past_bom = self.is_past_bom || self.pass_bom(out);
        if let Frames::JsonDocument(elements) = &mut self.frames {
            elements.push(&std::mem::take(&mut self.pending), out);
            return elements.finish(out);
        }
        self.cut(out);
        if std::mem::take(&mut self.is_skipping) {
            self.refuse(Refusal::LineTooLong, out);
        } else if !self.pending.is_empty() {
            if !self.pending.ends_with(b"\n") {
                self.pending.push(b'\n');
            }
            self.search_on(out);
            self.cut_at_end(out);
        }
    }

    /// The input broke off in damage: the last record, unless its end was seen, is refused as truncated, because what
    /// is left of it may read as another record (`198.51.100.2` of `198.51.100.20`).
    pub fn break_off(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Frames::Datagrams(file) = &mut self.frames {
            return file.break_off(&mut self.pending, out);
        }
        self.push_left_over(out);
        self.give_whole(out);
        if let Frames::JsonDocument(elements) = &mut self.frames {
            return elements.break_off(out);
        }
        if std::mem::take(&mut self.is_skipping) || !self.pending.is_empty() {
            self.pending = Vec::new();
            self.refuse(Refusal::Truncated, out);
        }
    }

    /// Nobody reads on: the last record, unless its end was seen, counts as not read.
    pub fn stop(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Frames::Datagrams(file) = &mut self.frames {
            file.read(&mut self.pending, false, out);
            return file.stop(out);
        }
        self.give_whole(out);
        if let Frames::JsonDocument(elements) = &mut self.frames {
            elements.flush(out);
        }
        self.pending = Vec::new();
    }

    /// Gives out all records whose end was seen, of an input that goes no further.
    fn give_whole(&mut self, out: &mut impl FnMut(Chunk)) {
        self.is_past_bom = self.is_past_bom || self.pass_bom(out);
        if !matches!(self.frames, Frames::JsonDocument(_)) {
            self.cut(out);
        }
    }

    /// Takes back a decoded chunk for its memory.
    pub fn recycle(&mut self, chunk: Chunk) {
        if self.spares.len() < SPARES_MAX && chunk.bytes.capacity() <= 4 * self.chunk_bytes {
            self.spares.push(chunk.bytes);
        }
    }

    /// Half a letter at the end of UTF-16 is a part of the last record.
    fn push_left_over(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Some(decoder) = &mut self.utf16 {
            let left_over = decoder.finish();
            self.push_piece(left_over, out);
        }
    }

    fn push_piece(&mut self, mut piece: &[u8], out: &mut impl FnMut(Chunk)) {
        self.pushed += piece.len() as u64;
        if let Frames::Datagrams(file) = &mut self.frames {
            self.pending.extend_from_slice(piece);
            if self.pending.len() >= self.next_cut {
                file.read(&mut self.pending, false, out);
            }
            return;
        }
        piece = self.without_owed_line_end(piece);
        if self.is_skipping {
            let Some(end) = memchr(b'\n', piece) else {
                self.skipped += piece.len() as u64;
                return;
            };
            self.refuse(Refusal::LineTooLong, out);
            self.line += 1;
            self.is_skipping = false;
            self.skipped = 0;
            piece = piece.get(end + 1..).unwrap_or_default();
        }
        if let Frames::JsonDocument(elements) = &mut self.frames
            && self.is_past_bom
        {
            return elements.push(piece, out);
        }
        self.pending.extend_from_slice(piece);
        if !self.is_past_bom && self.pending.len() >= BOM.len() {
            self.is_past_bom = self.pass_bom(out);
        }
        if self.pending.len() >= self.next_cut {
            self.cut(out);
        }
    }

    /// Drops the line end of a record that was given out without it.
    fn without_owed_line_end<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        if !self.owes_line_end {
            return piece;
        }
        let piece = piece.strip_prefix(b"\r").unwrap_or(piece);
        self.owes_line_end = piece.is_empty();
        piece.strip_prefix(b"\n").unwrap_or(piece)
    }

    /// Drops a byte order mark; `true`, because it is behind us then.
    fn pass_bom(&mut self, out: &mut impl FnMut(Chunk)) -> bool {
        if self.pending.starts_with(BOM) {
            self.pending.drain(..BOM.len());
        }
        if let Frames::JsonDocument(elements) = &mut self.frames {
            elements.push(&std::mem::take(&mut self.pending), out);
        }
        true
    }

    /// Gives out what is whole in `pending`.
    fn cut(&mut self, out: &mut impl FnMut(Chunk)) {
        self.search_on(out);
        match self.frames {
            Frames::Csv { .. } => self.cut_rows(false, out),
            Frames::XmlEvents { .. } => self.cut_events(out),
            Frames::Blocks(_) => self.cut_blocks(out),
            _ => self.cut_lines(out),
        }
        // By a part of what there is: a long line is not looked through too often.
        let more = self.chunk_bytes.max(self.pending.len()) / 4;
        self.next_cut = self.chunk_bytes.max(self.pending.len() + more);
    }

    /// While no format is known: looks for a line that tells one. What stands before it is given out as it is.
    fn search_on(&mut self, out: &mut impl FnMut(Chunk)) {
        let Frames::Unknown(search) = &self.frames else { return };
        let mut at = 0;
        while let Some(length) = self.pending.get(at..).and_then(|rest| memchr(b'\n', rest)) {
            let line = self.pending.get(at..at + length).unwrap_or_default();
            if let Some(format) = search.line(line) {
                let opening = Opening { format: Some(format), ..Opening::UNRECOGNISED };
                let frames = Frames::of(opening, search.columns());
                let before = self.split_off_front(at);
                self.emit(before, Content::Unrecognised, false, out);
                self.frames = frames;
                return;
            }
            at += length + 1;
        }
    }

    fn cut_lines(&mut self, out: &mut impl FnMut(Chunk)) {
        if let Some(end) = memrchr(b'\n', &self.pending) {
            let whole = self.split_off_front(end + 1);
            self.emit_lines(whole, false, out);
        }
        self.give_up_on_long_line();
    }

    /// Gives out the whole events of `pending`; the whole lines, where no event begins in them.
    fn cut_events(&mut self, out: &mut impl FnMut(Chunk)) {
        let end = match memmem::rfind(&self.pending, sysmon_xml::END) {
            Some(at) => at + sysmon_xml::END.len(),
            None if memmem::find(&self.pending, sysmon_xml::START).is_some() => 0,
            None => memrchr(b'\n', &self.pending).map_or(0, |at| at + 1),
        };
        let whole = self.split_off_front(end);
        self.emit_lines(whole, false, out);
        if self.pending.len() > LINE_BYTES_MAX {
            self.refuse(Refusal::LineTooLong, out);
            self.line += memchr_iter(b'\n', &self.pending).count() as u64;
            self.pending = Vec::new();
        }
    }

    /// Gives out the whole blocks of `pending`, with the lines between them.
    fn cut_blocks(&mut self, out: &mut impl FnMut(Chunk)) {
        let whole = self.split_off_front(isc_dhcpd::last_end(&self.pending));
        self.emit_lines(whole, false, out);
        if self.pending.len() > LINE_BYTES_MAX {
            self.refuse(Refusal::LineTooLong, out);
            self.line += memchr_iter(b'\n', &self.pending).count() as u64;
            self.pending = Vec::new();
        }
    }

    /// Stops collecting a line that will be refused anyway.
    fn give_up_on_long_line(&mut self) {
        if self.pending.len() > LINE_BYTES_MAX && memchr(b'\n', &self.pending).is_none() {
            self.skipped = self.pending.len() as u64;
            self.pending = Vec::new();
            self.is_skipping = true;
        }
    }

    /// The last record, to which a line end was added.
    fn cut_at_end(&mut self, out: &mut impl FnMut(Chunk)) {
        if !matches!(self.frames, Frames::Csv { .. }) {
            let whole = std::mem::take(&mut self.pending);
            return self.emit_lines(whole, true, out);
        }
        // A quote that is open now stays open: its first line is refused, and the rest is read anew.
        loop {
            self.cut_rows(true, out);
            let Some(end) = memchr(b'\n', &self.pending) else { return };
            let is_last = end + 1 == self.pending.len();
            self.refuse(if is_last { Refusal::Truncated } else { Refusal::UnclosedQuote }, out);
            self.line += 1;
            self.pending.drain(..=end);
        }
    }

    /// Gives out lines; those of a Zeek log in as many chunks as there are headers.
    fn emit_lines(&mut self, bytes: Vec<u8>, is_cut: bool, out: &mut impl FnMut(Chunk)) {
        let content = match &mut self.frames {
            Frames::JsonLines(format) => Content::JsonLines(*format),
            Frames::Lines(format) | Frames::Blocks(format) => Content::Lines(*format),
            Frames::XmlEvents { format, at_line_start } => {
                let begins_line = *at_line_start;
                // Nothing is given out if there is nothing.
                *at_line_start = bytes.last().map_or(begins_line, |last| *last == b'\n');
                Content::XmlEvents { format: *format, begins_line }
            }
            Frames::Zeek(_) => return self.emit_zeek(bytes, is_cut, out),
            _ => Content::Unrecognised,
        };
        self.emit(bytes, content, is_cut, out);
    }

    /// Gives out the rows between headers, each under its own; a header's lines travel with the rows that follow.
    fn emit_zeek(&mut self, bytes: Vec<u8>, is_cut: bool, out: &mut impl FnMut(Chunk)) {
        let (mut start, mut read_to) = (0, 0);
        while let Some(header) = header_start(&bytes, read_to) {
            let rows = bytes.get(start..header).unwrap_or_default().to_vec();
            self.emit_zeek_rows(rows, false, out);
            start = header;
            read_to = self.read_zeek_header(&bytes, header);
        }
        // Nearly always there is no header in these bytes, and nothing is copied.
        let rest = if start == 0 { bytes } else { bytes.get(start..).unwrap_or_default().to_vec() };
        self.emit_zeek_rows(rest, is_cut, out);
    }

    /// Learns the header lines from `at` on; where they end.
    fn read_zeek_header(&mut self, bytes: &[u8], mut at: usize) -> usize {
        // At the end a line end may have been added, which the input does not have.
        let before = self.pushed.saturating_sub((self.pending.len() + bytes.len()) as u64);
        let Frames::Zeek(header) = &mut self.frames else { return bytes.len() };
        while let Some(rest) = bytes.get(at..)
            && is_header_line(rest)
        {
            let length = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            header.read(line);
            self.header.note(before + at as u64, line);
            at = (at + length + 1).min(bytes.len());
        }
        at
    }

    fn emit_zeek_rows(&mut self, bytes: Vec<u8>, is_cut: bool, out: &mut impl FnMut(Chunk)) {
        let Frames::Zeek(header) = &self.frames else { return };
        let content = Content::ZeekRows(header.layout());
        self.emit(bytes, content, is_cut, out);
    }

    /// Gives out the whole rows of `pending`; a row that never ends costs its first line.
    fn cut_rows(&mut self, is_cut: bool, out: &mut impl FnMut(Chunk)) {
        let Some((format, layout)) = self.csv_layout(out) else { return self.give_up_on_long_line() };
        let pending = std::mem::take(&mut self.pending);
        let (mut start, mut end) = (0, 0);
        loop {
            let next = row_end(pending.get(end..).unwrap_or_default(), layout.separator);
            let is_full = end - start >= CHUNK_BYTES;
            if let RowEnd::At(length) = next
                && !is_full
            {
                end += length + 1;
                continue;
            }
            let rows = pending.get(start..end).unwrap_or_default().to_vec();
            let is_cut = is_cut && end == pending.len();
            self.emit(rows, Content::CsvRows(format, Arc::clone(&layout)), is_cut, out);
            match next {
                RowEnd::At(_) => {}
                RowEnd::Unclosed(length) => {
                    self.refuse(Refusal::UnclosedQuote, out);
                    self.line += 1;
                    end += length + 1;
                }
                RowEnd::Open => break,
            }
            start = end;
        }
        self.pending = pending.get(end..).unwrap_or_default().to_vec();
        self.give_up_on_long_line();
    }

    /// The columns, learnt from the first row that is not blank. A header is one line: names hold no line ends.
    fn csv_layout(&mut self, out: &mut impl FnMut(Chunk)) -> Option<(Format, Arc<CsvLayout>)> {
        while let Frames::Csv { layout: None, format, own, .. } = &self.frames {
            let before = match format {
                // No line of these is a header just for being the first.
                Format::AwsVpc => {
                    lines_before(&self.pending, |line| aws_vpc::layout(line, own.as_deref()).is_some())
                }
                _ => blank_lines(&self.pending),
            };
            let before = self.split_off_front(before);
            self.emit(before, Content::Unrecognised, false, out);
            let end = memchr(b'\n', &self.pending)?;
            self.learn_csv(end, out);
        }
        let Frames::Csv { format, layout, .. } = &self.frames else { return None };
        layout.as_ref().map(|layout| (*format, Arc::clone(layout)))
    }

    /// Learns the first line of a CSV, which ends at `end`: the header, or what its separator will be.
    fn learn_csv(&mut self, end: usize, out: &mut impl FnMut(Chunk)) {
        let Frames::Csv { format, separator, layout, own } = &mut self.frames else { return };
        let line = self.pending.get(..end).unwrap_or_default();
        let line = String::from_utf8_lossy(line.strip_prefix(BOM).unwrap_or(line));
        match separator_line(&line) {
            Some(told) if separator.is_none() => *separator = Some(told),
            _ => {
                let line = line.trim_end_matches('\r');
                let known = match format {
                    Format::AwsVpc => aws_vpc::layout(line, own.as_deref()),
                    _ => None,
                };
                *layout = Some(Arc::new(known.unwrap_or_else(|| CsvLayout::of(line, *separator))));
                return;
            }
        }
        let line = self.split_off_front(end + 1);
        self.emit(line, Content::Headers, false, out);
    }

    fn emit(&mut self, bytes: Vec<u8>, content: Content, is_cut: bool, out: &mut impl FnMut(Chunk)) {
        if bytes.is_empty() {
            return;
        }
        let first_line = self.line;
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        out(Chunk { bytes, first_line, content, is_cut });
    }

    /// Tells of a record that is not kept.
    fn refuse(&mut self, refusal: Refusal, out: &mut impl FnMut(Chunk)) {
        out(refused(refusal, self.line));
    }

    /// Takes the front of `pending`.
    fn split_off_front(&mut self, length: usize) -> Vec<u8> {
        if length == 0 {
            return Vec::new();
        }
        let mut rest = self.spares.pop().unwrap_or_else(|| Vec::with_capacity(self.chunk_bytes * 5 / 4));
        rest.clear();
        rest.extend_from_slice(self.pending.get(length..).unwrap_or_default());
        let mut front = std::mem::replace(&mut self.pending, rest);
        front.truncate(length);
        front
    }
}

/// Where the first header line of a Zeek log is, from a line's start on.
fn header_start(bytes: &[u8], line_start: usize) -> Option<usize> {
    let rest = bytes.get(line_start..)?;
    if is_header_line(rest) {
        return Some(line_start);
    }
    let plain = memmem::find(rest, b"\n#");
    // The first line of a file that was strung on may bring a mark; the line that follows it may not have come yet.
    let marked = memmem::find(rest.get(..plain.unwrap_or(rest.len())).unwrap_or(rest), b"\n\xef\xbb\xbf#");
    marked.or(plain).map(|at| line_start + at + 1)
}

/// Whether some bytes are one JSON object or array, which no byte less of it would be.
fn is_whole_json(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii();
    let ends = (text.first(), text.last());
    matches!(ends, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))) && is_sound(text)
}

fn is_header_line(line: &[u8]) -> bool {
    line.strip_prefix(BOM).unwrap_or(line).first() == Some(&b'#')
}

/// The length of the blank lines at the start of some bytes.
fn blank_lines(bytes: &[u8]) -> usize {
    let is_blank = |line: &&[u8]| line.ends_with(b"\n") && line.trim_ascii().is_empty();
    bytes.split_inclusive(|byte| *byte == b'\n').take_while(is_blank).map(<[u8]>::len).sum()
}

/// The length of the whole lines before one that is wanted.
fn lines_before(bytes: &[u8], is_wanted: impl Fn(&str) -> bool) -> usize {
    let line = |line: &[u8]| String::from_utf8_lossy(line.strip_prefix(BOM).unwrap_or(line)).into_owned();
    let is_before = |bytes: &&[u8]| bytes.ends_with(b"\n") && !is_wanted(line(bytes).trim_end());
    bytes.split_inclusive(|byte| *byte == b'\n').take_while(is_before).map(<[u8]>::len).sum()
}

fn refused(refusal: Refusal, line: u64) -> Chunk {
    Chunk { bytes: Vec::new(), first_line: line, content: Content::Refused(refusal), is_cut: false }
}

/// Records cut out of a JSON document, gathered into chunks.
struct Elements {
    /// None until an element tells.
    format: Option<Format>,
    search: Search,
    document: Document,
    ready: Vec<u8>,
    lines: Vec<u64>,
}

impl Elements {
    fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Chunk)) {
        let Elements { format, search, document, ready, lines } = self;
        document.push(bytes, &mut |found| gather(format, search, ready, lines, found, out));
    }

    fn finish(&mut self, out: &mut impl FnMut(Chunk)) {
        let Elements { format, search, document, ready, lines } = self;
        document.finish(&mut |found| gather(format, search, ready, lines, found, out));
        self.flush(out);
    }

    fn break_off(&mut self, out: &mut impl FnMut(Chunk)) {
        let Elements { format, search, document, ready, lines } = self;
        document.break_off(&mut |found| gather(format, search, ready, lines, found, out));
        self.flush(out);
    }

    fn flush(&mut self, out: &mut impl FnMut(Chunk)) {
        give_out(self.format, &mut self.ready, &mut self.lines, out);
    }
}

/// Adds what was found to the chunk in the making; damage has to wait for what stands before it.
fn gather(
    format: &mut Option<Format>,
    search: &Search,
    ready: &mut Vec<u8>,
    lines: &mut Vec<u64>,
    found: Found<'_>,
    out: &mut impl FnMut(Chunk),
) {
    match found {
        Found::Element(element, line) => {
            if format.is_none() && !element.is_empty() {
                *format = search.element(element);
                if format.is_none() {
                    give_out(*format, ready, lines, out);
                    return out(refused(Refusal::Unrecognised, line));
                }
            }
            ready.extend_from_slice(element);
            ready.push(b'\n');
            lines.push(line);
            if ready.len() >= CHUNK_BYTES {
                give_out(*format, ready, lines, out);
            }
        }
        Found::Damaged(refusal, line) => {
            give_out(*format, ready, lines, out);
            out(refused(refusal, line));
        }
    }
}

fn give_out(format: Option<Format>, ready: &mut Vec<u8>, lines: &mut Vec<u64>, out: &mut impl FnMut(Chunk)) {
    let Some(&first_line) = lines.first() else { return };
    let (bytes, lines) = (std::mem::take(ready), std::mem::take(lines));
    // Without a format there are none but empty arrays, which are blank in every format.
    let content = Content::JsonElements(format.unwrap_or(Format::Ndjson), lines);
    out(Chunk { bytes, first_line, content, is_cut: false });
}
