//! The reading side of an ingest: each input's format is told by its first bytes, or by the first record that tells,
//! and its bytes are cut into chunks of whole records for the decoders. Refuses to hold: the cutting itself (`formats::Framer`) and decompression.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Sender;
use formats::{Chunk, ColumnMap, Detection, Format, Framer, HEAD_BYTES, Opening, Wanted};
use sighting::SourceName;

use super::source::{self, Input, Stream};
use super::{Plan, Progress, Reading, Work, columnar};

/// Decompressed bytes that are read at once.
const BYTES_READ: usize = 256 << 10;

/// The source of an input in no known format; nothing of it is ever kept.
const UNRECOGNISED: &str = "unrecognised";

/// A file that could not be opened or read on.
pub(crate) const UNREADABLE: &str = "unreadable";

/// Why an input was damaged, for a person.
pub(super) fn damage_reason(code: &str) -> &'static str {
    match code {
        "truncated_gzip" | "truncated_zstd" => {
            "the compressed file ends in the middle; what was readable is taken"
        }
        "damaged_gzip" | "damaged_zstd" => "the compressed file is damaged here; what was readable is taken",
        columnar::DAMAGED => "the Parquet file cannot be read from this row on; the rows before it are taken",
        columnar::NEEDS_FILE => {
            "Parquet is read from its end: give the file itself, neither through a pipe nor compressed around it"
        }
        _ => "the file cannot be read (on)",
    }
}

/// Reads all inputs, one after another, and hands their chunks to the decoders. What was read comes back, in order.
pub(super) fn read_all(
    inputs: &[Input],
    plan: &Plan,
    progress: &Progress,
    stopped: &dyn Fn() -> bool,
    sender: Sender<Work>,
) -> Vec<Arc<Reading>> {
    let mut readings = Vec::new();
    let mut buffer = vec![0; BYTES_READ];
    for (index, input) in inputs.iter().enumerate() {
        if stopped() {
            break;
        }
        progress.begin(&input.name);
        readings.push(read(index, input, plan, progress, &mut buffer, stopped, &sender));
    }
    // The decoders end when there is nobody left who could send.
    drop(sender);
    readings
}

/// Reads one input.
fn read(
    index: usize,
    input: &Input,
    plan: &Plan,
    progress: &Progress,
    buffer: &mut [u8],
    stopped: &dyn Fn() -> bool,
    sender: &Sender<Work>,
) -> Arc<Reading> {
    match columnar::file(input.path()) {
        Ok(Some(file)) => read_rows(index, input, file, plan, progress, stopped, sender),
        // Whatever is wrong with it is wrong with reading it as a stream too.
        Ok(None) | Err(_) => read_stream(index, input, plan, progress, buffer, stopped, sender),
    }
}

/// Reads a Parquet file.
fn read_rows(
    index: usize,
    input: &Input,
    file: File,
    plan: &Plan,
    progress: &Progress,
    stopped: &dyn Fn() -> bool,
    sender: &Sender<Work>,
) -> Arc<Reading> {
    let reading = Arc::new(Reading::new(index, input.name.clone(), Vec::new()));
    let read = columnar::read(file, plan, |chunk| {
        let format = chunk.format();
        if let Some(format) = format {
            reading.is_format(format);
        }
        let source = named(plan, format);
        super::send(sender, Work { reading: Arc::clone(&reading), source, chunk, damage: None }) && !stopped()
    });
    if let Err((row, damage)) = read {
        reading.damage(columnar::DAMAGED, row, damage.to_string());
    }
    progress.advance(input.length());
    reading
}

