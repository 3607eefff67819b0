//! One flow: what its record says of it, and what that makes of it. Refuses to hold: templates, and how records lie in a datagram.
//!
//! A flow is one direction of a connection, and nothing in it says who opened that. The house rule: a flow whose source is in the
//! local networks is a connection that the source opened; no port and no flag is consulted, because they are a guess. What a record
//! says itself wins: `biflowDirection` 2 turns the ends round, 3 is a source outside of the perimeter; a firewall or a NAT gateway
//! tells of events. (`flowDirection` says on which side of an interface the packets were counted, `initiatorOctets` that the source is
//! the initiator, which it is taken for anyway: neither changes anything.)
//!
//! The device is the address before translation, the remote end is the one that the device called. Sources: RFC 3954, 5102, 5103,
//! 7011, 8158, IANA's registry of IPFIX elements; Cisco's NetFlow v5 and ASA NSEL pages.

use std::net::IpAddr;

use netflow_parser::FieldValue;
use netflow_parser::static_versions::v5;
use sighting::{Address, Second, Special};

use super::template::{Clock, Element, Layout, number};
use super::wire::Header;
use crate::connection::{Connection, by_address};
use crate::record::{Fault, Ignored, Refusal, Sink};
use crate::settings::Settings;

/// Seconds from 1900, from which NTP counts, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// One flow, as far as its record says something of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    source: Option<Address>,
    destination: Option<Address>,
    translated_source: Option<Address>,
    translated_destination: Option<Address>,
    protocol: Option<u64>,
    /// Microseconds since 1970, and which of several clocks told it.
    start: Option<(Clock, Option<i64>)>,
    biflow: Option<u64>,
    firewall_event: Option<u64>,
    nat_event: Option<u64>,
    forwarding: Option<u64>,
}

/// What tells the time of the records of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it was sent, in microseconds since 1970.
    pub(super) sent_us: i64,
    /// Milliseconds since the boot when it was sent, modulo 2^32.
    pub(super) uptime: Option<u32>,
    /// When the exporter booted, in milliseconds since 1970, if records told.
    pub(super) boot_ms: Option<u64>,
}

impl Times {
    pub(super) fn of(header: &Header, boot_ms: Option<u64>) -> Times {
        Times { sent_us: header.sent_us, uptime: header.uptime, boot_ms }
    }

    /// A count of milliseconds since the boot. It wraps every 49.7 days; what is nearer than half of that is meant, before the
    /// datagram was sent or (clocks of line cards differ) after it.
    fn since_boot(self, milliseconds: u32) -> Option<i64> {
        if let Some(uptime) = self.uptime {
            let before = uptime.wrapping_sub(milliseconds).cast_signed();
            return Some(self.sent_us - i64::from(before) * 1_000);
        }
        let boot_ms = i64::try_from(self.boot_ms?).ok()?;
        boot_ms.checked_add(i64::from(milliseconds))?.checked_mul(1_000)
    }
}

impl Flow {
    /// A record of NetFlow 5.
    pub(super) fn of_v5(record: &v5::FlowSet, times: Times) -> Flow {
        Flow {
            source: Some(record.src_addr.into()),
            destination: Some(record.dst_addr.into()),
            protocol: Some(record.protocol_number.into()),
            start: Some((Clock::Uptime, times.since_boot(record.first))),
            ..Flow::default()
        }
    }

    /// A record under a template.
    pub(super) fn of_record<F>(layout: &Layout, record: &[(F, FieldValue)], mut times: Times) -> Flow {
        let mut flow = Flow::default();
        // A record that says when its exporter booted says it of its own times.
        let boot = layout.values(record).find(|(element, _)| *element == Element::Boot);
        times.boot_ms = boot.and_then(|(_, value)| number(value)).or(times.boot_ms);
        for (element, value) in layout.values(record) {
            flow.take(element, value, times);
        }
        flow
    }

    fn take(&mut self, element: Element, value: &FieldValue, times: Times) {
        match element {
            Element::Source => put(&mut self.source, value),
            Element::Destination => put(&mut self.destination, value),
            Element::TranslatedSource => put(&mut self.translated_source, value),
            Element::TranslatedDestination => put(&mut self.translated_destination, value),
            Element::Protocol => self.protocol = number(value),
            Element::Start(clock) => self.take_start(clock, value, times),
            Element::Boot => {}
            Element::Biflow => self.biflow = number(value),
            Element::FirewallEvent => self.firewall_event = number(value),
            Element::NatEvent => self.nat_event = number(value),
            Element::Forwarding => self.forwarding = number(value),
        }
    }

    /// The first in the order of the clocks is the one that counts.
    fn take_start(&mut self, clock: Clock, value: &FieldValue, times: Times) {
        if self.start.is_some_and(|(known, _)| known <= clock) {
            return;
        }
        let Some(time) = start(clock, value, times) else { return };
        self.start = Some((clock, time));
    }

