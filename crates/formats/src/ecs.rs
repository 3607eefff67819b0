//! Network documents in the Elastic Common Schema: Elastic Defend, Packetbeat, Auditbeat, and whatever else says
//! `event.category` network. Refuses to hold: other documents (ignored), those of Winlogbeat (`sysmon` reads them, as many
//! Beats may write to one place), and a shipper's name where the shipper is not the device.
//!
//! ```text
//! {"@timestamp":"2031-03-04T10:01:02.345Z","event":{"dataset":"endpoint.events.network","action":"connection_attempted",
//!  "category":["network"],"type":["start"]},"network":{"direction":"egress","transport":"tcp"},"host":{"id":"aa11",
//!  "hostname":"pc-17","name":"pc-17"},"source":{"ip":"10.1.2.3"},"destination":{"ip":"198.51.100.20","port":443}}
//! ```
//!
//! Keys are nested or dotted, values single or in arrays, times ISO 8601 or epoch milliseconds; `event.start` is the start
//! where the record is written later. On a host the device is the host, and `network.direction` tells who opened. A sensor
//! sees others: Packetbeat, whatever has an `observer`, and Filebeat, which carries the logs of others. There the device is
//! `source.ip`, if it is ours. Packetbeat reports a flow again and again, always with its start, so that each report may count.
//! Before version 7, without ECS, it said `dest`, `start_time`, `transport`, and `stats` of either side; addresses of IPv6 had a key
//! of their own. `source.mac` is no name: behind a router it is the router's.
//!
//! ```text
//! {"@timestamp":"2031-03-04T10:01:30.000Z","type":"flow","beat":{"hostname":"sensor-1"},"start_time":"2031-03-04T10:01:02.345Z",
//!  "final":true,"transport":"tcp","source":{"ip":"10.1.2.3"},"dest":{"ip":"198.51.100.20","stats":{"net_packets_total":8}}}
//! ```
//!
//! Source: the reference of ECS 1 to 8, and the exported fields of the Beats 5 to 8 and of Elastic Defend.

use sighting::{IdentityKind, Second};

use crate::connection::{Connection, by_address};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;
use crate::sysmon;
use crate::text::Names;
use crate::time::instant;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let signs = [
        "ecs.version",
        "event.category",
        "event.dataset",
        "event.kind",
        "event.module",
        "data_stream.dataset",
        "agent.type",
    ];
    has("@timestamp") && (signs.into_iter().any(has) || names_both(has) || is_of_packetbeat_6(has))
}

fn names_both(has: &dyn Fn(&str) -> bool) -> bool {
    has("source.ip") && has("destination.ip")
}

/// A flow, or what was said in one.
fn is_of_packetbeat_6(has: &dyn Fn(&str) -> bool) -> bool {
    let is_flow = has("start_time") && (has("flow_id") || has("dest.ip") || has("dest.ipv6"));
    is_flow || has("type") && has("client_ip") && (has("beat.hostname") || has("beat.name"))
}

/// Whether it is one of a network, whoever carries it.
pub(crate) fn is_network(has: &dyn Fn(&str) -> bool) -> bool {
    is_record(has) && (has("event.category") || names_both(has) || is_of_packetbeat_6(has))
}

/// One record; those of Winlogbeat are read as what they are.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    read(text, line, settings, sink, true)
}

/// One that is no event of Windows, whatever it looks like: it is not handed on to where it may come from.
pub(crate) fn no_event(
    text: &str,
    line: u64,
    settings: &Settings,
    sink: &mut impl Sink,
) -> Result<(), Fault> {
    read(text, line, settings, sink, false)
}

fn read(
    text: &str,
    line: u64,
    settings: &Settings,
    sink: &mut impl Sink,
    may_be_event: bool,
) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner, Place::Top))?;
    if (has_escaped_keys || values.is_escaped)
        && let Some(told) = reread(text, &mut |plain| read(plain, line, settings, sink, may_be_event))
    {
        return told;
    }
    if values.is_windows && may_be_event {
        return sysmon::record(text, line, settings, sink);
    }
    values.judge(line, settings, sink)
}

