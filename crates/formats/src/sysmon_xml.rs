//! Sysmon event 3 (NetworkConnect) as Windows Event XML: a document of events, or an event a line as Splunk's
//! XmlWinEventLog has it. Holds: where an event begins and ends, and where its fields lie. Refuses to hold: what they mean
//! (`sysmon`) and events of other logs (ignored).
//!
//! ```text
//! <Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon'/>
//!  <EventID>3</EventID><TimeCreated SystemTime='2031-03-04T10:01:03.1234567Z'/><Computer>PC-17.example.org</Computer></System>
//!  <EventData><Data Name='UtcTime'>2031-03-04 10:01:02.345</Data><Data Name='Initiated'>true</Data>
//!  <Data Name='DestinationIp'>198.51.100.20</Data></EventData></Event>
//! ```
//!
//! An event that another one begins in was cut (forwarders cut long ones): it alone is refused. What stands between events is
//! the document's frame; a line there that is none is refused. Source: the schema of Windows events; samples of two labs.

use std::borrow::Cow;

use memchr::{memchr_iter, memmem};
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Error, Reader};

use crate::chunk::{Chunk, LINE_BYTES_MAX};
use crate::json::{Raw, Value};
use crate::record::{Refusal, Sink};
use crate::settings::Settings;
use crate::sysmon;

/// What an event begins and ends with.
pub(crate) const START: &[u8] = b"<Event";
pub(crate) const END: &[u8] = b"</Event>";

/// Whether a line begins an event, or a document of events, be it behind an XML declaration.
pub(crate) fn is_start(line: &str) -> bool {
    let declared = line.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let line = declared.map_or(line, |(_, rest)| rest.trim_start());
    start_of_event(line.as_bytes()) == Some(0) || line.starts_with("<Events")
}

/// Tells of every event of a chunk, and of lines that are none.
pub(crate) fn events(chunk: &Chunk, begins_line: bool, settings: &Settings, sink: &mut impl Sink) {
    let (mut rest, mut begins_line) = (chunk.bytes.as_slice(), begins_line);
    let mut line = chunk.first_line;
    while let Some(at) = start_of_event(rest) {
        let (frame, event) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        refuse_strays(frame, line, begins_line, sink);
        begins_line = false;
        line += line_ends(frame);
        let length = length_of_event(event);
        let (event, behind) = event.split_at_checked(length).unwrap_or((event, &[]));
        let is_cut = chunk.is_cut && behind.is_empty() && !event.ends_with(END);
        if let Err(refusal) = read(event, line, settings, sink) {
            sink.refused(if is_cut { Refusal::Truncated } else { refusal }, line, None);
        }
        line += line_ends(event);
        rest = behind;
    }
    refuse_strays(rest, line, begins_line, sink);
}

/// Where the next event begins: elements whose names go on (`<EventData>`) are none.
fn start_of_event(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, START).find(|at| {
        let next = bytes.get(at + START.len());
        next.is_some_and(|byte| matches!(byte, b'>' | b' ' | b'\t' | b'\r' | b'\n'))
    })
}

/// How long an event is, which begins the bytes: to its end, or to where another begins. No byte is looked at again from the next
/// event on, however many of them have no end.
fn length_of_event(bytes: &[u8]) -> usize {
    let next = bytes.get(START.len()..).and_then(start_of_event).map(|at| at + START.len());
    let before_next = bytes.get(..next.unwrap_or(bytes.len())).unwrap_or(bytes);
    memmem::find(before_next, END).map_or(before_next.len(), |at| at + END.len())
}

fn line_ends(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Refuses the whole lines between events that are no markup of a document, and events whose beginning is lost. What stands on an
/// event's own line, before it (a syslog header) or behind it, is not looked at.
fn refuse_strays(frame: &[u8], first_line: u64, begins_line: bool, sink: &mut impl Sink) {
    let mut lines = (first_line..).zip(frame.split_inclusive(|byte| *byte == b'\n')).peekable();
    if !begins_line {
        lines.next_if(|(_, text)| memmem::find(text, END).is_none());
    }
    for (line, text) in lines {
        let lost = memmem::find_iter(text, END).count();
        (0..lost).for_each(|_| sink.refused(Refusal::BadXml, line, None));
        if lost == 0 && text.ends_with(b"\n") && !is_markup(text.trim_ascii()) {
            sink.refused(Refusal::Unrecognised, line, None);
        }
    }
}

/// Whether a line is blank, or begins with something of XML.
fn is_markup(line: &[u8]) -> bool {
    let starts = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'?' | b'!');
    match line {
        [] => true,
        [b'<', rest @ ..] => rest.first().is_some_and(starts),
        // Of a byte order mark and a declaration.
        line => line.starts_with(b"\xef\xbb\xbf<"),
    }
}

