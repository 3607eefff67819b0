//! Sysmon event 3 (NetworkConnect): what its fields mean, and JSON from Winlogbeat 6 to 8, the ECS pipeline, NXLog and flat
//! exports, which have the same fields at different places. Refuses to hold: other events (ignored), the elements of Windows
//! XML (`sysmon_xml`), and the collector's own name (`host`, `agent`, `beat`), which is not the device's.
//!
//! ```text
//! {"@timestamp":"2031-03-04T10:01:03.000Z","winlog":{"event_id":"3","provider_name":"Microsoft-Windows-Sysmon",
//!  "computer_name":"PC-17.example.org","event_data":{"UtcTime":"2031-03-04 10:01:02.345","Initiated":"true",
//!  "SourceIp":"10.1.2.3","DestinationIp":"2001:db8:0:0:0:0:0:5"}}}
//! ```
//!
//! `UtcTime` is when it happened and wins over the record's time, which can be days off in resumed machines; more than
//! an hour is warned of. Bare EventData has no computer name: the device is then `SourceHostname` if it initiated, else
//! `DestinationHostname`. Any field may come as an array with one value in it, as ECS allows.
//! Source: Sysmon 4 to 15 schemas; samples of NXLog, Winlogbeat 6 and two flat exports.

use sighting::{Address, IdentityKind, Second};

use crate::ecs;
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Mentions, Opened, Passed, Refusal, Reporter, Sink, Warning};
use crate::settings::Settings;
use crate::text::Names;
use crate::time::{Iso, instant, iso};

/// The largest gap between `UtcTime` and the record's time that is not odd, in seconds: forwarding takes minutes.
const GAP_SECONDS_MAX: u32 = 3600;

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner, Place::Top))?;
    if (has_escaped_keys || values.are_escaped())
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    if !values.is_network_connect() && !values.is_event() && values.record_time != Value::Missing {
        // Many Beats may write to one place.
        return ecs::no_event(text, line, settings, sink);
    }
    values.judge(line, settings, sink)
}

/// Where in a record the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Winlog,
    EventData,
    Event,
    Host,
    Network,
    Destination,
    System,
    Provider,
    EventId,
    TimeCreated,
}

impl Place {
    /// The place of an object under a key.
    fn inside(self, key: &str) -> Option<Place> {
        Some(match (self, key) {
            (Place::Top, "winlog") => Place::Winlog,
            (Place::Top | Place::Winlog, "event_data" | "EventData") => Place::EventData,
            // `Event` is the root of the XML turned JSON, `_source` that of an Elasticsearch export.
            (Place::Top, "Event" | "_source") => Place::Top,
            (Place::Top, "event") => Place::Event,
            (Place::Top, "host") => Place::Host,
            (Place::Top, "network") => Place::Network,
            (Place::Top, "destination") => Place::Destination,
            (Place::Top, "System") => Place::System,
            (Place::Top | Place::System, "Provider") => Place::Provider,
            (Place::Top | Place::System, "EventID") => Place::EventId,
            (Place::System, "TimeCreated") => Place::TimeCreated,
            (Place::Provider | Place::TimeCreated, "#attributes") => self,
            _ => return None,
        })
    }
}