/// Reads an input from its start to its end.
fn read_stream(
    index: usize,
    input: &Input,
    plan: &Plan,
    progress: &Progress,
    buffer: &mut [u8],
    stopped: &dyn Fn() -> bool,
    sender: &Sender<Work>,
) -> Arc<Reading> {
    let begun = source::open(input, progress, stopped).and_then(|mut stream| {
        let head = read_head(&mut stream, plan, stopped)?;
        Ok((stream, head))
    });
    let (mut stream, head) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let reading = Reading::new(index, input.name.clone(), Vec::new());
            if !stopped() {
                reading.damage(UNREADABLE, 1, error.to_string());
            }
            return Arc::new(reading);
        }
    };
    let reading = Arc::new(Reading::new(index, input.name.clone(), missing_columns(&head, plan)));
    if columnar::begins(&head.bytes) {
        reading.damage(columnar::NEEDS_FILE, 1, "it begins with PAR1".to_owned());
        return reading;
    }
    let mut framer = Framer::new(head.opening, &plan.formats.columns);
    // A record that tells the format may come late; what was refused before it is of no source.
    let mut format = head.opening.format();
    let mut emit = |chunk: Chunk, damage| {
        format = chunk.format().or(format);
        if let Some(format) = format {
            reading.is_format(format);
        }
        // Fails only when every decoder has failed, which the next look at `stopped` sees.
        let source = named(plan, format);
        super::send(sender, Work { reading: Arc::clone(&reading), source, chunk, damage });
    };
    let mut take = |came: Came<'_>| match came {
        Came::Bytes(bytes) => framer.push(bytes, &mut |chunk| emit(chunk, None)),
        Came::Nothing => framer.flush(&mut |chunk| emit(chunk, None)),
    };
    take(Came::Bytes(&head.bytes));
    let ended = match head.ended {
        Some(ended) => ended,
        None => read_on(&mut stream, buffer, stopped, &mut take),
    };
    let damage = ended.as_ref().err().map(|error| {
        let code = stream.compression.map_or(UNREADABLE, |compression| compression.damage(error));
        reading.damage(code, framer.line(), error.to_string());
        code
    });
    let mut emit = |chunk| emit(chunk, damage);
    match ended {
        Ok(Ended::Whole) => framer.finish(&mut emit),
        Ok(Ended::Stopped) => framer.stop(&mut emit),
        Err(_) => framer.break_off(&mut emit),
    }
    // Reading ends once.
    let _ = reading.lost.set(framer.lost());
    reading
}

/// Under whose name sightings are kept: the one given, else the format's.
fn named(plan: &Plan, format: Option<Format>) -> SourceName {
    let by_format = || SourceName::new(format.map_or(UNRECOGNISED, Format::name));
    plan.source.clone().or_else(by_format).expect("the name of a format is a sound name")
}

/// The keys or columns that the operator named and that the input does not have, as far as its first bytes tell.
fn missing_columns(head: &Head, plan: &Plan) -> Vec<String> {
    let columns = &plan.formats.columns;
    let may_be_generic =
        matches!(plan.wanted, Wanted::Detect | Wanted::Exactly(Format::Ndjson | Format::Csv));
    if *columns == ColumnMap::default() || !may_be_generic {
        return Vec::new();
    }
    let missing = formats::missing_columns(&head.bytes, head.ended.is_some(), columns);
    missing.into_iter().map(str::to_owned).collect()
}

/// The first bytes of an input and what they say it is.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) opening: Opening,
    /// The input ended within them, well or badly.
    pub(super) ended: Option<io::Result<Ended>>,
}

/// Reads until they say it, or until they are all that is looked at.
pub(super) fn read_head(
    stream: &mut Stream<'_>,
    plan: &Plan,
    stopped: &dyn Fn() -> bool,
) -> io::Result<Head> {
    let mut bytes = vec![0; HEAD_BYTES];
    let mut filled = 0;
    loop {
        let ended = match stream.reader.read(&mut bytes[filled..]) {
            Ok(0) => Some(Ok(Ended::Whole)),
            Ok(more) => {
                filled += more;
                None
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) if stopped() => Some(Ok(Ended::Stopped)),
            // Damage within the first bytes: what is there is still looked at.
            Err(error) if stream.compression.is_some() => Some(Err(error)),
            Err(error) => return Err(error),
        };
        let is_all = ended.is_some() || filled == HEAD_BYTES;
        let opening =
            match formats::detect(&bytes[..filled], ended.is_some(), plan.wanted, &plan.formats.columns) {
                Detection::Known(opening) | Detection::Unknown(opening) => opening,
                Detection::NeedMore if !is_all => continue,
                Detection::NeedMore => Opening::UNRECOGNISED,
            };
        bytes.truncate(filled);
        return Ok(Head { bytes, opening, ended });
    }
}

/// How the reading of an input ended where nothing was wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// All of it was read.
    Whole,
    /// Nobody wanted more.
    Stopped,
}

/// What came of an input.
enum Came<'a> {
    Bytes(&'a [u8]),
    /// It pauses: what came before should be seen now.
    Nothing,
}

/// Reads to the end, or until it is stopped.
fn read_on(
    stream: &mut Stream<'_>,
    buffer: &mut [u8],
    stopped: &dyn Fn() -> bool,
    take: &mut dyn FnMut(Came<'_>),
) -> io::Result<Ended> {
    while !stopped() {
        if !stream.wait()? {
            take(Came::Nothing);
            continue;
        }
        match stream.reader.read(buffer) {
            Ok(0) => return Ok(Ended::Whole),
            Ok(bytes) => take(Came::Bytes(&buffer[..bytes])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if stopped() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(Ended::Stopped)
}
