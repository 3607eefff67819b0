//! OCSF Network Activity (class 4001) as JSON, as security lakes and exports of many products carry it. Refuses to hold:
//! other classes (ignored), Parquet, and hardware addresses of endpoints, which may be a router's.
//!
//! ```text
//! {"class_uid":4001,"category_uid":4,"activity_id":1,"type_uid":400101,"time":1930557662345,
//!  "src_endpoint":{"ip":"10.1.2.3","hostname":"pc-17"},"dst_endpoint":{"ip":"198.51.100.20","port":443},
//!  "connection_info":{"direction_id":2,"protocol_num":6},"device":{"uid":"aa11","hostname":"pc-17.example.org"}}
//! ```
//!
//! `src_endpoint` is the initiator unless `initiator_id` is 2. With a `device` that is a host, that host reports: inbound is
//! what others opened to it. Without one, or where it is a firewall or the like, the initiator has to be ours. A close implies
//! an open; `start_time` is the start, `time` the time of the event. Source: schema.ocsf.io 1.0 to 1.7.

use std::borrow::Cow;

use sighting::{IdentityKind, Second};

use crate::blocks::split_once;
use crate::connection::{Connection, by_address};
use crate::json::{Scanner, Value, object, reread};
use crate::record::{Fault, Ignored, Mentions, Refusal, Sink};
use crate::settings::Settings;
use crate::text::Names;
use crate::time::instant;

/// The class of network activity.
const NETWORK_ACTIVITY: u64 = 4001;

/// Whether a record with these keys (dotted paths) is one of this format's, be it none that counts.
pub(crate) fn is_record(has: &dyn Fn(&str) -> bool) -> bool {
    let signs = ["category_uid", "activity_id", "type_uid", "metadata.version", "metadata.product"];
    has("class_uid") && signs.into_iter().any(has)
}

/// One record.
pub(crate) fn record(text: &str, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
    let mut values = Values::default();
    let has_escaped_keys = object(text, |scanner| values.read(scanner, Place::Top))?;
    if (has_escaped_keys || values.is_escaped)
        && let Some(told) = reread(text, &mut |plain| record(plain, line, settings, sink))
    {
        return told;
    }
    values.judge(line, settings, sink)
}

/// The flags of a TCP segment that answers the first one.
const SYN_ACK: u64 = 2 | 16;

/// Where in a record the scanner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Connection,
    Source,
    Destination,
    Device,
}

impl Place {
    /// The place of an object under a key.
    fn inside(self, key: &str) -> Option<Place> {
        Some(match (self, key) {
            (Place::Top, "connection_info") => Place::Connection,
            (Place::Top, "src_endpoint") => Place::Source,
            (Place::Top, "dst_endpoint") => Place::Destination,
            (Place::Top, "device") => Place::Device,
            _ => return None,
        })
    }
}

/// The values of one record.
#[derive(Default)]
struct Values<'a> {
    class: Value<'a>,
    activity: Value<'a>,
    /// Class and activity in one number.
    kind: Value<'a>,
    start: Value<'a>,
    time: Value<'a>,
    /// The same two as text.
    start_text: Value<'a>,
    time_text: Value<'a>,
    status: Value<'a>,
    action: Value<'a>,
    disposition: Value<'a>,
    direction: Value<'a>,
    initiator: Value<'a>,
    protocol_number: Value<'a>,
    protocol_name: Value<'a>,
    flags: Value<'a>,
    source: Machine<'a>,
    destination: Machine<'a>,
    device: Machine<'a>,
    /// A value was written with escapes.
    is_escaped: bool,
}

/// What is said of an endpoint or of a device.
#[derive(Clone, Copy, Default)]
struct Machine<'a> {
    uid: Value<'a>,
    instance: Value<'a>,
    interface: Value<'a>,
    host_name: Value<'a>,
    name: Value<'a>,
    ip: Value<'a>,
    port: Value<'a>,
    kind: Value<'a>,
}

/// Who opened, and to whom.
struct Ends<'v, 'a> {
    initiator: &'v Machine<'a>,
    responder: &'v Machine<'a>,
    initiator_field: &'static str,
    responder_field: &'static str,
}

