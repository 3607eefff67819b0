//! A sink that writes down what it is told, one line a call, and the way from bytes to such a list.
#![allow(dead_code, reason = "every test uses its own part")]

use seenby_formats::{
    Chunk, ColumnMap, Detection, DeviceFacts, Framer, HEAD_BYTES, Leased, Lesson, Mentions, Opened, Opening,
    Passed, Refusal, Settings, Sink, Taught, Wanted, Warning, decode, detect,
};

/// Every call, in words.
#[derive(Default)]
pub(crate) struct Recorder {
    /// One line a call.
    pub(crate) calls: Vec<String>,
}

impl Sink for Recorder {
    fn opened(&mut self, record: &Opened<'_>) {
        let Opened { second, remote, device, tenant, line } = record;
        let tenant = tenant.map(|tenant| format!(" tenant={tenant:?}")).unwrap_or_default();
        self.calls.push(format!("line {line}: opened {second} {remote} by {}{tenant}", names(device)));
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        let Passed { why, reporter, tenant, line } = record;
        let reporter = reporter.map(|it| format!(", told at {} by {}", it.second, names(&it.device)));
        let tenant = tenant.map(|tenant| format!(" tenant={tenant:?}")).unwrap_or_default();
        let reporter = reporter.unwrap_or_default();
        self.calls.push(format!("line {line}: ignored {}{reporter}{tenant}", why.code()));
    }

    fn taught(&mut self, record: &Taught<'_>) {
        let Taught { lesson, tenant, line } = record;
        let tenant = tenant.map(|tenant| format!(" tenant={tenant:?}")).unwrap_or_default();
        let lesson = match lesson {
            Lesson::Leased(Leased { what, holders, since, until, free_from }) => {
                let until = until.map_or("the next".to_owned(), |until| until.to_string());
                let free = free_from.map(|from| format!(", free from {from}")).unwrap_or_default();
                format!("{} of {} from {since} until {until}{free}", what.written, names(holders))
            }
            Lesson::Device(facts) => {
                let merged: Vec<&str> = facts.merged_from().collect();
                let DeviceFacts { second, device, merged_into, group, .. } = facts;
                format!(
                    "at {second} {} merged into {merged_into:?} from {merged:?} in {group:?}",
                    names(device)
                )
            }
        };
        self.calls.push(format!("line {line}: taught {lesson}{tenant}"));
    }

    fn warned(&mut self, warning: Warning, line: u64) {
        self.calls.push(format!("line {line}: warned {warning:?}"));
    }

    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>) {
        let field = field.map(|field| format!(" ({field})")).unwrap_or_default();
        self.calls.push(format!("line {line}: refused {}{field}", refusal.code()));
    }
}

fn names(device: &Mentions<'_>) -> String {
    let names: Vec<String> =
        device.iter().map(|mention| format!("{}={:?}", mention.kind.word(), mention.written)).collect();
    names.join(" ")
}

/// How an input is to be read, as its caller would find out.
pub(crate) fn open(bytes: &[u8], wanted: Wanted, columns: &ColumnMap) -> Opening {
    let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    match detect(head, head.len() == bytes.len(), wanted, columns) {
        Detection::Known(opening) | Detection::Unknown(opening) => opening,
        Detection::NeedMore => panic!("asked for more than all"),
    }
}

/// The chunks of an input that comes in pieces.
pub(crate) fn chunks<'a>(
    opening: Opening,
    columns: &ColumnMap,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Chunk> {
    let mut framer = Framer::new(opening, columns);
    let mut chunks = Vec::new();
    for piece in pieces {
        framer.push(piece, &mut |chunk| chunks.push(chunk));
    }
    framer.finish(&mut |chunk| chunks.push(chunk));
    chunks
}

/// Every call for an input that comes in pieces.
pub(crate) fn read_pieces<'a>(
    opening: Opening,
    settings: &Settings,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<String> {
    let mut recorder = Recorder::default();
    for chunk in chunks(opening, &settings.columns, pieces) {
        decode(&chunk, settings, &mut recorder);
    }
    recorder.calls
}

/// Every call for an input in one piece, detected.
pub(crate) fn read(bytes: &[u8], settings: &Settings) -> Vec<String> {
    read_pieces(open(bytes, Wanted::Detect, &settings.columns), settings, [bytes])
}
