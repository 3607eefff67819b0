//! What a record turned out to be: a sighting, something ignored on purpose, or something refused; and the sink that
//! is told. Refuses to hold: bytes, and any reason that needs a clock or an organisation (too old, in the future,
//! foreign tenant), which the caller adds.

use sighting::{Address, Mention, Second};

/// Takes what records turn out to be: exactly one call for every record of a chunk, in the chunk's order.
pub trait Sink {
    /// A device of ours opened a connection.
    fn opened(&mut self, record: &Opened<'_>);

    /// The record is sound and not a sighting.
    fn ignored(&mut self, record: &Passed<'_>);

    /// The record could not be taken: the reason, the line it starts on (1 is the first), and the field at fault.
    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>);

    /// The record is sound, no sighting, and tells who a device is: counted as ignored for [`Ignored::Registry`].
    fn taught(&mut self, record: &Taught<'_>);

    /// Something is odd about a record that is taken all the same; its own call follows. Nobody has to listen.
    fn warned(&mut self, _warning: Warning, _line: u64) {}
}

/// A device of ours opened a connection.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// When, cut to whole seconds.
    pub second: Second,
    /// To where.
    pub remote: Address,
    /// The device, by at least one name.
    pub device: Mentions<'a>,
    /// The tenant that the record says it belongs to.
    pub tenant: Option<&'a str>,
    /// The line on which the record starts; 1 is the first.
    pub line: u64,
}

/// A sound record that is no sighting.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// Why it is none.
    pub why: Ignored,
    /// Who told it, if the record names a device of ours and a time: such devices report, whether or not they connect
    /// to the address that somebody asks about.
    pub reporter: Option<Reporter<'a>>,
    /// The tenant that the record says it belongs to.
    pub tenant: Option<&'a str>,
    /// The line on which the record starts; 1 is the first.
    pub line: u64,
}

impl Passed<'_> {
    /// One that names no device and no tenant.
    pub(crate) const fn by_nobody(why: Ignored, line: u64) -> Passed<'static> {
        Passed { why, reporter: None, tenant: None, line }
    }
}

/// A device of ours that told something that is no sighting.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// When.
    pub second: Second,
    /// The device, by at least one name.
    pub device: Mentions<'a>,
}

/// A sound record that tells the device registry something.
#[derive(Clone, Copy, Debug)]
pub struct Taught<'a> {
    /// What it tells.
    pub lesson: Lesson<'a>,
    /// The tenant that the record says it belongs to.
    pub tenant: Option<&'a str>,
    /// The line on which the record starts; 1 is the first.
    pub line: u64,
}

/// What a record tells the device registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lesson<'a> {
    /// Whose an address was when.
    Leased(Leased<'a>),
    /// What a product says of one of its devices.
    Device(DeviceFacts<'a>),
}

/// Whose an address was when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leased<'a> {
    /// The address.
    pub what: Mention<'a>,
    /// Whose it was, the weakest name first (MAC, host name): each belongs to the next while the lease lasts. None, where the
    /// record only tells that the address became free.
    pub holders: Mentions<'a>,
    /// From when on it was theirs.
    pub since: Second,
    /// Until when, both included; without, until the next lease of the address.
    pub until: Option<Second>,
    /// From when on it was nobody's, if the record says so.
    pub free_from: Option<Second>,
}

/// What a product says of one of its devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceFacts<'a> {
    /// When.
    pub second: Second,
    /// The device, by its agent id and its names.
    pub device: Mentions<'a>,
    /// The agent whose device it is by now.
    pub merged_into: Option<&'a str>,
    /// Agents whose device it became, in a list as written: see [`DeviceFacts::merged_from`].
    pub merged: Option<&'a str>,
    /// The group that it is counted to.
    pub group: Option<&'a str>,
}

/// The agents that one record says its device was made of. No machine was ever enrolled so often: what follows is not taken.
const MERGED_MAX: usize = 256;

impl<'a> DeviceFacts<'a> {
    /// The agents whose device it became, the first 256. Lists are written as JSON, as its text, or with commas.
    pub fn merged_from(&self) -> impl Iterator<Item = &'a str> {
        self.all_merged_from().take(MERGED_MAX)
    }

    /// Whether the list has more than that.
    pub(crate) fn is_merged_from_too_many(&self) -> bool {
        self.all_merged_from().nth(MERGED_MAX).is_some()
    }

    fn all_merged_from(&self) -> impl Iterator<Item = &'a str> {
        let is_part_of_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let ids = self.merged.into_iter().flat_map(move |list| list.split(move |c| !is_part_of_id(c)));
        ids.filter(|id| !id.is_empty())
    }
}