/// One event.
fn read(event: &[u8], line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Refusal> {
    if event.len() > LINE_BYTES_MAX {
        return Err(Refusal::LineTooLong);
    }
    let text = str::from_utf8(event).map_err(|_| Refusal::InvalidUtf8)?;
    if !text.ends_with("</Event>") {
        return Err(Refusal::BadXml);
    }
    let fields = Fields::of(text).map_err(|_| Refusal::BadXml)?;
    if let Err(fault) = fields.values().judge(line, settings, sink) {
        sink.refused(fault.refusal, line, fault.field);
    }
    Ok(())
}

/// The fields of one event that matter, as far as they are there.
#[derive(Default)]
struct Fields<'a> {
    provider: Option<Cow<'a, str>>,
    event_id: Option<Cow<'a, str>>,
    channel: Option<Cow<'a, str>>,
    computer: Option<Cow<'a, str>>,
    record_time: Option<Cow<'a, str>>,
    utc_time: Option<Cow<'a, str>>,
    initiated: Option<Cow<'a, str>>,
    destination: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    source_name: Option<Cow<'a, str>>,
    destination_name: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Result<Fields<'a>, Error> {
        let mut reader = Reader::from_str(text);
        let mut fields = Fields::default();
        loop {
            match reader.read_event()? {
                Event::Start(start) => fields.element(&mut reader, &start)?,
                Event::Empty(start) => fields.attributes(&start)?,
                Event::Eof => return Ok(fields),
                _ => {}
            }
        }
    }

    /// An element with something in it.
    fn element(&mut self, reader: &mut Reader<&'a [u8]>, start: &BytesStart<'a>) -> Result<(), Error> {
        self.attributes(start)?;
        if let Some(slot) = self.slot(start)? {
            let text = reader.read_text(start.name())?;
            *slot = Some(plain(text.into_inner())?);
        }
        Ok(())
    }

    /// Where the text of an element goes, if it is wanted.
    fn slot(&mut self, start: &BytesStart<'_>) -> Result<Option<&mut Option<Cow<'a, str>>>, Error> {
        Ok(match start.local_name().as_ref() {
            "EventID" => Some(&mut self.event_id),
            "Channel" => Some(&mut self.channel),
            "Computer" => Some(&mut self.computer),
            "Data" => match start.try_get_attribute("Name")?.as_ref().map(|name| name.value.as_ref()) {
                Some("UtcTime") => Some(&mut self.utc_time),
                Some("Initiated") => Some(&mut self.initiated),
                Some("DestinationIp") => Some(&mut self.destination),
                Some("SourceIp") => Some(&mut self.source),
                Some("SourceHostname") => Some(&mut self.source_name),
                Some("DestinationHostname") => Some(&mut self.destination_name),
                _ => None,
            },
            _ => None,
        })
    }

    /// What stands in attributes.
    fn attributes(&mut self, start: &BytesStart<'a>) -> Result<(), Error> {
        let (slot, name) = match start.local_name().as_ref() {
            "Provider" => (&mut self.provider, "Name"),
            "TimeCreated" => (&mut self.record_time, "SystemTime"),
            _ => return Ok(()),
        };
        if let Some(attribute) = start.try_get_attribute(name)? {
            *slot = Some(Cow::Owned(unescape(&attribute.value)?.into_owned()));
        }
        Ok(())
    }

    fn values(&self) -> sysmon::Values<'_> {
        sysmon::Values {
            provider: value(&self.provider),
            event_id: value(&self.event_id),
            channel: value(&self.channel),
            computer: value(&self.computer),
            record_time: value(&self.record_time),
            utc_time: value(&self.utc_time),
            initiated: value(&self.initiated),
            destination: value(&self.destination),
            source: value(&self.source),
            source_name: value(&self.source_name),
            destination_name: value(&self.destination_name),
            ..sysmon::Values::default()
        }
    }
}

fn value<'f>(field: &'f Option<Cow<'_, str>>) -> Value<'f> {
    field.as_deref().map_or(Value::Missing, |text| Value::Text(Raw { text, escaped: false }))
}

/// A text without its entities.
fn plain(text: Cow<'_, str>) -> Result<Cow<'_, str>, Error> {
    Ok(match text {
        Cow::Borrowed(text) => unescape(text)?,
        Cow::Owned(text) => Cow::Owned(unescape(&text)?.into_owned()),
    })
}
