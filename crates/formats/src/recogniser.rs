//! How records are read that come one by one, each in a message of its own: documents of a push, messages of a broker. Nothing is
//! presumed of one because of those before it, but what was found out about a record is not found out anew for the next one that
//! looks alike. Refuses to hold: how a record is cut from what is around it.

use std::borrow::Cow;

use crate::carried::carried;
use crate::detect::{Detection, Opening, Search, detect};
use crate::format::{Format, Wanted};
use crate::settings::ColumnMap;
use crate::traits::Shape;

/// Shapes that are remembered: as many as a shipper's inputs have, and few enough to be looked through.
const SHAPES_MAX: usize = 32;

/// Tells how messages are to be read.
pub struct Recogniser {
    columns: ColumnMap,
    search: Search,
    /// Objects that were looked at, the last one first, and what they are.
    shapes: Vec<(Shape, Format)>,
    /// The shape of the object at hand.
    shape: Shape,
}

impl Recogniser {
    /// For messages of one origin; `columns` as its settings have them.
    pub fn new(columns: &ColumnMap) -> Recogniser {
        Recogniser {
            columns: columns.clone(),
            search: Search::new(Wanted::Detect, columns),
            shapes: Vec::new(),
            shape: Shape::default(),
        }
    }

    /// What is to be read of a message, and how: all of it, or the line that a shipper put whole into it. Cost: next to nothing where
    /// the format is wanted, else a pass over a message that looks like one before, and ten times that over any other.
    pub fn recognise<'a>(&mut self, message: &'a [u8], wanted: Wanted) -> (Cow<'a, [u8]>, Opening) {
        if self.search.wanted() != wanted {
            self.search = Search::new(wanted, &self.columns);
            self.shapes.clear();
        }
        let record = match carried(message, &self.search) {
            Some(Cow::Borrowed(line)) => Cow::Borrowed(line.as_bytes()),
            Some(Cow::Owned(line)) => Cow::Owned(line.into_bytes()),
            None => Cow::Borrowed(message),
        };
        let opening = self.quick(&record).unwrap_or_else(|| self.thorough(&record));
        (record, opening.of_messages())
    }

    /// What is told by little of a message: one line of a format that is wanted, or an object like one before.
    fn quick(&mut self, record: &[u8]) -> Option<Opening> {
        let first = *record.first()?;
        if memchr::memchr(b'\n', record).is_some() {
            return None;
        }
        let wanted = self.search.wanted();
        let format = match wanted {
            Wanted::Exactly(format) => Some(format).filter(|_| first.is_ascii_graphic() && first != b'[')?,
            Wanted::Family(family) => Some(family.of_objects()).filter(|_| first == b'{')?,
            Wanted::Detect => Some(record).filter(|_| first == b'{').and_then(|record| self.alike(record))?,
        };
        Some(Opening::of_lines(format, wanted))
    }

    /// The format of an object like one before; of one that tells its own, which is remembered.
    fn alike(&mut self, object: &[u8]) -> Option<Format> {
        let text = str::from_utf8(object).ok()?;
        if !self.shape.become_that_of(text) {
            return None;
        }
        if let Some(at) = self.shapes.iter().position(|(shape, _)| *shape == self.shape) {
            self.shapes.swap(0, at);
            return self.shapes.first().map(|(_, format)| *format);
        }
        let format = self.search.row(text)?;
        self.shapes.truncate(SHAPES_MAX - 1);
        self.shapes.insert(0, (self.shape.clone(), format));
        Some(format)
    }

    #[cold]
    fn thorough(&self, record: &[u8]) -> Opening {
        match detect(record, true, self.search.wanted(), &self.columns) {
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
    const MESSAGES: [&str; 24] = [
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

    proptest! {
        /// What came before changes nothing.
        #[test]
        fn as_if_each_came_alone(asked in prop::collection::vec((0..MESSAGES.len(), 0..WANTED.len(), 1..4usize), 1..40)) {
            let columns = ColumnMap::default();
            let mut recogniser = Recogniser::new(&columns);
            for (message, wanted, times) in asked {
                let (message, wanted) = (MESSAGES[message], WANTED[wanted]);
                for _ in 0..times {
                    let (record, opening) = recogniser.recognise(message.as_bytes(), wanted);
                    prop_assert_eq!(&*record, message.as_bytes());
                    let alone = match detect(message.as_bytes(), true, wanted, &columns) {
                        Detection::Known(opening) | Detection::Unknown(opening) => opening.of_messages(),
                        Detection::NeedMore => Opening::UNRECOGNISED,
                    };
                    // A line that was cut is a line all the same.
                    if !message.ends_with([':', '{']) {
                        prop_assert_eq!(opening, alone, "{} {:?}", message, wanted);
                    }
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
    fn few_shapes_are_remembered() {
        let mut recogniser = Recogniser::new(&ColumnMap::default());
        for number in 0..1_000 {
            let message = format!("{{\"ts\":1,\"id.orig_h\":\"10.1.2.3\",\"k{number}\":1}}");
            let (_, opening) = recogniser.recognise(message.as_bytes(), Wanted::Detect);
            assert_eq!(opening.format(), Some(Format::ZeekJson));
        }
        assert_eq!(recogniser.shapes.len(), SHAPES_MAX);
    }
}
