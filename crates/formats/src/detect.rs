//! Which format an input is in and how its records lie in it, from its first bytes. Refuses to hold: file names (they
//! say nothing reliable) and I/O; "more bytes are needed" is a value.
//!
//! Every complete line of the head is looked at, so that blank lines, a byte order mark or records of something else
//! at the start do not mislead; only a CSV header has to be the first line with anything on it.

use sighting::Address;

use crate::chunk::CsvLayout;
use crate::document::{Document, Found, WRAPPER_KEYS};
use crate::format::{Family, Format, Wanted};
use crate::json::{Scanner, Value};
use crate::record::Refusal;
use crate::settings::ColumnMap;
use crate::{generic, time};

/// How much of an input (decompressed) is looked at; more than any header and a few records of any format.
pub const HEAD_BYTES: usize = 64 << 10;

/// What the first bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detection {
    /// This is how to read the input.
    Known(Opening),
    /// Nothing yet: ask again with more bytes. Never at the end of the input or from [`HEAD_BYTES`] on.
    NeedMore,
    /// No format that is known here; [`Opening::UNRECOGNISED`] refuses its lines one by one.
    Unknown,
}

/// How an input is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    pub(crate) format: Option<Format>,
    pub(crate) shape: Shape,
}

impl Opening {
    /// For an input in no known format: every line that is not blank is refused as such.
    pub const UNRECOGNISED: Opening = Opening { format: None, shape: Shape::Lines };

    /// The format; none for an unrecognised input.
    pub const fn format(self) -> Option<Format> {
        self.format
    }
}

/// How JSON records lie in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// A JSON text a line.
    Lines,
    /// One document over any number of lines: an array, a wrapper, or objects one after another.
    Document,
}

/// What an input is, from its first bytes; `at_end` if there are no more than these.
pub fn detect(head: &[u8], at_end: bool, wanted: Wanted, columns: &ColumnMap) -> Detection {
    let is_all = at_end || head.len() >= HEAD_BYTES;
    let head = Head { bytes: head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head), at_end, is_all };
    let found = match wanted {
        Wanted::Exactly(format) => head.shape().map(|shape| Opening { format: Some(format), shape }),
        Wanted::Family(family) => head.carrier(family),
        Wanted::Detect => head.recognise(columns),
    };
    match found {
        Some(opening) => Detection::Known(opening),
        None if !is_all => Detection::NeedMore,
        None => Detection::Unknown,
    }
}

/// The first bytes of an input.
#[derive(Clone, Copy)]
struct Head<'a> {
    bytes: &'a [u8],
    /// The input ends here.
    at_end: bool,
    /// No more will be looked at.
    is_all: bool,
}