    /// Tells the sink what the flow is.
    pub(super) fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        const SOURCE: &str = "sourceIPAddress";
        const DESTINATION: &str = "destinationIPAddress";
        let (source, destination) =
            (self.source.or(self.translated_source), self.destination.or(self.translated_destination));
        let is_turned = self.biflow == Some(2);
        let (device, remote, device_field, remote_field) = if is_turned {
            (self.translated_destination.or(destination), source, DESTINATION, SOURCE)
        } else {
            (source, destination, SOURCE, DESTINATION)
        };
        let text = |address: Option<Address>| address.map(|address| address.to_string());
        let (device_text, remote_text) = (text(device), text(remote));
        let (names, not_ours) = by_address(device_text.as_deref(), device_field, None, settings);
        let why_not = match self.other_event() {
            Some(other) => Some(other),
            None => not_ours.or(self.not_opened()),
        };
        let connection = Connection {
            second: self.second(),
            device: names,
            remote: (remote_text.as_deref(), remote_field),
            why_not,
        };
        connection.judge(line, settings, sink)
    }

    /// Why it is no flow between two addresses.
    fn other_event(&self) -> Option<Ignored> {
        let has_ends = self.source.or(self.translated_source).is_some() || self.destination.is_some();
        // Sessions made and taken away; the others are pools that run dry, and mappings without a remote end.
        let is_session = matches!(self.nat_event, None | Some(0..=2 | 4..=7));
        // An alert repeats a flow that has its own events.
        let is_alert = self.firewall_event == Some(4);
        // What was observed at the end of a session says nothing of its start.
        let is_end = matches!(self.nat_event, Some(2 | 5 | 7)) || self.firewall_event == Some(2);
        let is_observed = self.start.is_some_and(|(clock, _)| clock >= Clock::ObservedMillis);
        (!has_ends || !is_session || is_alert || (is_end && is_observed)).then_some(Ignored::OtherEvent)
    }

    fn not_opened(&self) -> Option<Ignored> {
        let is_dropped = self.forwarding.is_some_and(|status| status >> 6 == 2);
        match () {
            () if matches!(self.protocol, Some(1 | 58)) => Some(Ignored::Icmp),
            () if self.firewall_event == Some(3) || is_dropped => Some(Ignored::Failed),
            () if self.biflow == Some(3) => Some(Ignored::Inbound),
            () => None,
        }
    }

    fn second(&self) -> Result<Second, Fault> {
        const FIELD: &str = "flowStart";
        let (_, time) = self.start.ok_or(Fault::of(Refusal::NoTime, FIELD))?;
        let second = time.and_then(|time| Second::from_unix(time.div_euclid(1_000_000)));
        second.ok_or(Fault::of(Refusal::BadTime, FIELD))
    }
}

/// Takes an address. Records that have room for IPv4 and IPv6 leave one of the two unspecified.
fn put(slot: &mut Option<Address>, value: &FieldValue) {
    let Ok(address) = IpAddr::try_from(value).map(Address::from) else { return };
    if slot.is_none_or(|known| known.special() == Some(Special::Unspecified)) {
        *slot = Some(address);
    }
}

/// A start in microseconds since 1970; outside `None`: the field says nothing, inside: it makes no sense.
fn start(clock: Clock, value: &FieldValue, times: Times) -> Option<Option<i64>> {
    if let Clock::Uptime = clock {
        // What was counted from an unknown boot is no time.
        return match u32::try_from(number(value)?) {
            Ok(milliseconds) => times.since_boot(milliseconds).map(Some),
            Err(_) => Some(None),
        };
    }
    let count = number(value)?;
    let microseconds = match clock {
        Clock::Before => {
            return Some(i64::try_from(count).ok().and_then(|before| times.sent_us.checked_sub(before)));
        }
        // How some exporters leave a time out.
        _ if count == 0 => return None,
        Clock::Seconds | Clock::ObservedSeconds => count.checked_mul(1_000_000),
        Clock::Millis | Clock::ObservedMillis | Clock::Uptime => count.checked_mul(1_000),
        Clock::Micros | Clock::ObservedMicros => ntp(count).or(Some(count)),
        Clock::Nanos | Clock::ObservedNanos => ntp(count).or(Some(count / 1_000)),
    };
    Some(microseconds.and_then(|microseconds| i64::try_from(microseconds).ok()))
}

/// A time in the form of NTP, seconds since 1900 and a fraction, as RFC 7011 has it. Nothing for exporters that count since 1970
/// instead: what they write would be a time before that.
fn ntp(count: u64) -> Option<u64> {
    let (seconds, fraction) = ((count >> 32).checked_sub(NTP_TO_UNIX)?, count & u64::from(u32::MAX));
    Some(seconds * 1_000_000 + ((fraction * 1_000_000) >> 32))
}
