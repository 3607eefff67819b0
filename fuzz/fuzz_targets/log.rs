//! A log of one format, named by SEENBY_FUZZ_FORMAT: whatever its bytes are, nothing panics, and where they are cut into pieces
//! changes no call of the sink. Where a format has a record on each line, each line is told of exactly once. The last eight bytes say
//! where it is cut; so any log is an input, and those of `crates/formats/testdata` are the seeds. Holds no expectations of content.

#![no_main]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use seenby_formats::{
    Chunk, Detection, Format, Framer, HEAD_BYTES, Mentions, Opened, Opening, Passed, Refusal, Settings, Sink, Taught,
    Wanted, decode, detect,
};

fuzz_target!(|bytes: &[u8]| {
    // Clocks that say no zone are read too.
    let settings = Settings { time_zone: Some(jiff::tz::TimeZone::UTC), ..Settings::default() };
    let opening = opening(bytes, Wanted::Exactly(format()), &settings);
    let whole = read(opening, &settings, &[bytes]);
    assert_eq!(whole, read(opening, &settings, &pieces(bytes)), "where it is cut makes a difference");
    // In UTF-16 a line end is not one byte.
    let is_utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if is_a_line_each(format()) && !is_utf16 {
        // A byte-order mark is no text: a file of it alone has no line.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = text.split_inclusive(|byte| *byte == b'\n').count() as u64;
        assert_eq!(whole.calls, lines, "a line was told of more than once, or never");
    }
    // What is told of a log whose format nobody names must hold together too.
    let opening = self::opening(bytes, Wanted::Detect, &settings);
    assert_eq!(read(opening, &settings, &[bytes]), read(opening, &settings, &pieces(bytes)), "detected");
});

fn format() -> Format {
    static FORMAT: OnceLock<Format> = OnceLock::new();
    *FORMAT.get_or_init(|| {
        let name = std::env::var("SEENBY_FUZZ_FORMAT").expect("SEENBY_FUZZ_FORMAT names a format");
        let known = Format::ALL.into_iter().find(|format| format.name() == name);
        known.unwrap_or_else(|| panic!("SEENBY_FUZZ_FORMAT={name} is no format"))
    })
}

/// Whether every line is one record, and no record is more. (Elsewhere a line may hold several, or a record several lines.)
fn is_a_line_each(format: Format) -> bool {
    matches!(format, Format::ZeekTsv | Format::PanOs | Format::FortiGate | Format::Conntrack)
}

fn opening(bytes: &[u8], wanted: Wanted, settings: &Settings) -> Opening {
    let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    match detect(head, head.len() == bytes.len(), wanted, &settings.columns) {
        Detection::Known(opening) | Detection::Unknown(opening) => opening,
        Detection::NeedMore => panic!("asked for more than all"),
    }
}

/// The same bytes in up to five pieces.
fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let last = bytes.len().saturating_sub(8);
    let numbers = bytes[last..].chunks_exact(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut places: Vec<usize> = numbers.map(|number| number % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn read(opening: Opening, settings: &Settings, pieces: &[&[u8]]) -> Told {
    let mut told = Told::default();
    let mut framer = Framer::new(opening, &settings.columns);
    let mut out = |chunk: Chunk| decode(&chunk, settings, &mut told);
    for (number, piece) in pieces.iter().enumerate() {
        framer.push(piece, &mut out);
        // An input that pauses.
        if number % 2 == 1 {
            framer.flush(&mut out);
        }
    }
    framer.finish(&mut out);
    if opening.format() != Some(Format::NetFlow) {
        let ends = pieces.iter().flat_map(|piece| piece.iter()).filter(|byte| **byte == b'\n').count() as u64;
        assert!(told.last_line <= ends + 1, "line {} of {}", told.last_line, ends + 1);
    }
    told
}

/// All calls, in a number that differs where they do.
#[derive(Default)]
struct Told {
    calls: u64,
    last_line: u64,
    hasher: DefaultHasher,
}

impl PartialEq for Told {
    fn eq(&self, other: &Told) -> bool {
        (self.calls, self.last_line, self.hasher.finish()) == (other.calls, other.last_line, other.hasher.finish())
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} calls up to line {}, {:016x}", self.calls, self.last_line, self.hasher.finish())
    }
}

impl Told {
    fn note(&mut self, what: &str, line: u64) {
        assert!(line >= self.last_line, "line {line} after {}", self.last_line);
        self.calls += 1;
        self.last_line = line;
        (what, line).hash(&mut self.hasher);
    }

    fn names(&mut self, device: &Mentions<'_>) {
        assert!(!device.is_empty(), "a device without a name");
        device.iter().for_each(|mention| (mention.kind.word(), mention.written).hash(&mut self.hasher));
    }
}

impl Sink for Told {
    fn taught(&mut self, record: &Taught<'_>) {
        self.note("taught", record.line);
        format!("{:?}", record.lesson).hash(&mut self.hasher);
    }

    fn opened(&mut self, record: &Opened<'_>) {
        self.note("opened", record.line);
        self.names(&record.device);
        (record.second.unix(), record.remote, record.tenant).hash(&mut self.hasher);
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.note(record.why.code(), record.line);
        if let Some(reporter) = &record.reporter {
            self.names(&reporter.device);
            reporter.second.unix().hash(&mut self.hasher);
        }
    }

    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>) {
        self.note(refusal.code(), line);
        field.hash(&mut self.hasher);
    }
}