/// What is odd about a record that is taken all the same; printed, a sentence for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Warning {
    /// The event says another time than the record that carries it: the machine's clock was wrong, or is.
    #[error("the event's own time (UtcTime), which is taken, and the record's are more than an hour apart")]
    ClockGap,
    /// Nobody merges so many.
    #[error(
        "the record lists more than 256 devices that were merged into one; the first 256 are taken, the others are ignored"
    )]
    ManyMerged,
}

/// The most names one record gives its device.
pub const MENTIONS_MAX: usize = 4;

/// The names that one record gives its device, in the record's order of trust.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mentions<'a> {
    slots: [Option<Mention<'a>>; MENTIONS_MAX],
}

impl<'a> Mentions<'a> {
    /// None yet.
    pub const fn new() -> Mentions<'a> {
        Mentions { slots: [None; MENTIONS_MAX] }
    }

    /// Just this one.
    pub const fn one(mention: Mention<'a>) -> Mentions<'a> {
        Mentions { slots: [Some(mention), None, None, None] }
    }

    /// Adds a name; one too many is dropped.
    pub fn push(&mut self, mention: Mention<'a>) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(mention);
        }
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = Mention<'a>> + '_ {
        self.slots.iter().map_while(|slot| *slot)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.slots[0].is_none()
    }
}

/// Why a sound record is not a sighting; printed, a sentence for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Ignored {
    /// A header row.
    #[error("a header row")]
    Header,
    /// Nothing on the line.
    #[error("nothing is on the line")]
    Blank,
    /// Another kind of event, table or log than connections.
    #[error("another kind of event than a connection")]
    OtherEvent,
    /// A connection event whose action is none that opens a connection.
    #[error("its action is none that opens a connection")]
    OtherAction,
    /// The device accepted the connection.
    #[error("the device accepted the connection, it did not open it")]
    Inbound,
    /// It was tried and not established.
    #[error("the connection was tried and not established")]
    Failed,
    /// Packets seen on the wire, of which no outcome is known.
    #[error("packets on the wire of which no outcome is known")]
    Attempt,
    /// Seen from its middle or the wrong way round: who opened it is not known.
    #[error("seen from its middle or the wrong way round: who opened it is not known")]
    Midstream,
    /// The originator is not ours.
    #[error("its originator is not in the local networks")]
    NotLocal,
    /// A device began to listen.
    #[error("the device began to listen")]
    Listening,
    /// A packet inspection that repeats a connection.
    #[error("a packet inspection, which repeats a connection")]
    Inspected,
    /// The remote address is special (loopback, link-local, multicast, broadcast, unspecified).
    #[error("the remote address is loopback, link-local, multicast, broadcast or unspecified")]
    Special,
    /// The record names no remote address.
    #[error("the record names no remote address")]
    NoRemote,
    /// ICMP has no connections.
    #[error("ICMP has no connections")]
    Icmp,
    /// It tells who a device is, which was taken up.
    #[error("no connection: it tells who a device is, which was taken up")]
    Registry,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Ignored; 15] = [
        Ignored::Header,
        Ignored::Blank,
        Ignored::OtherEvent,
        Ignored::OtherAction,
        Ignored::Inbound,
        Ignored::Failed,
        Ignored::Attempt,
        Ignored::Midstream,
        Ignored::NotLocal,
        Ignored::Listening,
        Ignored::Inspected,
        Ignored::Special,
        Ignored::NoRemote,
        Ignored::Icmp,
        Ignored::Registry,
    ];

    /// Its name in counts and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Ignored::Header => "header",
            Ignored::Blank => "blank",
            Ignored::OtherEvent => "other_event",
            Ignored::OtherAction => "other_action",
            Ignored::Inbound => "inbound",
            Ignored::Failed => "failed",
            Ignored::Attempt => "attempt",
            Ignored::Midstream => "midstream",
            Ignored::NotLocal => "not_local",
            Ignored::Listening => "listening",
            Ignored::Inspected => "inspected",
            Ignored::Special => "special",
            Ignored::NoRemote => "no_remote",
            Ignored::Icmp => "icmp",
            Ignored::Registry => "registry",
        }
    }
}

