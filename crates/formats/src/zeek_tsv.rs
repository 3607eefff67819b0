//! Zeek conn.log and dhcp.log as tab-separated text: the header that names the columns, and the rows under it. Refuses to hold:
//! rows without a header (a guess at columns would be a guess at devices), and the rules themselves (`zeek`, `zeek_dhcp`).
//!
//! ```text
//! #fields  ts                 uid      id.orig_h  id.orig_p  id.resp_h      id.resp_p  proto  conn_state  local_orig
//!          1930557662.345678  CAbc123  10.1.2.3   50001      198.51.100.20  443        tcp    SF          T
//!          start, epoch s              device                 remote                           outcome     is it ours
//! ```
//!
//! Source: the ASCII writer of Zeek; samples from Zeek 2.2 (2009 data) to 6. Column order and number vary.

use std::sync::Arc;

use memchr::memchr_iter;
use sighting::Second;

use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::is_null;
use crate::time::epoch_seconds;
use crate::zeek::{Connection, is_connection_log};
use crate::zeek_dhcp::{Conversation, Messages};

/// The header of a log as it has been read so far; concatenated files have several.
#[derive(Default)]
pub(crate) struct ZeekHeader {
    marks: Marks,
    path: Option<String>,
    fields: Option<Vec<String>>,
    layout: Option<Arc<ZeekLayout>>,
}

/// How values are separated and how nothing is written.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Marks {
    separator: u8,
    unset: String,
    empty: String,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { separator: b'\t', unset: "-".to_owned(), empty: "(empty)".to_owned() }
    }
}

/// What a header says of the rows under it.
#[derive(Debug)]
pub(crate) struct ZeekLayout {
    marks: Marks,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Connections(Columns),
    Leases(LeaseColumns),
    /// Another log of Zeek's.
    Other,
    /// A log of connections or leases without a column that it needs.
    Lacking(&'static str),
}

/// The places of the columns that matter.
#[derive(Debug)]
struct Columns {
    count: usize,
    ts: usize,
    originator: usize,
    responder: usize,
    state: usize,
    protocol: Option<usize>,
    local: Option<usize>,
    mac: Option<usize>,
}

/// The places of the columns of dhcp.log that matter.
#[derive(Debug)]
struct LeaseColumns {
    count: usize,
    ts: usize,
    client: Option<usize>,
    mac: Option<usize>,
    host: Option<usize>,
    fqdn: Option<usize>,
    assigned: usize,
    lease: Option<usize>,
    messages: Option<usize>,
}

impl LeaseColumns {
    fn of(fields: &[String]) -> Result<LeaseColumns, &'static str> {
        let place = |name: &str| fields.iter().position(|field| field == name);
        Ok(LeaseColumns {
            count: fields.len(),
            ts: place("ts").ok_or("ts")?,
            client: place("client_addr"),
            mac: place("mac"),
            host: place("host_name"),
            fqdn: place("client_fqdn"),
            assigned: place("assigned_addr").or_else(|| place("assigned_ip")).ok_or("assigned_addr")?,
            lease: place("lease_time"),
            messages: place("msg_types"),
        })
    }
}

impl ZeekHeader {
    /// What is known of the rows that follow; nothing without `#fields`.
    pub(crate) fn layout(&self) -> Option<Arc<ZeekLayout>> {
        self.layout.clone()
    }

    /// Learns a header line, without its line end.
    pub(crate) fn read(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        // Files that were strung together may each bring a mark.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if let Some(separator) = line.strip_prefix("#separator") {
            // The first line of every file: what another file said no longer holds.
            *self = ZeekHeader::default();
            self.marks.separator = unescape(separator.trim_matches(' ')).bytes().next().unwrap_or(b'\t');
            return;
        }
        let (key, value) = line.split_once(char::from(self.marks.separator)).unwrap_or((line, ""));
        match key {
            "#unset_field" => self.marks.unset = unescape(value),
            "#empty_field" => self.marks.empty = unescape(value),
            "#path" => self.path = Some(value.to_owned()),
            "#fields" => {
                let separator = char::from(self.marks.separator);
                self.fields = Some(value.split(separator).map(unescape).collect());
            }
            // The file ends here. Rows that follow have to bring a header of their own.
            "#close" => self.fields = None,
            _ => return,
        }
        self.layout = self.fields.as_ref().map(|fields| {
            let rows = Rows::of(self.path.as_deref(), fields);
            Arc::new(ZeekLayout { marks: self.marks.clone(), rows })
        });
    }
}

impl Rows {
    fn of(path: Option<&str>, fields: &[String]) -> Rows {
        if path == Some("dhcp") {
            return LeaseColumns::of(fields).map_or_else(Rows::Lacking, Rows::Leases);
        }
        if path.is_some_and(|path| !is_connection_log(path)) {
            return Rows::Other;
        }
        let place = |name: &str| fields.iter().position(|field| field == name);
        let Some(ts) = place("ts") else { return Rows::Lacking("ts") };
        let Some(originator) = place("id.orig_h") else { return Rows::Lacking("id.orig_h") };
        let Some(responder) = place("id.resp_h") else { return Rows::Lacking("id.resp_h") };
        let Some(state) = place("conn_state") else { return Rows::Lacking("conn_state") };
        let (protocol, local, mac) = (place("proto"), place("local_orig"), place("orig_l2_addr"));
        let count = fields.len();
        Rows::Connections(Columns { count, ts, originator, responder, state, protocol, local, mac })
    }
}

