//! CrowdStrike Falcon Data Replicator events, one object a record. Refuses to hold: `aip`, the address from which the sensor
//! reaches CrowdStrike, which is no remote; the device's own address, which `aid` names better; and `ConnectionDirection`,
//! whose codes are not documented: the event's name says who connected.
//!
//! ```text
//! {"event_simpleName":"NetworkConnectIP4","ContextTimeStamp":"1930557662.345","timestamp":"1930557663000",
//!  "aid":"aa11bb22cc33dd44ee55ff66aa77bb88","cid":"00000000000000000000000000000001","Protocol":"6",
//!  "LocalAddressIP4":"10.1.2.3","RemoteAddressIP4":"198.51.100.20","RemotePort":"443","aip":"203.0.113.7"}
//! ```
//!
//! All values are strings. `ContextTimeStamp` is when it happened: epoch seconds, or from some sensors a Windows FILETIME;
//! `timestamp` (ms) is when the cloud took it. LogScale writes `#event_simpleName` and `@timestamp`. Records without an
//! event's name are lists of assets and users, or detections. Source: FORMATS.md; Elastic's `crowdstrike.fdr` integration.

use sighting::{IdentityKind, Second};

use crate::connection::Connection;
use crate::fields::{address, first, first_time, is_icmp, name, put};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Mentions, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::text::Names;

/// Windows counts 100 ns since 1601; this many seconds before 1970.
const FILETIME_OFFSET_SECONDS: u64 = 11_644_473_600;
const FILETIMES_PER_SECOND: u64 = 10_000_000;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let is_event = has("event_simpleName") || has("#event_simpleName");
    is_event || has("cid") && (has("aid") || has("ExternalApiType"))
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    values.judge(line, settings, sink)
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    event: Value<'a>,
    context_time: Value<'a>,
    timestamp: Value<'a>,
    /// LogScale's time.
    at_timestamp: Value<'a>,
    agent: Value<'a>,
    customer: Value<'a>,
    computer: Value<'a>,
    protocol: Value<'a>,
    remote_4: Value<'a>,
    remote_6: Value<'a>,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Fault> {
        scanner.each_key(|scanner, name| put(scanner, self.slot(name)))
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value<'a>> {
        Some(match key {
            "event_simpleName" | "#event_simpleName" => &mut self.event,
            "ContextTimeStamp" => &mut self.context_time,
            "timestamp" => &mut self.timestamp,
            "@timestamp" => &mut self.at_timestamp,
            "aid" => &mut self.agent,
            "cid" => &mut self.customer,
            "ComputerName" => &mut self.computer,
            "Protocol" => &mut self.protocol,
            "RemoteAddressIP4" => &mut self.remote_4,
            "RemoteAddressIP6" => &mut self.remote_6,
            _ => return None,
        })
    }

    /// Whether a field that is compared as written was written with escapes.
    fn are_escaped(&self) -> bool {
        self.event.is_escaped()
            || self.context_time.is_escaped()
            || self.timestamp.is_escaped()
            || self.at_timestamp.is_escaped()
            || self.protocol.is_escaped()
            || self.remote_4.is_escaped()
            || self.remote_6.is_escaped()
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let Some(event) = self.event.plain() else { return self.nameless(line, sink) };
        let (agent, computer) = (name(self.agent), name(self.computer));
        let connection = Connection {
            second: self.second(settings),
            device: device(agent.as_deref(), computer.as_deref()),
            remote: self.remote(event),
            why_not: not_opened(event).or_else(|| is_icmp(self.protocol).then_some(Ignored::Icmp)),
        };
        connection.judge(line, settings, sink)
    }

    /// A record without an event's name. Whose machine it tells of is not certain (assets without a sensor are listed too), so
    /// nobody reports.
    fn nameless(&self, line: u64, sink: &mut impl Sink) -> Result<(), Fault> {
        let is_connection = self.remote_4 != Value::Missing || self.remote_6 != Value::Missing;
        if is_connection || self.customer.is_absent() {
            return Err(Fault::of(Refusal::MissingField, "event_simpleName"));
        }
        sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
        Ok(())
    }

    fn remote(&self, event: &str) -> (Option<&'a str>, &'static str) {
        match event {
            "NetworkConnectIP6" => (address(self.remote_6), "RemoteAddressIP6"),
            _ => (address(self.remote_4), "RemoteAddressIP4"),
        }
    }

    fn second(&self, settings: &Settings) -> Result<Second, Fault> {
        let fields = [
            (self.context_time, "ContextTimeStamp"),
            (self.timestamp, "timestamp"),
            (self.at_timestamp, "@timestamp"),
        ];
        let (value, _) = first(&fields)?;
        match value.plain().and_then(filetime) {
            Some(second) => Ok(second),
            None => first_time(&fields, settings),
        }
    }
}

/// A Windows FILETIME of 1970 or later. As an epoch number of ns it would be of the years 1973 to 1975, before any sensor.
fn filetime(text: &str) -> Option<Second> {
    let ticks: u64 = text.parse().ok()?;
    let seconds = (ticks / FILETIMES_PER_SECOND).checked_sub(FILETIME_OFFSET_SECONDS)?;
    u32::try_from(seconds).ok().map(Second::new)
}

/// Why an event is none that opened a connection; `None`, it is one.
fn not_opened(event: &str) -> Option<Ignored> {
    match event {
        "NetworkConnectIP4" | "NetworkConnectIP6" => None,
        "NetworkReceiveAcceptIP4" | "NetworkReceiveAcceptIP6" => Some(Ignored::Inbound),
        "NetworkListenIP4" | "NetworkListenIP6" => Some(Ignored::Listening),
        "NetworkCloseIP4" | "NetworkCloseIP6" => Some(Ignored::OtherAction),
        _ => Some(Ignored::OtherEvent),
    }
}

fn device<'n>(agent: Option<&'n str>, computer: Option<&'n str>) -> Result<Mentions<'n>, Fault> {
    let mut names = Names::default();
    if let Some(agent) = agent {
        names.add(IdentityKind::AgentId, agent, "aid");
    }
    if let Some(computer) = computer {
        names.add(IdentityKind::Fqdn, computer, "ComputerName");
    }
    names.required("aid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filetimes_are_told_from_epoch_numbers() {
        assert_eq!(filetime("135750312623450000"), Some(Second::new(1_930_557_662)));
        assert_eq!(filetime("116444736000000000"), Some(Second::new(0)));
        for text in
            ["1930557662", "1930557662345", "1930557662345678", "1930557662345678901", "1930557662.345"]
        {
            assert_eq!(filetime(text), None, "{text}");
        }
    }
}