/// The values of one record.
#[derive(Default)]
pub(crate) struct Values<'a> {
    pub(crate) event_id: Value<'a>,
    pub(crate) provider: Value<'a>,
    pub(crate) channel: Value<'a>,
    pub(crate) computer: Value<'a>,
    /// There is an object for the data of an event.
    pub(crate) has_data: bool,
    /// `host.name`: the device, unless events are forwarded.
    pub(crate) host_name: Value<'a>,
    pub(crate) utc_time: Value<'a>,
    pub(crate) record_time: Value<'a>,
    pub(crate) local_time: Value<'a>,
    pub(crate) initiated: Value<'a>,
    pub(crate) direction: Value<'a>,
    pub(crate) destination: Value<'a>,
    /// `destination.ip` of ECS.
    pub(crate) ecs_destination: Value<'a>,
    /// The machine's own address, where it opened the connection.
    pub(crate) source: Value<'a>,
    pub(crate) source_name: Value<'a>,
    pub(crate) destination_name: Value<'a>,
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
        let value = scanner.value()?;
        if value == Value::Object {
            return match place.inside(name) {
                Some(inside) => {
                    self.has_data |= matches!(inside, Place::EventData | Place::Winlog);
                    self.read(scanner, inside)
                }
                None => Ok(scanner.leave(value)?),
            };
        }
        let Some(slot) = self.slot(place, name) else { return Ok(scanner.leave(value)?) };
        *slot = if matches!(value, Value::Array) { scanner.first_scalar()? } else { value };
        Ok(())
    }

    fn slot(&mut self, place: Place, name: &str) -> Option<&mut Value<'a>> {
        Some(match (place, name) {
            (Place::Top | Place::Winlog | Place::System, "EventID" | "event_id" | "EventId")
            | (Place::Event, "code")
            | (Place::EventId, "#text" | "Value") => &mut self.event_id,
            (
                Place::Top | Place::Winlog | Place::System,
                "SourceName" | "source_name" | "provider_name" | "Provider" | "ProviderName",
            )
            | (Place::Event, "provider")
            | (Place::Provider, "Name") => &mut self.provider,
            (Place::Top | Place::Winlog | Place::System, "Channel" | "channel" | "log_name") => {
                &mut self.channel
            }
            (
                Place::Top | Place::Winlog | Place::System,
                "computer_name" | "Hostname" | "Computer" | "ComputerName",
            ) => &mut self.computer,
            (Place::Host, "name") => &mut self.host_name,
            (Place::Top | Place::EventData, "UtcTime") => &mut self.utc_time,
            (Place::Top | Place::System, "@timestamp" | "TimeCreated")
            | (Place::TimeCreated, "SystemTime") => &mut self.record_time,
            (Place::Top, "EventTime") => &mut self.local_time,
            (Place::Top | Place::EventData, "Initiated") => &mut self.initiated,
            (Place::Network, "direction") => &mut self.direction,
            (Place::Top | Place::EventData, "DestinationIp") => &mut self.destination,
            (Place::Destination, "ip") => &mut self.ecs_destination,
            (Place::Top | Place::EventData, "SourceIp") => &mut self.source,
            (Place::Top | Place::EventData, "SourceHostname") => &mut self.source_name,
            (Place::Top | Place::EventData, "DestinationHostname") => &mut self.destination_name,
            _ => return None,
        })
    }

    /// Tells the sink what the event is.
    pub(crate) fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let own = [self.computer, self.host_name].into_iter().find_map(Value::present);
        if !self.is_network_connect() {
            if !self.is_event() {
                return Err(Fault::of(Refusal::MissingField, "EventID"));
            }
            self.ignore(Ignored::OtherEvent, own.as_deref(), line, settings, sink);
            return Ok(());
        }
        let initiated = self.initiated().ok_or(Fault::of(Refusal::MissingField, "Initiated"))?;
        let ours = if initiated { self.source_name } else { self.destination_name };
        let name = own.or_else(|| ours.present());
        if !initiated {
            self.ignore(Ignored::Inbound, name.as_deref(), line, settings, sink);
            return Ok(());
        }
        let destination = [self.destination, self.ecs_destination].into_iter().find_map(Value::plain);
        let Some(destination) = destination else {
            self.ignore(Ignored::NoRemote, name.as_deref(), line, settings, sink);
            return Ok(());
        };
        let bad_remote = Fault::of(Refusal::BadAddress, "DestinationIp");
        let remote = Address::parse_logged(destination.as_bytes()).ok_or(bad_remote)?;
        let second = self.second(settings)?;
        let mut device = device(name.as_deref())?;
        settings.unique_address(self.source.plain()).into_iter().for_each(|own| device.push(own));
        if !settings.keep_special_remotes && is_special(remote) {
            let reporter = Some(Reporter { second, device });
            sink.ignored(&Passed { why: Ignored::Special, reporter, tenant: None, line });
            return Ok(());
        }
        if self.has_gap(second, settings) {
            sink.warned(Warning::ClockGap, line);
        }
        sink.opened(&Opened { second, remote, device, tenant: None, line });
        Ok(())
    }

    /// Whether it is event 3 of Sysmon, as far as the record says.
    fn is_network_connect(&self) -> bool {
        let is_sysmon = match (self.provider.plain(), self.channel.plain()) {
            (Some(provider), _) => provider.contains("Sysmon"),
            (None, Some(channel)) => channel.contains("Sysmon"),
            (None, None) => true,
        };
        let is_event_3 = match self.event_id.plain() {
            Some(id) => id == "3",
            // Bare EventData: of all events of Sysmon only this one has the field.
            None => self.initiated != Value::Missing,
        };
        is_sysmon && is_event_3
    }

    /// Whether anything says that it is an event of Windows at all.
    fn is_event(&self) -> bool {
        let signs = [self.event_id, self.provider, self.channel, self.initiated, self.utc_time];
        self.has_data || signs.iter().any(|value| *value != Value::Missing)
    }

    fn initiated(&self) -> Option<bool> {
        self.initiated.truth().or_else(|| match self.direction.plain()? {
            "egress" | "outbound" => Some(true),
            "ingress" | "inbound" => Some(false),
            _ => None,
        })
    }

    /// `UtcTime` is UTC by its name; the others say their zone, or are in the source's.
    fn second(&self, settings: &Settings) -> Result<Second, Fault> {
        if let Some(time) = self.utc_time.plain() {
            return iso(time).map(Iso::utc).ok_or(Fault::of(Refusal::BadTime, "UtcTime"));
        }
        if let Some(time) = self.record_time.plain() {
            return instant(time, "@timestamp", settings);
        }
        match self.local_time.plain() {
            Some(time) => instant(time, "EventTime", settings),
            None => Err(Fault::of(Refusal::NoTime, "UtcTime")),
        }
    }

    /// Whether the record says a time far from `UtcTime`, which is `second`.
    #[inline]
    fn has_gap(&self, second: Second, settings: &Settings) -> bool {
        let (Some(utc), Some(record)) = (self.utc_time.plain(), self.record_time.plain()) else {
            return false;
        };
        if is_same_hour(utc.as_bytes(), record.as_bytes()) {
            return false;
        }
        instant(record, "@timestamp", settings)
            .is_ok_and(|record| record.unix().abs_diff(second.unix()) > GAP_SECONDS_MAX)
    }

    /// Whether a field that is compared as written was written with escapes.
    #[inline]
    fn are_escaped(&self) -> bool {
        self.event_id.is_escaped()
            || self.provider.is_escaped()
            || self.channel.is_escaped()
            || self.utc_time.is_escaped()
            || self.record_time.is_escaped()
            || self.local_time.is_escaped()
            || self.initiated.is_escaped()
            || self.direction.is_escaped()
            || self.destination.is_escaped()
            || self.ecs_destination.is_escaped()
    }

    fn ignore(&self, why: Ignored, name: Option<&str>, line: u64, settings: &Settings, sink: &mut impl Sink) {
        let reporter = match (self.second(settings), device(name)) {
            (Ok(second), Ok(device)) => Some(Reporter { second, device }),
            _ => None,
        };
        sink.ignored(&Passed { why, reporter, tenant: None, line });
    }
}

/// Whether two times in UTC are of one hour, as they are nearly always: told without reading them.
#[inline]
fn is_same_hour(one: &[u8], other: &[u8]) -> bool {
    other.last() == Some(&b'Z')
        && one.get(..10) == other.get(..10)
        && one.get(11..13).is_some_and(|hour| other.get(11..13) == Some(hour))
}

/// Also what was an IPv4 multicast address before it was written as IPv6 (`e000:fc::`); that space is nobody's.
fn is_special(remote: Address) -> bool {
    remote.special().is_some() || matches!(remote.octets().first(), Some(0xe0..=0xef))
}

fn device(name: Option<&str>) -> Result<Mentions<'_>, Fault> {
    let mut names = Names::default();
    if let Some(name) = name {
        names.add(IdentityKind::Fqdn, name, "Computer");
    }
    names.required("Computer")
}