impl<'a> Values<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, place: Place) -> Result<(), Fault> {
        scanner.each_key(|scanner, name| self.field(scanner, place, name))
    }

    fn field(&mut self, scanner: &mut Scanner<'a>, place: Place, name: &str) -> Result<(), Fault> {
        let Some(slot) = self.slot(place, name) else { return self.no_value(scanner, place, name) };
        let value = match scanner.value()? {
            Value::Object => return Ok(scanner.leave(Value::Object)?),
            Value::Array => scanner.first_scalar()?,
            scalar => scalar,
        };
        *slot = value;
        self.is_escaped |= value.is_escaped();
        Ok(())
    }

    /// What is under a key that holds none of the values itself.
    fn no_value(&mut self, scanner: &mut Scanner<'a>, place: Place, name: &str) -> Result<(), Fault> {
        if let Some(inside) = place.inside(name) {
            return match scanner.value()? {
                Value::Object => self.read(scanner, inside),
                other => Ok(scanner.leave(other)?),
            };
        }
        // Dotted keys are objects written flat.
        if place == Place::Top
            && let Some((outer, inner)) = split_once(name, b'.')
            && let Some(inside) = place.inside(outer)
        {
            return self.field(scanner, inside, inner);
        }
        Ok(scanner.skip()?)
    }

    fn slot(&mut self, place: Place, name: &str) -> Option<&mut Value<'a>> {
        match place {
            Place::Top => self.top_slot(name),
            Place::Connection => self.connection_slot(name),
            Place::Source => self.source.slot(name),
            Place::Destination => self.destination.slot(name),
            Place::Device => self.device.slot(name),
        }
    }

    fn top_slot(&mut self, name: &str) -> Option<&mut Value<'a>> {
        Some(match name {
            "class_uid" => &mut self.class,
            "activity_id" => &mut self.activity,
            "type_uid" => &mut self.kind,
            "start_time" => &mut self.start,
            "time" => &mut self.time,
            "start_time_dt" => &mut self.start_text,
            "time_dt" => &mut self.time_text,
            "status_id" => &mut self.status,
            "action_id" => &mut self.action,
            "disposition_id" => &mut self.disposition,
            "initiator_id" => &mut self.initiator,
            _ => return None,
        })
    }

    fn connection_slot(&mut self, name: &str) -> Option<&mut Value<'a>> {
        Some(match name {
            "direction_id" => &mut self.direction,
            "initiator_id" => &mut self.initiator,
            "protocol_num" => &mut self.protocol_number,
            "tcp_flags" => &mut self.flags,
            "protocol_name" => &mut self.protocol_name,
            _ => return None,
        })
    }

    fn judge(&self, line: u64, settings: &Settings, sink: &mut impl Sink) -> Result<(), Fault> {
        let ends = self.ends();
        let mut named = Named::default();
        let (device, not_theirs) = match self.host(&ends) {
            host if !self.is_network_activity()? => {
                let nobody = Err(Fault::of(Refusal::NoDevice, "device.uid"));
                (host.map_or(nobody, |host| host.names(&mut named)), Some(Ignored::OtherEvent))
            }
            Some(host) => (host.names(&mut named), self.not_by_host(host, &ends)),
            None => self.by_initiator(&ends, settings, &mut named),
        };
        let why_not = match not_theirs {
            Some(why) => Some(why),
            None => self.not_opened()?,
        };
        let remote = (ends.responder.ip.plain(), ends.responder_field);
        Connection { second: self.second(settings), device, remote, why_not }.judge(line, settings, sink)
    }

    fn ends(&self) -> Ends<'_, 'a> {
        let (source, destination) = ("src_endpoint.ip", "dst_endpoint.ip");
        let is_reversed = self.initiator.whole() == Some(2);
        let (initiator, responder, initiator_field, responder_field) = if is_reversed {
            (&self.destination, &self.source, destination, source)
        } else {
            (&self.source, &self.destination, source, destination)
        };
        Ends { initiator, responder, initiator_field, responder_field }
    }

    /// The host that reports, if one does: not a box in the network that sees others.
    fn host(&self, ends: &Ends<'_, 'a>) -> Option<&Machine<'a>> {
        let own = self.device.ip.plain();
        let is_box = match self.device.kind.whole() {
            // Server, desktop, laptop, tablet, mobile, virtual machine, IoT, browser.
            Some(1..=8) => false,
            // Firewall, switch, hub, router, IDS, IPS, load balancer.
            Some(9..=15) => true,
            // Not said: a host is at one of the two ends.
            _ => own.is_some() && own != ends.initiator.ip.plain() && own != ends.responder.ip.plain(),
        };
        (!is_box && self.device.is_known()).then_some(&self.device)
    }

    /// Why a connection was not opened by the host that reports it.
    fn not_by_host(&self, host: &Machine<'a>, ends: &Ends<'_, 'a>) -> Option<Ignored> {
        let own = host.ip.plain();
        let is_own = |end: &Machine<'a>| own.is_some() && end.ip.plain() == own;
        match self.direction.whole() {
            Some(1) => Some(Ignored::Inbound),
            Some(2 | 4) => None,
            // Between two of ours, or not said: the addresses tell.
            _ if is_own(ends.initiator) => None,
            _ if is_own(ends.responder) => Some(Ignored::Inbound),
            Some(3) => None,
            _ => Some(Ignored::Midstream),
        }
    }

    /// The initiator as the device, and why it opened nothing as one of ours.
    fn by_initiator<'n>(
        &self,
        ends: &Ends<'_, 'a>,
        settings: &Settings,
        named: &'n mut Named<'a>,
    ) -> (Result<Mentions<'n>, Fault>, Option<Ignored>) {
        let (ip, says_local) = (ends.initiator.ip.plain(), self.says_local());
        let (known, not_ours) = by_address(ip, ends.initiator_field, says_local, settings);
        // A name will do where there is no address, if the record says whose it is.
        let is_named = ip.is_none() && says_local == Some(true);
        let device = match known {
            Err(fault) if !is_named => Err(fault),
            _ => ends.initiator.names(named),
        };
        let is_inbound = self.direction.whole() == Some(1);
        (device, not_ours.or(is_inbound.then_some(Ignored::Inbound)))
    }

    /// Whether the direction says that the initiator is ours.
    fn says_local(&self) -> Option<bool> {
        matches!(self.direction.whole(), Some(2..=4)).then_some(true)
    }

    fn is_network_activity(&self) -> Result<bool, Fault> {
        let class = self.class.whole().or_else(|| Some(self.kind.whole()? / 100));
        class.map(|class| class == NETWORK_ACTIVITY).ok_or(Fault::of(Refusal::MissingField, "class_uid"))
    }

    /// Why the event is no connection that was opened, whoever the initiator is.
    fn not_opened(&self) -> Result<Option<Ignored>, Fault> {
        let activity = self.activity.whole().or_else(|| Some(self.kind.whole()? % 100));
        let activity = activity.ok_or(Fault::of(Refusal::MissingField, "activity_id"))?;
        Ok(match activity {
            7 => Some(Ignored::Listening),
            _ if self.is_icmp() => Some(Ignored::Icmp),
            4 | 5 => Some(Ignored::Failed),
            1 | 2 | 3 | 6 if self.is_denied() => Some(Ignored::Failed),
            1 | 2 | 3 | 6 => self.is_answer().then_some(Ignored::Inbound),
            _ => Some(Ignored::OtherAction),
        })
    }

    /// Blocked, dropped, reset, rejected and so on.
    fn is_denied(&self) -> bool {
        self.status.whole() == Some(2)
            || self.action.whole() == Some(2)
            || matches!(self.disposition.whole(), Some(2 | 6 | 21 | 25 | 26))
    }

    /// Whether it is the other half of a connection, as flow logs of packets tell it: SYN and ACK from the lower port, which is
    /// the service's.
    fn is_answer(&self) -> bool {
        let ports = self.source.port.whole().zip(self.destination.port.whole());
        let is_from_service = ports.is_some_and(|(source, destination)| source < destination);
        is_from_service && self.flags.whole().is_some_and(|flags| flags & SYN_ACK == SYN_ACK)
    }

    fn is_icmp(&self) -> bool {
        let names = ["icmp", "icmp6", "icmpv6", "ipv6-icmp"];
        let is_named = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        matches!(self.protocol_number.whole(), Some(1 | 58))
            || self.protocol_name.plain().is_some_and(is_named)
    }

    fn second(&self, settings: &Settings) -> Result<Second, Fault> {
        let fields = [
            (self.start, "start_time"),
            (self.start_text, "start_time_dt"),
            (self.time, "time"),
            (self.time_text, "time_dt"),
        ];
        let Some((value, field)) = fields.into_iter().find(|(value, _)| is_told(*value)) else {
            return Err(Fault::of(Refusal::NoTime, "time"));
        };
        instant(value.plain().ok_or(Fault::of(Refusal::BadTime, field))?, field, settings)
    }
}