impl<'a> Head<'a> {
    /// The lines with anything on them, the last only if it is complete.
    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let is_whole = move |line: &&[u8]| line.ends_with(b"\n") || self.at_end;
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n').filter(is_whole);
        lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    }

    fn first_byte(self) -> Option<u8> {
        self.bytes.trim_ascii_start().first().copied()
    }

    /// How records lie in the head if they are JSON; nothing while more bytes could tell.
    fn shape(self) -> Option<Shape> {
        match self.first_byte() {
            Some(b'[') => return Some(Shape::Document),
            Some(b'{') => {}
            Some(_) => return Some(Shape::Lines),
            None => return self.is_all.then_some(Shape::Lines),
        }
        let mut lines = self.lines();
        let Some(first) = lines.next() else {
            // One line longer than the head: the splitter of documents does not mind.
            return self.is_all.then_some(Shape::Document);
        };
        if str::from_utf8(first).is_ok_and(|first| keys(first).is_ok()) {
            return Some(Shape::Lines);
        }
        if !stays_open(first) {
            return Some(Shape::Lines);
        }
        if first.last().is_some_and(|last| b"{[,:".contains(last)) {
            return Some(Shape::Document);
        }
        // A line cut short before a sound one, or an object that goes on.
        match lines.next() {
            Some(next) if next.starts_with(b"{") => Some(Shape::Lines),
            Some(_) => Some(Shape::Document),
            None => self.is_all.then_some(Shape::Lines),
        }
    }

    /// The carrier of a meaning that is given.
    fn carrier(self, family: Family) -> Option<Opening> {
        let is_json = matches!(self.first_byte(), Some(b'{' | b'['));
        let format = match family {
            Family::Zeek if is_json => Format::ZeekJson,
            Family::Zeek => Format::ZeekTsv,
            Family::Mde if is_json => Format::Mde,
            Family::Mde => Format::MdeCsv,
        };
        Some(Opening { format: Some(format), shape: self.shape()? })
    }

    /// The first thing in the head that some format knows.
    fn recognise(self, columns: &ColumnMap) -> Option<Opening> {
        let shape = self.shape()?;
        let format = match shape {
            Shape::Document => self.recognise_document(columns),
            Shape::Lines => self.recognise_lines(columns),
        };
        let format = format.or_else(|| if self.is_all { self.recognise_words() } else { None })?;
        Some(Opening { format: Some(format), shape })
    }

    fn recognise_lines(self, columns: &ColumnMap) -> Option<Format> {
        let mut lines = self.lines().map(|line| str::from_utf8(line).unwrap_or_default());
        let first = lines.next()?;
        recognise_header(first, columns)
            .or_else(|| recognise_line(first, columns))
            .or_else(|| lines.find_map(|line| recognise_line(line, columns)))
    }

    fn recognise_document(self, columns: &ColumnMap) -> Option<Format> {
        let mut format = None;
        Document::new().push(self.bytes, &mut |found| {
            if let Found::Element(element, _) = found
                && format.is_none()
                && let Ok(element) = str::from_utf8(element)
            {
                format = recognise_json(element, columns);
            }
        });
        format
    }

    /// The last resort, for JSON of which not one record is whole: words that only one format has.
    fn recognise_words(self) -> Option<Format> {
        let has = |word: &str| memchr::memmem::find(self.bytes, word.as_bytes()).is_some();
        match self.first_byte() {
            Some(b'{' | b'[') => {}
            _ => return None,
        }
        match () {
            () if has("\"RemoteIP\"") || has("AdvancedHunting-") => Some(Format::Mde),
            () if has("\"id.orig_h\"") || has("\"id_orig_h\"") || has("\"orig_h\"") => Some(Format::ZeekJson),
            () if has("Microsoft-Windows-Sysmon") || has("\"DestinationIp\"") => Some(Format::Sysmon),
            () => None,
        }
    }
}