/// Resolves `\xNN`, by which Zeek writes bytes that would disturb; other backslashes stay.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\'
            && let Some((b'x', digits)) = after.split_first()
            && let Some((digits, after)) = digits.split_first_chunk::<2>()
            && let Some(value) = str::from_utf8(digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            bytes.push(value);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the rows under one header; reuses its memory from row to row.
pub(crate) struct Reader<'s> {
    layout: Option<Arc<ZeekLayout>>,
    settings: &'s Settings,
    /// Where each separator of the row is.
    stops: Vec<usize>,
}

impl<'s> Reader<'s> {
    /// For rows under this header, if any was seen.
    pub(crate) fn new(layout: Option<Arc<ZeekLayout>>, settings: &'s Settings) -> Reader<'s> {
        Reader { layout, settings, stops: Vec::with_capacity(32) }
    }

    /// One line: a row, or a line of the header.
    #[inline]
    pub(crate) fn line(&mut self, text: &str, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        if text.starts_with('#') {
            sink.ignored(&Passed::by_nobody(Ignored::Header, line));
            return Ok(());
        }
        let layout = self.layout.as_deref().ok_or(Refusal::NoHeader)?;
        let count = match &layout.rows {
            Rows::Connections(columns) => columns.count,
            Rows::Leases(columns) => columns.count,
            Rows::Other => {
                sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
                return Ok(());
            }
            Rows::Lacking(field) => return Err(Fault::of(Refusal::MissingField, field)),
        };
        self.stops.clear();
        self.stops.extend(memchr_iter(layout.marks.separator, text.as_bytes()));
        if self.stops.len() + 1 < count {
            return Err(Refusal::TooFewColumns.into());
        }
        if self.stops.len() + 1 > count {
            return Err(Refusal::TooManyColumns.into());
        }
        let row = Row { text, stops: &self.stops, marks: &layout.marks };
        match &layout.rows {
            Rows::Leases(columns) => row.conversation(columns).judge(line, sink),
            Rows::Connections(columns) => {
                row.connection(columns, self.settings).judge(line, self.settings, sink)
            }
            Rows::Other | Rows::Lacking(_) => Ok(()),
        }
    }
}

/// One row, split.
struct Row<'a, 'l> {
    text: &'a str,
    stops: &'l [usize],
    marks: &'l Marks,
}

impl<'a> Row<'a, '_> {
    #[inline]
    fn connection(&self, columns: &Columns, settings: &Settings) -> Connection<'a> {
        // Nearly nobody asks for it, and then it costs nothing.
        let mac = columns.mac.filter(|_| !settings.mac_networks.is_empty());
        Connection {
            second: self.second(columns.ts),
            originator: self.field(columns.originator),
            responder: self.field(columns.responder),
            state: self.field(columns.state),
            protocol: columns.protocol.and_then(|place| self.field(place)),
            local: columns.local.and_then(|place| match self.field(place)? {
                "T" | "true" => Some(true),
                "F" | "false" => Some(false),
                _ => None,
            }),
            mac: mac.and_then(|place| self.field(place)),
        }
    }

    #[cold]
    fn conversation(&self, columns: &LeaseColumns) -> Conversation<'a> {
        let value = |place: Option<usize>| place.and_then(|place| self.field(place));
        let mut messages = Messages::default();
        // A separator that is no comma is hardly ever set; none of these words is a part of another.
        let told = value(columns.messages)
            .into_iter()
            .flat_map(|told| told.split(|it: char| !it.is_ascii_alphabetic()));
        told.for_each(|message| messages.add(message));
        Conversation {
            second: self.second(columns.ts),
            client: value(columns.client),
            mac: value(columns.mac),
            host: value(columns.host),
            fqdn: value(columns.fqdn),
            assigned: self.field(columns.assigned),
            lease_seconds: value(columns.lease),
            messages,
        }
    }

    #[inline]
    fn second(&self, place: usize) -> Result<Second, Fault> {
        let ts = self.field(place).ok_or(Fault::of(Refusal::NoTime, "ts"))?;
        epoch_seconds(ts).ok_or(Fault::of(Refusal::BadTime, "ts"))
    }

    /// A value, unless it is unset or empty.
    #[inline]
    fn field(&self, place: usize) -> Option<&'a str> {
        let start = match place.checked_sub(1) {
            Some(before) => self.stops.get(before)? + 1,
            None => 0,
        };
        let end = self.stops.get(place).copied().unwrap_or(self.text.len());
        let value = self.text.get(start..end)?;
        (!is_null(value) && value != self.marks.unset && value != self.marks.empty).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_headers() {
        assert_eq!(unescape(r"\x09"), "\t");
        assert_eq!(unescape(r"a\x2eb\y\x"), r"a.b\y\x");
    }

    #[test]
    fn a_header_is_forgotten_at_its_end() {
        let mut header = ZeekHeader::default();
        header.read(b"#path\tconn");
        header.read(b"#fields\tts\tid.orig_h\tid.resp_h\tconn_state\r");
        assert!(header.layout().is_some_and(|layout| matches!(layout.rows, Rows::Connections(_))));
        header.read(b"#close\t2031-03-04-10-00-00");
        assert!(header.layout().is_none());
        header.read(b"#separator \\x2c");
        header.read(b"#path,dns");
        header.read(b"#fields,ts,id.orig_h");
        assert!(header.layout().is_some_and(|layout| matches!(layout.rows, Rows::Other)));
    }
}