/// The names of a machine, their escapes resolved.
#[derive(Default)]
struct Named<'a> {
    ids: [Option<Cow<'a, str>>; 2],
    host: Option<Cow<'a, str>>,
}

impl<'a> Machine<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Value<'a>> {
        Some(match name {
            "uid" => &mut self.uid,
            "instance_uid" => &mut self.instance,
            "interface_uid" => &mut self.interface,
            "hostname" => &mut self.host_name,
            "name" => &mut self.name,
            "ip" => &mut self.ip,
            "port" => &mut self.port,
            "type_id" => &mut self.kind,
            _ => return None,
        })
    }

    fn is_known(&self) -> bool {
        [self.uid, self.instance, self.host_name, self.name, self.ip].iter().any(|name| !name.is_absent())
    }

    /// Every name it has, kept in `named`; the interface's only where nothing better is known.
    fn names<'n>(&self, named: &'n mut Named<'a>) -> Result<Mentions<'n>, Fault>
    where
        'a: 'n,
    {
        named.ids = [self.uid.present(), self.instance.present()];
        if named.ids == [None, None] {
            named.ids = [self.interface.present(), None];
        }
        named.host = self.host_name.present().or_else(|| self.name.present());
        let mut names = Names::default();
        for id in named.ids.iter().flatten() {
            names.add(IdentityKind::AgentId, id, "uid");
        }
        if let Some(host) = &named.host {
            names.add(IdentityKind::Fqdn, host, "hostname");
        }
        if let Some(ip) = self.ip.plain() {
            names.add(IdentityKind::Address, ip, "ip");
        }
        names.required("device.uid")
    }
}

/// Whether a time is there; 0 is how some writers leave one out.
fn is_told(time: Value<'_>) -> bool {
    !time.is_absent() && time.plain() != Some("0")
}
