//! Which format an input is in and how its records lie in it, from its first bytes, or from the first record that tells.
//! Refuses to hold: file names (they say nothing reliable) and I/O; "more bytes are needed" is a value.
//!
//! Every complete line of the head is looked at, so that blank lines, a byte order mark, a line whose start is lost or
//! records of something else at the start do not mislead. Where the head tells nothing, the framer asks a [`Search`]
//! about every line or element that follows. A record with the keys that an operator named is what he said it is.

use std::borrow::Cow;

use sighting::Address;

use crate::chunk::CsvLayout;
use crate::csv::separator_line;
use crate::document::{Document, Found};
use crate::format::{Family, Format, Wanted};
use crate::json::Scanner;
use crate::settings::ColumnMap;
use crate::traits::Traits;
use crate::utf16::Order;
use crate::{
    address_map, argus, aws_vpc, azure_analytics, azure_flow, carbon_black, conntrack, crowdstrike, ecs,
    fortigate, generic, isc_dhcpd, kea, netflow, ocsf, osquery, pan_os, sentinel_one, suricata, sysmon_xml,
    time, windows_dhcp,
};

/// How much of an input (decompressed) is looked at before it is read; more than any header and a few records of any
/// format.
pub const HEAD_BYTES: usize = 64 << 10;

/// What the first bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detection {
    /// This is how to read the input.
    Known(Opening),
    /// Nothing yet: ask again with more bytes. Never at the end of the input or from [`HEAD_BYTES`] on.
    NeedMore,
    /// No format that is known here so far. A framer made of it refuses record by record what it does not know, until
    /// a record tells the format.
    Unknown(Opening),
}

/// How an input is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    pub(crate) format: Option<Format>,
    pub(crate) shape: Shape,
    /// What the format may turn out to be.
    pub(crate) wanted: Wanted,
    /// The input is UTF-16.
    pub(crate) utf16: Option<Order>,
}

impl Opening {
    /// For an input in no format that is known so far: every line that is not blank is refused as such.
    pub const UNRECOGNISED: Opening =
        Opening { format: None, shape: Shape::Lines, wanted: Wanted::Detect, utf16: None };

    /// For lines of a format.
    pub(crate) const fn of_lines(format: Format, wanted: Wanted) -> Opening {
        Opening { format: Some(format), shape: Shape::Lines, wanted, utf16: None }
    }

    /// The same for records that came one by one: the byte order mark of the first says nothing of those that follow.
    #[must_use]
    pub const fn of_messages(self) -> Opening {
        Opening { utf16: None, ..self }
    }

    /// The format; none for an unrecognised input.
    pub const fn format(self) -> Option<Format> {
        self.format
    }

    /// Whether what it is about is read by itself: a document that may go on, what no format is known of, or rows that were known by a
    /// header of their own. What comes behind it is not to be taken for more of it.
    pub const fn stands_alone(self) -> bool {
        self.format.is_none() || self.is_document() || self.has_own_header()
    }

    const fn has_own_header(self) -> bool {
        let has_header =
            matches!(self.format, Some(format) if format.is_csv() || matches!(format, Format::AwsVpc));
        has_header && matches!(self.wanted, Wanted::Detect)
    }

    /// Whether a message ends within a row, because a quote is open. What comes behind it is not to close that.
    pub fn is_left_open(self, message: &[u8]) -> bool {
        self.format.is_some_and(Format::is_csv) && memchr::memchr_iter(b'"', message).count() % 2 == 1
    }

    const fn is_document(self) -> bool {
        matches!((self.format, self.shape), (Some(format), Shape::Document) if format.is_json())
    }

