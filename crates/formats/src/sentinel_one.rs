//! SentinelOne Cloud Funnel (2.0) events, one object a record, keys dotted or nested. Refuses to hold: `src.ip.address`, the
//! device's own address, which `agent.uuid` names better; and the export format of Deep Visibility queries (`dstIp`).
//!
//! ```text
//! {"event.type":"IP Connect","event.category":"ip","event.time":1930557662345,"event.network.direction":"OUTGOING",
//!  "event.network.connectionStatus":"SUCCESS","agent.uuid":"aa11bb22cc33dd44ee55ff66aa77bb88",
//!  "endpoint.name":"pc-17","src.ip.address":"10.1.2.3","dst.ip.address":"198.51.100.20","dst.port.number":443}
//! ```
//!
//! `event.time` is when it happened, in ms; `timestamp` stands in for it. Some consoles write `IPConnect` without the space.
//! Source: FORMATS.md; Elastic's `sentinel_one_cloud_funnel` integration.

use sighting::IdentityKind;

use crate::connection::Connection;
use crate::fields::{address, first_time, name, one};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::Settings;
use crate::text::Names;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let is_event = has("event.type") && (has("agent.uuid") || has("mgmt.url") || has("endpoint.name"));
    is_event || has("event.network.connectionStatus")
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner, Place::Top))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    values.judge(line, settings, sink)
}

/// Where in a record the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Agent,
    Endpoint,
    Event,
    Network,
    Destination,
    DestinationIp,
}

impl Place {
    /// The place of an object under a key.
    fn inside(self, key: &str) -> Option<Place> {
        Some(match (self, key) {
            (Place::Top, "agent") => Place::Agent,
            (Place::Top, "endpoint") => Place::Endpoint,
            (Place::Top, "event") => Place::Event,
            (Place::Event, "network") => Place::Network,
            (Place::Top, "dst") => Place::Destination,
            (Place::Destination, "ip") => Place::DestinationIp,
            _ => return None,
        })
    }
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    kind: Value<'a>,
    time: Value<'a>,
    timestamp: Value<'a>,
    direction: Value<'a>,
    status: Value<'a>,
    agent: Value<'a>,
    endpoint: Value<'a>,
    destination: Value<'a>,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, place: Place) -> Result<(), Fault> {
        scanner.each_key(|scanner, name| self.field(scanner, place, name))
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, mut place: Place, mut name: &str) -> Result<(), Fault> {
        // Dotted keys are objects written flat.
        while let Some((outer, inner)) = name.split_once('.')
            && let Some(inside) = place.inside(outer)
        {
            (place, name) = (inside, inner);
        }
        if let Some(slot) = self.slot(place, name) {
            *slot = one(scanner)?;
            return Ok(());
        }
        let Some(inside) = place.inside(name) else { return Ok(scanner.skip()?) };
        match scanner.value()? {
            Value::Object => self.read(scanner, inside),
            other => Ok(scanner.leave(other)?),
        }
    }

    fn slot(&mut self, place: Place, name: &str) -> Option<&mut Value<'a>> {
        Some(match (place, name) {
            (Place::Event, "type") => &mut self.kind,
            (Place::Event, "time") => &mut self.time,
            (Place::Top, "timestamp") => &mut self.timestamp,
            (Place::Network, "direction") => &mut self.direction,
            (Place::Network, "connectionStatus") => &mut self.status,
            (Place::Agent, "uuid") => &mut self.agent,
            (Place::Endpoint, "name") => &mut self.endpoint,
            (Place::DestinationIp, "address") => &mut self.destination,
            _ => return None,
        })
    }

    /// Whether a field that is compared as written was written with escapes.
    fn are_escaped(&self) -> bool {
        self.kind.is_escaped()
            || self.time.is_escaped()
            || self.timestamp.is_escaped()
            || self.direction.is_escaped()
            || self.status.is_escaped()
            || self.destination.is_escaped()
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let kind = self.kind.plain().ok_or(Fault::of(Refusal::MissingField, "event.type"))?;
        let (agent, endpoint) = (name(self.agent), name(self.endpoint));
        let times = [(self.time, "event.time"), (self.timestamp, "timestamp")];
        let connection = Connection {
            second: first_time(&times, settings),
            device: device(agent.as_deref(), endpoint.as_deref()),
            remote: (address(self.destination), "dst.ip.address"),
            why_not: self.not_opened(kind)?,
        };
        connection.judge(line, settings, sink)
    }

    /// Whether anything but the type says that it is an event of an agent.
    fn is_of_agent(&self) -> bool {
        [self.agent, self.endpoint, self.time].iter().any(|value| *value != Value::Missing)
    }

    /// Why an event opened no connection; `None`, it did.
    fn not_opened(&self, kind: &str) -> Result<Option<Ignored>, Fault> {
        let missing = |field| Fault::of(Refusal::MissingField, field);
        match kind {
            "IP Connect" | "IPConnect" => {}
            "IP Listen" | "IPListen" => return Ok(Some(Ignored::Listening)),
            _ if self.is_of_agent() => return Ok(Some(Ignored::OtherEvent)),
            // Other products have types of events too.
            _ => return Err(missing("agent.uuid")),
        }
        let direction = self.direction.plain().ok_or(missing("event.network.direction"))?;
        if direction.eq_ignore_ascii_case("INCOMING") {
            return Ok(Some(Ignored::Inbound));
        }
        if !direction.eq_ignore_ascii_case("OUTGOING") {
            return Ok(Some(Ignored::Midstream));
        }
        let status = self.status.plain().ok_or(missing("event.network.connectionStatus"))?;
        Ok(match status.to_ascii_uppercase().as_str() {
            "SUCCESS" => None,
            "FAILURE" | "BLOCKED" => Some(Ignored::Failed),
            _ => Some(Ignored::Attempt),
        })
    }
}

fn device<'n>(agent: Option<&'n str>, endpoint: Option<&'n str>) -> Result<Mentions<'n>, Fault> {
    let mut names = Names::default();
    if let Some(agent) = agent {
        names.add(IdentityKind::AgentId, agent, "agent.uuid");
    }
    if let Some(endpoint) = endpoint {
        names.add(IdentityKind::Fqdn, endpoint, "endpoint.name");
    }
    names.required("agent.uuid")
}