/// Where in a record the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Event,
    DataStream,
    Agent,
    Host,
    Network,
    Source,
    Destination,
    /// What Packetbeat called the destination before ECS.
    Dest,
    DestStats,
    Observer,
    Schema,
    Winlog,
}

impl Place {
    /// The place of an object under a key.
    fn inside(self, key: &str) -> Option<Place> {
        Some(match (self, key) {
            (Place::Top, "event") => Place::Event,
            (Place::Top, "data_stream") => Place::DataStream,
            (Place::Top, "agent") => Place::Agent,
            (Place::Top, "host") => Place::Host,
            (Place::Top, "network") => Place::Network,
            (Place::Top, "source") => Place::Source,
            (Place::Top, "destination") => Place::Destination,
            (Place::Top, "dest") => Place::Dest,
            (Place::Dest, "stats") => Place::DestStats,
            (Place::Top, "observer") => Place::Observer,
            (Place::Top, "ecs") => Place::Schema,
            (Place::Top, "winlog") => Place::Winlog,
            _ => return None,
        })
    }
}

/// Who wrote a record, as far as it matters to what counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Producer {
    Defend,
    Packetbeat,
    AuditbeatSocket,
    Auditd,
    Any,
}

/// Which way a connection went, as seen from where the record was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Out,
    In,
    /// Between two that are not ours.
    External,
    Listening,
    Unknown,
}