    /// Whether every line is read by itself, so that lines of several inputs may stand behind each other.
    pub const fn is_line_by_line(self) -> bool {
        let Some(format) = self.format else { return false };
        let has_rows_or_blocks = matches!(
            format,
            Format::ZeekTsv
                | Format::SysmonXml
                | Format::AwsVpc
                | Format::NetFlow
                | Format::IscDhcpd
                | Format::WindowsDhcp
        ) || format.is_csv();
        !has_rows_or_blocks && self.utf16.is_none() && matches!(self.shape, Shape::Lines)
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
    // Datagrams are no text, whatever they begin with.
    let is_text = wanted != Wanted::Exactly(Format::NetFlow);
    match Order::of(head).filter(|_| is_text) {
        Some(order) => {
            detect_text(Head::new(&order.text(head), at_end, is_all), wanted, columns).in_utf16(order)
        }
        None if is_text && !is_all && Order::may_follow(head) => Detection::NeedMore,
        None => detect_text(Head::new(head, at_end, is_all), wanted, columns),
    }
}

impl Detection {
    fn in_utf16(self, order: Order) -> Detection {
        let marked = |opening| Opening { utf16: Some(order), ..opening };
        match self {
            Detection::Known(opening) => Detection::Known(marked(opening)),
            Detection::NeedMore => Detection::NeedMore,
            Detection::Unknown(opening) => Detection::Unknown(marked(opening)),
        }
    }
}

fn detect_text(head: Head<'_>, wanted: Wanted, columns: &ColumnMap) -> Detection {
    let Head { at_end, is_all, .. } = head;
    let known = |format: Format, shape| Opening { format: Some(format), shape, wanted, utf16: None };
    let search = Search::new(wanted, columns);
    let found = match wanted {
        Wanted::Exactly(format) => head.shape().map(|shape| known(format, shape)),
        Wanted::Family(family) => head
            .recognise(&search)
            .or_else(|| at_end.then(|| head.carrier(family))?)
            .map(|(format, shape)| known(format, shape)),
        Wanted::Detect => head.recognise(&search).map(|(format, shape)| known(format, shape)),
    };
    // Datagrams are no text, and nothing that looks for lines should see them.
    let found = match netflow::begins(head.bytes, is_all) {
        Some(true) if search.takes(Format::NetFlow) => Some(known(Format::NetFlow, Shape::Lines)),
        None if search.takes(Format::NetFlow) => None,
        _ => found,
    };
    match found {
        Some(opening) => Detection::Known(opening),
        None if !is_all => Detection::NeedMore,
        None => {
            Detection::Unknown(Opening { format: None, shape: head.shape_unknown(), wanted, utf16: None })
        }
    }
}

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

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
    fn new(bytes: &'a [u8], at_end: bool, is_all: bool) -> Head<'a> {
        Head { bytes: bytes.strip_prefix(MARK).unwrap_or(bytes), at_end, is_all }
    }

    /// The lines with anything on them, the last only if it is complete.
    fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let is_whole = move |line: &&[u8]| line.ends_with(b"\n") || self.at_end;
        let lines = self.bytes.split_inclusive(|byte| *byte == b'\n').filter(is_whole);
        let plain = |line: &'a [u8]| line.strip_prefix(MARK).unwrap_or(line).trim_ascii();
        lines.map(plain).filter(|line| !line.is_empty())
    }

    fn first_byte(self) -> Option<u8> {
        self.bytes.trim_ascii_start().first().copied()
    }

    /// How records lie in the head if they are JSON; nothing while more bytes could tell.
    fn shape(self) -> Option<Shape> {
        match self.first_byte() {
            Some(b'[') => return self.shape_of_bracket(),
            Some(b'{') => {}
            Some(_) => return Some(Shape::Lines),
            None => return self.is_all.then_some(Shape::Lines),
        }
        let mut lines = self.lines();
        let Some(first) = lines.next() else {
            // One line longer than the head: the splitter of documents does not mind.
            return self.is_all.then_some(Shape::Document);
        };
        if is_sound(first) || !stays_open(first) {
            return Some(Shape::Lines);
        }
        // A line that was cut before sound ones, or an object that goes on.
        let goes_on = first.last().is_some_and(|last| b"{[,:".contains(last));
        let Some(next) = lines.next() else {
            return self.is_all.then_some(if goes_on { Shape::Document } else { Shape::Lines });
        };
        match () {
            () if !next.starts_with(b"{") => Some(Shape::Document),
            () if !goes_on => Some(Shape::Lines),
            () if !is_sound(next) => Some(Shape::Document),
            // A value of the first line is followed by more of its object.
            () => match lines.next() {
                Some(third) if third.starts_with(b"{") => Some(Shape::Lines),
                Some(_) => Some(Shape::Document),
                None => self.is_all.then_some(Shape::Lines),
            },
        }
    }

