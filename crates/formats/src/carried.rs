//! Lines that a shipper did not read but put whole into a document of its own: `message` (Beats, Logstash, Vector), `log` (Fluent Bit).
//! Such a line is a record as if it had come alone. Refuses to hold: envelopes around a record that is JSON itself (`wrapper`), and
//! `event.original`, beside which the document says the same in fields of its own.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::detect::Search;
use crate::format::Format;
use crate::json::{Scanner, Value};

/// The keys under which shippers carry a line.
const KEYS: [&str; 2] = ["message", "log"];

/// Both as they lie in a document. Made once: making them takes longer than finding nothing.
static WRITTEN: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\"message\""), Finder::new(b"\"log\"")]);

/// The line in a document, if it is a record by itself, of a format that is wanted. Cost: two searches for a word where there is none.
pub(crate) fn carried<'a>(document: &'a [u8], search: &Search) -> Option<Cow<'a, str>> {
    if document.trim_ascii_start().first() != Some(&b'{')
        || WRITTEN.iter().all(|written| written.find(document).is_none())
    {
        return None;
    }
    let line = line(str::from_utf8(document).ok()?)?;
    let format = search.row(&line)?;
    // Rows of these mean nothing without their header. A prose that looks like one stays a prose.
    (format != Format::ZeekTsv && !line.contains('\n')).then_some(line)
}

fn line(text: &str) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(text);
    if scanner.value().ok()? != Value::Object {
        return None;
    }
    let mut found = None;
    let mut key = scanner.first_key().ok()?;
    while let Some(name) = key {
        let value = scanner.value().ok()?;
        if let Value::Text(raw) = value
            && KEYS.contains(&name)
        {
            found = Some(trimmed(raw.resolved()));
        }
        scanner.leave(value).ok()?;
        key = scanner.next_key().ok()?;
    }
    scanner.end().ok()?;
    found
}

/// Without the line end that some shippers leave.
fn trimmed(line: Cow<'_, str>) -> Cow<'_, str> {
    match line {
        Cow::Borrowed(line) => Cow::Borrowed(line.trim_end()),
        Cow::Owned(mut line) => {
            line.truncate(line.trim_end().len());
            Cow::Owned(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Wanted;
    use crate::settings::ColumnMap;

    #[test]
    fn lines_that_are_records_are_taken_out() {
        let zeek = r#"{\"ts\":1,\"id.orig_h\":\"10.1.2.3\",\"id.resp_h\":\"198.51.100.20\",\"conn_state\":\"SF\",\"uid\":\"C1\"}"#;
        let gate = r#"date=2031-03-04 time=10:01:02 type=\"traffic\" subtype=\"forward\" srcip=10.1.2.3 dstip=198.51.100.20 action=\"close\" logid=\"0000000013\""#;
        for (document, is_taken) in [
            (format!("{{\"@timestamp\":\"2031-03-04T10:01:02Z\",\"message\":\"{zeek}\"}}"), true),
            (format!("{{\"message\":\"{zeek}\\n\",\"agent\":{{\"type\":\"filebeat\"}}}}"), true),
            (format!("{{\"log\":\"{gate}\"}}"), true),
            (format!("{{\"log\":{{\"file\":{{\"path\":\"/x\"}}}},\"message\":\"{gate}\"}}"), true),
            (format!("{{\"message\":\"{zeek}\\n{zeek}\"}}"), false),
            (format!("{{\"note\":\"{zeek}\"}}"), false),
            (format!("{{\"inner\":{{\"message\":\"{zeek}\"}}}}"), false),
            ("{\"message\":\"Network connection detected: (rule: x)\"}".to_owned(), false),
            ("{\"message\":\"1.5\\tC1\\t10.1.2.3\"}".to_owned(), false),
            ("{\"message\":".to_owned(), false),
            ("\"message\"".to_owned(), false),
        ] {
            let search = Search::new(Wanted::Detect, &ColumnMap::default());
            let taken = carried(document.as_bytes(), &search);
            assert_eq!(taken.is_some(), is_taken, "{document}: {taken:?}");
        }
        let document = format!("{{\"message\":\"{zeek}\"}}");
        let of = |wanted| carried(document.as_bytes(), &Search::new(wanted, &ColumnMap::default()));
        assert_eq!(of(Wanted::Exactly(Format::ZeekJson)), Some(zeek.replace('\\', "").into()));
        assert_eq!(of(Wanted::Exactly(Format::Suricata)), None);
    }
}