/// Whether a line ends inside an open bracket but outside a string.
fn stays_open(line: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaping) = (0i64, false, false);
    for byte in line {
        match byte {
            _ if escaping => escaping = false,
            b'\\' if in_string => escaping = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    depth > 0 && !in_string
}

/// A header of CSV.
fn recognise_header(line: &str, columns: &ColumnMap) -> Option<Format> {
    crate::csv::separator(line)?;
    let layout = CsvLayout::of(line);
    let has = |name: &str| layout.place(name).is_some();
    if has("RemoteIP") && has("ActionType") && (has("DeviceId") || has("DeviceName")) {
        return Some(Format::MdeCsv);
    }
    generic::Columns::of(&layout, columns).are_enough().then_some(Format::Csv)
}

/// Any other line.
fn recognise_line(line: &str, columns: &ColumnMap) -> Option<Format> {
    match line.as_bytes().first()? {
        b'{' | b'[' => recognise_json(line, columns),
        b'#' => {
            let words = ["#separator", "#fields", "#path"];
            words.iter().any(|word| line.starts_with(word)).then_some(Format::ZeekTsv)
        }
        _ => looks_like_zeek(line).then_some(Format::ZeekTsv),
    }
}

/// A row of a Zeek log whose header is lost: it will be refused, but for the right reason.
fn looks_like_zeek(line: &str) -> bool {
    let fields = || line.split('\t').take(12);
    let has_time = fields().take(2).any(|field| field.contains('.') && time::epoch_seconds(field).is_some());
    let addresses = fields().filter(|field| Address::parse_logged(field.as_bytes()).is_some()).count();
    fields().count() >= 8 && has_time && addresses == 2
}

/// A JSON record.
fn recognise_json(text: &str, columns: &ColumnMap) -> Option<Format> {
    let keys = keys(text).ok()?;
    let has = |key: &str| keys.iter().any(|known| known == key);
    let has_some = |wanted: &[&str]| wanted.iter().any(|key| has(key));
    let is_mde = has("ActionType") && has_some(&["DeviceId", "DeviceName", "RemoteIP"])
        || has("category") && has_some(&["properties.Timestamp", "properties.DeviceId", "tenantId"]);
    let is_zeek = has_some(&["id.orig_h", "id_orig_h"]) || has("ts") && has_some(&["_path", "@stream"]);
    let is_sysmon = has_some(&["EventID", "event_id", "event_data", "winlog", "System.EventID"])
        || has("UtcTime") && has_some(&["Initiated", "ProcessGuid", "RuleName"])
        || has("event.code") && has_some(&["host.name", "event.provider"]);
    match () {
        () if is_mde => Some(Format::Mde),
        () if is_zeek => Some(Format::ZeekJson),
        () if is_sysmon => Some(Format::Sysmon),
        () => generic::is_record(text, columns).then_some(Format::Ndjson),
    }
}

/// The keys of a record, those of objects in it also as dotted paths; wrappers are looked through.
fn keys(text: &str) -> Result<Vec<String>, Refusal> {
    let mut scanner = Scanner::new(text);
    let mut keys = Vec::new();
    collect_keys(&mut scanner, "", &mut keys)?;
    scanner.end()?;
    Ok(keys)
}

fn collect_keys(scanner: &mut Scanner<'_>, path: &str, keys: &mut Vec<String>) -> Result<(), Refusal> {
    match scanner.value()? {
        Value::Object => {
            let mut key = scanner.first_key()?;
            while let Some(name) = key {
                let is_seen_through =
                    WRAPPER_KEYS.contains(&name) || ["body", "_source", "Event"].contains(&name);
                let inner = if is_seen_through { path.to_owned() } else { format!("{path}{name}.") };
                // The properties of Defender's envelope are also what a bare record has.
                if path == "properties." {
                    keys.push(name.to_owned());
                }
                keys.push(format!("{path}{name}"));
                collect_keys(scanner, &inner, keys)?;
                key = scanner.next_key()?;
            }
            Ok(())
        }
        Value::Array => {
            let mut more = scanner.first_element()?;
            while more {
                collect_keys(scanner, path, keys)?;
                more = scanner.next_element()?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Option<(Format, Shape)>) {
        let got = match detect(head.as_bytes(), true, Wanted::Detect, &ColumnMap::default()) {
            Detection::Known(opening) => opening.format.map(|format| (format, opening.shape)),
            Detection::NeedMore => panic!("asked for more at the end: {head}"),
            Detection::Unknown => None,
        };
        assert_eq!(got, expected, "{head}");
    }

    const MDE: &str = r#"{"time":"x","tenantId":"t","category":"AdvancedHunting-DeviceNetworkEvents","properties":{"Timestamp":"x","ActionType":"ConnectionSuccess"}}"#;
    const BARE: &str =
        r#"{"Timestamp":"x","DeviceId":"d","ActionType":"ConnectionSuccess","RemoteIP":"198.51.100.20"}"#;

    #[test]
    fn formats_by_their_first_bytes() {
        use Format::*;
        use Shape::*;
        check(MDE, Some((Mde, Lines)));
        check(&format!("\u{feff}\r\n{MDE}\r\n"), Some((Mde, Lines)));
        check(&format!("{{\"records\":[{MDE}]}}\n{{\"records\":[{MDE}]}}"), Some((Mde, Lines)));
        check(&format!("{{\"records\":[\n{MDE},\n{MDE}]}}"), Some((Mde, Document)));
        check(&format!("{{\"body\":{MDE}}}"), Some((Mde, Lines)));
        check(&format!("[{BARE},\n{BARE}]"), Some((Mde, Document)));
        check(
            &format!("{{\n\"Schema\":[{{\"Name\":\"x\"}}],\n\"Results\":[{BARE}]\n}}"),
            Some((Mde, Document)),
        );
        check("{\"category\":\"AdvancedHunting-DeviceInfo\",\"tenantId\":\"t\"}", Some((Mde, Lines)));
        check("Timestamp,DeviceId,ActionType,RemoteIP\n", Some((MdeCsv, Lines)));
        check("#separator \\x09\n", Some((ZeekTsv, Lines)));
        check("1.5\tC\t10.1.2.3\t1\t198.51.100.20\t2\ttcp\t-\t-\n", Some((ZeekTsv, Lines)));
        check("{\"ts\":1,\"id.orig_h\":\"10.1.2.3\"}", Some((ZeekJson, Lines)));
        check("{\"ts\":1,\"id\":{\"orig_h\":\"10.1.2.3\"}}", Some((ZeekJson, Lines)));
        check("{\"_path\":\"dns\",\"ts\":1}", Some((ZeekJson, Lines)));
        check("{\n  \"ts\": 1,\n  \"id.orig_h\": \"10.1.2.3\"\n}\n", Some((ZeekJson, Document)));
        check("{\"winlog\":{\"event_data\":{}}}", Some((Sysmon, Lines)));
        check("{\"UtcTime\":\"x\",\"Initiated\":\"true\"}", Some((Sysmon, Lines)));
        check("{\"time\":1,\"device\":\"d\",\"ip\":\"i\"}", Some((Ndjson, Lines)));
        check("\n\ntime;device;ip\n", Some((Csv, Lines)));
        check("{\"ts\":1,\"id.orig_h\":\"10.1.2", Some((ZeekJson, Lines)));
    }

    #[test]
    fn unrelated_records_first() {
        check(&format!("{{\"x\":1}}\nprose\n{MDE}\n"), Some((Format::Mde, Shape::Lines)));
        check("{\"broken\":\n{\"ts\":1,\"id.orig_h\":\"x\"}\n", Some((Format::ZeekJson, Shape::Document)));
    }

    #[test]
    fn nothing_known() {
        for text in
            ["", "\n\n", "Lorem ipsum, dolor sit amet.\n", "{\"x\":1}\n", "[1,2]", "\0\0\0", "a\tb\tc\n"]
        {
            check(text, None);
        }
    }

    #[test]
    fn more_bytes_may_be_needed() {
        let columns = ColumnMap::default();
        for head in ["", "{\"ts\":1,", "#sep", "{\n", "prose\n"] {
            let detection = detect(head.as_bytes(), false, Wanted::Detect, &columns);
            assert_eq!(detection, Detection::NeedMore, "{head}");
        }
        let long = "x".repeat(HEAD_BYTES);
        assert_eq!(detect(long.as_bytes(), false, Wanted::Detect, &columns), Detection::Unknown);
    }

    #[test]
    fn what_was_asked_for_wins() {
        let columns = ColumnMap::default();
        let format = |head: &str, wanted| match detect(head.as_bytes(), true, wanted, &columns) {
            Detection::Known(opening) => opening.format,
            _ => None,
        };
        assert_eq!(format("prose", Wanted::Family(Family::Zeek)), Some(Format::ZeekTsv));
        assert_eq!(format("{}", Wanted::Family(Family::Zeek)), Some(Format::ZeekJson));
        assert_eq!(format("[]", Wanted::Family(Family::Mde)), Some(Format::Mde));
        assert_eq!(format("a,b", Wanted::Family(Family::Mde)), Some(Format::MdeCsv));
        assert_eq!(format("prose", Wanted::Exactly(Format::Sysmon)), Some(Format::Sysmon));
        assert_eq!(format("", Wanted::Exactly(Format::Csv)), Some(Format::Csv));
    }
}