    /// A document, unless what the bracket is about is a time or a word.
    fn shape_of_bracket(self) -> Option<Shape> {
        let bytes = self.bytes.trim_ascii_start();
        match bytes.len() {
            1 if !self.is_all => None,
            _ if conntrack::begins(bytes) => Some(Shape::Lines),
            _ => Some(Shape::Document),
        }
    }

    /// How records lie in a head that tells no format: a document only if some of it can be read as such.
    fn shape_unknown(self) -> Shape {
        let is_document = self.shape() == Some(Shape::Document) && self.lines().next().is_some();
        let mut has_objects = false;
        if is_document {
            self.elements(&mut |element| has_objects |= element.starts_with(b"{") && is_sound(element));
        }
        if has_objects { Shape::Document } else { Shape::Lines }
    }

    /// The carrier of a meaning that is given, of an input in which nothing tells it.
    fn carrier(self, family: Family) -> Option<(Format, Shape)> {
        let is_json = matches!(self.first_byte(), Some(b'{' | b'['));
        let format = match family {
            family if is_json => family.of_objects(),
            Family::Zeek => Format::ZeekTsv,
            Family::Mde => Format::MdeCsv,
            Family::Sysmon => Format::SysmonXml,
        };
        Some((format, self.shape()?))
    }

    /// The first thing in the head that some format knows.
    fn recognise(self, search: &Search) -> Option<(Format, Shape)> {
        let shape = self.shape()?;
        let format = match shape {
            Shape::Document => self.recognise_document(search),
            Shape::Lines => self.recognise_lines(search),
        };
        let last_resort = || if self.is_all { self.recognise_words(search) } else { None };
        Some((format.or_else(last_resort)?, shape))
    }

    fn recognise_lines(self, search: &Search) -> Option<Format> {
        let mut lines = self.lines();
        let first = String::from_utf8_lossy(lines.next()?);
        let header = match separator_line(&first) {
            Some(separator) => search.header(&String::from_utf8_lossy(lines.next()?), Some(separator)),
            // None is JSON, and making columns of such a line is most of what looking at it would cost.
            None if first.trim_start().starts_with(['{', '[']) => None,
            None => search.header(&first, None),
        };
        header.or_else(|| self.lines().find_map(|line| search.row(str::from_utf8(line).ok()?)))
    }

    fn recognise_document(self, search: &Search) -> Option<Format> {
        let mut format = None;
        self.elements(&mut |element| format = format.or_else(|| search.element(element)));
        format
    }

    /// What the splitter of documents finds in the head.
    fn elements(self, take: &mut dyn FnMut(&[u8])) {
        Document::new().push(self.bytes, &mut |found| {
            if let Found::Element(element, _) = found {
                take(element);
            }
        });
    }

    /// The last resort, for JSON of which not one record is whole, or that has none: words that only one format has.
    fn recognise_words(self, search: &Search) -> Option<Format> {
        let has = |word: &str| memchr::memmem::find(self.bytes, word.as_bytes()).is_some();
        match self.first_byte() {
            Some(b'{' | b'[') => {}
            _ => return None,
        }
        let zeek = ["\"id.orig_h\"", "\"id_orig_h\"", "\"orig_h\""];
        let format = match () {
            () if has("\"RemoteIP\"") || has("AdvancedHunting-") => Format::Mde,
            () if zeek.into_iter().any(has) => Format::ZeekJson,
            () if has("Microsoft-Windows-Sysmon") || has("\"DestinationIp\"") => Format::Sysmon,
            // A query that found nothing.
            () if is_empty_wrapper(self.bytes) || self.lines().any(is_empty_wrapper) => Format::Mde,
            () => return None,
        };
        search.takes(format).then_some(format)
    }
}