/// Why a record could not be taken; printed, a sentence for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not JSON.
    #[error("the record is not valid JSON")]
    BadJson,
    /// Not XML.
    #[error("the record is not valid XML")]
    BadXml,
    /// JSON nested deeper than any log does.
    #[error("the record is nested deeper than 64 levels")]
    TooDeep,
    /// A time that is none, or outside 1970 to 2106.
    #[error("the time cannot be read, or is not between 1970 and 2106")]
    BadTime,
    /// No time at all.
    #[error("the record has no time")]
    NoTime,
    /// A time without a zone in a format that does not define one.
    #[error(
        "the time has no time zone; write it with an offset (2031-03-04T10:01:02Z) or as epoch seconds, or name the zone of this source (--time-zone)"
    )]
    NoTimezone,
    /// An address that is none.
    #[error("an IP address cannot be read")]
    BadAddress,
    /// No name of the device.
    #[error("the record does not name the device")]
    NoDevice,
    /// A name of the device that cannot be one.
    #[error("the device's name is longer than 255 bytes or not of its kind")]
    BadDevice,
    /// Another field that the format needs is missing.
    #[error("a field that this format needs is missing")]
    MissingField,
    /// Rows before, after or without a header that names the columns.
    #[error("the columns are not known: there is no header line (#fields) before this row")]
    NoHeader,
    /// Nothing that any format knows.
    #[error("the record is in no format that is known here; name it with --format, or map its columns")]
    Unrecognised,
    /// Longer than a line may be.
    #[error("the record is longer than 16 MiB")]
    LineTooLong,
    /// Not UTF-8.
    #[error("the record is not valid UTF-8 text")]
    InvalidUtf8,
    /// The input ends in the middle of the record.
    #[error("the input ends in the middle of this record")]
    Truncated,
    /// Fewer columns than the header names.
    #[error("the row has fewer columns than its header")]
    TooFewColumns,
    /// More columns than the header names.
    #[error("the row has more columns than its header")]
    TooManyColumns,
    /// A CSV field whose closing quote never comes.
    #[error("a quoted field on this line is never closed")]
    UnclosedQuote,
    /// A flow export, or a part of one, that is none.
    #[error("the datagram, or a set or record in it, is not what its header or its template says")]
    BadDatagram,
    /// Flow records whose template never came.
    #[error(
        "the template that says what these flow records hold has not come; have the exporter send its templates more often, or give \
         a capture from before them"
    )]
    NoTemplate,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Refusal; 20] = [
        Refusal::BadJson,
        Refusal::BadXml,
        Refusal::TooDeep,
        Refusal::BadTime,
        Refusal::NoTime,
        Refusal::NoTimezone,
        Refusal::BadAddress,
        Refusal::NoDevice,
        Refusal::BadDevice,
        Refusal::MissingField,
        Refusal::NoHeader,
        Refusal::Unrecognised,
        Refusal::LineTooLong,
        Refusal::InvalidUtf8,
        Refusal::Truncated,
        Refusal::TooFewColumns,
        Refusal::TooManyColumns,
        Refusal::UnclosedQuote,
        Refusal::BadDatagram,
        Refusal::NoTemplate,
    ];

    /// Its name in counts and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::BadJson => "bad_json",
            Refusal::BadXml => "bad_xml",
            Refusal::TooDeep => "too_deep",
            Refusal::BadTime => "bad_time",
            Refusal::NoTime => "no_time",
            Refusal::NoTimezone => "no_timezone",
            Refusal::BadAddress => "bad_address",
            Refusal::NoDevice => "no_device",
            Refusal::BadDevice => "bad_device",
            Refusal::MissingField => "missing_field",
            Refusal::NoHeader => "no_header",
            Refusal::Unrecognised => "unrecognised",
            Refusal::LineTooLong => "line_too_long",
            Refusal::InvalidUtf8 => "invalid_utf8",
            Refusal::Truncated => "truncated",
            Refusal::TooFewColumns => "too_few_columns",
            Refusal::TooManyColumns => "too_many_columns",
            Refusal::UnclosedQuote => "unclosed_quote",
            Refusal::BadDatagram => "bad_datagram",
            Refusal::NoTemplate => "no_template",
        }
    }

    /// Whether a cut at the end of the input explains it.
    pub(crate) const fn is_from_a_cut(self) -> bool {
        matches!(
            self,
            Refusal::BadJson
                | Refusal::BadXml
                | Refusal::InvalidUtf8
                | Refusal::TooFewColumns
                | Refusal::UnclosedQuote
        )
    }
}

/// A refusal with the field at fault, on its way to the sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) refusal: Refusal,
    pub(crate) field: Option<&'static str>,
}

impl Fault {
    /// A field is at fault.
    pub(crate) const fn of(refusal: Refusal, field: &'static str) -> Fault {
        Fault { refusal, field: Some(field) }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault { refusal, field: None }
    }
}

/// A sink for tests that keeps every call as text.
#[cfg(test)]
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Calls(pub(crate) Vec<String>);

#[cfg(test)]
impl Sink for Calls {
    fn opened(&mut self, record: &Opened<'_>) {
        self.0.push(format!("{record:?}"));
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.0.push(format!("{record:?}"));
    }

    fn taught(&mut self, record: &Taught<'_>) {
        self.0.push(format!("{record:?}"));
    }

    fn refused(&mut self, refusal: Refusal, line: u64, field: Option<&'static str>) {
        self.0.push(format!("{refusal:?} {line} {field:?}"));
    }
}
