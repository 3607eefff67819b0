//! How records are read that come one by one, each in a message of its own: documents of a push, messages of a broker. Each is read as if
//! it had come alone, but what was found out about an object is not found out anew for the next one that looks alike; and where the
//! format is wanted, an object on one line is read as a line, though it be cut. Refuses to hold: where messages come from, and what their
//! records mean.

use std::borrow::Cow;

use crate::carried::carried;
use crate::detect::{Detection, HEAD_BYTES, Opening, Search, detect};
use crate::format::{Format, Wanted};
use crate::settings::ColumnMap;
use crate::traits::Outline;
use crate::utf16::Order;

/// Outlines that are remembered: as many as a shipper's inputs have, and few enough to be looked through.
const OUTLINES_MAX: usize = 32;

/// Tells how messages are to be read.
pub struct Recogniser {
    columns: ColumnMap,
    search: Search,
    /// Objects that were looked at where any format was wanted, the last one first, and what they are.
    outlines: Vec<(Outline, Format)>,
    /// Of the object at hand.
    outline: Outline,
}

impl Recogniser {
    /// For messages of one origin; `columns` as its settings have them.
    pub fn new(columns: &ColumnMap) -> Recogniser {
        Recogniser {
            columns: columns.clone(),
            search: Search::new(Wanted::Detect, columns),
            outlines: Vec::new(),
            outline: Outline::default(),
        }
    }