/// Whether a line is a JSON text.
pub(crate) fn is_sound(line: &[u8]) -> bool {
    let is_json = |text| {
        let mut scanner = Scanner::new(text);
        scanner.skip().and_then(|()| scanner.end()).is_ok()
    };
    str::from_utf8(line).is_ok_and(is_json)
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

/// Whether a text is an object whose array of records is empty.
fn is_empty_wrapper(text: &[u8]) -> bool {
    let traits = str::from_utf8(text).ok().and_then(|text| Traits::of(text).ok());
    traits.is_some_and(|traits| traits.are_of_empty_wrapper())
}

/// What is looked for in an input, record by record.
pub(crate) struct Search {
    wanted: Wanted,
    columns: ColumnMap,
    /// The operator named the columns: a record that has them is generic, whatever else it looks like.
    is_mapped: bool,
}

impl Search {
    pub(crate) fn new(wanted: Wanted, columns: &ColumnMap) -> Search {
        Search { wanted, columns: columns.clone(), is_mapped: columns.is_of_generic() }
    }

    pub(crate) const fn columns(&self) -> &ColumnMap {
        &self.columns
    }

    pub(crate) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Whether a format may be the answer.
    fn takes(&self, format: Format) -> bool {
        match self.wanted {
            Wanted::Detect => true,
            Wanted::Exactly(exactly) => format == exactly,
            Wanted::Family(Family::Mde) => matches!(format, Format::Mde | Format::MdeCsv),
            Wanted::Family(Family::Zeek) => matches!(format, Format::ZeekTsv | Format::ZeekJson),
            Wanted::Family(Family::Sysmon) => matches!(format, Format::Sysmon | Format::SysmonXml),
        }
    }

    /// What a line anywhere in an input tells, if it tells a format.
    pub(crate) fn line(&self, line: &[u8]) -> Option<Format> {
        let line = line.strip_prefix(MARK).unwrap_or(line).trim_ascii();
        if line.len() > crate::chunk::LINE_BYTES_MAX {
            return None;
        }
        // No header is longer than what is looked at for one, and none is JSON.
        if line.len() <= HEAD_BYTES
            && !matches!(line.first(), Some(b'{' | b'['))
            && let Some(format) = self.header(&String::from_utf8_lossy(line), None)
        {
            return Some(format);
        }
        self.row(str::from_utf8(line).ok()?)
    }

    /// What an element of a document tells.
    pub(crate) fn element(&self, element: &[u8]) -> Option<Format> {
        self.json(str::from_utf8(element).ok()?)
    }

    /// A header of CSV.
    fn header(&self, line: &str, separator: Option<u8>) -> Option<Format> {
        if separator.is_none() && crate::csv::separator(line).is_none() {
            return (self.takes(Format::AwsVpc) && aws_vpc::is_header(line)).then_some(Format::AwsVpc);
        }
        let layout = CsvLayout::of(line, separator);
        let has = |name: &str| layout.place(name).is_some();
        let is_device_info = has("DeviceId") && (has("MergedToDeviceId") || has("MachineGroup"));
        let is_mde = has("RemoteIP") && has("ActionType") && (has("DeviceId") || has("DeviceName"))
            || is_device_info && !has("ActionType");
        let is_generic = self.takes(Format::Csv) && generic::is_record(&self.columns, has);
        match () {
            () if self.is_mapped && is_generic => Some(Format::Csv),
            () if is_mde && self.takes(Format::MdeCsv) => Some(Format::MdeCsv),
            () if self.takes(Format::Argus) && argus::is_header(&has) => Some(Format::Argus),
            () if self.takes(Format::Kea) && kea::is_header(&has) => Some(Format::Kea),
            () if self.takes(Format::AddressMap) && address_map::is_header(&has) => Some(Format::AddressMap),
            () if self.takes(Format::AzureAnalytics) && azure_analytics::is_header(&has) => {
                Some(Format::AzureAnalytics)
            }
            () => is_generic.then_some(Format::Csv),
        }
    }

    /// Any other line.
    pub(crate) fn row(&self, line: &str) -> Option<Format> {
        match line.as_bytes().first()? {
            b'[' if self.takes(Format::Conntrack) && conntrack::is_record(line) => {
                return Some(Format::Conntrack);
            }
            b'{' | b'[' => return self.json(line),
            b'<' if self.takes(Format::SysmonXml) && sysmon_xml::is_start(line) => {
                return Some(Format::SysmonXml);
            }
            _ if self.takes(Format::IscDhcpd) && isc_dhcpd::is_start(line) => return Some(Format::IscDhcpd),
            _ if self.takes(Format::WindowsDhcp) && windows_dhcp::is_start(line) => {
                return Some(Format::WindowsDhcp);
            }
            _ if self.takes(Format::PanOs) && pan_os::is_record(line, self.columns.pan_os.as_ref()) => {
                return Some(Format::PanOs);
            }
            _ if self.takes(Format::Conntrack) && conntrack::is_record(line) => {
                return Some(Format::Conntrack);
            }
            _ if self.takes(Format::FortiGate) && fortigate::is_record(line) => {
                return Some(Format::FortiGate);
            }
            _ if self.takes(Format::AwsVpc)
                && aws_vpc::row_layout(line, self.columns.aws_vpc.as_ref()).is_some() =>
            {
                return Some(Format::AwsVpc);
            }
            _ if !self.takes(Format::ZeekTsv) => return None,
            _ => {}
        }
        let words = ["#separator", "#fields", "#path"];
        let is_zeek = words.iter().any(|word| line.starts_with(word)) || looks_like_zeek(line);
        is_zeek.then_some(Format::ZeekTsv)
    }

    /// A JSON record.
    fn json(&self, text: &str) -> Option<Format> {
        let traits = Traits::of(text).ok()?;
        let has = |key: &str| traits.has(key);
        let is_generic = self.takes(Format::Ndjson) && generic::is_record(&self.columns, has);
        match () {
            () if self.is_mapped && is_generic => Some(Format::Ndjson),
            () if self.takes(Format::Mde) && traits.are_mde() => Some(Format::Mde),
            () if self.takes(Format::ZeekJson) && traits.are_zeek() => Some(Format::ZeekJson),
            // Whose rows may quote events of Windows.
            () if self.takes(Format::Osquery) && osquery::is_record(&has) => Some(Format::Osquery),
            () if self.takes(Format::Sysmon) && traits.are_sysmon() => Some(Format::Sysmon),
            () => self.by_keys(&has, is_generic).or(is_generic.then_some(Format::Ndjson)),
        }
    }

    /// The first of the formats that tell their records by keys alone.
    fn by_keys(&self, has: &dyn Fn(&str) -> bool, is_generic: bool) -> Option<Format> {
        type IsRecord = fn(&dyn Fn(&str) -> bool) -> bool;
        // What a shipper puts around a record of one's own makes it no event of a network.
        let is_ecs: IsRecord = if is_generic { ecs::is_network } else { ecs::is_record };
        let formats: [(Format, IsRecord); 7] = [
            (Format::CrowdStrike, crowdstrike::is_record),
            (Format::SentinelOne, sentinel_one::is_record),
            (Format::CarbonBlack, carbon_black::is_record),
            (Format::AzureFlow, azure_flow::is_record),
            (Format::Suricata, suricata::is_record),
            (Format::Ocsf, ocsf::is_record),
            (Format::Ecs, is_ecs),
        ];
        let mut known =
            formats.into_iter().filter(|(format, is_record)| self.takes(*format) && is_record(has));
        known.next().map(|(format, _)| format)
    }
}

/// A row of a Zeek log whose header is lost: it will be refused, but for the right reason.
fn looks_like_zeek(line: &str) -> bool {
    let fields = || line.split('\t').take(12);
    let has_time = fields().take(2).any(|field| field.contains('.') && time::epoch_seconds(field).is_some());
    let addresses = fields().filter(|field| Address::parse_logged(field.as_bytes()).is_some()).count();
    fields().count() >= 8 && has_time && addresses == 2
}

/// Those of the keys or columns that an operator named, other than by default, that neither the header nor any record
/// in the first bytes of an input has. Nothing if no record or header is whole there.
pub fn missing_columns<'m>(head: &[u8], at_end: bool, columns: &'m ColumnMap) -> Vec<&'m str> {
    let text = Order::of(head).map_or(Cow::Borrowed(head), |order| Cow::Owned(order.text(head)));
    let head = Head::new(&text, at_end, true);
    let named = named_columns(columns);
    let known = match head.first_byte() {
        Some(b'{' | b'[') => head.known_keys(),
        _ => head.known_columns(),
    };
    let is_known = |name: &str| known.iter().any(|key| key.eq_ignore_ascii_case(name));
    if known.is_empty() { Vec::new() } else { named.filter(|name| !is_known(name)).collect() }
}

