//! The fields of a flow record that matter, by their numbers, and where a template puts them. Refuses to hold: the other fields of a
//! template, and their values.
//!
//! NetFlow 9 and IPFIX number fields alike (IANA's registry of information elements); Cisco's firewalls add some of their own.

use netflow_parser::FieldValue;
use netflow_parser::variable_versions::{ipfix, v9};

/// A field that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Element {
    Source,
    Destination,
    /// The same after translation.
    TranslatedSource,
    TranslatedDestination,
    Protocol,
    Start(Clock),
    /// When the exporter booted, in milliseconds since 1970.
    Boot,
    /// Which end is the initiator (RFC 5103).
    Biflow,
    FirewallEvent,
    NatEvent,
    Forwarding,
}

/// In which unit, and since when, a start is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Clock {
    Millis,
    Seconds,
    Micros,
    Nanos,
    /// Milliseconds since the boot, modulo 2^32.
    Uptime,
    /// Microseconds before the datagram was sent.
    Before,
    /// When the event was observed, which is the start of what began with it: the weakest.
    ObservedMillis,
    ObservedSeconds,
    ObservedMicros,
    ObservedNanos,
}

impl Element {
    const fn of(number: u16) -> Option<Element> {
        Some(match number {
            4 => Element::Protocol,
            8 | 27 => Element::Source,
            12 | 28 => Element::Destination,
            22 => Element::Start(Clock::Uptime),
            89 => Element::Forwarding,
            150 => Element::Start(Clock::Seconds),
            152 => Element::Start(Clock::Millis),
            154 => Element::Start(Clock::Micros),
            156 => Element::Start(Clock::Nanos),
            158 => Element::Start(Clock::Before),
            160 => Element::Boot,
            // 40001, 40002 and 40005 are of Cisco's firewalls before they took IANA's numbers.
            225 | 281 | 40_001 => Element::TranslatedSource,
            226 | 282 | 40_002 => Element::TranslatedDestination,
            230 => Element::NatEvent,
            233 | 40_005 => Element::FirewallEvent,
            239 => Element::Biflow,
            322 => Element::Start(Clock::ObservedSeconds),
            323 => Element::Start(Clock::ObservedMillis),
            324 => Element::Start(Clock::ObservedMicros),
            325 => Element::Start(Clock::ObservedNanos),
            _ => return None,
        })
    }
}

/// The mark of a field that tells its own length, in a byte before it.
const VARIABLE: u16 = u16::MAX;
/// The byte that says that two more tell it.
const LONG: u8 = 255;
/// Sets are padded to a multiple of 4 or 8 bytes; more than that is a record that was cut.
const PADDING_BYTES_MAX: usize = 7;

/// Where the fields of a template's records lie.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The fields that matter, by their place in a record.
    wanted: Vec<(usize, Element)>,
    /// Of every field.
    lengths: Vec<u16>,
    /// Bytes of a record, of which every field has its length here.
    fixed: Option<usize>,
}

/// What a way through the body of a set met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Walked {
    /// Records, the cut one included.
    pub(super) records: usize,
    /// Whether some fields are empty.
    pub(super) has_empty: bool,
}

impl Layout {
    /// Of NetFlow 9, also inside IPFIX.
    pub(super) fn of_v9(template: &v9::Template) -> Layout {
        Layout::of(template.fields.iter().map(|field| (Some(field.field_type_number), field.field_length)))
    }

    /// Of IPFIX. Fields of an enterprise have numbers of their own.
    pub(super) fn of_ipfix(fields: &[ipfix::TemplateField]) -> Layout {
        Layout::of(fields.iter().map(|field| {
            let number = field.enterprise_number.is_none().then_some(field.field_type_number);
            (number, field.field_length)
        }))
    }

    fn of(fields: impl Iterator<Item = (Option<u16>, u16)>) -> Layout {
        let (mut wanted, mut lengths) = (Vec::new(), Vec::new());
        for (place, (number, length)) in fields.enumerate() {
            wanted.extend(number.and_then(Element::of).map(|element| (place, element)));
            lengths.push(length);
        }
        let is_fixed = !lengths.contains(&VARIABLE);
        let fixed = is_fixed.then(|| lengths.iter().copied().map(usize::from).sum());
        Layout { wanted, lengths, fixed }
    }

    /// How many fields there are.
    pub(super) fn fields(&self) -> usize {
        self.lengths.len()
    }

    /// The fields of a record that matter, in its order.
    pub(super) fn values<'r, F>(
        &'r self,
        record: &'r [(F, FieldValue)],
    ) -> impl Iterator<Item = (Element, &'r FieldValue)> {
        self.wanted.iter().filter_map(|(place, element)| Some((*element, &record.get(*place)?.1)))
    }

    /// Counts the records in the body of a set, so that none of them is lost in silence, whatever the library makes of it.
    pub(super) fn walk(&self, body: &[u8]) -> Walked {
        if let Some(fixed) = self.fixed {
            let cut = body.len() % fixed.max(1) > PADDING_BYTES_MAX;
            return Walked { records: body.len() / fixed.max(1) + usize::from(cut), has_empty: false };
        }
        let (mut walked, mut rest) = (Walked::default(), body);
        while !rest.is_empty() {
            let before = rest.len();
            let is_whole = self.lengths.iter().try_for_each(|length| {
                let (field, after) = split_field(rest, *length)?;
                walked.has_empty |= field.is_empty();
                rest = after;
                Some(())
            });
            if is_whole.is_none() {
                walked.records += usize::from(before > PADDING_BYTES_MAX);
                break;
            }
            walked.records += 1;
        }
        walked
    }

    /// The body of a set with a zero in every empty field. The library takes an empty field for damage and reads no further, though
    /// exporters write names that they do not know so.
    pub(super) fn without_empty(&self, body: &[u8], out: &mut Vec<u8>) {
        let mut rest = body;
        while !rest.is_empty() {
            for length in &self.lengths {
                let Some((field, after)) = split_field(rest, *length) else {
                    return out.extend_from_slice(rest);
                };
                match field {
                    [] => out.extend_from_slice(&[1, 0]),
                    _ => out.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default()),
                }
                rest = after;
            }
        }
    }
}

/// The field at the start of some bytes, and what follows it.
fn split_field(bytes: &[u8], length: u16) -> Option<(&[u8], &[u8])> {
    if length != VARIABLE {
        return bytes.split_at_checked(usize::from(length));
    }
    match bytes {
        [LONG, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
        [length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [] => None,
    }
}

/// A number of at most eight bytes, whatever the library takes the field for.
pub(super) fn number(value: &FieldValue) -> Option<u64> {
    if let FieldValue::DataNumber(number) = value
        && let Some(number) = number.as_u64()
    {
        return Some(number);
    }
    let mut bytes = Vec::with_capacity(8);
    value.write_be_bytes(&mut bytes).ok()?;
    let is_number = (1..=8).contains(&bytes.len());
    is_number.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