/// The words of `event.category` and `event.type` that matter.
#[derive(Default)]
struct Words {
    has_category: bool,
    is_network: bool,
    has_type: bool,
    opens: bool,
    is_denied: bool,
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    record_time: Value<'a>,
    start: Value<'a>,
    /// Packetbeat's name of the protocol: `flow`, `dns`, `http`.
    kind: Value<'a>,
    dataset: Value<'a>,
    stream: Value<'a>,
    module: Value<'a>,
    action: Value<'a>,
    outcome: Value<'a>,
    words: Words,
    agent_type: Value<'a>,
    agent_id: Value<'a>,
    host_id: Value<'a>,
    host_name: Value<'a>,
    short_name: Value<'a>,
    direction: Value<'a>,
    transport: Value<'a>,
    protocol_number: Value<'a>,
    source: Value<'a>,
    source_v6: Value<'a>,
    destination: Value<'a>,
    destination_v6: Value<'a>,
    packets_back: Value<'a>,
    /// There is something that watches others.
    has_observer: bool,
    /// It says which version of the schema it follows.
    has_schema: bool,
    /// It is an event of Windows.
    is_windows: bool,
    /// It has the names of Packetbeat before ECS.
    has_dest: bool,
    /// The flow is one of ICMP, as Packetbeat said it before ECS.
    icmp_id: Value<'a>,
    /// A value was written with escapes.
    is_escaped: bool,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, place: Place) -> Result<(), Fault> {
        self.note(place);
        scanner.each_key(|scanner, name| self.field(scanner, place, name))
    }

    /// Some objects tell by being there.
    fn note(&mut self, place: Place) {
        match place {
            Place::Observer => self.has_observer = true,
            Place::Schema => self.has_schema = true,
            Place::Winlog => self.is_windows = true,
            Place::Dest => self.has_dest = true,
            _ => {}
        }
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, mut place: Place, mut name: &str) -> Result<(), Fault> {
        // Dotted keys are objects written flat.
        while let Some((outer, inner)) = name.split_once('.')
            && let Some(inside) = place.inside(outer)
        {
            (place, name) = (inside, inner);
        }
        self.note(place);
        if let (Place::Event, "category" | "type") = (place, name) {
            return self.read_words(scanner, name);
        }
        let value = scanner.value()?;
        if value == Value::Object {
            return match place.inside(name) {
                Some(inside) => self.read(scanner, inside),
                None => Ok(scanner.leave(value)?),
            };
        }
        let Some(slot) = self.slot(place, name) else { return Ok(scanner.leave(value)?) };
        let value = if value == Value::Array { scanner.first_scalar()? } else { value };
        *slot = value;
        self.is_escaped |= value.is_escaped();
        Ok(())
    }

    /// One word, or an array of them.
    fn read_words(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<(), Fault> {
        let value = scanner.value()?;
        if value != Value::Array {
            self.word(name, value);
            return Ok(scanner.leave(value)?);
        }
        let mut more = scanner.first_element()?;
        while more {
            let word = scanner.scalar()?;
            self.word(name, word);
            more = scanner.next_element()?;
        }
        Ok(())
    }

    fn word(&mut self, name: &str, value: Value<'a>) {
        self.is_escaped |= value.is_escaped();
        let Some(word) = value.plain() else { return };
        let words = &mut self.words;
        if name == "category" {
            words.has_category = true;
            // `network_traffic` is what ECS 1.0 said.
            words.is_network |= matches!(word, "network" | "network_traffic");
        } else {
            words.has_type = true;
            words.opens |= matches!(word, "start" | "connection");
            words.is_denied |= word == "denied";
        }
    }

    fn slot(&mut self, place: Place, name: &str) -> Option<&mut Value<'a>> {
        Some(match (place, name) {
            (Place::Top, "@timestamp") => &mut self.record_time,
            (Place::Top, "type") => &mut self.kind,
            (Place::Event, "start") | (Place::Top, "start_time") => &mut self.start,
            (Place::Top, "icmp_id") => &mut self.icmp_id,
            (Place::Event, "dataset") => &mut self.dataset,
            (Place::DataStream, "dataset") => &mut self.stream,
            (Place::Event, "module") => &mut self.module,
            (Place::Event, "action") => &mut self.action,
            (Place::Event, "outcome") => &mut self.outcome,
            (Place::Agent, "type") => &mut self.agent_type,
            (Place::Agent, "id") => &mut self.agent_id,
            (Place::Host, "id") => &mut self.host_id,
            (Place::Host, "name") => &mut self.host_name,
            (Place::Host, "hostname") => &mut self.short_name,
            (Place::Network, "direction") => &mut self.direction,
            (Place::Network, "transport") | (Place::Top, "transport") => &mut self.transport,
            (Place::Network, "iana_number") => &mut self.protocol_number,
            (Place::Source, "ip") => &mut self.source,
            (Place::Source, "ipv6") => &mut self.source_v6,
            (Place::Destination | Place::Dest, "ip") => &mut self.destination,
            (Place::Dest, "ipv6") => &mut self.destination_v6,
            (Place::Destination, "packets") | (Place::DestStats, "net_packets_total") => {
                &mut self.packets_back
            }
            _ => return None,
        })
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let producer = self.producer();
        let why_not = self.not_opened(producer)?;
        let (source, remote) = self.ends();
        let second = self.second(settings);
        if self.is_sensor(producer) {
            if why_not == Some(Ignored::OtherEvent) {
                sink.ignored(&Passed::by_nobody(Ignored::OtherEvent, line));
                return Ok(());
            }
            let (device, not_ours) = by_address(source, "source.ip", self.says_local(producer), settings);
            let why_not = not_ours.or(why_not);
            return Connection { second, device, remote, why_not }.judge(line, settings, sink);
        }
        let (id, long, short) =
            (self.device_id(producer), self.host_name.present(), self.short_name.present());
        let mut names = Names::default();
        if let Some(id) = &id {
            names.add(IdentityKind::AgentId, id, "host.id");
        }
        if let Some(long) = &long {
            names.add(IdentityKind::Fqdn, long, "host.name");
        }
        if let Some(short) = &short
            && long.as_ref().is_none_or(|long| !long.eq_ignore_ascii_case(short))
        {
            names.add(IdentityKind::HostName, short, "host.hostname");
        }
        let device = names.required("host.id");
        Connection { second, device, remote, why_not }.judge(line, settings, sink)
    }

    /// The source, and the remote with its field. Of a flow that has addresses of both kinds one is a tunnel; which, nobody says.
    fn ends(&self) -> (Option<&'a str>, (Option<&'a str>, &'static str)) {
        if !self.has_dest {
            return (self.source.plain(), (self.destination.plain(), "destination.ip"));
        }
        let source = self.source.plain().or(self.source_v6.plain());
        (source, (self.destination.plain().or(self.destination_v6.plain()), "dest.ip"))
    }

    fn producer(&self) -> Producer {
        let dataset = self.dataset();
        let module = self.module.plain().unwrap_or_default();
        let is_packetbeat = self.agent_type.plain() == Some("packetbeat")
            || self.kind.plain() == Some("flow")
            || dataset == "flow"
            || dataset.starts_with("network_traffic.");
        match () {
            () if dataset.starts_with("endpoint.") || module == "endpoint" => Producer::Defend,
            () if is_packetbeat => Producer::Packetbeat,
            () if matches!(dataset, "socket" | "system.socket") => Producer::AuditbeatSocket,
            () if matches!(module, "auditd" | "auditd_manager") || dataset.starts_with("auditd") => {
                Producer::Auditd
            }
            () => Producer::Any,
        }
    }

    fn dataset(&self) -> &'a str {
        self.dataset.plain().or_else(|| self.stream.plain()).unwrap_or_default()
    }

    /// Why the document is no connection that was opened, whoever the source is.
    fn not_opened(&self, producer: Producer) -> Result<Option<Ignored>, Fault> {
        let why_not = match producer {
            Producer::Defend => self.defend()?,
            Producer::Packetbeat => self.packetbeat()?,
            Producer::AuditbeatSocket => self.socket()?,
            Producer::Auditd => self.auditd()?,
            Producer::Any => self.any()?,
        };
        Ok(match why_not {
            None if self.is_icmp() => Some(Ignored::Icmp),
            None if matches!(self.outcome.plain(), Some("failure" | "fail")) => Some(Ignored::Failed),
            why_not => why_not,
        })
    }

    fn defend(&self) -> Result<Option<Ignored>, Fault> {
        let dataset = self.dataset();
        let is_network = dataset == "endpoint.events.network" || dataset.is_empty() && self.words.is_network;
        if !is_network {
            return Ok(Some(Ignored::OtherEvent));
        }
        match self.required_action()? {
            "connection_attempted" => self.outward(),
            "connection_accepted" => Ok(Some(Ignored::Inbound)),
            action if action.starts_with("lookup_") || action.starts_with("dns") => {
                Ok(Some(Ignored::OtherEvent))
            }
            _ => Ok(Some(Ignored::OtherAction)),
        }
    }

    /// Of what Packetbeat sees, flows; its other documents tell what was said in them. A flow without an answer has no
    /// count of packets that came back.
    fn packetbeat(&self) -> Result<Option<Ignored>, Fault> {
        let dataset = self.dataset();
        let is_flow = matches!(dataset, "flow" | "network_traffic.flow") || self.kind.plain() == Some("flow");
        Ok(match () {
            () if !is_flow => Some(Ignored::OtherEvent),
            () if self.is_icmp() => Some(Ignored::Icmp),
            () if self.packets_back()?.unwrap_or(0) == 0 => Some(Ignored::Failed),
            () => None,
        })
    }

    fn socket(&self) -> Result<Option<Ignored>, Fault> {
        match self.required_action()? {
            "network_flow" => self.outward(),
            _ => Ok(Some(Ignored::OtherAction)),
        }
    }

    fn auditd(&self) -> Result<Option<Ignored>, Fault> {
        match self.action.plain() {
            Some("connected-to") => Ok(match self.outcome.plain() {
                Some("success") => None,
                Some("failure" | "fail") => Some(Ignored::Failed),
                _ => Some(Ignored::Attempt),
            }),
            Some("accepted-connection-from") => Ok(Some(Ignored::Inbound)),
            Some("listen-for-connections") => Ok(Some(Ignored::Listening)),
            _ if self.words.is_network => Ok(Some(Ignored::OtherAction)),
            _ => Ok(Some(Ignored::OtherEvent)),
        }
    }

    fn any(&self) -> Result<Option<Ignored>, Fault> {
        if !self.words.is_network {
            let is_ours = !self.source.is_absent() && !self.destination.is_absent();
            if !self.words.has_category && (is_ours || !self.is_document()) {
                return Err(Fault::of(Refusal::MissingField, "event.category"));
            }
            return Ok(Some(Ignored::OtherEvent));
        }
        if !self.words.has_type {
            return Err(Fault::of(Refusal::MissingField, "event.type"));
        }
        match () {
            () if self.words.is_denied => Ok(Some(Ignored::Failed)),
            () if !self.words.opens => Ok(Some(Ignored::OtherAction)),
            () if !self.is_sensor(Producer::Any) => self.outward(),
            () if self.packets_back()? == Some(0) => Ok(Some(Ignored::Failed)),
            () => Ok(match self.direction() {
                Some(Direction::In) => Some(Ignored::Inbound),
                Some(Direction::External) => Some(Ignored::NotLocal),
                Some(Direction::Listening) => Some(Ignored::Listening),
                // Where it is not said the source tells, which has to be ours.
                Some(Direction::Out | Direction::Unknown) | None => None,
            }),
        }
    }

    /// Whether it is a document of ECS at all.
    fn is_document(&self) -> bool {
        let signs = [self.record_time, self.dataset, self.stream, self.module, self.action, self.agent_type];
        self.has_schema || self.words.has_type || signs.into_iter().any(|sign| !sign.is_absent())
    }

    fn required_action(&self) -> Result<&'a str, Fault> {
        self.action.plain().ok_or(Fault::of(Refusal::MissingField, "event.action"))
    }

    /// Why a connection of a host was not opened by it.
    fn outward(&self) -> Result<Option<Ignored>, Fault> {
        let direction = self.direction().ok_or(Fault::of(Refusal::MissingField, "network.direction"))?;
        Ok(match direction {
            Direction::Out => None,
            Direction::In => Some(Ignored::Inbound),
            Direction::External => Some(Ignored::NotLocal),
            Direction::Listening => Some(Ignored::Listening),
            Direction::Unknown => Some(Ignored::Midstream),
        })
    }

    fn direction(&self) -> Option<Direction> {
        // `outgoing` and `incoming` are what old Beats said.
        Some(match self.direction.plain()? {
            "egress" | "outbound" | "outgoing" | "internal" => Direction::Out,
            "ingress" | "inbound" | "incoming" => Direction::In,
            "external" => Direction::External,
            "listening" => Direction::Listening,
            _ => Direction::Unknown,
        })
    }

    /// What a sensor says of the source. Packetbeat speaks of its own host instead.
    fn says_local(&self, producer: Producer) -> Option<bool> {
        let is_outward = producer != Producer::Packetbeat && self.direction() == Some(Direction::Out);
        is_outward.then_some(true)
    }

    /// Whether the record tells of others than its host.
    fn is_sensor(&self, producer: Producer) -> bool {
        match producer {
            Producer::Packetbeat => true,
            Producer::Any => self.has_observer || self.agent_type.plain() == Some("filebeat"),
            _ => false,
        }
    }

    /// The agent of Elastic Defend is the device's; other agents may be shippers, so they come last.
    fn device_id(&self, producer: Producer) -> Option<std::borrow::Cow<'a, str>> {
        let is_nameless = self.host_name.is_absent() && self.short_name.is_absent();
        match self.host_id.present() {
            None if producer == Producer::Defend || is_nameless => self.agent_id.present(),
            id => id,
        }
    }

    /// How many packets came back, if it is said. What is said and no number may be any.
    fn packets_back(&self) -> Result<Option<u64>, Fault> {
        let field = if self.has_dest { "dest.stats.net_packets_total" } else { "destination.packets" };
        match self.packets_back {
            count if count.is_absent() => Ok(None),
            count => count.whole().map(Some).ok_or(Fault::of(Refusal::MissingField, field)),
        }
    }

    fn is_icmp(&self) -> bool {
        matches!(self.transport.plain(), Some("icmp" | "icmp6" | "icmpv6" | "ipv6-icmp" | "ICMP"))
            || matches!(self.protocol_number.whole(), Some(1 | 58))
            || !self.icmp_id.is_absent() && self.transport.is_absent()
    }

    fn second(&self, settings: &Settings) -> Result<Second, Fault> {
        let start = if self.has_dest { "start_time" } else { "event.start" };
        let fields = [(self.start, start), (self.record_time, "@timestamp")];
        let Some((value, field)) = fields.into_iter().find(|(value, _)| !value.is_absent()) else {
            return Err(Fault::of(Refusal::NoTime, "@timestamp"));
        };
        instant(value.plain().ok_or(Fault::of(Refusal::BadTime, field))?, field, settings)
    }
}