fn named_columns(columns: &ColumnMap) -> impl Iterator<Item = &str> {
    let default = ColumnMap::default();
    let names = [
        (&columns.time, default.time),
        (&columns.device, default.device),
        (&columns.ip, default.ip),
        (&columns.agent_id, default.agent_id),
        (&columns.action, default.action),
    ];
    names.into_iter().filter(|(name, default)| *name != default).map(|(name, _)| name.as_str())
}

impl Head<'_> {
    /// The keys of all records that are whole here.
    fn known_keys(self) -> Vec<String> {
        let mut keys = Vec::new();
        let mut add = |text: &[u8]| {
            if let Some(traits) = str::from_utf8(text).ok().and_then(|text| Traits::of(text).ok()) {
                keys.extend(traits.keys);
            }
        };
        match self.shape() {
            Some(Shape::Document) => self.elements(&mut add),
            _ => self.lines().for_each(add),
        }
        keys
    }

    /// The columns of the header.
    fn known_columns(self) -> Vec<String> {
        let mut lines = self.lines();
        let Some(first) = lines.next() else { return Vec::new() };
        let first = String::from_utf8_lossy(first);
        match separator_line(&first) {
            Some(separator) => lines
                .next()
                .map(|line| CsvLayout::of(&String::from_utf8_lossy(line), Some(separator)).columns)
                .unwrap_or_default(),
            None => CsvLayout::of(&first, None).columns,
        }
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
            Detection::Unknown(_) => None,
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
        check("[1930557662.3]\t    [NEW] tcp 6 src=10.1.2.3 dst=192.0.2.1\n", Some((Conntrack, Lines)));
        check("\n   [DESTROY] tcp 6 src=10.1.2.3 dst=192.0.2.1", Some((Conntrack, Lines)));
    }

    #[test]
    fn unrelated_records_first() {
        check(&format!("{{\"x\":1}}\nprose\n{MDE}\n"), Some((Format::Mde, Shape::Lines)));
        check("{\"broken\":\n{\"ts\":1,\"id.orig_h\":\"x\"}\n", Some((Format::ZeekJson, Shape::Lines)));
    }

    #[test]
    fn a_query_that_found_nothing() {
        let empty = "{\"Schema\":[{\"Name\":\"x\"}],\"Results\":[]}";
        check(empty, Some((Format::Mde, Shape::Lines)));
        check(&format!("{empty}\r\n{{\"records\":[]}}\n"), Some((Format::Mde, Shape::Lines)));
        check("{\n\"schema\": [],\n\"results\": [\n]\n}\n", Some((Format::Mde, Shape::Document)));
        check(
            &format!("{empty}\n{{\"ts\":1,\"id.orig_h\":\"x\"}}\n"),
            Some((Format::ZeekJson, Shape::Lines)),
        );
        check("{\"x\":[]}", None);
    }

    #[test]
    fn numbers_of_events_are_no_sysmon() {
        let generic = r#"{"time":1,"device":"d","ip":"i","event_id":3,"EventID":3,"DeviceId":"x"}"#;
        check(generic, Some((Format::Ndjson, Shape::Lines)));
        check(r#"{"EventID":3,"Hostname":"h"}"#, None);
        check(r#"{"event":{"code":1},"host":{"name":"h"}}"#, None);
        let sysmon = Some((Format::Sysmon, Shape::Lines));
        check(r#"{"EventID":1,"SourceName":"Microsoft-Windows-Sysmon"}"#, sysmon);
        check(r#"{"EventID":3,"Initiated":"true"}"#, sysmon);
        check(r#"{"Event":{"System":{"Provider":{"Name":"Microsoft-Windows-Sysmon"}}}}"#, sysmon);
        check(r#"{"Event":{"EventData":{"x":1}}}"#, sysmon);
        check(
            r#"{"event":{"code":"3","provider":["Microsoft-Windows-Sysmon"]},"host":{"name":"h"}}"#,
            sysmon,
        );
    }

    #[test]
    fn lines_that_were_cut() {
        let zeek = r#"{"ts":1,"id.orig_h":"x"}"#;
        let (lines, document) =
            (Some((Format::ZeekJson, Shape::Lines)), Some((Format::ZeekJson, Shape::Document)));
        for cut in ["{\"a\":", "{\"a\":1,", "{\"a\":[", "{\"a\":{"] {
            check(&format!("{cut}\n{zeek}\n"), lines);
            check(&format!("{cut}\n{zeek}\n{zeek}\n"), lines);
        }
        check(&format!("{{\"records\":[\n{zeek}\n]}}\n"), document);
        check(&format!("{{\"records\":[\n{zeek},\n{zeek}\n]}}\n"), document);
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
        for head in ["", "[", "{\"ts\":1,", "#sep", "{\n", "prose\n"] {
            let detection = detect(head.as_bytes(), false, Wanted::Detect, &columns);
            assert_eq!(detection, Detection::NeedMore, "{head}");
        }
        let long = "x".repeat(HEAD_BYTES);
        let unknown = Detection::Unknown(Opening::UNRECOGNISED);
        assert_eq!(detect(long.as_bytes(), false, Wanted::Detect, &columns), unknown);
    }

    #[test]
    fn utf16_is_told_by_its_mark() {
        let columns = ColumnMap::default();
        let marked = |text: &str| -> Vec<u8> {
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
        };
        let text = marked(MDE);
        for length in [0, 1, 2, 3, 40] {
            let detection = detect(&text[..length], false, Wanted::Detect, &columns);
            assert_eq!(detection, Detection::NeedMore, "{length}");
        }
        let opening = Opening {
            format: Some(Format::Mde),
            shape: Shape::Lines,
            wanted: Wanted::Detect,
            utf16: Some(Order::Little),
        };
        assert_eq!(detect(&text, true, Wanted::Detect, &columns), Detection::Known(opening));
        assert_eq!(opening.of_messages().utf16, None);
        let netflow = detect(&text, true, Wanted::Exactly(Format::NetFlow), &columns);
        assert!(matches!(netflow, Detection::Known(Opening { utf16: None, .. })), "{netflow:?}");
        let columns = ColumnMap { ip: "remote".to_owned(), ..ColumnMap::default() };
        assert_eq!(missing_columns(&marked("time,device,ip\n"), true, &columns), ["remote"]);
        assert!(missing_columns(&marked("time,device,remote\n"), true, &columns).is_empty());
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