    /// What is to be read of a message, and how: all of it, or the line that a shipper put whole into it. Cost: next to nothing where
    /// the format is wanted, else a pass over an object that looks like one before, and ten times that over any other; of a long
    /// one no more than [`HEAD_BYTES`] are looked at for its format.
    pub fn recognise<'a>(&mut self, message: &'a [u8], wanted: Wanted) -> (Cow<'a, [u8]>, Opening) {
        if self.search.wanted() != wanted {
            self.search = Search::new(wanted, &self.columns);
        }
        let record = match carried(message, &self.search) {
            Some(Cow::Borrowed(line)) => Cow::Borrowed(line.as_bytes()),
            Some(Cow::Owned(line)) => Cow::Owned(line.into_bytes()),
            None => Cow::Borrowed(message),
        };
        let opening = self.quick(&record).unwrap_or_else(|| self.thorough(&record));
        (record, opening)
    }

    /// What is told by little of a message: one of a format that is wanted, or an object like one before.
    fn quick(&mut self, record: &[u8]) -> Option<Opening> {
        let wanted = self.search.wanted();
        let is_object = || record.first() == Some(&b'{') && memchr::memchr(b'\n', record).is_none();
        let format = match wanted {
            Wanted::Exactly(format) if !format.is_json() => {
                Some(format).filter(|_| Order::of(record).is_none())
            }
            Wanted::Exactly(format) => Some(format).filter(|_| is_object()),
            Wanted::Family(family) => Some(family.of_objects()).filter(|_| is_object()),
            Wanted::Detect if record.len() < HEAD_BYTES && is_object() => self.alike(record),
            Wanted::Detect => None,
        };
        format.map(|format| Opening::of_lines(format, wanted))
    }

    /// The format of an object like one before; of one that tells its own, which is remembered.
    fn alike(&mut self, object: &[u8]) -> Option<Format> {
        let text = str::from_utf8(object).ok()?;
        if !self.outline.become_that_of(text) {
            return None;
        }
        let known = self.outlines.iter().position(|(outline, _)| *outline == self.outline);
        if let Some(behind) = known.and_then(|at| self.outlines.get_mut(..=at)) {
            behind.rotate_right(1);
            return self.outlines.first().map(|(_, format)| *format);
        }
        let format = self.search.row(text)?;
        self.outlines.truncate(OUTLINES_MAX - 1);
        self.outlines.insert(0, (self.outline.clone(), format));
        Some(format)
    }

    #[cold]
    fn thorough(&self, record: &[u8]) -> Opening {
        let head = record.get(..HEAD_BYTES).unwrap_or(record);
        match detect(head, head.len() == record.len(), self.search.wanted(), &self.columns) {
            Detection::Known(opening) | Detection::Unknown(opening) => opening,
            Detection::NeedMore => Opening::UNRECOGNISED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Family;
    use proptest::prelude::*;

    const ZEEK: &str = r#"{"ts":1,"id.orig_h":"10.1.2.3","id.resp_h":"198.51.100.20","uid":"C1"}"#;

    /// Messages, some of which look alike and are not the same.
    const MESSAGES: [&str; 27] = [
        ZEEK,
        r#"{"ts":2,"id.orig_h":"10.1.2.4","id.resp_h":"198.51.100.21","uid":"C2"}"#,
        r#"{"t\u0073":2,"id.orig_h":"10.1.2.4","id.resp_h":"198.51.100.21","uid":"C2"}"#,
        r#"{"Timestamp":"x","DeviceId":"d","ActionType":"ConnectionSuccess","RemoteIP":"198.51.100.20"}"#,
        r#"{"time":"x","category":"AdvancedHunting-DeviceInfo","a":{}}"#,
        r#"{"time":"x","category":"Something","a":{}}"#,
        r#"{"time":"x","category":"\u0041dvancedHunting-DeviceInfo","a":{}}"#,
        r#"{"EventID":3,"SourceName":"Microsoft-Windows-Sysmon"}"#,
        r#"{"EventID":3,"SourceName":"Another"}"#,
        r#"{"EventID":3,"SourceName":"Microsoft-Windows-S\u0079smon"}"#,
        r#"{"records":[]}"#,
        r#"{"records":[1]}"#,
        r#"{"x":{"RemoteIP":"198.51.100.20"}}"#,
        r#"{"x":1}"#,
        r#"{"x":"#,
        r#"{"x":{"#,
        "{\n\"ts\":1,\n\"id.orig_h\":\"10.1.2.3\"}",
        r#"[{"ts":1,"id.orig_h":"10.1.2.3"}]"#,
        r#"{"time":1,"device":"d","ip":"i"}"#,
        "prose",
        "",
        "\u{feff}{\"ts\":1,\"id.orig_h\":\"10.1.2.3\"}",
        "time,device,ip",
        "[fe80::1],198.51.100.20,1930557662",
        "note:\ntime,device,ip",
        r#"{"body":{"ts":1,"id.orig_h":"10.1.2.3"}}"#,
        r#"{"event":{"code":"3"},"host":{"name":"h"},"destination":{"ip":"198.51.100.20"},"network":{}}"#,
    ];

    const WANTED: [Wanted; 6] = [
        Wanted::Detect,
        Wanted::Family(Family::Zeek),
        Wanted::Family(Family::Mde),
        Wanted::Family(Family::Sysmon),
        Wanted::Exactly(Format::Suricata),
        Wanted::Exactly(Format::FortiGate),
    ];

    /// How a message is read that comes alone.
    fn alone(message: &[u8], wanted: Wanted) -> Opening {
        match detect(message, true, wanted, &ColumnMap::default()) {
            Detection::Known(opening) | Detection::Unknown(opening) => opening,
            Detection::NeedMore => Opening::UNRECOGNISED,
        }
    }

    proptest! {
        /// What came before changes nothing.
        #[test]
        fn as_if_each_came_alone(
            asked in prop::collection::vec((0..MESSAGES.len(), any::<bool>(), 0..WANTED.len(), 1..4usize), 1..40),
        ) {
            let mut recogniser = Recogniser::new(&ColumnMap::default());
            for (message, is_utf16, wanted, times) in asked {
                let (text, wanted) = (MESSAGES[message], WANTED[wanted]);
                // A line that was cut is a line all the same.
                if text.ends_with([':', '{']) && wanted != Wanted::Detect {
                    continue;
                }
                let marked = [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes);
                let message = if is_utf16 { marked.collect() } else { text.as_bytes().to_vec() };
                for _ in 0..times {
                    let (record, opening) = recogniser.recognise(&message, wanted);
                    prop_assert_eq!(&*record, message.as_slice());
                    let expected = alone(&message, wanted);
                    let is_same = match opening.format() {
                        // How JSON would lie in it means nothing.
                        Some(format) if !format.is_json() => {
                            (opening.format(), opening.utf16) == (expected.format(), expected.utf16)
                        }
                        _ => opening == expected,
                    };
                    prop_assert!(is_same, "{} {:?}: {:?}, {:?}", text, wanted, opening, expected);
                }
            }
        }
    }

    #[test]
    fn lines_in_messages_are_read_instead() {
        let mut recogniser = Recogniser::new(&ColumnMap::default());
        let message = format!("{{\"message\":{},\"host\":{{\"name\":\"h\"}}}}", serde_json::json!(ZEEK));
        for _ in 0..2 {
            let (record, opening) = recogniser.recognise(message.as_bytes(), Wanted::Detect);
            assert_eq!((&*record, opening.format()), (ZEEK.as_bytes(), Some(Format::ZeekJson)));
        }
    }

    #[test]
    fn few_outlines_are_remembered() {
        let mut recogniser = Recogniser::new(&ColumnMap::default());
        for number in 0..1_000 {
            let message = format!("{{\"ts\":1,\"id.orig_h\":\"10.1.2.3\",\"k{number}\":1}}");
            let (_, opening) = recogniser.recognise(message.as_bytes(), Wanted::Detect);
            assert_eq!(opening.format(), Some(Format::ZeekJson));
        }
        assert_eq!(recogniser.outlines.len(), OUTLINES_MAX);
    }
}
